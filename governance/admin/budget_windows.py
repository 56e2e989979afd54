"""What a budget's page shows of its periods: the limit that was in force, what is settled, and who holds how much."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from django.http import HttpRequest
from django.urls import reverse

from governance.domain.allowance import ALWAYS
from governance.models import AllowanceWindow, Budget
from governance.selectors import BudgetStatus
from governance.selectors_processes import leases_by_window
from governance.watched import definition

SHOWN = 6


@dataclass(frozen=True, slots=True)
class WindowLine:
    """One period's row."""

    window: AllowanceWindow
    period: str
    held_by: list[tuple[str, str, int]]
    """(process, address of its page or empty, nano-dollars)."""
    beyond_why: str


def windows_panel(status: BudgetStatus, request: HttpRequest) -> dict[str, Any]:
    """The newest periods, the current one first; those counted under an earlier definition are left out."""
    budget = status.budget
    rows = list(
        AllowanceWindow.objects.filter(budget=budget, definition=definition(budget)).order_by("-starts_at")[:SHOWN]
    )
    leases = leases_by_window(rows)
    named = request.user.has_perm("governance.view_gatewayprocess")
    lines = []
    for row in rows:
        held_by = [
            (
                str(process) if process and named else "a gateway process",
                reverse("admin:governance_gatewayprocess_change", args=[process.pk]) if process and named else "",
                amount,
            )
            for process, amount in leases.get(row.pk, ())
        ]
        if row.starts_at in {ALWAYS, status.window.starts_at}:
            # What a row says is as of the last time that a process drew on it.
            row.limit, row.settled = status.limit, status.spent
            row.beyond = max(0, row.settled + row.held - row.limit)
        lines.append(WindowLine(row, _period(budget, row), held_by, _why_beyond(budget, row)))
    return {"window_lines": lines}


def _period(budget: Budget, row: AllowanceWindow) -> str:
    if row.starts_at == ALWAYS:
        return f"the last {budget.rolling} {budget.period}s" if budget.rolling else "the whole time"
    return ""


def _why_beyond(budget: Budget, row: AllowanceWindow) -> str:
    if not row.beyond:
        return ""
    match budget.enforcement:
        case Budget.Enforcement.OBSERVE:
            return "because this budget only watches: nothing is refused."
        case Budget.Enforcement.STOP:
            return (
                "because requests that were running when it was reached could finish, or the limit was lowered since. "
                "No new one is let through."
            )
    return (
        "because the limit was lowered below what was spent and held already, or a charge came in that nobody could "
        "hold for. Nothing is let through until it is covered; it shrinks as holds return."
    )
