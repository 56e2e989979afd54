"""What the reconciliation pages show: a month of days, one day's cells, closed months. All days are UTC."""

from __future__ import annotations

from calendar import monthrange
from collections import Counter
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import Any

from django.db.models import Count, QuerySet

from governance.domain.money import show_usd
from governance.models import (
    Customer,
    MonthLock,
    ReconciliationDay,
    ReconciliationException,
    ReconciliationLine,
    ReportDay,
    ReportImport,
)
from governance.querysets import sees_every_customer
from observability.reconciliation.ours import credentials_without_workspace, names


@dataclass(frozen=True, slots=True)
class DayRow:
    """One day of the month; `row` is None where nothing was compared."""

    day: date
    row: ReconciliationDay | None
    waiting: int
    """Exceptions to decide."""


@dataclass(frozen=True, slots=True)
class MonthPage:
    """A month, newest day first. Sums are over the days that have a cost report: drift is theirs alone."""

    month: date
    previous: date
    following: date | None
    everything: bool
    """Whether the user sees every customer; the days sum up all of them."""
    days: tuple[DayRow, ...]
    ours: int
    theirs: int
    ours_without_report: int
    counts: Counter[str]
    waiting: int
    locks: tuple[MonthLock, ...]
    lockable: tuple[Customer, ...]
    imports: tuple[ReportImport, ...]
    compared_at: datetime | None

    @property
    def drift(self) -> int:
        return self.ours - self.theirs

    @property
    def with_report(self) -> int:
        return sum(1 for day in self.days if day.row and day.row.theirs_nano_usd is not None)

    @property
    def not_compared(self) -> list[date]:
        """Days that nothing was compared of, or whose newer figures wait for it; the oldest first."""
        return sorted(
            day.day for day in self.days if day.row is None or day.row.compared_at is None or day.row.waiting_since
        )

    @property
    def without_report(self) -> list[date]:
        """Compared days without a cost report; the oldest first."""
        return sorted(
            day.day for day in self.days if day.row and day.row.compared_at and day.row.theirs_nano_usd is None
        )

    @property
    def verdict(self) -> tuple[str, str]:
        """A tone and a sentence."""
        if not self.with_report:
            return "warn", "No day of this month has a cost report yet: nothing is reconciled."
        by = f"{show_usd(abs(self.drift))} {'above' if self.drift > 0 else 'below'} Anthropic's"
        drift = f"Our figure is {by}" if self.drift else "Our figure equals Anthropic's"
        if self.waiting:
            what = "exception waits" if self.waiting == 1 else "exceptions wait"
            return "bad", f"{self.waiting} {what} for a decision. {drift} over {_days(self.with_report)}."
        return "good", f"Nothing waits for a decision. {drift} over {_days(self.with_report)}."


@dataclass(frozen=True, slots=True)
class DayPage:
    row: ReconciliationDay
    lines: tuple[tuple[ReconciliationLine, str], ...]
    """With the workspace as people call it."""
    exceptions: tuple[ReconciliationException, ...]
    reports: tuple[ReportDay, ...]
    previous: date
    following: date
    unmapped: tuple[str, ...]

    @property
    def agreed(self) -> int:
        """What customers' own prices and open gaps make of our figure: ledger less ours."""
        return int(self.row.ledger_nano_usd) - int(self.row.ours_nano_usd)


def month_page(user: Any, month: date, *, today: date) -> MonthPage:
    """The month (its first day) as the user may see it."""
    everything = sees_every_customer(user)
    last = month.replace(day=monthrange(month.year, month.month)[1])
    known = {row.day: row for row in ReconciliationDay.objects.visible_to(user).filter(day__range=(month, last))}
    exceptions = ReconciliationException.objects.visible_to(user).filter(status="open", day__range=(month, last))
    waiting = dict(exceptions.order_by().values_list("day").annotate(number=Count("pk")))
    shown = [last - timedelta(days=n) for n in range(last.day)]
    days = tuple(DayRow(day, known.get(day), waiting.get(day, 0)) for day in shown if day <= today)
    compared = [row for row in known.values() if row.theirs_nano_usd is not None]
    locks = tuple(MonthLock.objects.visible_to(user).filter(month=month).select_related("customer", "unlocked_by"))
    return MonthPage(
        month=month,
        previous=(month - timedelta(days=1)).replace(day=1),
        following=last + timedelta(days=1) if last < today else None,
        everything=everything,
        days=days if everything else (),
        ours=sum(row.ours_nano_usd for row in compared),
        theirs=sum(row.theirs_nano_usd or 0 for row in compared),
        ours_without_report=sum(row.ours_nano_usd for row in known.values() if row.theirs_nano_usd is None),
        counts=Counter(row.state for row in known.values()),
        waiting=sum(waiting.values()),
        locks=locks,
        lockable=_lockable(user, locks),
        imports=tuple(ReportImport.objects.visible_to(user)[:6]),
        compared_at=max((row.compared_at for row in known.values() if row.compared_at), default=None),
    )


def day_page(user: Any, day: date) -> DayPage | None:
    """One day; None where it was not compared or is not the user's to see."""
    row = ReconciliationDay.objects.visible_to(user).filter(pk=day).first()
    if row is None:
        return None
    lines = list(row.lines.all())
    return DayPage(
        row=row,
        lines=tuple(zip(lines, names(line.workspace_id for line in lines), strict=True)),
        exceptions=tuple(
            ReconciliationException.objects.filter(day=day).exclude(kind="late").select_related("decided_by")
        ),
        reports=tuple(ReportDay.objects.filter(day=day, is_current=True).select_related("report")),
        previous=day - timedelta(days=1),
        following=day + timedelta(days=1),
        unmapped=tuple(str(credential) for credential in credentials_without_workspace()),
    )


def latest_month(now: datetime) -> date:
    """The month that holds yesterday: on the first of a month one looks at the one that just ended."""
    return (now.astimezone(UTC).date() - timedelta(days=1)).replace(day=1)


def _lockable(user: Any, locks: tuple[MonthLock, ...]) -> tuple[Customer, ...]:
    """Customers whose month is open and whom the user covers as a whole."""
    active = [lock for lock in locks if lock.unlocked_at is None]
    if any(lock.customer_id is None for lock in active):
        return ()
    return tuple(customers_covered(user).exclude(pk__in=[lock.customer_id for lock in active]))


def customers_covered(user: Any) -> QuerySet[Customer]:
    """Customers that the user sees as a whole."""
    if user.is_superuser:
        return Customer.objects.all()
    whole = user.memberships.filter(team__isnull=True).values_list("customer_id", flat=True)
    rows: QuerySet[Customer] = Customer.objects.filter(pk__in=list(whole))
    return rows


def _days(number: int) -> str:
    return f"{number} day" if number == 1 else f"{number} days"
