"""Alarms about prices: a model that was charged without one, and tokens that cost nothing."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta

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


def raise_alarms(charges: Iterable[Charges], now: datetime) -> list[Alert]:
    """Record each once for its customer, model and day; gives those that are new."""
    keyed = {f"{one.kind}:{one.customer_id}:{one.day}:{one.model}"[:300]: one for one in charges}
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
                    kind=one.kind,
                    created_at=now,
                    customer=customer,
                    customer_name=customer.name if customer else "",
                    contact=customer.contact if customer else "",
                    period="day",
                    period_start=begins,
                    period_end=begins + timedelta(days=1),
                    model=one.model,
                    requests=one.requests,
                    tokens=one.tokens,
                    spent_nano_usd=one.nano_usd,
                )
            )
        )
    return record(found)
