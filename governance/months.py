"""Closed months: whether a moment lies in one, where the first open one begins, and what a month came to.

A month is the calendar month in the customer's own time zone, as on its statements. A lock without a customer
closes the month of every customer, each in its own zone.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

from django.db.models import Count, Q, Sum
from django.db.models.functions import TruncDate

from governance.domain.windows import Period, Window, window_at
from governance.models import Customer, LedgerEntry, MonthLock

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
    return month_of(_zone(customer_id), moment) in _locked(customer_id)


def first_open_moment(customer_id: int, moment: datetime) -> datetime:
    """The moment itself where its month is open, else the start (UTC) of the next month that is.

    What belongs to a closed month and comes later (an adjustment, for example) is posted at this moment.
    """
    zone = _zone(customer_id)
    locked, month = _locked(customer_id), month_of(zone, moment)
    if month not in locked:
        return moment
    while month in locked:
        month = _next(month)
    return window_of(zone, month).starts_at


def totals(month: date, customers: Iterable[Customer]) -> Totals:
    """What the ledger holds now of each customer's month."""
    found: Totals = {}
    for customer in customers:
        window = window_of(customer.timezone, month)
        bounds = {"from": window.starts_at.isoformat(), "until": (window.ends_at or window.starts_at).isoformat()}
        found[str(customer.pk)] = {**bounds, "days": _by_day(customer.pk, bounds)}
    return found


def sums(found: Totals) -> tuple[int, int]:
    """Rows and nano-dollars of all totals together."""
    cells = [cell for part in found.values() for cell in part["days"].values()]
    return sum(rows for rows, _ in cells), sum(nano for _, nano in cells)


def after_the_lock(lock: MonthLock) -> list[Late]:
    """What the ledger holds of a locked month beyond its totals at the lock, day by day.

    A charge that comes late (a spool replayed after an outage) is written under its true time and never lost; the
    lock's own total stays what statements say, and this is what it leaves out. The bounds are those of the lock: a
    customer whose zone changed since has no other October for it.
    """
    late = []
    for customer_id, part in lock.totals.items():
        for day, (rows, nano) in sorted(_by_day(int(customer_id), part).items()):
            old_rows, old_nano = part["days"].get(day, (0, 0))
            if (rows, nano) != (old_rows, old_nano):
                late.append(Late(int(customer_id), date.fromisoformat(day), rows - old_rows, nano - old_nano))
    return late


def locked_total(customer_id: int, month: date) -> int | None:
    """Nano-dollars that the customer's statement of a closed month says; None while the month is open."""
    lock = _active().filter(Q(customer_id=customer_id) | Q(customer=None), month=month).order_by("locked_at").first()
    if lock is None:
        return None
    part = lock.totals.get(str(customer_id), {"days": {}})
    return int(sum(nano for _, nano in part["days"].values()))


def _by_day(customer_id: int, bounds: Mapping[str, Any]) -> dict[str, list[int]]:
    days = (
        LedgerEntry.objects.filter(
            customer_id=customer_id,
            occurred_at__gte=datetime.fromisoformat(bounds["from"]),
            occurred_at__lt=datetime.fromisoformat(bounds["until"]),
        )
        .order_by()
        .annotate(day=TruncDate("occurred_at", tzinfo=UTC))
        .values_list("day")
        .annotate(rows=Count("id"), nano=Sum("amount_nano_usd"))
    )
    return {day.isoformat(): [int(rows), int(nano)] for day, rows, nano in days}


def _active() -> Any:
    return MonthLock.objects.filter(unlocked_at__isnull=True)


def _locked(customer_id: int) -> set[date]:
    return set(_active().filter(Q(customer_id=customer_id) | Q(customer=None)).values_list("month", flat=True))


def _zone(customer_id: int) -> str:
    return str(Customer.objects.values_list("timezone", flat=True).get(pk=customer_id))


def _next(month: date) -> date:
    return (month + timedelta(days=32)).replace(day=1)
