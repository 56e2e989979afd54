"""The sweep over all budgets with thresholds: finds what was passed since the last look and records it, once a period.

It keeps no state of its own: an alert's unique key says that it was told. So it may run at any time, any number of
times and on several workers at once; one that was missed is made up for by the next.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from datetime import UTC, datetime

from django.db.models import Max, QuerySet

from governance.alerts.record import Found, record
from governance.domain.alerts import passed
from governance.models import Alert, Budget
from governance.selectors import BudgetStatus, budget_statuses

CHUNK = 500
"""Budgets that are read, judged and recorded together."""

_RELATED = (
    "customer", "team", "project__customer", "developer", "virtual_key", "provider_access__virtual_key",
    "provider_access__provider",
)  # fmt: skip


def evaluate(now: datetime) -> list[Alert]:
    """Record the thresholds that budgets have passed by `now`; gives the alerts that are new."""
    new: list[Alert] = []
    for budgets in _chunks(Budget.objects.filter(is_active=True).exclude(alerts=[])):
        reached = [
            (status, threshold)
            for status in budget_statuses(budgets, now).values()
            for threshold in passed(spent=status.spent, limit=status.limit, thresholds=status.budget.alerts)
        ]
        if reached:
            new += record(list(_not_told_yet(reached, now)))
    return new


def tell_refusals(refused: Mapping[int, datetime], now: datetime) -> list[Alert]:
    """Tell, at 100%, of the hard budgets that refused a request at these moments, by id; gives the new alerts.

    A hard budget refuses what might not fit and may so stay below its limit for good: its refusals are what 100% is
    of the others. Only refusals in the current period count; it is the same alert as 100% by the sweep, told once.
    """
    budgets = Budget.objects.filter(pk__in=refused, is_active=True, enforcement=Budget.Enforcement.HARD)
    hard = [budget for budget in budgets.select_related(*_RELATED) if 100 in budget.alerts]
    reached = [
        (status, 100)
        for status in budget_statuses(hard, now).values()
        if status.window.starts_at <= refused[status.budget.pk] <= now
    ]
    return record(list(_not_told_yet(reached, now))) if reached else []


def _chunks(budgets: QuerySet[Budget]) -> Iterator[list[Budget]]:
    """In the order of their ids, each chunk starting after the last one: nothing is held open meanwhile."""
    last = 0
    ordered = budgets.select_related(*_RELATED).order_by("pk")
    while chunk := list(ordered.filter(pk__gt=last)[:CHUNK]):
        yield chunk
        last = chunk[-1].pk


def _not_told_yet(reached: list[tuple[BudgetStatus, int]], now: datetime) -> Iterator[Found]:
    previous = _previous([status.budget.pk for status, _ in reached if status.budget.rolling])
    keyed = {}
    for status, threshold in reached:
        key = _key(status, threshold, previous)
        if key:
            keyed[key] = (status, threshold)
    known = set(Alert.objects.filter(key__in=keyed).values_list("key", flat=True))
    for key, (status, threshold) in keyed.items():
        if key not in known:
            yield _found(key, status, threshold, now)


def _key(status: BudgetStatus, threshold: int, previous: dict[tuple[int, int], datetime]) -> str:
    """What makes it once: budget, period and threshold; empty where a rolling budget was told of it lately.

    The limit is no part of it: a threshold that is reached again after the limit was raised is not told twice.
    A rolling window has no beginning that could name the period. It is told again when the last alert has left the
    window; the time of that alert names the turn, so that two workers still agree on one key.
    """
    budget = status.budget
    if not budget.rolling:
        return (
            f"budget:{budget.pk}:{budget.period}:{status.window.starts_at.astimezone(UTC):%Y-%m-%dT%H:%MZ}:{threshold}"
        )
    last = previous.get((budget.pk, threshold))
    if last is not None and last > status.window.starts_at:
        return ""
    after = last.astimezone(UTC).isoformat() if last else "the first"
    return f"budget:{budget.pk}:last {budget.rolling} {budget.period}:{after}:{threshold}"


def _previous(rolling: Iterable[int]) -> dict[tuple[int, int], datetime]:
    """When each threshold of these budgets was last told of."""
    found = (
        Alert.objects.filter(budget__in=set(rolling), kind=Alert.Kind.THRESHOLD)
        .order_by()
        .values_list("budget_id", "threshold")
        .annotate(last=Max("created_at"))
    )
    return {(budget, threshold): last for budget, threshold, last in found}


def _found(key: str, status: BudgetStatus, threshold: int, now: datetime) -> Found:
    budget = status.budget
    alert = Alert(
        key=key,
        kind=Alert.Kind.THRESHOLD,
        created_at=now,
        customer=budget.customer,
        customer_name=budget.customer.name,
        team=budget.team,
        team_name=budget.team.name if budget.team else "",
        budget=budget,
        budget_name=str(budget)[:300],
        scope=budget.scope,
        target_name=str(budget.target)[:300],
        enforcement=budget.enforcement,
        contact=budget.approver_email or budget.customer.contact,
        period=f"last {budget.rolling} {budget.period}s" if budget.rolling else budget.period,
        # "Lifetime" begins in 1970 for the ledger, and nowhere for a reader.
        period_start=None if budget.period == Budget.Period.LIFETIME else status.window.starts_at,
        period_end=status.resets_at,
        timezone=status.zone.key,
        threshold=threshold,
        spent_nano_usd=status.spent,
        limit_nano_usd=status.limit,
        forecast_nano_usd=status.forecast,
        runs_out_at=status.runs_out_at,
    )
    return Found(alert, ((budget.owner_email, "owner"), (budget.approver_email, "approver")))
