"""Ten times a second: how late the event loop is. It moves the gate, and shows the load in `/metrics` and `/readyz`."""

from __future__ import annotations

import asyncio

from gateway.overload import Gate
from observability import metrics
from observability.health import Check

SECONDS = 0.1


class Pulse:
    """One for each process; a timer, no task: a task would be late by its own turn in the queue."""

    def __init__(self, gate: Gate, loop: asyncio.AbstractEventLoop) -> None:
        self._gate = gate
        self._loop = loop
        self._due = 0.0
        self._timer: asyncio.TimerHandle | None = None

    def start(self) -> None:
        self._due = self._loop.time() + SECONDS
        self._timer = self._loop.call_at(self._due, self._beat)

    def stop(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        metrics.set_load(running=0, waiting=0, body_bytes=0, lag=0.0)

    def check(self) -> Check:
        """Overloaded is degraded, not unready: who sends the traffic elsewhere would overload that, too."""
        refusing = "; requests are being refused" if self._gate.refusing else ""
        return Check(not refusing, f"{self._gate.state()}{refusing}.", required=False)

    def _beat(self) -> None:
        gate, now = self._gate, self._loop.time()
        # Set first: whatever happens below, the pulse goes on.
        late, self._due = max(0.0, now - self._due), now + SECONDS
        self._timer = self._loop.call_at(self._due, self._beat)
        gate.tick(late)
        metrics.set_load(running=gate.running, waiting=gate.waiting, body_bytes=gate.bytes, lag=gate.lag)
