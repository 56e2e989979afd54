"""Tells how this process finds its providers: `/readyz` and the metrics at once, the database beside the traffic.

The admin and the alarms read what all processes told (`governance.selectors_providers`). With the database away nothing
is lost but their view: the next look tells again.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime

from django.db import close_old_connections, connections

from gateway.availability import Availability, CredentialHealth, ProviderHealth, State
from governance.services import provider_states
from governance.services.provider_states import Told
from observability import metrics
from observability.health import Check

log = logging.getLogger(__name__)

LOOK_SECONDS = 2.0
"""How soon a change is seen in the admin and the metrics."""
FIGURES_SECONDS = 15.0
"""How often counts and medians are told where no state changed."""
STOP_SECONDS = 5.0


class ProviderHealthTeller:
    """One for each process; `owner` is its id."""

    def __init__(self, availability: Availability, owner: str) -> None:
        self._availability = availability
        self._owner = owner
        self._seen: Sequence[ProviderHealth] = ()
        self._told: object = None
        self._told_figures: object = None
        self._figures_at = float("-inf")
        # Of its own: a database that is slow to write must not hold up how the configuration is followed.
        self._thread = ThreadPoolExecutor(1, "provider-health")
        self._task: asyncio.Task[None] | None = None
        self._problem = ""

    def start(self) -> None:
        self._task = asyncio.get_running_loop().create_task(self._run())

    async def stop(self) -> None:
        """End, and take back what was told."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        loop = asyncio.get_running_loop()
        try:
            await asyncio.wait_for(loop.run_in_executor(self._thread, self._withdraw), STOP_SECONDS)
        except Exception as error:
            # Its rows go with its sign of life.
            log.warning("What this process told of its providers stays for a minute: %s", error)
        finally:
            self._thread.submit(connections.close_all)
            self._thread.shutdown(wait=False)

    def look(self) -> None:
        """Take over how things are now; called in the event loop, also where something just changed."""
        self._seen = seen = self._availability.health(time.monotonic())
        metrics.set_providers({one.name: one.state is not State.DOWN for one in seen})
        metrics.set_provider_pools({one.name: (one.breaker_open, one.usable_credentials) for one in seen})

    def check(self) -> Check:
        """For `/readyz`, which anybody may read: what is not as usual, in words without addresses."""
        if not self._seen:
            return Check(False, "no active provider", required=False)
        told = [f"{one.name} is {one.state}: {_why(one)}" for one in self._seen if one.state is not State.UP]
        return Check(not told, "; ".join(told) or f"{len(self._seen)} up", required=False)

    async def _run(self) -> None:
        while True:
            try:
                self.look()
                await self._tell()
                self._problem = ""
            except Exception as error:
                if not self._problem:
                    log.warning("How providers are cannot be told: %s: %s", type(error).__name__, error)
                self._problem = str(error) or type(error).__name__
                self._told = None
            await asyncio.sleep(LOOK_SECONDS)

    async def _tell(self) -> None:
        states, figures = _states(self._seen), _figures(self._seen)
        now = time.monotonic()
        due = now - self._figures_at >= FIGURES_SECONDS and figures != self._told_figures
        if states == self._told and not due:
            return
        told = [_told(one) for one in self._seen]
        await asyncio.get_running_loop().run_in_executor(self._thread, self._publish, told)
        self._told, self._told_figures, self._figures_at = states, figures, now

    def _publish(self, told: list[Told]) -> None:
        close_old_connections()
        provider_states.publish(self._owner, told)

    def _withdraw(self) -> None:
        close_old_connections()
        provider_states.withdraw(self._owner)


def _why(one: ProviderHealth) -> str:
    return f"{one.why} (since {one.since:%H:%M:%S} UTC)"


def _states(seen: Sequence[ProviderHealth]) -> object:
    """What is told within seconds of a change."""
    return [
        (one.id, one.state, one.why, one.breaker_open, [(each.name, each.state, each.why) for each in one.credentials])
        for one in seen
    ]


def _figures(seen: Sequence[ProviderHealth]) -> object:
    return [(one.id, one.requests, one.failures, one.last_error_at, one.answered_at) for one in seen]


def _told(one: ProviderHealth) -> Told:
    return Told(
        provider_id=one.id,
        state=one.state.value,
        why=one.why,
        since=one.since,
        breaker_open=one.breaker_open,
        requests=one.requests,
        failures=one.failures,
        latency_ms=_milliseconds(one.latency_p50),
        ttft_ms=_milliseconds(one.ttft_p50),
        last_error=one.last_error,
        last_error_at=one.last_error_at,
        answered_at=one.answered_at,
        credentials=tuple(_credential(each) for each in one.credentials),
    )


def _credential(one: CredentialHealth) -> dict[str, object]:
    return {
        "name": one.name,
        "state": one.state.value,
        "why": one.why,
        "since": _moment(one.since),
        "until": _moment(one.until),
        "running": one.running,
        "last_error": one.last_error,
        "last_error_at": _moment(one.last_error_at),
        "answered_at": _moment(one.answered_at),
    }


def _moment(moment: datetime | None) -> str | None:
    return moment.isoformat(timespec="milliseconds") if moment else None


def _milliseconds(seconds: float | None) -> int | None:
    return None if seconds is None else round(seconds * 1000)
