"""A rejected credential and a breaker that stays open are told once, and once when they are over."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.utils import timezone

from governance.alerts import providers
from governance.alerts.messages import compose
from governance.alerts.providers import watch
from governance.models import Alert, AlertDelivery, Customer, Provider
from governance.services import alerts
from tests.governance.provider_world import ONE, SINCE, TWO, credential, dead, process, provider, tell

pytestmark = pytest.mark.django_db
NOW = SINCE + timedelta(seconds=90)


@pytest.fixture
def anthropic() -> Provider:
    process(ONE)
    return provider()


def events() -> list[str]:
    return list(Alert.objects.order_by("created_at", "pk").values_list("event", flat=True))


def test_a_rejected_credential_is_told_once_however_many_processes_find_it(anthropic: Provider) -> None:
    alerts.create_channel(customer=None, name="ops", kind="email", emails=["ops@x.test"], actor=None)
    alerts.create_channel(customer=None, name="no", kind="email", emails=["no@x.test"], on_providers=False, actor=None)
    acme = Customer.objects.create(name="Acme")
    alerts.create_channel(customer=acme, name="acme", kind="email", emails=["acme@x.test"], actor=None)
    tell(ONE, anthropic, "down", dead())
    (alert,) = watch(NOW)
    tell(process(TWO), anthropic, "down", dead(SINCE - timedelta(seconds=1)))
    assert watch(NOW) == []
    assert list(AlertDelivery.objects.values_list("destination", flat=True)) == ["ops@x.test"]
    message = compose(alert)
    assert message.title == "The credential anthropic/main is rejected"
    assert message.text.startswith("Its provider does not accept it: rejected with 401 at 12:00:00 UTC. Requests go")
    assert message.payload["type"] == "credential.rejected"
    assert message.facts == (("Since", "2026-11-28 12:00 (UTC)"),)


def test_it_is_over_when_it_answers_and_not_before(anthropic: Provider) -> None:
    tell(ONE, anthropic, "down", dead())
    watch(NOW)
    tell(ONE, anthropic, "up", credential())
    assert watch(NOW) == [], "a process that was started again has nothing against it: that is no news"
    answered = SINCE + timedelta(seconds=75)
    tell(ONE, anthropic, "up", credential(answered_at=answered.isoformat()))
    (over,) = watch(NOW)
    assert (over.event, over.note) == ("accepted", "It answered at 2026-11-28 12:01:15 UTC.")
    assert compose(over).payload["type"] == "credential.accepted"
    assert compose(over).title == "The credential anthropic/main is no trouble any more"
    assert watch(NOW) == []
    tell(ONE, anthropic, "down", dead(NOW))
    assert [alert.event for alert in watch(NOW + timedelta(minutes=1))] == ["rejected"]
    assert events() == ["rejected", "accepted", "rejected"]


def test_two_workers_tell_the_end_once(anthropic: Provider) -> None:
    tell(ONE, anthropic, "down", dead())
    (alert,) = watch(NOW)
    assert len(providers._close(alert, "It answered.", NOW)) == 1
    assert providers._close(alert, "It answered.", NOW) == []


def test_a_credential_that_was_switched_off_is_no_trouble(anthropic: Provider) -> None:
    tell(ONE, anthropic, "down", dead())
    watch(NOW)
    anthropic.credentials.update(is_active=False)
    (over,) = watch(NOW)
    assert over.note == "It is switched off or gone."


def test_a_breaker_is_told_of_after_a_minute(anthropic: Provider) -> None:
    why = "not asked after too many failures, the last: failed (500)"
    tell(ONE, anthropic, "down", credential(), breaker_open=True, why=why)
    assert watch(SINCE + timedelta(seconds=59)) == []
    (alert,) = watch(NOW)
    assert compose(alert).title == "The provider anthropic keeps failing"
    assert compose(alert).text.startswith(f"It is {why}. Requests go to other providers")
    assert compose(alert).payload["type"] == "provider.failing"
    tell(ONE, anthropic, "up", credential(), answered_at=NOW)
    assert [alert.event for alert in watch(NOW + timedelta(minutes=1))] == ["recovered"]


def test_a_provider_that_was_deleted_is_no_trouble(anthropic: Provider) -> None:
    tell(ONE, anthropic, "down", breaker_open=True, why="not asked")
    watch(NOW)
    anthropic.delete()
    assert [alert.event for alert in watch(timezone.now())] == ["recovered"]
