"""What gateway processes tell of their providers: written by each process itself, forgotten with it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from django.db import transaction
from django.utils import timezone

from governance.leases import ALIVE
from governance.models import GatewayProcess, Provider, ProviderState

KEPT = 4 * ALIVE
"""After so long without a sign of life what a process told is no news any more."""


@dataclass(frozen=True, slots=True)
class Told:
    """One provider as a process finds it; the fields are ProviderState's."""

    provider_id: int
    state: str
    why: str
    since: datetime
    breaker_open: bool = False
    requests: int = 0
    failures: int = 0
    latency_ms: int | None = None
    ttft_ms: int | None = None
    last_error: str = ""
    last_error_at: datetime | None = None
    answered_at: datetime | None = None
    credentials: tuple[dict[str, Any], ...] = field(default=())


_COLUMNS = (
    "state", "why", "since", "breaker_open", "requests", "failures", "latency_ms", "ttft_ms", "last_error",
    "last_error_at", "answered_at", "credentials", "written_at",
)  # fmt: skip


def publish(process: str, told: Sequence[Told]) -> None:
    """Replace what a process says of its providers. One that was deleted meanwhile is left out.

    Race: it may be deleted after it was looked up. Then the whole fails on the foreign key, and the next call, seconds
    later, writes the rest.
    """
    now = timezone.now()
    with transaction.atomic():
        known = set(Provider.objects.filter(pk__in=[one.provider_id for one in told]).values_list("pk", flat=True))
        rows = [
            ProviderState(
                process=process,
                provider_id=one.provider_id,
                state=one.state,
                why=one.why[:500],
                since=one.since,
                breaker_open=one.breaker_open,
                requests=one.requests,
                failures=one.failures,
                latency_ms=one.latency_ms,
                ttft_ms=one.ttft_ms,
                last_error=one.last_error[:300],
                last_error_at=one.last_error_at,
                answered_at=one.answered_at,
                credentials=list(one.credentials),
                written_at=now,
            )
            for one in told
            if one.provider_id in known
        ]
        ProviderState.objects.bulk_create(
            rows, update_conflicts=True, unique_fields=["process", "provider"], update_fields=_COLUMNS
        )
        ProviderState.objects.filter(process=process).exclude(provider_id__in=known).delete()


def withdraw(process: str) -> None:
    """A process ends: it says nothing any more."""
    ProviderState.objects.filter(process=process).delete()


def forget_gone(silent: timedelta = KEPT) -> int:
    """Delete what processes said that ended or are silent for so long; gives the number of rows."""
    alive = GatewayProcess.objects.filter(ended_at__isnull=True, seen_at__gt=timezone.now() - silent)
    gone = ProviderState.objects.filter(written_at__lt=timezone.now() - silent).exclude(process__in=alive.values("pk"))
    return gone.delete()[0]
