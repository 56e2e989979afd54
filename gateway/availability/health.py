"""How providers and their credentials are, as people, `/readyz` and the metrics are told."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum


class State(StrEnum):
    """Of a provider: as usual, with something to look at, or not asked at all."""

    UP = "up"
    DEGRADED = "degraded"
    DOWN = "down"


class CredentialState(StrEnum):
    READY = "ready"
    COOLING = "cooling"
    RESTING = "resting"
    LIMIT = "limit"
    DEAD = "dead"
    PROBLEM = "problem"
    """The configuration gives no secret that could be sent."""


USABLE = frozenset({CredentialState.READY, CredentialState.LIMIT})
"""A credential at a limit that was set here works as it should."""


@dataclass(frozen=True, slots=True)
class CredentialHealth:
    """One credential of a provider in this process. Moments in UTC."""

    name: str
    state: CredentialState
    why: str = ""
    since: datetime | None = None
    until: datetime | None = None
    """When it is asked again."""
    running: int = 0
    last_error: str = ""
    last_error_at: datetime | None = None
    answered_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class ProviderHealth:
    """One provider in this process. Counts and medians (seconds) are of the last five minutes."""

    id: int
    name: str
    state: State
    why: str
    since: datetime
    """When this state began, as far as this process knows."""
    breaker_open: bool
    asks_at: datetime | None
    """While the breaker is open: when the next request may pass."""
    requests: int
    failures: int
    latency_p50: float | None
    ttft_p50: float | None
    last_error: str
    last_error_at: datetime | None
    credentials: tuple[CredentialHealth, ...]

    @property
    def answered_at(self) -> datetime | None:
        """When it last answered a request."""
        return max((one.answered_at for one in self.credentials if one.answered_at), default=None)

    @property
    def usable_credentials(self) -> int:
        return sum(credential.state in USABLE for credential in self.credentials)


FEW_FAILURES = 3
SHARE_DEGRADED = 0.1
"""Of the requests of five minutes that failed, with at least three of them."""


def judge(
    *, breaker: str, needs_credential: bool, credentials: Sequence[CredentialHealth], requests: int, failures: int
) -> tuple[State, str]:
    """(state, why) of a provider. `breaker` says why it is open, empty where it is closed."""
    told = "; ".join(f"{one.name}: {one.why}" for one in credentials if one.state not in USABLE)
    if breaker:
        return State.DOWN, breaker
    if needs_credential and not credentials:
        return State.DOWN, "it has no credential"
    if needs_credential and all(one.state in {CredentialState.DEAD, CredentialState.PROBLEM} for one in credentials):
        return State.DOWN, told
    if told:
        return State.DEGRADED, told
    if failures >= FEW_FAILURES and failures >= SHARE_DEGRADED * requests:
        return State.DEGRADED, f"{failures:,} of {requests:,} requests failed in the last 5 minutes"
    return State.UP, ""
