"""Rows of raises as every service around them writes them: made, checked, audited, with names that stay.

Amounts are nano-dollars, moments are UTC.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any

from django.core.exceptions import PermissionDenied, ValidationError
from django.db import transaction

from governance.domain.money import MAX_USD, show_usd, usd_to_nano
from governance.models import Budget, Raise
from governance.raises import in_force
from governance.services import audit

MOST = usd_to_nano(int(MAX_USD))
_FILLED_LATER = ["counterpart", "decided_by", "decided_at", "ended_at", "team"]


def new_row(
    *,
    kind: str,
    budget: Budget,
    amount_nano_usd: int,
    reason: str,
    requester: Any,
    starts_at: datetime,
    ends_at: datetime,
) -> Raise:
    """An unsaved row, with the names that stay when the things are gone."""
    return Raise(
        kind=kind,
        budget=budget,
        budget_name=str(budget)[:300],
        customer_id=budget.customer_id,
        team_id=budget.team_id,
        amount_nano_usd=amount_nano_usd,
        reason=reason.strip(),
        requester=requester,
        requester_name=name_of(requester),
        starts_at=starts_at,
        ends_at=ends_at,
    )


def save_new(row: Raise, now: datetime, *, action: str = "raise.requested") -> Raise:
    """Check and write a new row with its audit entry. Raises ValidationError."""
    if row.ends_at <= now:
        raise ValidationError({"ends_at": "It must end in the future."})
    if row.budget is not None and not row.budget.is_active:
        raise ValidationError({"budget": f"The budget {row.budget} is switched off: it limits nothing."})
    row.full_clean(exclude=_FILLED_LATER)
    asked = {
        "kind": [None, row.kind],
        "budget": [None, f"{row.budget_name} (#{row.budget_id})"],
        "amount_nano_usd": [None, row.amount_nano_usd],
        "starts_at": [None, row.starts_at],
        "ends_at": [None, row.ends_at],
        "status": [None, row.status],
    }
    with transaction.atomic():
        row.save(force_insert=True)
        audit.record(actor=row.requester, action=action, target=row, changes=asked, note=row.reason)
    return row


def name_of(user: Any) -> str:
    """The name that stays: the full name where there is one."""
    return str(user.get_full_name() or user.get_username())[:150]


def demand_visible(user: Any, *budgets: Budget) -> None:
    """Raise PermissionDenied where a user does not see one of these budgets."""
    ids = {budget.pk for budget in budgets}
    if Budget.objects.visible_to(user).filter(pk__in=ids).count() != len(ids):
        raise PermissionDenied("This reaches beyond the budgets that you may see.")


def demand_fit(budget: Budget, more: int, now: datetime) -> None:
    """The limit with everything granted must stay a number that the database can hold. Raises ValidationError."""
    granted = sum(term.nano_usd for term in in_force([budget.pk], now).get(budget.pk, []))
    if budget.limit_nano_usd + granted + more > MOST:
        raise ValidationError({"amount_nano_usd": f"The limit cannot pass {show_usd(MOST)}. Ask for less."})
