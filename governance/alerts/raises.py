"""Tell of raises: asked for, decided, ended. Read from their rows, so that whoever writes one need not tell."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta
from zoneinfo import ZoneInfo

from django.db.models import Q

from governance.alerts.record import Found, record
from governance.domain.money import show_usd
from governance.models import Alert, Raise

LOOK_BACK = timedelta(days=1)
"""What happened longer ago is no news, should no worker have run since."""

_STATUS = Raise.Status


def tell_of_raises(now: datetime) -> list[Alert]:
    """Record each step of each raise once; gives the alerts that are new."""
    since = now - LOOK_BACK
    raises = Raise.objects.filter(
        Q(created_at__gt=since)
        | Q(decided_at__gt=since)
        | Q(ended_at__gt=since)
        | Q(ends_at__gt=since, ends_at__lte=now)
    ).select_related("customer", "team", "budget__customer", "requester", "counterpart__budget")
    keyed = {
        f"raise:{row.pk}:{event}": (row, event, at)
        for row in raises
        for event, at in _events(row, now)
        if since < at <= now and row.amount_nano_usd > 0
    }
    known = set(Alert.objects.filter(key__in=keyed).values_list("key", flat=True))
    return record([_found(key, row, event, now) for key, (row, event, _) in keyed.items() if key not in known])


def _events(row: Raise, now: datetime) -> Iterator[tuple[str, datetime]]:
    """What has happened to a raise, and when. Half of a transfer is told by its other half."""
    if row.kind != Raise.Kind.EMERGENCY:  # that one waits for nobody
        yield "requested", row.created_at
    if row.decided_at is not None and row.status in (_STATUS.APPROVED, _STATUS.ENDED_EARLY):
        yield "approved", row.decided_at
    if row.decided_at is not None and row.status == _STATUS.DECLINED:
        yield "declined", row.decided_at
    if row.status == _STATUS.ENDED_EARLY and row.ended_at is not None:
        yield "ended", row.ended_at
    if row.status == _STATUS.APPROVED and row.kind != Raise.Kind.RESET and row.ends_at <= now:
        yield "ended", row.ends_at


def _found(key: str, row: Raise, event: str, now: datetime) -> Found:
    budget, customer = row.budget, row.customer
    zone = (budget.timezone if budget else "") or customer.timezone
    alert = Alert(
        key=key,
        kind=Alert.Kind.RAISE,
        event=event,
        created_at=now,
        customer=customer,
        customer_name=customer.name,
        team=row.team,
        team_name=row.team.name if row.team else "",
        budget=budget,
        budget_name=row.budget_name,
        scope=budget.scope if budget else "",
        target_name=str(budget.target)[:300] if budget else "",
        contact=(budget.approver_email if budget else "") or customer.contact,
        timezone=zone,
        period_start=row.starts_at,
        period_end=row.ends_at,
        amount_nano_usd=row.amount_nano_usd,
        note=_sentence(row, event, zone)[:900],
    )
    owner, approver = (budget.owner_email, budget.approver_email) if budget else ("", "")
    requester = row.requester.email if row.requester else ""
    giving = row.counterpart.budget if row.counterpart else None
    givers = ((giving.owner_email, "giver"), (giving.approver_email, "giving approver")) if giving else ()
    if event == "requested":
        # The money of a transfer leaves the other budget: its people hear of it before somebody decides.
        return Found(alert, ((approver, "approver"), *givers))
    return Found(alert, ((owner, "owner"), (approver, "approver"), (requester, "requester"), *givers))


def _sentence(row: Raise, event: str, zone: str) -> str:
    what = {"raise": "A raise", "emergency": "An emergency raise", "transfer": "A transfer", "reset": "A reset"}[
        row.kind
    ]
    until = row.ends_at.astimezone(ZoneInfo(zone))
    source = f" from “{row.counterpart.budget_name}”" if row.counterpart else ""
    subject = f"{what} of {show_usd(row.amount_nano_usd)}{source} until {until:%Y-%m-%d %H:%M} ({zone})"
    why = f"Reason: {row.reason}"
    note = f" “{row.decision_note}”" if row.decision_note else ""
    match event:
        case "requested":
            return f"{subject} was asked for by {row.requester_name} and waits for a decision. {why}"
        case "approved":
            asked = f", asked for by {row.requester_name}," if row.requester_name != row.decided_by_name else ""
            return f"{subject}{asked} is in force as decided by {row.decided_by_name}.{note} {why}"
        case "declined":
            return f"{subject}, asked for by {row.requester_name}, was declined by {row.decided_by_name}.{note}"
    by = f" by {row.ended_by_name}" if row.ended_by_name else ""
    return f"{subject} has ended{by}; the limit is what it was before."
