"""A stream of chat completion chunks as Anthropic's events, right for every way its bytes are cut.

The counts come after the last word, so the message ends where the stream says `[DONE]`, or where it closes after a
`finish_reason`: a server that leaves `[DONE]` out has ended in peace too. One that says neither was cut off.
"""

from __future__ import annotations

from typing import Any

import msgspec

from gateway.wire import sse
from gateway.wire.openai import errors
from gateway.wire.openai.answer import (
    Choice,
    Completion,
    Function,
    Names,
    call_id,
    new_id,
    read,
    stop_reason,
    tool_name,
)
from gateway.wire.openai.blocks import Blocks
from gateway.wire.openai.errors import Problem
from gateway.wire.openai.incoming import Incoming
from gateway.wire.openai.usage import UNKNOWN, Reported, translated

_encode = msgspec.json.Encoder().encode
_DONE = b"[DONE]"


class Stream(Incoming):
    """Feed it the bytes as they come, then `finish()`. Raises BadAnswer for what is no chunk."""

    def __init__(self, names: Names) -> None:
        self._names = names
        super().__init__()
        self._blocks = Blocks(self._fresh)
        self._id = ""
        self._made_up = 0
        self._usage: Reported | None = None
        self._tier: str | None = None
        self._last: Choice | None = None
        """The choice with the `finish_reason`."""
        self._over = False
        """Whether the message has ended, by its stop or by an error."""

    def finish(self) -> bytes:
        """The events that end the message, where they are due."""
        return self._rest() + (self._end() if self._last is not None else b"")

    def _block(self, block: bytes) -> bytes:
        event = sse.parse(block)
        if event is None or self._over:
            return b""
        if event.data.strip() == _DONE:
            return self._end()
        found = read(event.data)
        if isinstance(found, Problem):
            self._over = True
            return sse.encode("error", errors.event(found))
        return b"".join(self._chunk(found))

    def _chunk(self, chunk: Completion) -> list[bytes]:
        self._usage = chunk.usage or self._usage
        self._tier = chunk.service_tier or self._tier
        choice = next((choice for choice in chunk.choices or () if choice.index == 0), None)
        if choice is None:
            # Azure's first chunk, about its filters, and the last one, about usage.
            return []
        out = []
        if not self._id:
            self._id = chunk.id or new_id()
            out.append(start(self._id, chunk.model or ""))
        said = choice.delta or choice.message
        if said is not None:
            if said.thought:
                out += self._blocks.text("thinking", said.thought)
            if said.text:
                out += self._blocks.text("text", said.text)
            for position, call in enumerate(said.tool_calls or ()):
                function = call.function or Function()
                name = tool_name(function.name, self._names) if function.name else ""
                number = position if call.index is None else call.index
                out += self._blocks.call(number, call.id or "", name, _text(function.arguments))
        if choice.finish_reason:
            self._last = choice
        return out

    def _fresh(self) -> str:
        """An id for a tool call of a server that gives none."""
        self._made_up += 1
        return call_id(None, self._id, self._made_up)

    def _end(self) -> bytes:
        """The end of the message; of one that never began there is none."""
        if self._over or not self._id:
            return b""
        self._over = True
        out = list(self._blocks.close())
        reason, sequence = stop_reason(self._last or Choice(), called=self._blocks.called)
        usage = translated(self._usage, self._tier)
        delta = {"stop_reason": reason, "stop_sequence": sequence}
        out.append(sse.encode("message_delta", _encode({"type": "message_delta", "delta": delta, "usage": usage})))
        out.append(sse.encode("message_stop", b'{"type":"message_stop"}'))
        return b"".join(out)


def start(message: str, model: str) -> bytes:
    """The first event. The counts are not known yet, and a zero in their place would be taken for one."""
    head: dict[str, Any] = {
        "id": message,
        "type": "message",
        "role": "assistant",
        "model": model,
        "content": [],
        "stop_reason": None,
        "stop_sequence": None,
        "usage": UNKNOWN,
    }
    return sse.encode("message_start", _encode({"type": "message_start", "message": head}))


def _text(arguments: Any) -> str:
    """A part of a call's arguments; some servers send them as the object that they are."""
    if isinstance(arguments, str):
        return arguments
    return "" if arguments is None else _encode(arguments).decode()
