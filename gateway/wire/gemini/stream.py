"""A stream of Gemini's answers as Anthropic's events, right for every way its bytes are cut.

Each of its events is an answer of its own with the next parts and the totals so far. The message ends where the stream
closes after a `finishReason`; one that says none was cut off.
"""

from __future__ import annotations

from typing import Any

import msgspec

from gateway.wire import sse
from gateway.wire.gemini import answer
from gateway.wire.gemini.answer import Answer, Candidate, Part, Reported
from gateway.wire.google import Problem, problem_envelope
from gateway.wire.openai.answer import Names
from gateway.wire.openai.blocks import Blocks
from gateway.wire.openai.incoming import Incoming

_encode = msgspec.json.Encoder().encode


class Stream(Incoming):
    """Feed it the bytes as they come, then `finish()`. Raises BadAnswer for what is none of Gemini's answers."""

    def __init__(self, names: Names) -> None:
        self._names = names
        super().__init__()
        self._blocks = Blocks(answer.new_id)
        self._begun = self._blocked = self._over = False
        self._calls = 0
        self._usage: Reported | None = None
        self._last: Candidate | None = None
        """The candidate with the `finishReason`."""

    def finish(self) -> bytes:
        """The events that end the message, where they are due."""
        return self._rest() + (self._end() if self._last is not None or self._blocked else b"")

    def _block(self, block: bytes) -> bytes:
        event = sse.parse(block)
        if event is None or self._over:
            return b""
        found = answer.read(event.data)
        if isinstance(found, Problem):
            return self._fail(found)
        return b"".join(self._answer(found))

    def _answer(self, found: Answer) -> list[bytes]:
        self._usage = found.usage_metadata or self._usage
        out = []
        if not self._begun:
            self._begun = True
            out.append(self._start(found))
        self._blocked = self._blocked or found.blocked
        candidate = found.first
        if candidate is not None:
            for part in (candidate.content.parts if candidate.content else None) or ():
                out += self._part(part)
            if candidate.finish_reason:
                self._last = candidate
        return out

    def _part(self, part: Part) -> list[bytes]:
        if part.function_call is not None:
            self._calls += 1
            made, name, arguments = answer.call_of(part, self._names)
            return list(self._blocks.call(self._calls, made, name, bytes(arguments).decode()))
        if part.text:
            return list(self._blocks.text("thinking" if part.thought else "text", part.text))
        return []

    def _end(self) -> bytes:
        if self._over:
            return b""
        reason = answer.stop_reason(self._last, called=self._blocks.called)
        if reason is None:
            return self._fail(Problem(f"Gemini failed: {answer.failure(self._last)}."))
        self._over = True
        out = list(self._blocks.close())
        delta = {"stop_reason": reason, "stop_sequence": None}
        ended = {"type": "message_delta", "delta": delta, "usage": answer.usage(self._usage)}
        out.append(sse.encode("message_delta", _encode(ended)))
        out.append(sse.encode("message_stop", b'{"type":"message_stop"}'))
        return b"".join(out)

    def _fail(self, problem: Problem) -> bytes:
        self._over = True
        return sse.encode("error", problem_envelope(problem.code or 500, problem))

    def _start(self, found: Answer) -> bytes:
        head: dict[str, Any] = {
            "id": found.response_id or answer.new_id(),
            "type": "message",
            "role": "assistant",
            "model": found.model_version or "",
            "content": [],
            "stop_reason": None,
            "stop_sequence": None,
            "usage": answer.usage(found.usage_metadata),
        }
        return sse.encode("message_start", _encode({"type": "message_start", "message": head}))
