"""Which raises are in force, or will be: the part of a budget's limit that other people granted for a time."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime

from governance.models import Raise

_MOST_IDS = 500
"""Beyond so many budgets the few approved raises are read whole: shorter than the list of ids."""


@dataclass(frozen=True, slots=True)
class Term:
    """An amount in nano-dollars (below zero where a transfer took it away), from a moment to before another, UTC."""

    nano_usd: int
    starts_at: datetime
    ends_at: datetime

    def __contains__(self, moment: datetime) -> bool:
        return self.starts_at <= moment < self.ends_at


def in_force(budget_ids: Collection[int] | None, now: datetime) -> dict[int, list[Term]]:
    """Approved terms that are in force at `now` or will be, by budget id, the earliest start first. One query.

    None reads them of every budget. Budgets without a term are absent. Raises, emergency raises, both sides of
    transfers and resets alike: the limit in force at a moment is the base, the carry-over and the sum of the terms
    that contain the moment, and never below zero.
    """
    rows = Raise.objects.filter(status=Raise.Status.APPROVED, ends_at__gt=now, budget__isnull=False)
    if budget_ids is not None and len(budget_ids) <= _MOST_IDS:
        rows = rows.filter(budget__in=list(budget_ids))
    wanted = None if budget_ids is None else frozenset(budget_ids)
    terms: dict[int, list[Term]] = defaultdict(list)
    columns = ("budget_id", "amount_nano_usd", "starts_at", "ends_at")
    for budget_id, nano_usd, starts_at, ends_at in rows.order_by("starts_at", "pk").values_list(*columns):
        if wanted is None or budget_id in wanted:
            terms[budget_id].append(Term(nano_usd, starts_at, ends_at))
    return dict(terms)


def raised(terms: Collection[Term], moment: datetime) -> int:
    """What the terms that contain a moment add to the limit, in nano-dollars; may be below zero."""
    return sum(term.nano_usd for term in terms if moment in term)
