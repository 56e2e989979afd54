"""What was charged without a price, and tokens that cost nothing."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.contrib.auth.models import User
from ulid import ULID

from governance.models import Customer, LedgerEntry, Membership
from governance.selectors_prices import PriceGap, unpriced_models, zero_cost_models

pytestmark = pytest.mark.django_db
SINCE = datetime(2026, 11, 1, tzinfo=UTC)


def entry(day: int, amount: int, model: str = "claude-new", **values: Any) -> LedgerEntry:
    identity = str(ULID())
    defaults = {
        "id": identity, "request_id": identity, "occurred_at": SINCE + timedelta(days=day), "customer_id": 1,
        "team_id": 1, "virtual_key_id": 1, "model": model, "amount_nano_usd": amount, "tokens": 100, "price_id": None,
    }  # fmt: skip
    return LedgerEntry.objects.create(**{**defaults, **values})


def test_models_without_a_price_are_summed_since_a_moment() -> None:
    entry(-1, 1_000)
    entry(2, 500)
    entry(5, 700)
    entry(3, 9_000, "claude-other")
    entry(3, 9, "claude-opus-5-5", price_id=4)
    entry(4, 0, "claude-free-refusal")
    assert unpriced_models(SINCE) == [
        PriceGap("claude-other", SINCE + timedelta(days=3), SINCE + timedelta(days=3), 1, 100, 9_000),
        PriceGap("claude-new", SINCE + timedelta(days=2), SINCE + timedelta(days=5), 2, 200, 1_200),
    ]


def test_a_repriced_request_is_settled() -> None:
    charge = entry(1, 500)
    left = entry(2, 300)
    entry(1, -200, kind="adjustment", request_id=charge.pk, price_id=9, tokens=0)
    assert [(gap.requests, gap.charged_nano_usd, gap.last_seen) for gap in unpriced_models(SINCE)] == [
        (1, 300, left.occurred_at)
    ]


def test_tokens_at_no_cost_are_told_unless_the_model_is_charged_otherwise() -> None:
    entry(1, 0, "claude-bargain", price_id=3)
    entry(2, 0, "claude-bargain", price_id=3)
    entry(1, 0, "claude-opus-5-5", price_id=4)  # a refusal
    entry(2, 7, "claude-opus-5-5", price_id=4)
    entry(1, 0, "claude-counted", price_id=5, tokens=0)
    assert [(gap.model, gap.requests, gap.tokens) for gap in zero_cost_models(SINCE)] == [("claude-bargain", 2, 200)]


def test_people_see_what_their_customers_were_charged() -> None:
    acme, globex = (Customer.objects.create(name=name) for name in ("Acme", "Globex"))
    entry(1, 5, customer_id=acme.pk)
    entry(1, 7, customer_id=globex.pk)
    alice = User.objects.create_user("alice")
    Membership.objects.create(user=alice, customer=acme)
    assert [gap.charged_nano_usd for gap in unpriced_models(SINCE, user=alice)] == [5]
    assert [gap.charged_nano_usd for gap in unpriced_models(SINCE)] == [12]
