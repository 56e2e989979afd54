"""Missing prices and tokens that cost nothing, found in the log as its hours are rolled up."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.db import connection
from ulid import ULID

from governance.alerts.messages import compose
from governance.models import Alert, AlertDelivery, Budget, Customer
from governance.services import alerts
from observability import alarms, rollups
from observability.models import ChangedHour, HourlyUsage, Request
from observability.tasks import roll_up

pytestmark = pytest.mark.django_db
HOUR = datetime(2026, 11, 22, 9, tzinfo=UTC)


@pytest.fixture
def acme() -> Customer:
    return Customer.objects.create(name="Acme", contact="finance@acme.test")


def request(customer: Customer, at: datetime = HOUR, **values: Any) -> None:
    Request.objects.create(
        id=str(ULID()), started_at=at, finished_at=at, customer_id=customer.pk, customer=customer.name,
        **{"status": "success", "model": "claude-new", "input_tokens": 10, "output_tokens": 5, **values},
    )  # fmt: skip
    rollups.mark([at])


def unpriced(customer: Customer, at: datetime = HOUR, **values: Any) -> None:
    request(customer, at, cost_quality="unpriced", cost_nano_usd=2_000_000_000, **values)


def told() -> list[tuple[str, str | None, str]]:
    return sorted(Alert.objects.values_list("kind", "customer__name", "model"))


def test_a_model_without_a_price_is_told_once_a_day_for_each_customer(acme: Customer) -> None:
    globex = Customer.objects.create(name="Globex")
    alerts.create_channel(customer=acme, name="list", kind="email", emails=["list@x.test"], actor=None)
    unpriced(acme)
    unpriced(acme)
    unpriced(globex)
    roll_up()
    unpriced(acme, HOUR + timedelta(hours=3))
    unpriced(acme, model="claude-other")
    roll_up()
    assert told() == [
        ("unpriced", "Acme", "claude-new"), ("unpriced", "Acme", "claude-other"), ("unpriced", "Globex", "claude-new"),
    ]  # fmt: skip
    assert AlertDelivery.objects.count() == 2
    message = compose(Alert.objects.get(customer=acme, model="claude-new"))
    assert message.title == "claude-new has no price"
    assert message.text.startswith("2 requests with 30 tokens of claude-new had no price in the list")
    assert "$4.00 so far" in message.text
    assert message.payload["type"] == "price.missing"
    unpriced(acme, HOUR + timedelta(days=1))
    roll_up()
    assert Alert.objects.filter(customer=acme, model="claude-new").count() == 2


def test_rows_that_come_late_are_found(acme: Customer) -> None:
    request(acme, cost_nano_usd=5)
    roll_up()
    assert told() == []
    unpriced(acme)  # a spool that was replayed hours later
    roll_up()
    assert told() == [("unpriced", "Acme", "claude-new")]


def test_tokens_that_cost_nothing_are_an_alarm(acme: Customer) -> None:
    request(acme, cost_nano_usd=0)
    request(acme, cost_nano_usd=0, status="cancelled", input_tokens=0, cache_read_tokens=3, output_tokens=0)
    roll_up()
    [alert] = Alert.objects.all()
    assert (alert.kind, alert.requests, alert.tokens) == ("zero_cost", 2, 18)
    assert compose(alert).payload["type"] == "price.zero"


@pytest.mark.parametrize(
    "free",
    [
        {"stop_reason": "refusal"},
        {"cache": "hit_exact"},
        {"input_tokens": 0, "output_tokens": 0},
        {"status": "refused"},
        {"status": "error"},
        {"cost_nano_usd": 1},
    ],
)
def test_what_is_free_by_rule_is_none(acme: Customer, free: dict[str, Any]) -> None:
    request(acme, **{"cost_nano_usd": 0, **free})
    roll_up()
    assert told() == []


def test_an_alarm_that_fails_keeps_no_figures_back_and_is_not_lost(
    acme: Customer, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(hour: datetime) -> list[Alert]:
        Alert.objects.create(id="half of it", key="x", kind="unpriced", created_at=hour)
        with connection.cursor() as cursor:
            cursor.execute("SELECT no_such_column")
        return []

    unpriced(acme)
    with monkeypatch.context() as patched:
        patched.setattr(alarms, "watch", broken)
        assert roll_up() == 1
        assert HourlyUsage.objects.get().requests == 1
        assert (told(), ChangedHour.objects.count()) == ([], 1)
        assert "tried again" in caplog.text
        # Hours whose figures wait come before those that wait for their alarms alone.
        later = HOUR + timedelta(hours=1)
        request(acme, later, cost_nano_usd=5)
        assert rollups.roll_up(limit=1) == 1
        assert HourlyUsage.objects.filter(hour=later).exists()
        unpriced(acme)
    roll_up()
    assert told() == [("unpriced", "Acme", "claude-new")]
    assert HourlyUsage.objects.get(hour=HOUR).requests == 2
    assert not ChangedHour.objects.exists()


def refusal(customer: Customer, budget: Budget, at: datetime, **values: Any) -> None:
    decision = {"budget_id": budget.pk, "budget": str(budget), "refused": True}
    request(customer, at, status="refused", error_type="billing_error", budget_decision=[decision], **values)


def test_a_hard_budget_tells_its_100_percent_when_it_begins_to_refuse(acme: Customer) -> None:
    now = datetime.now(UTC)
    common: Any = {"scope": "customer", "customer": acme, "limit_nano_usd": 10**9, "period": "day"}
    hard = Budget.objects.create(name="hard", enforcement="hard", alerts=[80, 100], owner_email="o@x.test", **common)
    quiet = Budget.objects.create(name="quiet", enforcement="hard", alerts=[80], **common)
    stop = Budget.objects.create(name="stop", enforcement="stop", alerts=[100], **common)
    long_ago = now - timedelta(days=3)
    for budget in (hard, quiet, stop):
        refusal(acme, budget, long_ago, model=f"claude {budget.pk}")
        if budget != hard:
            refusal(acme, budget, now, model=f"claude {budget.pk}")
    roll_up()
    assert told() == []  # in another period, without 100, or of a kind that tells by itself
    refusal(acme, hard, now)
    refusal(acme, hard, now)
    # What a limit of requests refuses says nothing of the budget beside it.
    request(acme, now, status="refused", error_type="rate_limit_error", budget_decision=[{"budget_id": quiet.pk}])
    roll_up()
    refusal(acme, hard, now)
    roll_up()
    [alert] = Alert.objects.all()
    assert (alert.budget_id, alert.threshold, alert.spent_nano_usd) == (hard.pk, 100, 0)
    message = compose(alert)
    assert message.title == "hard: requests are refused"
    assert message.text.startswith(
        "$0.00 of $1.00 is spent, 0%. A request that might have passed the limit was refused"
    )
    assert [one.destination for one in AlertDelivery.objects.all()] == ["o@x.test"]


def test_a_rule_that_fails_is_told_once_a_day_for_each_customer(acme: Customer) -> None:
    alerts.create_channel(customer=acme, name="list", kind="email", emails=["list@x.test"], actor=None)
    alerts.create_channel(customer=acme, name="quiet", kind="email", emails=["q@x.test"], on_routing=False, actor=None)
    steps = [
        {"rule": "bad", "id": 7, "scope": "global", "told": '"x-a" is not there', "failed": True},
        {"rule": "good", "id": 8, "scope": "global", "told": "refused"},
    ]
    for at in (HOUR, HOUR, HOUR + timedelta(hours=2)):
        request(acme, at, routing={"looked": 2, "steps": steps, "failed": [7]}, cost_nano_usd=1)
        roll_up()
    request(acme, routing={"looked": 1, "steps": steps[1:]}, cost_nano_usd=1)
    roll_up()
    (alert,) = Alert.objects.all()
    assert (alert.kind, alert.customer, alert.requests, str(alert)) == (
        "routing", acme, 1, "Routing rule that fails: bad",
    )  # fmt: skip
    message = compose(alert)
    assert message.title == "Routing rule bad fails"
    assert message.text == (
        'For 1 request it could not be worked out, so it was passed over: "x-a" is not there. Correct its condition.'
    )
    assert message.payload["type"] == "routing.failed"
    assert [delivery.destination for delivery in AlertDelivery.objects.all()] == ["list@x.test"]
