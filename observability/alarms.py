"""Find, in the hours of the request log that changed, what somebody should be told.

Models without a price, tokens that cost nothing, refusals by budgets, and routing rules that fail.

The roll-up calls it for each hour before it takes the hour's mark away: no row, however late it is written, is missed.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from datetime import datetime, timedelta

from django.db.models import Count, F, Max, Q, Sum
from django.utils import timezone

from governance.alerts.alarms import Charges, RuleFailures, raise_alarms, tell_rule_failures
from governance.alerts.evaluate import tell_refusals
from governance.models import Alert
from observability.models import Request

_TOKENS = (
    F("input_tokens")
    + F("output_tokens")
    + F("cache_read_tokens")
    + F("cache_write_5m_tokens")
    + F("cache_write_1h_tokens")
)

_UNPRICED = Q(cost_quality=Request.CostQuality.UNPRICED, cost_nano_usd__gt=0)
# Free by rule: a refusal of the model without content, and what our own cache answered.
_FREE = ~Q(stop_reason="refusal") & Q(cache=Request.Cache.NONE, status__in=["success", "cancelled"])
_ZERO = Q(cost_nano_usd=0, used__gt=0) & _FREE


def watch(hour: datetime) -> list[Alert]:
    """Raise the alarms of one hour (its start, UTC), each once for its customer, model and day."""
    charges = Request.objects.filter(
        started_at__gte=hour, started_at__lt=hour + timedelta(hours=1), customer_id__isnull=False
    ).annotate(used=_TOKENS)
    found = [
        *_grouped(Alert.Kind.UNPRICED, charges.filter(_UNPRICED), hour),
        *_grouped(Alert.Kind.ZERO_COST, charges.filter(_ZERO), hour),
    ]
    now = timezone.now()
    told = raise_alarms(found, now) if found else []
    if refused := _refused(hour):
        told += tell_refusals(refused, now)
    if failures := _failing_rules(hour):
        told += tell_rule_failures(failures, now)
    return told


_MOST_FAILURES = 2_000
"""Rows with a failing rule that are opened for one hour: the newest say enough."""


def _failing_rules(hour: datetime) -> list[RuleFailures]:
    rows = Request.objects.filter(
        started_at__gte=hour,
        started_at__lt=hour + timedelta(hours=1),
        customer_id__isnull=False,
        routing__has_key="failed",
    ).order_by("-started_at", "-id")
    counted: Counter[tuple[str, int]] = Counter()
    reasons: dict[tuple[str, int], str] = {}
    for customer_id, routing in rows.values_list("customer_id", "routing")[:_MOST_FAILURES]:
        for step in routing.get("steps", ()):
            if step.get("failed"):
                which = (step["rule"], customer_id)
                counted[which] += 1
                reasons.setdefault(which, step["told"])
    return [
        RuleFailures(rule, customer_id, hour.date(), number, reasons[rule, customer_id])
        for (rule, customer_id), number in counted.items()
    ]


def _refused(hour: datetime) -> dict[int, datetime]:
    """The budgets that refused requests, by id, each with the moment of one.

    Only the newest refusal of each key and model is opened: there may be thousands, and the next look, a minute later,
    opens the next.
    """
    rows = Request.objects.filter(
        started_at__gte=hour, started_at__lt=hour + timedelta(hours=1), status=Request.Status.REFUSED
    ).exclude(budget_decision=[])
    newest = rows.order_by().values("virtual_key_id", "model", "error_type").annotate(last=Max("id")).values("last")
    return {
        decision["budget_id"]: at
        for at, decisions in rows.filter(id__in=newest).values_list("started_at", "budget_decision")
        for decision in decisions
        if decision.get("refused") and decision.get("budget_id") is not None
    }


def _grouped(kind: str, charges: object, hour: datetime) -> Iterable[Charges]:
    for row in (
        charges.order_by()  # type: ignore[attr-defined]
        .values("customer_id", "model")
        .annotate(count=Count("id"), tokens=Sum("used"), cost=Sum("cost_nano_usd"))
    ):
        yield Charges(
            kind, row["customer_id"], row["model"], hour.date(), row["count"], int(row["tokens"]), int(row["cost"])
        )
