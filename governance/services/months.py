"""Close a month, open it again by another person, and list what came in after it was closed."""

from __future__ import annotations

from datetime import date, datetime, timedelta

from django.core.exceptions import ValidationError
from django.db import transaction
from django.db.models import Q
from django.utils import timezone

from governance import months
from governance.domain.money import usd_string
from governance.models import Customer, MonthLock, ReconciliationException
from governance.services import audit
from governance.services.audit import Actor
from governance.services.records import lock as lock_row

LATE_FOR = timedelta(days=100)
"""Months that began within this time are looked at each day for what came after their lock."""
OLDER_EVERY_DAYS = 31


def lock_month(
    *,
    month: date,
    customer: Customer | None,
    actor: Actor,
    actor_name: str = "",
    note: str = "",
    now: datetime | None = None,
) -> MonthLock:
    """Close a month (its first day) of one customer, or of every customer where None. Raises ValidationError.

    `note` is kept in the audit trail.

    The row is inserted first: its trigger raises the configuration's version, which every batch of charges reads
    under a lock. So batches under way are waited for, and the totals miss none of them.
    """
    now = now or timezone.now()
    named = actor.get_username() if actor is not None and actor.is_authenticated else ""
    row = MonthLock(
        month=month,
        customer=customer,
        locked_by_id=actor.pk if named and actor is not None else None,
        locked_by_name=actor_name or named or "system",
        locked_at=now,
    )
    with transaction.atomic():
        taken = MonthLock.objects.filter(month=month, unlocked_at__isnull=True)
        if customer is not None and taken.filter(customer=None).exists():
            raise ValidationError(f"{month:%Y-%m} is locked already, for every customer.")
        row.full_clean(exclude=["totals"])
        customers = [customer] if customer else list(Customer.objects.exclude(pk__in=taken.values("customer_id")))
        if customer is None and not Customer.objects.exists():
            raise ValidationError("There is no customer yet, so there is no month to lock.")
        open_ones = [c.name for c in customers if (months.window_of(c.timezone, month).ends_at or now) > now]
        if open_ones:
            raise ValidationError(
                f"{month:%Y-%m} is not over yet for {', '.join(sorted(open_ones)[:5])}. "
                "Lock it after its last day has ended there."
            )
        row.save(force_insert=True)
        row.totals = months.totals(month, customers)
        row.entries, row.total_nano_usd = months.sums(row.totals)
        row.save(update_fields=["totals", "entries", "total_nano_usd"])
        audit.record(
            actor=actor,
            actor_name=actor_name,
            action="month.locked",
            target=row,
            changes={"total_usd": [None, usd_string(row.total_nano_usd)], "entries": [None, row.entries]},
            note=note.strip(),
        )
    return row


def unlock_month(*, lock: MonthLock, reason: str, actor: Actor, actor_name: str = "") -> MonthLock:
    """Open a closed month again: by another person than who closed it, with a reason. Raises ValidationError."""
    reason = reason.strip()
    if not reason:
        raise ValidationError({"reason": "Say why the month is opened again; it is kept in the trail."})
    with transaction.atomic():
        row = lock_row(lock)
        if row.unlocked_at is not None:
            raise ValidationError("This month is open already.")
        if actor is None or not actor.is_authenticated:
            raise ValidationError("A person must open the month again.")
        if row.locked_by_id == actor.pk:
            raise ValidationError("You locked this month: another person has to open it again.")
        row.unlocked_by_id, row.unlocked_at, row.unlock_reason = actor.pk, timezone.now(), reason[:300]
        row.save(update_fields=["unlocked_by", "unlocked_at", "unlock_reason"])
        audit.record(
            actor=actor, actor_name=actor_name, action="month.unlocked", target=row,
            changes={"unlocked_at": [None, row.unlocked_at]}, note=reason,
        )  # fmt: skip
    return row


def list_late_charges(*, now: datetime | None = None) -> int:
    """Put what came into locked months after their lock into the exceptions queue; gives how many are new or changed.

    A decided one stays decided; what comes after the decision is an exception of its own. The last months are looked
    at each day; the older ones, into which only a spool that lay for months can write, each once in 31 days.
    """
    now = now or timezone.now()
    active = MonthLock.objects.filter(unlocked_at__isnull=True)
    chosen = _months_to_look_at(set(active.values_list("month", flat=True).distinct()), now)
    locks = active.filter(month__in=chosen).select_related("customer")
    return sum(_list_late(lock, late, now) for lock, late in months.after_the_lock(locks))


def _months_to_look_at(locked: set[date], now: datetime) -> list[date]:
    """The locked months of the last time, and of the older ones those whose turn it is."""
    turn = now.date().toordinal() % OLDER_EVERY_DAYS
    return [
        month
        for month in locked
        if month >= (now - LATE_FOR).date() or (12 * month.year + month.month) % OLDER_EVERY_DAYS == turn
    ]


def _list_late(lock: MonthLock, late: months.Late, now: datetime) -> bool:
    """Whether the queue had to change."""
    with transaction.atomic():
        rows = ReconciliationException.objects.filter(
            kind=ReconciliationException.Kind.LATE, lock=lock, customer_id=late.customer_id, day=late.day
        )
        decided = sum(rows.filter(~Q(status="open")).values_list("ours_nano_usd", flat=True))
        amount = late.nano_usd - decided
        open_one = rows.filter(status="open").first()
        if amount == (open_one.ours_nano_usd if open_one else 0):
            return False
        ReconciliationException.objects.update_or_create(
            kind=ReconciliationException.Kind.LATE,
            lock=lock,
            customer_id=late.customer_id,
            day=late.day,
            status="open",
            defaults={
                "ours_nano_usd": amount,
                "difference_nano_usd": amount,
                "opened_at": open_one.opened_at if open_one else now,
                "remark": f"{late.entries} ledger row(s) of {late.day} came after {lock.month:%Y-%m} was "
                "locked; the locked total leaves them out.",
            },
        )
        return True
