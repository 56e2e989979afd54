"""A deterministic prompt cache: which prefix of a request was seen before, and which is written now."""

from __future__ import annotations

import re
from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass
from hashlib import blake2b

import msgspec

from gateway.simulator.conversation import Ask

BYTES_PER_TOKEN = 4
CAPACITY = 20_000
_TTL_SECONDS = {"5m": 300.0, "1h": 3600.0}

# Inside a JSON string every quote is escaped: this matches the key, never a prompt that talks about it.
_MARK = re.compile(rb',?"cache_control":\s*(\{[^}]*\}|null)')
_ONE_HOUR = re.compile(rb'"ttl":\s*"1h"')
_raws = msgspec.json.Decoder(list[msgspec.Raw])


@dataclass(frozen=True, slots=True)
class PromptTokens:
    """The prompt's tokens by class; `input` excludes what is read from or written to the cache."""

    input: int
    read: int = 0
    write_5m: int = 0
    write_1h: int = 0


class PromptCache:
    """Least recently used prefixes with Anthropic's two lifetimes; reading and writing renew one."""

    def __init__(self, capacity: int = CAPACITY) -> None:
        self._capacity = capacity
        self._expiry: OrderedDict[bytes, tuple[float, float]] = OrderedDict()

    def clear(self) -> None:
        self._expiry.clear()

    def split(self, body: bytes, ask: Ask, now: float) -> PromptTokens:
        """Tokens of the prompt by class; what is marked is cached from now on. `now` in monotonic seconds."""
        if b'"cache_control"' not in body:
            return PromptTokens(input=_tokens(len(body)) or 1)
        hit = 0
        marks: list[tuple[int, bytes, str]] = []
        size = 0
        running = blake2b(ask.model.encode(), digest_size=16)
        for block in _prefix(ask):
            bare = _MARK.sub(b"", block)
            running.update(bare)
            size += len(bare)
            digest = running.digest()
            if self._alive(digest, now):
                hit = size
            if len(bare) != len(block) and (mark := _MARK.search(block)) and mark[1] != b"null":
                marks.append((size, digest, "1h" if _ONE_HOUR.search(mark[1]) else "5m"))
        written = {"5m": 0, "1h": 0}
        start = hit
        for end, digest, ttl in marks:
            written[ttl] += max(0, _tokens(end) - _tokens(start))
            start = max(start, end)
            self._store(digest, _TTL_SECONDS[ttl], now)
        rest = max(0, len(body) - start)
        return PromptTokens(_tokens(rest) or 1, _tokens(hit), written["5m"], written["1h"])

    def _alive(self, digest: bytes, now: float) -> bool:
        found = self._expiry.get(digest)
        if found is None:
            return False
        expires, lifetime = found
        if expires <= now:
            del self._expiry[digest]
            return False
        self._store(digest, lifetime, now)
        return True

    def _store(self, digest: bytes, lifetime: float, now: float) -> None:
        self._expiry[digest] = (now + lifetime, lifetime)
        self._expiry.move_to_end(digest)
        while len(self._expiry) > self._capacity:
            self._expiry.popitem(last=False)


def estimate(body: bytes) -> int:
    """Tokens of a whole request body, cached or not."""
    return _tokens(len(body)) or 1


def _tokens(size: int) -> int:
    return size // BYTES_PER_TOKEN


def _prefix(ask: Ask) -> Iterator[bytes]:
    """The cacheable blocks in the order the prefix is built: tools, system, messages."""
    yield from (bytes(raw) for raw in ask.tools or [])
    yield from _blocks(ask.system)
    for message in ask.messages:
        first = True
        for block in _blocks(message.content):
            yield message.role.encode() + block if first else block
            first = False


def _blocks(raw: msgspec.Raw) -> Iterator[bytes]:
    """The blocks of a content; a plain string counts as the text block it stands for."""
    content = bytes(raw)
    if content.startswith(b"["):
        yield from (bytes(block) for block in _raws.decode(content))
    elif content != b"null":
        yield b'{"type":"text","text":' + content + b"}"
