"""Alarms of the request log: a model charged without a price, tokens that cost nothing, routing rules that fail."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from typing import Any, TypeVar

from governance.alerts.record import Found, record
from governance.models import Alert, Customer


@dataclass(frozen=True, slots=True)
class Charges:
    """What was charged to one customer for one model on one UTC day, as far as it is an alarm of `kind`."""

    kind: str
    """Alert.Kind.UNPRICED or ZERO_COST."""
    customer_id: int
    model: str
    day: date
    requests: int
    tokens: int
    nano_usd: int


@dataclass(frozen=True, slots=True)
class RuleFailures:
    """How often a routing rule failed for one customer's requests on one UTC day, and the last reason."""

    rule: str
    customer_id: int
    day: date
    requests: int
    reason: str


def raise_alarms(charges: Iterable[Charges], now: datetime) -> list[Alert]:
    """Record each once for its customer, model and day; gives those that are new."""
    keyed = {f"{one.kind}:{one.customer_id}:{one.day}:{one.model}"[:300]: one for one in charges}
    return _record(
        keyed,
        now,
        lambda one: {
            "kind": one.kind, "model": one.model, "requests": one.requests, "tokens": one.tokens,
            "spent_nano_usd": one.nano_usd,
        },
    )  # fmt: skip


def tell_rule_failures(failures: Iterable[RuleFailures], now: datetime) -> list[Alert]:
    """Record each once for its rule, customer and day; gives those that are new."""
    keyed = {f"{Alert.Kind.ROUTING}:{one.customer_id}:{one.day}:{one.rule}"[:300]: one for one in failures}
    return _record(
        keyed,
        now,
        lambda one: {
            "kind": Alert.Kind.ROUTING, "target_name": one.rule, "requests": one.requests, "note": one.reason[:900],
        },
    )  # fmt: skip


_One = TypeVar("_One", Charges, RuleFailures)


def _record(keyed: dict[str, _One], now: datetime, figures: Callable[[_One], dict[str, Any]]) -> list[Alert]:
    """Those of them that are not told yet, each as an alert about one customer and day."""
    for key in Alert.objects.filter(key__in=keyed).values_list("key", flat=True):
        del keyed[key]
    customers = Customer.objects.in_bulk({one.customer_id for one in keyed.values()})
    found = []
    for key, one in keyed.items():
        customer = customers.get(one.customer_id)
        begins = datetime.combine(one.day, time(), UTC)
        found.append(
            Found(
                Alert(
                    key=key,
                    created_at=now,
                    customer=customer,
                    customer_name=customer.name if customer else "",
                    contact=customer.contact if customer else "",
                    period="day",
                    period_start=begins,
                    period_end=begins + timedelta(days=1),
                    **figures(one),
                )
            )
        )
    return record(found)
