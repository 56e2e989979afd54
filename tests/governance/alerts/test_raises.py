"""Each step of a raise is told once, to those whom it concerns."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.contrib.auth.models import User

from governance.alerts.messages import compose
from governance.alerts.raises import tell_of_raises
from governance.models import Alert, AlertDelivery, Budget, Raise, Team
from governance.services import alerts
from tests.governance.alerts.conftest import NOW, USD

pytestmark = pytest.mark.django_db


@pytest.fixture
def asked(budget: Budget) -> Raise:
    ada = User.objects.create_user("ada", email="ada@acme.test")
    row = Raise.objects.create(
        budget=budget, budget_name=str(budget), customer=budget.customer, team=budget.team, amount_nano_usd=50 * USD,
        reason="launch week", requester=ada, requester_name="ada", starts_at=NOW, ends_at=NOW + timedelta(days=2),
    )  # fmt: skip
    Raise.objects.update(created_at=NOW - timedelta(minutes=1))
    row.refresh_from_db()
    return row


def told() -> list[str]:
    return sorted(AlertDelivery.objects.values_list("destination", flat=True))


def test_the_approver_hears_of_a_request_once(asked: Raise) -> None:
    alerts.create_channel(customer=asked.customer, name="list", kind="email", emails=["list@x.test"], actor=None)
    alerts.create_channel(
        customer=asked.customer, name="no", kind="email", emails=["no@x.test"], on_raises=False, actor=None
    )
    [alert] = tell_of_raises(NOW)
    assert tell_of_raises(NOW) == []
    assert told() == ["boss@acme.test", "list@x.test"]
    message = compose(alert)
    assert message.title == f"{asked.budget_name}: raise asked for"
    assert message.text == (
        "A raise of $50.00 until 2026-11-24 13:00 (Europe/Berlin) was asked for by ada and waits for a decision. "
        "Reason: launch week"
    )
    assert (message.payload["type"], message.payload["amount_usd"]) == ("raise.requested", "50")


def test_the_decision_and_the_end_are_told_to_all_concerned(asked: Raise) -> None:
    tell_of_raises(NOW)
    Raise.objects.update(status="approved", decided_by_name="boss", decided_at=NOW, decision_note="once")
    [approved] = tell_of_raises(NOW)
    assert sorted(approved.deliveries.values_list("destination", flat=True)) == [
        "ada@acme.test", "boss@acme.test", "owner@acme.test",
    ]  # fmt: skip
    assert "decided by boss. “once”" in approved.note
    assert tell_of_raises(asked.ends_at - timedelta(seconds=1)) == []
    [ended] = tell_of_raises(asked.ends_at)
    assert ended.event == "ended"
    assert tell_of_raises(asked.ends_at + timedelta(hours=1)) == []


def test_a_declined_one_has_no_end(asked: Raise) -> None:
    Raise.objects.update(status="declined", decided_by_name="boss", decided_at=NOW)
    assert {alert.event for alert in tell_of_raises(NOW)} == {"requested", "declined"}
    assert tell_of_raises(asked.ends_at) == []


def test_what_is_old_is_no_news(asked: Raise) -> None:
    assert tell_of_raises(NOW + timedelta(days=1, hours=1)) == []
    assert not Alert.objects.exists()


def test_a_reset_that_waits_is_told_and_an_emergency_raise_waits_for_nobody(asked: Raise) -> None:
    Raise.objects.update(kind="reset")
    [alert] = tell_of_raises(NOW)
    assert (alert.event, told()) == ("requested", ["boss@acme.test"])
    assert alert.note.startswith("A reset of $50.00 until")
    Raise.objects.update(kind="emergency", status="approved", decided_at=NOW, decided_by_name="the reserve")
    assert [one.event for one in tell_of_raises(NOW)] == ["approved"]


def test_a_transfer_is_told_to_those_who_give_as_well(asked: Raise) -> None:
    other = Team.objects.create(customer=asked.customer, name="Rich")
    giving = Budget.objects.create(
        scope="team", team=other, limit_nano_usd=100 * USD, owner_email="rich@acme.test",
        approver_email="rich-boss@acme.test",
    )  # fmt: skip
    half = Raise.objects.create(
        kind="transfer", budget=giving, budget_name="Rich per month", customer=asked.customer, team=other,
        amount_nano_usd=-50 * USD, reason="launch week", requester=asked.requester, requester_name="ada",
        starts_at=asked.starts_at, ends_at=asked.ends_at, counterpart=asked,
    )  # fmt: skip
    Raise.objects.update(created_at=NOW - timedelta(minutes=1))
    Raise.objects.filter(pk=asked.pk).update(kind="transfer", counterpart=half)
    [requested] = tell_of_raises(NOW)
    assert told() == ["boss@acme.test", "rich-boss@acme.test", "rich@acme.test"]
    assert requested.note.startswith("A transfer of $50.00 from “Rich per month” until")
    Raise.objects.update(status="approved", decided_by_name="boss", decided_at=NOW)
    [approved] = tell_of_raises(NOW)
    assert sorted(approved.deliveries.values_list("destination", flat=True)) == [
        "ada@acme.test", "boss@acme.test", "owner@acme.test", "rich-boss@acme.test", "rich@acme.test",
    ]  # fmt: skip
