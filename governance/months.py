"""Closed months: whether a moment lies in one, where the first open one begins, and what a month came to.

A month is the calendar month in the customer's own time zone, as on its statements. A lock without a customer
closes the month of every customer, each in its own zone. Where a zone was changed after a lock, the time that the
lock summed up stays closed, and so does the rest of what is that month now: its statement is the lock's total.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

from django.db import connection
from django.db.models import Count, F, Func, Q, Sum, TextField, Value
from django.db.models.functions import TruncDate

from governance.domain.windows import Period, Window, window_at
from governance.models import Customer, LedgerEntry, MonthLock

_LONGEST = timedelta(days=33)
"""No month that began earlier, in whichever zone, holds a moment."""
Totals = dict[str, dict[str, Any]]
"""By customer id: `{"from", "until"}`, the month's bounds in UTC, and `"days"`: `{UTC day: [rows, nano-dollars]}`."""


@dataclass(frozen=True, slots=True)
class Late:
    """What came into a locked month after the lock: rows and nano-dollars of one customer and UTC day."""

    customer_id: int
    day: date
    entries: int
    nano_usd: int


def month_of(zone: str, moment: datetime) -> date:
    """First day of the local month that holds the moment (aware)."""
    return moment.astimezone(ZoneInfo(zone)).date().replace(day=1)


def window_of(zone: str, month: date) -> Window:
    """The month's stretch of time in UTC."""
    noon = datetime(month.year, month.month, 15, 12, tzinfo=UTC)
    return window_at(Period("month", zone), noon)


def is_locked(customer_id: int, moment: datetime) -> bool:
    """Whether the customer's month that holds the moment is closed. Raises Customer.DoesNotExist."""
    return any(start <= moment < end for start, end in _closed(customer_id, moment))


def first_open_moment(customer_id: int, moment: datetime) -> datetime:
    """The moment itself where its month is open, else the start (UTC) of the next month that is.

    What belongs to a closed month and comes later (an adjustment, for example) is posted at this moment.
    """
    for start, end in sorted(_closed(customer_id, moment)):
        if start <= moment < end:
            moment = end
    return moment


def totals(month: date, customers: Iterable[Customer]) -> Totals:
    """What the ledger holds now of each customer's month."""
    found: Totals = {}
    for customer in customers:
        window = window_of(customer.timezone, month)
        bounds = {"from": window.starts_at.isoformat(), "until": (window.ends_at or window.starts_at).isoformat()}
        found[str(customer.pk)] = {**bounds, "days": _by_customer_and_day(bounds, [customer.pk]).get(customer.pk, {})}
    return found


def sums(found: Totals) -> tuple[int, int]:
    """Rows and nano-dollars of all totals together."""
    cells = [cell for part in found.values() for cell in part["days"].values()]
    return sum(rows for rows, _ in cells), sum(nano for _, nano in cells)


def after_the_lock(locks: Iterable[MonthLock]) -> list[tuple[MonthLock, Late]]:
    """What the ledger holds of locked months beyond their totals at the lock, day by day.

    One query for each stretch of time, whatever number of customers has it for its month.

    A charge that comes late (a spool replayed after an outage) is written under its true time and never lost; the
    lock's own total stays what statements say, and this is what it leaves out. The bounds are those of the lock: a
    customer whose zone changed since has no other October for it.
    """
    stretches: dict[tuple[str, str], dict[int, MonthLock]] = defaultdict(dict)
    for lock in locks:
        for customer_id, part in lock.totals.items():
            stretches[part["from"], part["until"]][int(customer_id)] = lock
    late = []
    for (start, until), holders in stretches.items():
        bounds = {"from": start, "until": until}
        for customer_id, days in _by_customer_and_day(bounds, holders).items():
            lock = holders[customer_id]
            before = lock.totals[str(customer_id)]["days"]
            for day, (rows, nano) in sorted(days.items()):
                old_rows, old_nano = before.get(day, (0, 0))
                if (rows, nano) != (old_rows, old_nano):
                    found = Late(customer_id, date.fromisoformat(day), rows - old_rows, nano - old_nano)
                    late.append((lock, found))
    return late


def locked_total(customer_id: int, month: date) -> int | None:
    """Nano-dollars that the customer's statement of a closed month says; None while the month is open."""
    lock = _active().filter(Q(customer_id=customer_id) | Q(customer=None), month=month).order_by("locked_at").first()
    if lock is None:
        return None
    part = lock.totals.get(str(customer_id), {"days": {}})
    return int(sum(nano for _, nano in part["days"].values()))


def _by_customer_and_day(bounds: Mapping[str, str], ids: Collection[int]) -> dict[int, dict[str, list[int]]]:
    days = (
        LedgerEntry.objects.filter(
            customer_id__in=list(ids),
            occurred_at__gte=datetime.fromisoformat(bounds["from"]),
            occurred_at__lt=datetime.fromisoformat(bounds["until"]),
        )
        .order_by()
        .annotate(day=TruncDate("occurred_at", tzinfo=UTC))
        .values_list("customer_id", "day")
        .annotate(rows=Count("id"), nano=Sum("amount_nano_usd"))
    )
    found: dict[int, dict[str, list[int]]] = defaultdict(dict)
    for customer_id, day, rows, nano in days:
        found[customer_id][day.isoformat()] = [int(rows), int(nano)]
    return found


def _active() -> Any:
    return MonthLock.objects.filter(unlocked_at__isnull=True)


def _closed(customer_id: int, moment: datetime) -> list[tuple[datetime, datetime]]:
    """The stretches from the moment on (UTC, end excluded) that are closed.

    Those that the locks summed up, and the months as they are.
    """
    zone, found = _zone(customer_id), []
    locks = _active().filter(Q(customer_id=customer_id) | Q(customer=None), month__gte=moment - _LONGEST)
    own = {name: _bound(customer_id, name) for name in ("from", "until")}
    for month, start, until in locks.values_list("month", own["from"], own["until"]):
        window = window_of(zone, month)
        found.append((window.starts_at, window.ends_at or window.starts_at))
        if start and until:
            found.append((datetime.fromisoformat(start), datetime.fromisoformat(until)))
    return found


def _bound(customer_id: int, name: str) -> Func:
    """One text of a lock's totals; all of them may be large. A key transform takes a number for a list's index."""
    if connection.vendor == "postgresql":
        path = [Value(str(customer_id)), Value(name)]
        return Func(F("totals"), *path, function="jsonb_extract_path_text", output_field=TextField())
    path = [Value(f'$."{customer_id}"."{name}"')]
    return Func(F("totals"), *path, function="JSON_EXTRACT", output_field=TextField())


def _zone(customer_id: int) -> str:
    return str(Customer.objects.values_list("timezone", flat=True).get(pk=customer_id))
