"""A request's way: a connection is taken or made, the request noted, written, and its answer's head awaited."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from gateway.upstream.connection import Connection
from gateway.upstream.dial import Dialer
from gateway.upstream.errors import NotNoted, Unanswered, UpstreamError
from gateway.upstream.head import Origin, fields, place
from gateway.upstream.pool import IDLE_SECONDS, Pool
from gateway.upstream.response import UpstreamResponse

if TYPE_CHECKING:
    from gateway.providers.base import UpstreamRequest

STALE_SECONDS: Final = 2.0
"""A connection that had been used and closes this soon after a request, without a byte, was dead before it."""
_TICKS: Final = 4
"""How finely the read time-out is counted: it comes at most a quarter late."""


class Upstream:
    """Connections to all providers of one process. Times in seconds; used in one event loop."""

    def __init__(self, *, connect_timeout: float, read_timeout: float, allow_private: bool) -> None:
        self._dialer = Dialer(connect_timeout)
        self._allow_private = allow_private
        self._tick_seconds = min(read_timeout / _TICKS, 1.0)
        # The first tick may come at once.
        self._most_ticks = round(read_timeout / self._tick_seconds) + 1
        self._pools: dict[Origin, Pool] = {}
        self._private_pools: dict[Origin, Pool] = {}
        self._connections: set[Connection] = set()
        self._clock: asyncio.TimerHandle | None = None
        self._closed = False

    @property
    def open_connections(self) -> int:
        """Busy and idle ones."""
        return len(self._connections)

    async def open(self, request: UpstreamRequest, note: Callable[[], bool] | None = None) -> UpstreamResponse:
        """Send the request and wait for status and headers. Raises UpstreamError.

        `note` is called once, right before the first byte is sent; where it says False nothing is, and NotNoted is
        raised. A request that met a dead connection is sent again over a new one, without another note.
        """
        where = place(request.url)
        body = request.body
        head = b"%b%d%b\r\n\r\n" % (where.lines, len(body), fields(request.headers))
        pools = self._private_pools if request.private or self._allow_private else self._pools
        pool = pools.get(where.origin)
        if pool is None:
            pool = pools[where.origin] = Pool(where.origin, pools is self._private_pools, self._connections)
        connection = pool.take()
        reused = connection is not None
        if connection is None:
            connection = await self._dial(pool)
        if note is not None and not self._noted(note, pool, connection):
            raise NotNoted
        sent = time.monotonic()
        try:
            return await _answer(connection, head, body)
        except Unanswered:
            if not reused or connection.heard or time.monotonic() - sent > STALE_SECONDS:
                raise
        # Its neighbours have been idle for longer still.
        pool.drop_idle()
        return await _answer(await self._dial(pool), head, body)

    async def close(self) -> None:
        """Close every connection; a request under way ends with UpstreamError."""
        self._closed = True
        if self._clock is not None:
            self._clock.cancel()
        await self._dialer.close()
        await asyncio.gather(*(connection.stop() for connection in tuple(self._connections)))

    async def _dial(self, pool: Pool) -> Connection:
        connection = await self._dialer.dial(pool)
        if self._closed:
            connection.abort()
            raise UpstreamError("the gateway stops")
        if connection.closed:
            raise Unanswered("it closed the connection without an answer")
        if self._clock is None:
            self._clock = asyncio.get_running_loop().call_later(self._tick_seconds, self._tick)
        return connection

    def _noted(self, note: Callable[[], bool], pool: Pool, connection: Connection) -> bool:
        noted = False
        try:
            noted = note()
        finally:
            if not noted:
                pool.give(connection)
        return noted

    def _tick(self) -> None:
        """One clock for all: a timer for each read would cost more than the read."""
        for connection in tuple(self._connections):
            connection.tick(self._most_ticks)
        before = time.monotonic() - IDLE_SECONDS
        for pools in (self._pools, self._private_pools):
            for pool in pools.values():
                pool.expire(before)
        self._clock = None
        if self._connections:
            self._clock = asyncio.get_running_loop().call_later(self._tick_seconds, self._tick)


async def _answer(connection: Connection, head: bytes, body: bytes) -> UpstreamResponse:
    waiter = connection.send(head, body)
    try:
        return await waiter
    except BaseException:
        if waiter.done() and not waiter.cancelled() and waiter.exception() is None:
            # Cancelled just as the answer came: the connection may be another's by now.
            waiter.result().close()
        else:
            connection.abort()
        raise
