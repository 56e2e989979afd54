"""The limit in force: a budget's base, what its last period left over, and the raises granted for a time."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from governance import raises
from governance.domain.windows import Window, window_at
from governance.ledger_sums import ledger_sums
from governance.models import AllowanceWindow, Budget
from governance.watched import WatchedBudget, of_budget


@dataclass(frozen=True, slots=True)
class InForce:
    """Nano-dollars. `raised` may be below zero: a transfer takes away."""

    base: int
    carried: int = 0
    raised: int = 0

    @property
    def total(self) -> int:
        return max(0, self.base + self.carried + self.raised)


def limits_in_force(budgets: Iterable[Budget], now: datetime) -> dict[int, InForce]:
    """The limit in force of each budget by id; load `customer` with them."""
    rows = list(budgets)
    terms = raises.in_force([budget.pk for budget in rows], now)
    return limits([of_budget(budget, tuple(terms.get(budget.pk, ()))) for budget in rows], now)


def limits(budgets: Iterable[WatchedBudget], now: datetime) -> dict[int, InForce]:
    """The same of budgets that are values already."""
    chosen = list(budgets)
    carried = _carried([budget for budget in chosen if budget.carry_since is not None], now)
    return {
        budget.id: InForce(budget.limit, carried.get(budget.id, 0), raises.raised(budget.terms, now))
        for budget in chosen
    }


def _carried(budgets: list[WatchedBudget], now: datetime) -> Mapping[int, int]:
    """What the period before this one left of the base, by budget; once: what it had carried itself does not count.

    What is still held there counts as spent: the part can only grow while late charges come in. A period that began
    before the budget was made leaves nothing.
    """
    before: dict[int, Window] = {}
    for budget in budgets:
        if budget.period.rolling or budget.period.kind == "lifetime":
            continue
        start = window_at(budget.period, now).starts_at
        last = window_at(budget.period, start - timedelta(microseconds=1))
        if budget.carry_since is not None and budget.carry_since.astimezone(UTC) <= last.starts_at:
            before[budget.id] = last
    if not before:
        return {}
    spent = {
        (allowance, starts_at, definition): settled + held
        for allowance, starts_at, definition, settled, held in AllowanceWindow.objects.filter(
            allowance__in=[f"budget:{pk}" for pk in before], starts_at__in={w.starts_at for w in before.values()}
        ).values_list("allowance", "starts_at", "definition", "settled", "held")
    }
    left: dict[int, int] = {}
    for budget in budgets:
        window = before.get(budget.id)
        if window is None:
            continue
        used = spent.get((budget.key, window.starts_at, budget.definition))
        if used is None:
            sums = ledger_sums(budget.scope, {budget.target_id}, budget.models, window)
            used = sums.get(budget.target_id, 0)
        left[budget.id] = max(0, budget.limit - used)
    return left
