"""Reads for people and alarms: how the gateway's processes find each provider and its credentials."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta

from django.db.models import DateTimeField, F
from django.db.models.functions import Now

from governance.domain.provider_kinds import KINDS
from governance.leases import ALIVE
from governance.models import GatewayProcess, Provider, ProviderState

READY = "ready"
DEAD = "dead"
_WORST = ("dead", "problem", "cooling", "resting", "limit", "ready")
"""States of a credential, the worst first; `gateway.availability` says what each is."""


@dataclass(frozen=True, slots=True)
class CredentialStatus:
    """One credential over all processes: the worst that any of them says, and how many say so."""

    name: str
    state: str
    why: str
    since: datetime | None
    until: datetime | None
    processes: int
    """That say so."""
    of: int
    """That say anything."""
    last_error: str
    last_error_at: datetime | None
    answered_at: datetime | None


@dataclass(frozen=True, slots=True)
class ProviderStatus:
    """One provider over all processes that run. `state`: up, degraded, down, or unknown where none tells of it."""

    provider: Provider
    state: str
    why: str
    since: datetime | None
    rows: tuple[ProviderState, ...]
    credentials: tuple[CredentialStatus, ...]
    requests: int = 0
    """Of the last five minutes, as all figures."""
    failures: int = 0
    latency_ms: int | None = None
    """Of the processes' medians the one of the middle request."""
    ttft_ms: int | None = None
    last_error: str = ""
    last_error_at: datetime | None = None
    answered_at: datetime | None = None
    breaker_since: datetime | None = None
    """Since when a process keeps requests from it."""

    @property
    def needs_credential(self) -> bool:
        return bool(KINDS[self.provider.kind].methods) if self.provider.kind in KINDS else True


def provider_statuses(providers: Iterable[Provider], silent: timedelta = ALIVE) -> dict[int, ProviderStatus]:
    """The status of each provider by id, from what the processes say that gave a sign of life so lately."""
    wanted = list(providers)
    clock = Now(output_field=DateTimeField())
    alive = GatewayProcess.objects.filter(ended_at__isnull=True).annotate(silent_for=clock - F("seen_at"))
    told: dict[int, list[ProviderState]] = defaultdict(list)
    rows = ProviderState.objects.filter(
        provider__in=wanted, process__in=alive.filter(silent_for__lt=silent).values("pk")
    )
    for row in rows.order_by("process"):
        told[row.provider_id].append(row)
    return {provider.pk: _status(provider, told[provider.pk]) for provider in wanted}


def _status(provider: Provider, rows: list[ProviderState]) -> ProviderStatus:
    if not rows:
        return ProviderStatus(provider, "unknown", "", None, (), ())
    counts = Counter(row.state for row in rows)
    worst = next(state for state in ("down", "degraded", "up") if counts[state])
    state, of = worst, len(rows)
    if worst == "down" and counts["down"] < of:
        state = "degraded"
    shown = [row for row in rows if row.state == worst]
    why = max(shown, key=lambda row: row.since).why
    if len(shown) < of and why:
        why = f"in {len(shown)} of {of} gateway processes: {why}"
    failing = [row for row in rows if row.last_error_at]
    last = max(failing, key=lambda row: row.last_error_at or row.since, default=None)
    return ProviderStatus(
        provider=provider,
        state=state,
        why=why,
        since=min(row.since for row in shown),
        rows=tuple(rows),
        credentials=tuple(_credentials(rows)),
        requests=sum(row.requests for row in rows),
        failures=sum(row.failures for row in rows),
        latency_ms=_middle([(row.latency_ms, row.requests) for row in rows]),
        ttft_ms=_middle([(row.ttft_ms, row.requests) for row in rows]),
        last_error=last.last_error if last else "",
        last_error_at=last.last_error_at if last else None,
        answered_at=max((row.answered_at for row in rows if row.answered_at), default=None),
        breaker_since=min((row.since for row in rows if row.breaker_open), default=None),
    )


def _credentials(rows: list[ProviderState]) -> Iterable[CredentialStatus]:
    said: dict[str, list[dict[str, str]]] = defaultdict(list)
    for row in rows:
        for one in row.credentials:
            said[one["name"]].append(one)
    for name, all_said in said.items():
        worst = next((state for state in _WORST if any(one["state"] == state for one in all_said)), READY)
        shown = [one for one in all_said if one["state"] == worst]
        failing = max(all_said, key=lambda one: one["last_error_at"] or "")
        yield CredentialStatus(
            name=name,
            state=worst,
            why=shown[0]["why"],
            since=min(filter(None, map(_moment, (one["since"] for one in shown))), default=None),
            until=max(filter(None, map(_moment, (one["until"] for one in shown))), default=None),
            processes=len(shown),
            of=len(all_said),
            last_error=failing["last_error"],
            last_error_at=_moment(failing["last_error_at"]),
            answered_at=max(filter(None, map(_moment, (one["answered_at"] for one in all_said))), default=None),
        )


def _moment(text: str | None) -> datetime | None:
    return datetime.fromisoformat(text) if text else None


def _middle(medians: list[tuple[int | None, int]]) -> int | None:
    """The median by which half of all requests are covered."""
    known = sorted((median, weight) for median, weight in medians if median is not None)
    half = sum(weight for _, weight in known) / 2
    for median, weight in known:
        half -= weight
        if half <= 0:
            return median
    return None
