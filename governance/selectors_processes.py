"""Reads for people: which gateway processes there are, how each is, and what it holds of the limits."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from django.db.models import DateTimeField, Q, Sum
from django.db.models.functions import Now
from django.utils import timezone

from governance.domain.allowance import Unit
from governance.leases import ALIVE
from governance.models import AllowanceWindow, GatewayProcess, Lease
from governance.querysets import scope_filter

SILENT = timedelta(minutes=10)
"""A person may release what a process holds after it gave no sign of life for so long."""
ENDED_IN_ORDER = "ended in order"
"""The note of a process that gave its leases back itself (`gateway/leasing.py`)."""


@dataclass(frozen=True, slots=True)
class ProcessStatus:
    """One process now. `state`: running, silent, ended, recovered."""

    process: GatewayProcess
    state: str
    silent_for: timedelta
    """Since its last sign of life, by the database's clock."""
    held: dict[str, int] = field(default_factory=dict)
    """By unit: `usd` in nano-dollars, `requests`, `tokens`, `concurrent`; what is not held is absent."""

    @property
    def held_nano_usd(self) -> int:
        return self.held.get(Unit.USD, 0)

    @property
    def may_be_released(self) -> bool:
        """Whether it is silent long enough that a person may decide."""
        return self.state == "silent" and self.silent_for > SILENT


def process_statuses(processes: Iterable[GatewayProcess], user: Any) -> dict[str, ProcessStatus]:
    """The status of each process by id; what it holds is summed over the budgets and limits that the user may see."""
    rows = list(processes)
    if not rows:
        return {}
    now, held = _clock(rows[0]), _held([row.pk for row in rows], user)
    statuses: dict[str, ProcessStatus] = {}
    for row in rows:
        silent_for = max(timedelta(0), now - row.seen_at)
        if row.ended_at is not None:
            state = "ended" if row.note == ENDED_IN_ORDER else "recovered"
        else:
            state = "running" if silent_for <= ALIVE else "silent"
        statuses[row.pk] = ProcessStatus(row, state, silent_for, held.get(row.pk, {}))
    return statuses


def leases_of(process: GatewayProcess, user: Any) -> list[Lease]:
    """What a process holds, money first, with the windows and their budgets and limits."""
    rows = Lease.objects.filter(_visible(user), owner=process.pk, amount__gt=0).select_related(
        "window", *_targets("window__budget"), *_targets("window__rate_limit")
    )
    return list(rows.order_by("window__rate_limit_id", "-amount", "pk")[:500])


def leases_by_window(windows: Collection[AllowanceWindow]) -> dict[int, list[tuple[GatewayProcess | None, int]]]:
    """(process, amount) of each window's leases by its id, the largest first; None for a process nobody entered."""
    leases = list(Lease.objects.filter(window__in=windows, amount__gt=0).order_by("-amount"))
    processes = GatewayProcess.objects.in_bulk({lease.owner for lease in leases})
    found: dict[int, list[tuple[GatewayProcess | None, int]]] = defaultdict(list)
    for lease in leases:
        found[lease.window_id].append((processes.get(lease.owner), lease.amount))
    return found


def _clock(row: GatewayProcess) -> datetime:
    """The clock that signs of life are written by: the database's, one for all machines."""
    clocks = GatewayProcess.objects.filter(pk=row.pk).annotate(clock=Now(output_field=DateTimeField()))
    moment: datetime | None = clocks.values_list("clock", flat=True).first()
    return moment or timezone.now()


def _held(owners: list[str], user: Any) -> dict[str, dict[str, int]]:
    sums = (
        Lease.objects.filter(_visible(user), owner__in=owners, amount__gt=0)
        .order_by()
        .values_list("owner", "window__rate_limit__unit")
        .annotate(total=Sum("amount"))
    )
    held: dict[str, dict[str, int]] = defaultdict(dict)
    for owner, unit, total in sums:
        held[owner][unit or Unit.USD] = total
    return held


def _visible(user: Any) -> Q:
    """Leases on budgets and limits that a user may see."""
    visible = Q()
    for path in ("window__budget", "window__rate_limit"):
        restriction = scope_filter(user, customer=f"{path}__customer_id", team=f"{path}__team_id")
        if restriction is None:
            return Q()
        visible |= restriction
    return visible


def _targets(path: str) -> list[str]:
    columns = (
        "customer", "team__customer", "project__customer", "developer", "virtual_key__team__customer",
        "provider_access__virtual_key__team__customer", "provider_access__provider",
    )  # fmt: skip
    return [f"{path}__{column}" for column in columns]
