"""The soak's provider, as cheap as can be: `python -m tests.functional.soak.provider` prints its port.

The header `x-soak` of a request names its kind (see `mix.py`).
"""

from __future__ import annotations

import asyncio

import uvloop

from tests.fakes.wire_provider import (
    BLOCK,
    BLOCK_STOP,
    EVENTS,
    LAST_CHUNK,
    MESSAGE,
    START,
    STOP,
    USED,
    WORDS,
    chunk,
    error,
    error_body,
    head,
    text,
    whole,
)

PAUSE_SECONDS = 0.02
DELTAS = 25
LEFT_SECONDS = 1.0
"""What a client left is answered so much later: the gateway has noticed."""
_PLAIN = whole()
_LARGE = whole(MESSAGE.replace(b"one two three", b"x" * 300_000))
_WHOLE = {
    "says-400": whole(error_body("invalid_request_error"), "400 Bad Request"),
    "says-429": whole(error_body("rate_limit_error"), "429 Too Many Requests", "retry-after: 3"),
    "says-529": whole(error_body("overloaded_error"), "529 Overloaded"),
    "no-message": whole(b'{"hello": "world"}'),
    "answer-300k": _LARGE,
}
_OPENING = head() + chunk(START) + chunk(BLOCK)
_CLOSING = b"".join(chunk(each) for each in (BLOCK_STOP, USED, STOP)) + LAST_CHUNK
_BURST = head() + b"".join(chunk(each) for each in EVENTS) + LAST_CHUNK
_DELTA = chunk(text("some words of an answer "))
_WIDE = chunk(text("w" * 32_000))


class Connection(asyncio.Protocol):
    """One connection of the gateway; requests come one after the other."""

    _transport: asyncio.Transport

    def __init__(self) -> None:
        self._buffer = bytearray()
        self._needs = 0
        self._kind = ""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport  # type: ignore[assignment]

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        if not self._needs:
            end = self._buffer.find(b"\r\n\r\n")
            if end < 0:
                return
            fields = dict(line.split(b": ", 1) for line in bytes(self._buffer[:end]).split(b"\r\n")[1:])
            lowered = {name.lower(): value for name, value in fields.items()}
            self._kind = lowered.get(b"x-soak", b"").decode()
            self._needs = end + 4 + int(lowered[b"content-length"])
        if len(self._buffer) >= self._needs:
            del self._buffer[: self._needs]
            self._needs = 0
            self._answer(self._kind)

    def _answer(self, kind: str) -> None:
        write, loop = self._transport.write, asyncio.get_running_loop()
        match kind:
            case "closes":
                self._transport.close()
            case "leaves-message":
                loop.call_later(LEFT_SECONDS, self._write, _PLAIN)
            case "stream":
                write(_OPENING)
                loop.call_later(PAUSE_SECONDS, self._go_on, DELTAS, _CLOSING)
            case "leaves-stream":
                write(_OPENING + chunk(WORDS[0]))
                loop.call_later(LEFT_SECONDS, self._write, _CLOSING)
            case "burst":
                write(_BURST)
            case "slow-reader":
                write(_OPENING + _WIDE * 100 + _CLOSING)
            case "cut":
                write(_OPENING)
                loop.call_later(PAUSE_SECONDS, self._go_on, 3, b"")
            case "error-event":
                write(_OPENING + _DELTA + chunk(error("overloaded_error")) + LAST_CHUNK)
            case _:
                write(_WHOLE.get(kind, _PLAIN))

    def _go_on(self, left: int, closing: bytes) -> None:
        if self._transport.is_closing():
            return
        if left:
            self._transport.write(_DELTA)
            asyncio.get_running_loop().call_later(PAUSE_SECONDS, self._go_on, left - 1, closing)
        elif closing:
            self._transport.write(closing)
        else:
            self._transport.close()

    def _write(self, data: bytes) -> None:
        if not self._transport.is_closing():
            self._transport.write(data)


async def main() -> None:
    server = await asyncio.get_running_loop().create_server(Connection, "127.0.0.1", 0, backlog=1024)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


if __name__ == "__main__":
    uvloop.run(main())
