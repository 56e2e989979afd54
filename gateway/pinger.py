"""The writing side of one stream: pings in its silence, and an end to a client that no longer reads."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from gateway.exchange import Exchange

PING_SECONDS = 15.0
"""A stream that is silent for so long gets a ping: the client gives up after 300 s without one.

A client that takes no byte for `COMPTROLLER_STALL_SECONDS` counts as gone: else it would hold its budget and its
provider for ever.
"""


class Pinger:
    """Sends a ping event in every silent `PING_SECONDS` of a stream, also while the provider has not answered at all.

    A ping goes out only between two events, and never while the client reads more slowly than is written.
    """

    def __init__(self, exchange: Exchange) -> None:
        self._exchange = exchange
        self._loop = asyncio.get_running_loop()
        self._last = self._loop.time()
        self._tail = b"\n\n"
        streams = exchange.peek is not None and exchange.peek.stream and exchange.billable
        self._stall = exchange.gateway.stall_seconds
        self._period = min(PING_SECONDS, self._stall)
        self._timer = self._loop.call_later(self._period, self._tick) if streams else None
        self.framed: Callable[[], bool] | None = None
        """Tells the end of a frame where the bytes of a stream do not show it."""

    @property
    def at_boundary(self) -> bool:
        """Whether what was written so far ends with a whole event."""
        if self.framed is not None:
            return self.framed()
        return self._tail.endswith((b"\n\n", b"\r\n\r\n")) or not self._exchange.format.broken_off

    def write(self, chunk: bytes) -> None:
        """Send a part of the stream."""
        self._tail = chunk if len(chunk) >= 4 else (self._tail + chunk)[-4:]
        self._last = self._loop.time()
        self._exchange.write(chunk)

    def stop(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _tick(self) -> None:
        exchange = self._exchange
        silent = self._loop.time() - self._last
        if exchange.line.paused and silent >= self._stall - 0.01:
            exchange.line.drop()
        elif silent >= PING_SECONDS - 0.01 and self._may_ping():
            if exchange.answered_status is None:
                exchange.start(200, exchange.format.stream_headers)
            exchange.write(exchange.format.ping)
            self._last, silent = self._loop.time(), 0.0
        self._timer = self._loop.call_later(max(0.05, self._period - silent % self._period), self._tick)

    def _may_ping(self) -> bool:
        exchange = self._exchange
        return (
            bool(exchange.format.ping)
            and self.at_boundary
            and not (exchange.line.paused or exchange.client_gone or exchange.finished)
        )
