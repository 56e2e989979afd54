"""Content blocks of Anthropic's stream, one after the other, out of deltas that come in any order.

Anthropic's events finish a block before the next one begins. A provider may send parts of several tool calls in turns:
the block that came first is streamed, the others wait until it is whole.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from typing import Any, Final, Literal

import msgspec

from gateway.wire import sse
from gateway.wire.openai.answer import SIGNATURE
from gateway.wire.openai.names import id_for_client

_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.decode

Kind = Literal["text", "thinking", "tool"]
_DELTAS: Final = {
    "text": ("text_delta", "text"),
    "thinking": ("thinking_delta", "thinking"),
    "tool": ("input_json_delta", "partial_json"),
}


class _Lane:
    """One block: what came of it, and how much of that was sent."""

    __slots__ = ("arguments", "checked", "id", "index", "kind", "name", "number", "signature", "waiting")

    def __init__(self, kind: Kind, number: int = 0) -> None:
        self.kind = kind
        self.number = number
        """The provider's own index of a tool call."""
        self.id = ""
        self.name = ""
        self.signature = ""
        self.index: int | None = None
        """Of the block in Anthropic's stream, once it has begun."""
        self.waiting = ""
        self.arguments = ""
        self.checked = -1
        """Length of the arguments that were found to be half a JSON text."""

    def add(self, part: str) -> None:
        self.waiting += part
        if self.kind == "tool":
            self.arguments += part

    @property
    def can_begin(self) -> bool:
        """A text of nothing but white space is no block: Anthropic would refuse it in the next request."""
        if self.kind == "tool":
            return bool(self.name)
        return bool(self.waiting.strip() or self.signature)

    @property
    def is_whole(self) -> bool:
        """Whether nothing can follow, once a later block has begun."""
        if self.kind != "tool":
            return True
        if not self.name or self.checked == len(self.arguments):
            return False
        try:
            found = _decode(self.arguments)
        except (msgspec.MsgspecError, RecursionError):
            self.checked = len(self.arguments)
            return False
        return isinstance(found, dict)


class Blocks:
    """Takes deltas, gives events. `fresh` makes ids for tool calls that come without one."""

    def __init__(self, fresh: Callable[[], str]) -> None:
        self._fresh = fresh
        self._lanes: deque[_Lane] = deque()
        self._closed: set[int] = set()
        self._next = 0
        self.called = False
        """Whether a tool was called."""

    def text(self, kind: Literal["text", "thinking"], part: str) -> Iterator[bytes]:
        """A part of what the model says or thinks."""
        if not self._lanes or self._lanes[-1].kind != kind or self._lanes[-1].signature:
            self._lanes.append(_Lane(kind))
        self._lanes[-1].add(part)
        return self._advance()

    def sign(self, signature: str) -> Iterator[bytes]:
        """The end of a thought, with what proves it: that alone is a block, too."""
        if not self._lanes or self._lanes[-1].kind != "thinking" or self._lanes[-1].signature:
            self._lanes.append(_Lane("thinking"))
        self._lanes[-1].signature = signature
        return self._advance()

    def call(self, number: int, call_id: str, name: str, part: str) -> Iterator[bytes]:
        """A part of a tool call; id and name come with its first one."""
        self.called = True
        lane = next((each for each in reversed(self._lanes) if each.kind == "tool" and each.number == number), None)
        if lane is not None and name and ((call_id and lane.id and call_id != lane.id) or (part and lane.is_whole)):
            # Some servers give every call the index 0: another id, or arguments after those that were whole.
            lane = None
        if lane is None:
            if number in self._closed and not name:
                return iter(())  # white space after arguments that were whole
            lane = _Lane("tool", number)
            self._lanes.append(lane)
        lane.id = lane.id or call_id
        lane.name = lane.name or name
        lane.add(part)
        return self._advance()

    def close(self) -> Iterator[bytes]:
        """Everything that waits, and the end of every block."""
        for lane in self._lanes:
            if lane.kind == "tool":
                lane.name = lane.name or "unnamed"
        return self._advance(closing=True)

    def _advance(self, closing: bool = False) -> Iterator[bytes]:
        while self._lanes:
            lane = self._lanes[0]
            if lane.can_begin and (lane.index is None):
                yield self._begin(lane)
            if lane.index is not None and lane.waiting:
                yield _delta(lane)
            if not closing and (len(self._lanes) == 1 or not lane.is_whole):
                return
            self._lanes.popleft()
            if lane.kind == "tool":
                self._closed.add(lane.number)
            yield from _end(lane)

    def _begin(self, lane: _Lane) -> bytes:
        lane.index = self._next
        self._next += 1
        block: dict[str, Any]
        match lane.kind:
            case "text":
                block = {"type": "text", "text": ""}
            case "thinking":
                block = {"type": "thinking", "thinking": "", "signature": ""}
            case "tool":
                block = {
                    "type": "tool_use",
                    "id": id_for_client(lane.id) if lane.id else self._fresh(),
                    "name": lane.name,
                    "input": {},
                }
        return _event("content_block_start", {"index": lane.index, "content_block": block})


def _delta(lane: _Lane) -> bytes:
    kind, field = _DELTAS[lane.kind]
    part, lane.waiting = lane.waiting, ""
    return _event("content_block_delta", {"index": lane.index, "delta": {"type": kind, field: part}})


def _end(lane: _Lane) -> Iterator[bytes]:
    if lane.index is None:
        return
    if lane.kind == "tool" and not lane.arguments.strip():
        lane.waiting = "{}"
        yield _delta(lane)
    if lane.kind == "thinking":
        delta = {"type": "signature_delta", "signature": lane.signature or SIGNATURE}
        yield _event("content_block_delta", {"index": lane.index, "delta": delta})
    yield _event("content_block_stop", {"index": lane.index})


def _event(name: str, fields: dict[str, Any]) -> bytes:
    return sse.encode(name, _encode({"type": name, **fields}))
