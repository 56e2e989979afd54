"""The client connections of one server process: how many, for how long they may wait, and how they end in a drain.

A protocol class tells what happens on its connection; one sweep a second closes what has waited too long. There is no
timer for each connection: every phase keeps its connections in the order in which they entered it, so a sweep looks
only at those that are due.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Iterator
from typing import Protocol

log = logging.getLogger(__name__)

SWEEP_SECONDS = 1.0
QUIET_SECONDS = 2.0
"""A connection on which nothing happened for so long may be closed in a drain, or to make room: whoever sent a request
in the last moments is likely to send the next one now, and it would be lost in the closing."""
SPARE = 128
"""Connections beyond the limit that are open at once to be told so; any more are closed without a word."""
LONGEST_BODY = 10
"""Times the limit on a body's silence that the whole body may take."""
TOLD_SECONDS = 3.0
"""How long after a body was found overdue its connection is closed, where the answer that says so has not done it."""
SPARE_SECONDS = 5.0
"""How long such a connection may take to send a first byte: a client reads no answer to what it has not asked."""


class Connection(Protocol):
    """What a sweep may do to a connection. Each must be harmless on one that is closing already."""

    def head_overdue(self) -> None:
        """The whole head of a request did not come in time: close."""

    def body_overdue(self) -> None:
        """No byte of a request's body came for too long: have it answered; it is closed a moment later anyway."""

    def end_keep_alive(self) -> None:
        """Close after the answer that is running, or with the next one; not while nothing was asked."""

    def close_unused(self) -> None:
        """Nothing is asked and nothing runs: close."""


class _Phase:
    """Connections in the order in which their waiting began."""

    __slots__ = ("_since",)

    def __init__(self) -> None:
        self._since: dict[Connection, float] = {}

    def __len__(self) -> int:
        return len(self._since)

    def __contains__(self, connection: object) -> bool:
        return connection in self._since

    def enter(self, connection: Connection, now: float) -> None:
        """Begin to wait, or begin again."""
        self._since.pop(connection, None)
        self._since[connection] = now

    def leave(self, connection: Connection) -> None:
        self._since.pop(connection, None)

    def since(self, before: float) -> Iterator[Connection]:
        """Take out those that have waited since `before` or longer, the longest first."""
        while self._since:
            connection = next(iter(self._since))
            if self._since[connection] > before:
                return
            del self._since[connection]
            yield connection


class Connections:
    """Bookkeeping of one process; every method belongs to its event loop. Times are seconds of a monotonic clock.

    Most heads and bodies come in one piece: those cost one `asked` and one `idle`, about a microsecond together.
    A connection is in at most one phase: `silent` (opened, no byte yet), `head` (inside a request's head), `body`
    (inside its body), `idle` (answered, nothing asked). One whose request is being answered is in none.
    """

    def __init__(
        self,
        *,
        most: int = 4096,
        head_seconds: float = 30.0,
        body_seconds: float = 60.0,
        idle_seconds: float = 75.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.most, self.head_seconds, self.body_seconds, self.idle_seconds = (
            most,
            head_seconds,
            body_seconds,
            idle_seconds,
        )
        self.draining = False
        self.refused = 0
        """Connections turned away because there was no room."""
        self._clock = clock
        self._open: set[Connection] = set()
        self._spare = _Phase()
        self._silent = _Phase()
        self._heads = _Phase()
        self._bodies = _Phase()
        self._long = _Phase()
        """The same connections as in `_bodies`, since the first part: a byte now and then keeps no place for ever."""
        self._told = _Phase()
        self._idle = _Phase()
        self._told_at = float("-inf")

    def __len__(self) -> int:
        return len(self._open)

    # --- what a protocol tells ------------------------------------------------------------------------------
    def opened(self, connection: Connection) -> bool:
        """Count it in. False: there is no room, so it must answer 503 to its first byte and close.

        Where every place is taken, the connection that was idle for longest goes; its client opens another one.
        """
        now = self._clock()
        if len(self._open) >= self.most:
            for idle in self._idle.since(now - QUIET_SECONDS):
                self._open.discard(idle)
                idle.close_unused()
                break
        if len(self._open) >= self.most:
            self._refuse(connection, now)
            return False
        self._open.add(connection)
        self._silent.enter(connection, now)
        return True

    def upgraded(self, connection: Connection) -> None:
        """A WebSocket that was an HTTP connection until now keeps that one's place."""
        self._open.add(connection)

    def closed(self, connection: Connection) -> None:
        """Forget it. Harmless when told twice."""
        self._open.discard(connection)
        for phase in (self._spare, self._silent, self._heads, self._bodies, self._long, self._told, self._idle):
            phase.leave(connection)

    def head_waits(self, connection: Connection) -> None:
        """A part of a head came and more is to come. Its time runs from the first part."""
        if connection not in self._heads:
            self._silent.leave(connection)
            self._idle.leave(connection)
            self._heads.enter(connection, self._clock())

    def asked(self, connection: Connection) -> None:
        """The head is whole: something runs on this connection."""
        self._silent.leave(connection)
        self._idle.leave(connection)
        self._heads.leave(connection)

    def body_waits(self, connection: Connection) -> None:
        """A part of the body came and more is to come."""
        now = self._clock()
        self._told.leave(connection)
        self._bodies.enter(connection, now)
        if connection not in self._long:
            self._long.enter(connection, now)

    def body_ended(self, connection: Connection) -> None:
        """The body is whole."""
        self._bodies.leave(connection)
        self._long.leave(connection)
        self._told.leave(connection)

    def idle(self, connection: Connection) -> bool:
        """The answer is sent, and nothing of another request has come. False for one that lost its place."""
        if connection not in self._open:
            return False
        self._idle.enter(connection, self._clock())
        return True

    # --- time -----------------------------------------------------------------------------------------------
    def sweep(self) -> None:
        """Close what has waited too long. Costs as much as there is to close."""
        now = self._clock()
        idle_seconds = QUIET_SECONDS if self.draining else self.idle_seconds
        for connection in self._idle.since(now - idle_seconds):
            connection.close_unused()
        for connection in self._silent.since(now - (QUIET_SECONDS if self.draining else self.head_seconds)):
            connection.close_unused()
        for connection in self._spare.since(now - SPARE_SECONDS):
            connection.close_unused()
        for connection in self._heads.since(now - self.head_seconds):
            connection.head_overdue()
        for connection in self._bodies.since(now - self.body_seconds):
            self._told.enter(connection, now)
            connection.body_overdue()
        for connection in self._long.since(now - LONGEST_BODY * self.body_seconds):
            self._told.enter(connection, now)
            connection.body_overdue()
        for connection in self._told.since(now - TOLD_SECONDS):
            connection.close_unused()

    async def keep_swept(self) -> None:
        """Sweep until cancelled."""
        while True:
            await asyncio.sleep(SWEEP_SECONDS)
            self.sweep()

    def drain(self) -> None:
        """From now on every answer is the last of its connection; idle ones are closed once they have been quiet."""
        self.draining = True
        for connection in tuple(self._open):
            connection.end_keep_alive()
        self.sweep()

    def _refuse(self, connection: Connection, now: float) -> None:
        self.refused += 1
        if now - self._told_at >= 60:
            self._told_at = now
            log.warning(
                "All %d connections are taken (COMPTROLLER_MAX_CONNECTIONS): new ones are refused with 503.", self.most
            )
        if len(self._spare) < SPARE:
            self._spare.enter(connection, now)
        else:
            connection.close_unused()


CONNECTIONS = Connections()
"""Those of this process; `gateway.serve` sets its limits from the settings."""
