"""The rows of allowance windows and leases: made, locked in one order, and written with one statement for many."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django.db import connection, transaction
from django.db.models import QuerySet

from governance.bulk import update_by_id, upsert
from governance.domain.windows import Window, window_at
from governance.ledger_sums import ledger_sums
from governance.models import AllowanceWindow, Lease
from governance.watched import WatchedBudget, WatchedLimit

Place = tuple[str, datetime, str]
"""What names a window: allowance, start and definition."""


@dataclass(slots=True)
class Row:
    """A locked window, changed in memory and written back at once."""

    id: int
    allowance: str
    starts_at: datetime
    definition: str
    limit: int
    settled: int
    held: int
    beyond: int
    strict: bool
    wanted_at: datetime | None
    wanted_by: str
    summed_at: datetime | None

    @property
    def place(self) -> Place:
        return self.allowance, self.starts_at, self.definition

    def excuse(self) -> int:
        """Admit what lies above the limit already, so that the row can be written; it shrinks as holds return.

        Gives by how much it grew.
        """
        before, self.beyond = self.beyond, max(0, self.settled + self.held - self.limit)
        return max(0, self.beyond - before)

    def sum_anew(self, budget: WatchedBudget, window: Window, now: datetime) -> None:
        """Take what is settled from the ledger; a rolling budget's sum falls as time goes by."""
        self.settled = _sum(budget, window_at(budget.period, now) if budget.period.rolling else window)
        self.summed_at = now


_COLUMNS = (
    "id", "allowance", "starts_at", "definition", "limit", "settled", "held", "beyond", "strict", "wanted_at",
    "wanted_by", "summed_at",
)  # fmt: skip
_WRITTEN = ("limit", "settled", "held", "beyond", "strict", "wanted_at", "wanted_by", "summed_at")


def find(places: Collection[Place], *, lock: bool) -> dict[Place, Row]:
    """The windows that exist, by place; with `lock`, held until the transaction ends, in ascending order of id."""
    rows: QuerySet[AllowanceWindow] = AllowanceWindow.objects.filter(
        allowance__in={place[0] for place in places}, starts_at__in={place[1] for place in places}
    )
    if lock:
        rows = rows.select_for_update()
    wanted = set(places)
    found = (Row(*values) for values in rows.order_by("pk").values_list(*_COLUMNS))
    return {row.place: row for row in found if row.place in wanted}


def write(rows: Iterable[Row]) -> None:
    """Write locked windows back."""
    update_by_id(
        AllowanceWindow._meta.db_table,
        _WRITTEN,
        [(row.id, *(_plain(getattr(row, name)) for name in _WRITTEN)) for row in rows],
        moments=("wanted_at", "summed_at"),
    )


def make(needed: Iterable[tuple[WatchedBudget | WatchedLimit, Window]], now: datetime) -> None:
    """Make windows that are missing, each with the sum of what the ledger holds.

    Two processes may try at once: the unique constraint lets one insert, the other waits for it and finds the row.
    Inserting first and summing after it misses no charge: whoever writes one makes the row too, or waits for ours.
    """
    for watched, window in sorted(needed, key=lambda one: (one[0].key, one[1].starts_at)):
        budget = watched if isinstance(watched, WatchedBudget) else None
        with transaction.atomic(), connection.cursor() as cursor:
            cursor.execute(
                "INSERT INTO governance_allowancewindow (allowance, budget_id, rate_limit_id, definition, starts_at, "
                'ends_at, "limit", settled, held, beyond, strict, wanted_at, wanted_by, '
                "summed_at) VALUES (%s, %s, %s, %s, %s, %s, %s, 0, 0, 0, %s, NULL, '', %s) ON CONFLICT DO NOTHING",
                [
                    watched.key,
                    watched.id if budget else None,
                    None if budget else watched.id,
                    watched.definition,
                    _plain(window.starts_at),
                    _plain(window.ends_at),
                    watched.limit,
                    watched.strict,
                    _plain(now),
                ],
            )
            before = 0
            if cursor.rowcount == 1 and budget:
                before = _sum(budget, window_at(budget.period, now) if budget.period.rolling else window)
            if before:
                cursor.execute(
                    "UPDATE governance_allowancewindow SET settled = settled + %s, "
                    'beyond = CASE WHEN settled + %s > "limit" THEN settled + %s - "limit" ELSE 0 END '
                    "WHERE allowance = %s AND definition = %s AND starts_at = %s",
                    [before, before, before, watched.key, watched.definition, _plain(window.starts_at)],
                )


def leases_of(owner: str, windows: Collection[int]) -> dict[int, tuple[int, int]]:
    """(amount, version) of a process's leases by window id."""
    rows = Lease.objects.filter(owner=owner, window_id__in=windows).values_list("window_id", "amount", "version")
    return {window_id: (amount, version) for window_id, amount, version in rows}


def write_leases(owner: str, leases: Sequence[tuple[int, int, int]]) -> None:
    """Write (window id, amount, version) of one process; call with the windows locked."""
    upsert(
        Lease._meta.db_table,
        ("window_id", "owner", "amount", "version"),
        ("window_id", "owner"),
        [(window_id, owner, amount, version) for window_id, amount, version in leases],
    )


def _sum(budget: WatchedBudget, window: Window) -> int:
    return ledger_sums(budget.scope, {budget.target_id}, budget.models, window).get(budget.target_id, 0)


def _plain(value: Any) -> Any:
    return connection.ops.adapt_datetimefield_value(value) if isinstance(value, datetime) else value
