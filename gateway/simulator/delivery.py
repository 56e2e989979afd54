"""Send one answer over the line: in peace, slowly, or broken as the script wants it."""

from __future__ import annotations

import asyncio
import random
import zlib
from collections.abc import Callable

import msgspec

from gateway.simulator import errors
from gateway.simulator.answer import Answer
from gateway.simulator.journal import Entry
from gateway.simulator.line import Headers, Line
from gateway.simulator.message import Reply, sse

ANSWERED = "answered"
CUT = "cut"
_SSE = (b"content-type", b"text/event-stream; charset=utf-8")
_JSON = (b"content-type", b"application/json")
_HTML = b"<!doctype html><html><head><title>Bad gateway</title></head><body>Simulated: not an API</body></html>"


class Delivery:
    """One answer on its way; `run` returns the journal's outcome or raises ClientGone."""

    def __init__(self, line: Line, entry: Entry, answer: Answer, headers: Headers, gate: asyncio.Event | None) -> None:
        self._line = line
        self._entry = entry
        self._answer = answer
        self._headers = headers + [(k.lower().encode(), v.encode("latin-1")) for k, v in answer.headers.items()]
        self._gate = gate

    async def run(self, reply: Callable[[], Reply]) -> str:
        """Answer with the message that `reply` makes, unless the script wants an error or a fault."""
        outcome = await self._instead()
        if outcome is not None:
            return outcome
        message = reply()
        self._entry.usage = message.usage
        return await (self._stream(message) if self._entry.stream else self._json(message))

    async def run_plain(self, body: bytes) -> str:
        """The same for a JSON body that is no message."""
        outcome = await self._instead()
        return outcome if outcome is not None else await self._send(200, [*self._headers, _JSON], body)

    async def _instead(self) -> str | None:
        """Whatever takes the place of a good answer; None when a good one is due."""
        answer, line = self._answer, self._line
        if answer.hang_s is not None:
            await line.pause(answer.hang_s)
        if answer.hang_s is not None or answer.no_answer:
            await line.cut(reset=answer.reset)
            return CUT
        if self._gate is not None and answer.hold_after == 0:
            await line.hold(self._gate)
        await line.pause(answer.ttft_ms / 1000)
        if answer.half_headers:
            await line.cut(b"HTTP/1.1 200 OK\r\nContent-Type: text/ev", reset=answer.reset)
            return CUT
        if answer.html or answer.empty or answer.garbage:
            return await self._not_an_api()
        return await self._error() if answer.status not in {None, 200} else None

    async def _stream(self, message: Reply) -> str:
        answer, line = self._answer, self._line
        squeeze = zlib.compressobj(wbits=31) if answer.gzip else None
        coding: Headers = [(b"content-encoding", b"gzip")] if squeeze else []
        self._entry.status = 200
        line.watch()
        await line.start(200, [*self._headers, _SSE, (b"cache-control", b"no-cache"), *coding])
        deltas = 0
        for sent, (is_delta, event) in enumerate(message.events()):
            if self._gate is not None and sent == answer.hold_after > 0:
                await line.hold(self._gate)
            if answer.cut_after is not None and sent >= answer.cut_after:
                break
            failing = answer.error_event is not None and sent >= answer.error_after
            if failing:
                # No whole message: the journal counts no tokens for it.
                event, self._entry.usage = self._error_event(), None
            elif is_delta:
                await line.pause(answer.delay_ms / 1000 + (answer.silent_s if deltas == 1 else 0))
                deltas += 1
            if squeeze is not None:
                event = squeeze.compress(event) + squeeze.flush(zlib.Z_SYNC_FLUSH)
            await line.write(event, answer.write_bytes)
            if failing:
                break
        if answer.cut_after is not None:
            await line.cut(reset=answer.reset)
            return CUT
        if squeeze is not None:
            await line.write(squeeze.flush())
        await line.end()
        return ANSWERED

    async def _json(self, message: Reply) -> str:
        answer, line = self._answer, self._line
        await line.pause(answer.delay_ms / 1000 * (answer.chunks or 1) + answer.silent_s)
        if answer.error_event is not None:
            return await self._error()
        body = msgspec.json.encode(message.body())
        headers = [*self._headers, _JSON]
        if answer.gzip:
            squeeze = zlib.compressobj(wbits=31)
            body = squeeze.compress(body) + squeeze.flush()
            headers.append((b"content-encoding", b"gzip"))
        return await self._send(200, headers, body)

    async def _error(self) -> str:
        answer = self._answer
        status = answer.status if answer.status and answer.status != 200 else 500
        kind = answer.error_type or answer.error_event or errors.error_type(status)
        headers = [*self._headers, _JSON]
        if answer.retry_after is not None:
            headers.append((b"retry-after", str(answer.retry_after).encode()))
        if answer.should_retry is not None:
            headers.append((b"x-should-retry", b"true" if answer.should_retry else b"false"))
        return await self._send(status, headers, errors.body(status, self._message(kind), self._entry.request_id, kind))

    async def _not_an_api(self) -> str:
        answer = self._answer
        if answer.html:
            return await self._send(answer.status or 502, [*self._headers, (b"content-type", b"text/html")], _HTML)
        kind = _SSE if self._entry.stream else _JSON
        # Seeded: the same bytes in every run.
        body = b"" if answer.empty else random.Random(2).randbytes(2048)
        return await self._send(answer.status or 200, [*self._headers, kind], body)

    async def _send(self, status: int, headers: Headers, body: bytes) -> str:
        answer, line = self._answer, self._line
        self._entry.status = status
        if answer.cut_after is None and answer.write_bytes == 0:
            await line.whole(status, headers, body)
            return ANSWERED
        await line.start(status, [*headers, (b"content-length", str(len(body)).encode())])
        if answer.cut_after is not None:
            await line.write(body[: len(body) // 2])
            await line.cut(reset=answer.reset)
            return CUT
        await line.write(body, answer.write_bytes)
        await line.end()
        return ANSWERED

    def _error_event(self) -> bytes:
        kind = self._answer.error_event or "api_error"
        return sse("error", errors.envelope(kind, self._message(kind), self._entry.request_id))

    def _message(self, kind: str) -> str:
        return self._answer.message or f"(simulated provider) scripted {kind}"
