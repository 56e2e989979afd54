"""The order and warnings of the budget list: a tree of customer, team and what is inside, the riskiest branch first."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

from governance.models import Budget
from governance.selectors import BudgetStatus

_DEPTH = {"customer": 0, "team": 1, "project": 1, "developer": 2, "virtual_key": 2, "provider_access": 3}


@dataclass(frozen=True, slots=True)
class Leaf:
    """One row of the tree: how far it is indented, and what a person should know about it."""

    status: BudgetStatus
    depth: int
    warning: str = ""


def arrange(statuses: Sequence[BudgetStatus]) -> list[Leaf]:
    """Parents before their children, branches by their highest share of a limit, the highest first."""
    customers: dict[int, list[BudgetStatus]] = defaultdict(list)
    for status in statuses:
        customers[status.budget.customer_id].append(status)
    rows: list[Leaf] = []
    for branch in sorted(customers.values(), key=_risk, reverse=True):
        teams: dict[int, list[BudgetStatus]] = defaultdict(list)
        for status in branch:
            # Whatever belongs to no single team stands with the customer itself.
            teams[status.budget.team_id or 0].append(status)
        own = teams.pop(0, [])
        rows += _level(own, parents=[])
        for team in sorted(teams.values(), key=_risk, reverse=True):
            rows += _level(team, parents=own)
    return rows


def _level(statuses: list[BudgetStatus], parents: list[BudgetStatus]) -> list[Leaf]:
    ordered = sorted(statuses, key=lambda status: (_DEPTH[status.budget.scope], -status.share, status.budget.pk))
    above = parents + [status for status in statuses if _DEPTH[status.budget.scope] < 2]
    return [Leaf(status, _DEPTH[status.budget.scope], _warning(status, above)) for status in ordered]


def _warning(status: BudgetStatus, above: list[BudgetStatus]) -> str:
    """A limit in force that its parent never lets anybody reach is probably a mistake."""
    budget = status.budget
    for upper in above:
        parent = upper.budget
        blocks = parent.is_active and parent.enforcement != Budget.Enforcement.OBSERVE and not parent.model_patterns
        wider = _DEPTH[parent.scope] < _DEPTH[budget.scope]
        same_period = (parent.period, parent.rolling) == (budget.period, budget.rolling)
        if wider and same_period and blocks and status.limit > upper.limit:
            return f"Its limit is above that of {parent}, which blocks first."
    return ""


def _risk(statuses: list[BudgetStatus]) -> float:
    return max(status.share for status in statuses)
