"""The writing side of one stream: pings in its silence, and an end to a client that no longer reads."""

from __future__ import annotations

import asyncio

from gateway.exchange import Exchange
from gateway.wire import sse

PING_SECONDS = 15.0
"""A stream that is silent for so long gets a ping: the client gives up after 300 s without one."""
STALL_SECONDS = 300.0
"""A client that takes no byte for so long counts as gone: else it would hold its budget and its provider for ever."""
_HEADERS = ((b"content-type", b"text/event-stream; charset=utf-8"), (b"cache-control", b"no-cache"))


class Pinger:
    """Sends a ping event in every silent `PING_SECONDS` of a stream, also while the provider has not answered at all.

    A ping goes out only between two events, and never while another write waits for the client.
    """

    def __init__(self, exchange: Exchange) -> None:
        self._exchange = exchange
        self._loop = asyncio.get_running_loop()
        self._last = self._loop.time()
        self._write: asyncio.Timeout | None = None
        self._tail = b"\n\n"
        self._ping: asyncio.Task[None] | None = None
        streams = exchange.peek is not None and exchange.peek.stream and exchange.billable
        self._timer = self._loop.call_later(PING_SECONDS, self._tick) if streams else None

    @property
    def at_boundary(self) -> bool:
        """Whether what was written so far ends with a whole event."""
        return self._tail.endswith((b"\n\n", b"\r\n\r\n"))

    async def write(self, chunk: bytes) -> None:
        """Send a part of the stream; waits while the client reads slowly, but not for ever."""
        self._tail = chunk[-4:] if len(chunk) >= 4 else (self._tail + chunk)[-4:]
        try:
            async with asyncio.timeout(None) as self._write:
                await self._exchange.write(chunk)
        except TimeoutError:
            self._exchange.leave()
        self._write = None
        self._last = self._loop.time()

    def stop(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _tick(self) -> None:
        silent = self._loop.time() - self._last
        if self._write is not None and silent >= STALL_SECONDS:
            self._write.reschedule(self._loop.time())
        elif silent >= PING_SECONDS - 0.01 and self._may_ping():
            self._ping = self._loop.create_task(self._send())
            self._last, silent = self._loop.time(), 0.0
        self._timer = self._loop.call_later(max(0.05, PING_SECONDS - silent % PING_SECONDS), self._tick)

    def _may_ping(self) -> bool:
        """Asked again right before each write: the stream may have gone on since the timer fired."""
        gone = self._exchange.client_gone or self._exchange.finished
        return self._timer is not None and self._write is None and self.at_boundary and not gone

    async def _send(self) -> None:
        if self._exchange.answered_status is None and self._may_ping():
            await self._exchange.start(200, _HEADERS)
        if self._exchange.answered_status is not None and self._may_ping():
            await self._exchange.write(sse.PING)
