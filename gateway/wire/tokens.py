"""How many tokens a prompt can have at most, and how many an answer that was cut off probably had.

Rules (MONEY.md §4): a token is at least one byte of text, and JSON only ever writes text with more bytes; an image
costs by its size, whatever its bytes; what the body merely points to is bounded by the model's context window.
"""

from __future__ import annotations

from typing import Any, Final, NamedTuple

import msgspec

from gateway.wire.peek import Peek

MAX_IMAGE_TOKENS: Final = 4_784
"""Anthropic's vision guide: one token for each 28 × 28 pixels, after scaling down to at most this many."""

_TOOLS_PREAMBLE: Final = 1_024
"""What the provider puts in front of the tools: a few hundred tokens by its documentation."""
_PROVIDER_TOOL: Final = 4_096
"""The definition that the provider writes itself for a tool that is named by its type only."""
_BYTES_PER_TOKEN: Final = 3
_MAX_DEPTH: Final = 16


class Bound(NamedTuple):
    """The most a prompt can have."""

    tokens: int
    """From what the body itself holds."""
    open_ended: bool
    """The body points to text it does not hold (files, URLs, server tools): only the context window bounds it."""
    one_hour: bool
    """A cache write with a lifetime of one hour, the dearest class of prompt token, is asked for."""


class _Cache(msgspec.Struct):
    ttl: Any = None


class _Source(msgspec.Struct):
    type: Any = ""
    data: msgspec.Raw = msgspec.Raw(b"")
    content: Any = None


class _Block(msgspec.Struct):
    type: Any = ""
    cache_control: _Cache | None = None
    source: _Source | str | None = None
    content: msgspec.Raw = msgspec.Raw(b"")


class _Message(msgspec.Struct):
    content: str | list[_Block] = ""


class _Tool(msgspec.Struct):
    cache_control: _Cache | None = None


class _Body(msgspec.Struct):
    system: str | list[_Block] | None = None
    messages: list[_Message] | None = None
    tools: list[_Tool] | None = None
    cache_control: _Cache | None = None


_decode = msgspec.json.Decoder(_Body).decode
_blocks = msgspec.json.Decoder(list[_Block]).decode
_UNREADABLE: Final = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)


class _Count:
    """Walks the content blocks of a body."""

    __slots__ = ("extra", "one_hour", "open_ended")

    def __init__(self) -> None:
        self.extra = 0
        """Tokens to add to the bytes of the body; negative once an image is taken out of them."""
        self.open_ended = False
        self.one_hour = False

    def cached(self, control: _Cache | None) -> None:
        if control is not None and control.ttl == "1h":
            self.one_hour = True

    def blocks(self, blocks: str | list[_Block] | None, depth: int = 0) -> None:
        if isinstance(blocks, list):
            for block in blocks:
                self.cached(block.cache_control)
                if isinstance(block.source, _Source):
                    self.source(block.type, block.source, depth)
                elif block.type in ("image", "document", "container_upload"):
                    self.open_ended = True
                self.nested(block.content, depth)

    def source(self, kind: object, source: _Source, depth: int) -> None:
        if kind == "image":
            held = len(memoryview(source.data)) if source.type == "base64" else 0
            self.extra += MAX_IMAGE_TOKENS - held
        elif source.type == "content":
            self.nested(msgspec.Raw(msgspec.json.encode(source.content)), depth)
        elif source.type != "text":
            self.open_ended = True

    def nested(self, raw: msgspec.Raw, depth: int) -> None:
        """The content of a tool result or a document: text, or blocks again."""
        if bytes(memoryview(raw)[:1]) != b"[":
            return
        if depth == _MAX_DEPTH:
            self.open_ended = True
            return
        try:
            self.blocks(_blocks(raw), depth + 1)
        except _UNREADABLE:
            self.open_ended = True


def upper_bound(body: bytes, peek: Peek) -> Bound:
    """The most tokens the prompt can have. Costs one more pass over the body: ask only where a limit needs it."""
    count = _Count()
    try:
        found = _decode(body)
    except _UNREADABLE:
        return Bound(len(body) + _definitions(peek), open_ended=True, one_hour=True)
    count.cached(found.cache_control)
    count.blocks(found.system)
    for message in found.messages or ():
        count.blocks(message.content)
    for tool in found.tools or ():
        count.cached(tool.cache_control)
    return Bound(
        tokens=max(0, len(body) + count.extra) + _definitions(peek),
        open_ended=count.open_ended or peek.remote or bool(peek.server_tools),
        one_hour=count.one_hour,
    )


def estimate_prompt(body_bytes: int) -> int:
    """Tokens of a prompt the provider never counted, from the bytes of the request; rather too many than too few."""
    return -(-max(0, body_bytes) // _BYTES_PER_TOKEN)


def estimate_output(content_bytes: int) -> int:
    """Tokens of an answer whose final count never came, from the bytes of its content; rather too many than too few."""
    return -(-max(0, content_bytes) // _BYTES_PER_TOKEN)


def _definitions(peek: Peek) -> int:
    if not peek.tool_count:
        return 0
    return _TOOLS_PREAMBLE + _PROVIDER_TOOL * len(peek.tool_types)
