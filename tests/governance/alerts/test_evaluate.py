"""Once per budget, period and threshold; the highest is told; a new period starts anew."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from governance.alerts.evaluate import evaluate
from governance.domain.ids import new_ulid
from governance.models import Alert, AlertChannel, AlertDelivery, Budget, Customer, Team, VirtualKey
from governance.services import alerts
from governance.tasks import evaluate_alerts
from tests.fakes.mail import MailServer
from tests.governance.alerts.conftest import NOW, USD, Spend

pytestmark = pytest.mark.django_db


def thresholds(found: list[Alert]) -> list[int | None]:
    return [alert.threshold for alert in found]


def test_each_threshold_is_told_once(budget: Budget, spend: Spend) -> None:
    assert evaluate(NOW) == []
    spend(49.999999999)
    assert evaluate(NOW) == []
    spend(0.000000001)
    assert thresholds(evaluate(NOW)) == [50]
    assert evaluate(NOW) == evaluate(NOW + timedelta(days=3)) == []
    spend(30)
    assert thresholds(evaluate(NOW)) == [80]
    assert AlertDelivery.objects.filter(alert__threshold=80).count() == 2


def test_a_jump_over_several_tells_the_highest_and_records_all(budget: Budget, spend: Spend) -> None:
    spend(96)
    assert thresholds(evaluate(NOW)) == [50, 80, 95]
    assert list(Alert.objects.filter(told=True).values_list("threshold", flat=True)) == [95]
    sent_to = AlertDelivery.objects.values_list("alert__threshold", "destination").order_by("destination")
    assert list(sent_to) == [(95, "boss@acme.test"), (95, "owner@acme.test")]


def test_a_new_period_starts_anew(budget: Budget, spend: Spend) -> None:
    spend(60)
    assert thresholds(evaluate(NOW)) == [50]
    # Still November in UTC, December already in the budget's own zone.
    december = datetime(2026, 11, 30, 23, 30, tzinfo=UTC)
    assert evaluate(december) == []
    spend(85, at=december)
    assert thresholds(evaluate(december)) == [50, 80]
    told = Alert.objects.get(told=True, threshold=80)
    assert told.period_start == datetime(2026, 11, 30, 23, tzinfo=UTC)
    assert told.timezone == "Europe/Berlin"


def test_a_limit_that_is_raised_does_not_fire_a_threshold_twice(budget: Budget, spend: Spend) -> None:
    spend(85)
    assert thresholds(evaluate(NOW)) == [50, 80]
    Budget.objects.update(limit_nano_usd=200 * USD)
    assert evaluate(NOW) == []
    spend(90)  # 175 of 200: 80% again, of another limit
    assert evaluate(NOW) == []
    spend(20)
    assert thresholds(evaluate(NOW)) == [95]
    assert Alert.objects.get(threshold=95).limit_nano_usd == 200 * USD


def test_the_facts_of_the_moment_are_kept(budget: Budget, spend: Spend) -> None:
    spend(80)
    [_, eighty] = evaluate(NOW)
    alert = Alert.objects.get(pk=eighty.pk)
    assert (alert.spent_nano_usd, alert.limit_nano_usd) == (80 * USD, 100 * USD)
    assert (alert.customer_name, alert.team_name, alert.scope) == ("Acme", "Core", "team")
    assert alert.contact == "boss@acme.test"
    assert alert.period_end == datetime(2026, 11, 30, 23, tzinfo=UTC)
    assert alert.forecast_nano_usd is not None
    assert alert.forecast_nano_usd > 100 * USD
    assert alert.runs_out_at is not None
    name = str(budget)
    budget.delete()
    alert.refresh_from_db()
    assert (alert.budget_id, alert.budget_name, alert.customer_name) == (None, name, "Acme")


def test_watched_budgets_tell_and_those_without_thresholds_or_switched_off_do_not(
    key: VirtualKey, spend: Spend
) -> None:
    common = {"scope": "virtual_key", "virtual_key": key, "limit_nano_usd": USD}
    watched = Budget.objects.create(**common, enforcement="observe", alerts=[100])
    Budget.objects.create(**common, alerts=[])
    Budget.objects.create(**common, alerts=[100], is_active=False)
    spend(2)
    assert [alert.budget_id for alert in evaluate(NOW)] == [watched.pk]


def test_a_lifetime_budget_is_told_once_for_good(key: VirtualKey, spend: Spend) -> None:
    Budget.objects.create(scope="team", team=key.team, limit_nano_usd=10 * USD, period="lifetime", alerts=[50])
    spend(5)
    assert thresholds(evaluate(NOW)) == [50]
    assert evaluate(NOW + timedelta(days=800)) == []
    assert Alert.objects.get().period_start is None


def test_a_rolling_budget_is_told_again_when_the_last_alert_has_left_the_window(key: VirtualKey, spend: Spend) -> None:
    Budget.objects.create(scope="team", team=key.team, limit_nano_usd=10 * USD, period="day", rolling=7, alerts=[50])
    told = []
    for day in range(16):
        moment = NOW + timedelta(days=day)
        if day % 2 == 0:
            spend(2, at=moment)
        told += [day] if evaluate(moment + timedelta(minutes=1)) else []
    # Three charges of 2 USD lie within each 7 days from the third on; then it is told once a window, not once a day.
    assert told == [4, 11]


def test_channels_hear_from_their_own_percentage_on(budget: Budget, spend: Spend) -> None:
    acme, globex = budget.customer, Customer.objects.create(name="Globex")
    common: Any = {"kind": "email", "actor": None}
    for name, customer, least in (
        ("all", acme, 50), ("late", acme, 80), ("never", acme, None), ("ops", None, 80), ("theirs", globex, 50),
    ):  # fmt: skip
        alerts.create_channel(customer=customer, name=name, emails=[f"{name}@x.test"], thresholds_from=least, **common)
    off, _ = alerts.create_channel(customer=acme, name="off", emails=["off@x.test"], **common)
    alerts.change_channel(channel=off, is_active=False, actor=None)
    # Who is the owner and on a list as well hears once.
    alerts.create_channel(customer=acme, name="list", emails=["OWNER@acme.test"], **common)
    spend(80)
    evaluate(NOW)
    told = AlertDelivery.objects.values_list("destination", flat=True)
    assert sorted(told) == ["all@x.test", "boss@acme.test", "late@x.test", "ops@x.test", "owner@acme.test"]


def test_the_queries_do_not_grow_with_the_budgets(key: VirtualKey, spend: Spend) -> None:
    def budgets(count: int) -> None:
        teams = Team.objects.bulk_create(
            Team(customer=key.team.customer, name=f"{count} {number}") for number in range(count)
        )
        Budget.objects.bulk_create(
            Budget(scope="team", team=team, customer=team.customer, limit_nano_usd=USD, alerts=[50]) for team in teams
        )

    budgets(10)
    spend(1)
    evaluate(NOW)
    with CaptureQueriesContext(connection) as few:
        evaluate(NOW)
    budgets(300)
    with CaptureQueriesContext(connection) as many:
        evaluate(NOW)
    assert len(many) <= len(few)


def test_the_task_sends_what_is_new_at_once_and_gives_counts(budget: Budget, spend: Spend, mail: MailServer) -> None:
    spend(80, at=datetime.now(UTC))
    assert evaluate_alerts() == {"thresholds": 2, "raises": 0, "providers": 0}
    assert set(AlertDelivery.objects.values_list("destination", "status")) == {
        ("owner@acme.test", "sent"),
        ("boss@acme.test", "sent"),
    }
    assert len(mail.messages) == 2
    assert evaluate_alerts() == {"thresholds": 0, "raises": 0, "providers": 0}
    assert len(mail.messages) == 2


def test_the_key_of_an_alert_is_unique(budget: Budget, spend: Spend) -> None:
    spend(50)
    [alert] = evaluate(NOW)
    again = Alert.objects.get()
    again.pk = new_ulid()
    again._state.adding = True
    assert Alert.objects.bulk_create([again], ignore_conflicts=True)
    assert Alert.objects.get().pk == alert.pk
    assert AlertChannel.objects.count() == 0
