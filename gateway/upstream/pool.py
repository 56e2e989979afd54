"""The connections of one origin: those that wait for a request, the latest used first, so that the rest grows old."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Final

from gateway.upstream.connection import Connection

if TYPE_CHECKING:
    from gateway.upstream.head import Origin

MOST_IDLE: Final = 256
IDLE_SECONDS: Final = 20.0
"""Below the idle time-outs of the usual load balancers: a connection is rarely closed under a request."""


class Pool:
    """Busy connections are not bounded: a request never waits for another's end."""

    __slots__ = ("_idle", "everything", "origin", "private")

    def __init__(self, origin: Origin, private: bool, everything: set[Connection]) -> None:
        self.origin = origin
        self.private = private
        """Whether its address may be on loopback or a private network."""
        self.everything = everything
        """All open connections of the process, of all pools."""
        self._idle: list[Connection] = []

    def take(self) -> Connection | None:
        """An idle connection that is not known to be closed."""
        idle = self._idle
        while idle:
            connection = idle.pop()
            if not connection.closed:
                return connection
        return None

    def give(self, connection: Connection) -> None:
        """Take back a connection that stands between two requests."""
        if connection.closed or len(self._idle) >= MOST_IDLE:
            connection.abort()
            return
        connection.idle_since = time.monotonic()
        self._idle.append(connection)

    def lost(self, connection: Connection) -> None:
        """It is closed."""
        self.everything.discard(connection)

    def expire(self, before: float) -> None:
        """Close what has been idle since `before`, in seconds of the monotonic clock."""
        kept = [connection for connection in self._idle if connection.idle_since > before and not connection.closed]
        if len(kept) < len(self._idle):
            old, self._idle = self._idle, kept
            for connection in old:
                if connection.idle_since <= before:
                    connection.abort()

    def drop_idle(self) -> None:
        """Close all that are idle: one of them turned out to be dead."""
        idle, self._idle = self._idle, []
        for connection in idle:
            connection.abort()
