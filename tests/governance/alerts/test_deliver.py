"""What arrives at a real mail server and a real web server, and what happens when it does not."""

from __future__ import annotations

import hashlib
import hmac
from datetime import datetime, timedelta
from typing import Any

import pytest

from governance import outbound
from governance.alerts.deliver import Tally, claim, deliver
from governance.alerts.evaluate import evaluate
from governance.domain.alerts import RETRIES
from governance.models import Alert, AlertDelivery, AuditEntry, Budget
from governance.services import alerts
from governance.tasks import deliver_alerts
from tests.fakes.mail import MailServer
from tests.fakes.receiver import Receiver
from tests.governance.alerts.conftest import NOW, Spend

pytestmark = pytest.mark.django_db


class Clock:
    def __init__(self) -> None:
        self.now = NOW

    def __call__(self) -> datetime:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def only_channels(budget: Budget) -> Budget:
    Budget.objects.update(owner_email="", approver_email="")
    budget.refresh_from_db()
    return budget


def channel(budget: Budget, kind: str, url: str) -> str:
    """Make a channel of the budget's customer; gives its signing secret."""
    _, secret = alerts.create_channel(customer=budget.customer, name=f"my {kind}", kind=kind, url=url, actor=None)
    return secret


# --- e-mail ---------------------------------------------------------------------------------------------------------
def test_owner_and_approver_get_an_e_mail(
    budget: Budget, spend: Spend, mail: MailServer, clock: Clock, settings: Any
) -> None:
    settings.PUBLIC_URL = "https://money.acme.test"
    Budget.objects.update(name="Core & <friends>\nper month")
    spend(81.5)
    evaluate(NOW)
    assert deliver(clock) == Tally(sent=2)
    assert deliver(clock) == Tally()
    [message] = mail.to("owner@acme.test")
    assert len(mail.to("boss@acme.test")) == 1
    assert message["subject"] == "[Comptroller] Core & <friends> per month: 80% reached"
    assert message["from"] == "Comptroller <alerts@example.test>"
    assert message["to"] == "owner@acme.test"
    text = message.get_body(["plain"]).get_content()  # type: ignore[union-attr]
    html = message.get_body(["html"]).get_content()  # type: ignore[union-attr]
    for fact in (
        "$81.50 of $100.00 is spent, 81%.", "Limit: $100.00", "Team: Acme / Core", "Customer: Acme",
        "Period: month from 2026-11-01 00:00 (Europe/Berlin)", "Resets: 2026-12-01 00:00 (Europe/Berlin)",
        "Forecast: $", "it runs out on 2026-11-2", "Whom to ask: boss@acme.test",
        f"https://money.acme.test/admin/governance/budget/{budget.pk}/change/",
    ):  # fmt: skip
        assert fact in text
    assert "Core &amp; &lt;friends&gt;" in html
    assert "<friends>" not in html
    assert set(AlertDelivery.objects.values_list("status", "response_status", "last_error")) == {("sent", 250, "")}


def test_without_a_mail_server_it_fails_and_names_the_setting(
    budget: Budget, spend: Spend, clock: Clock, settings: Any
) -> None:
    settings.EMAIL_HOST = ""
    spend(50)
    evaluate(NOW)
    assert deliver(clock) == Tally(failed=2)
    for delivery in AlertDelivery.objects.all():
        assert (delivery.status, delivery.next_try_at) == ("failed", None)
        assert "COMPTROLLER_EMAIL_URL" in delivery.last_error


def test_an_address_that_does_not_exist_fails_at_once_and_a_busy_one_is_tried_again(
    budget: Budget, spend: Spend, mail: MailServer, clock: Clock
) -> None:
    mail.refuse = {"owner@acme.test": "550 no such user", "boss@acme.test": "451 try later"}
    spend(50)
    evaluate(NOW)
    assert deliver(clock) == Tally(failed=1, to_retry=1)
    owner, boss = (AlertDelivery.objects.get(destination=f"{who}@acme.test") for who in ("owner", "boss"))
    assert (owner.status, owner.response_status) == ("failed", 550)
    assert "no such user" in owner.last_error
    assert (boss.status, boss.response_status, boss.next_try_at) == ("waiting", 451, NOW + RETRIES[0])
    mail.refuse = {}
    clock.now += RETRIES[0]
    assert deliver(clock) == Tally(sent=1)


def test_user_and_password_are_used(
    budget: Budget, spend: Spend, mail: MailServer, clock: Clock, settings: Any
) -> None:
    mail.login = ("comptroller", "correct horse")
    settings.EMAIL_HOST_USER, settings.EMAIL_HOST_PASSWORD = "comptroller", "wrong"
    spend(50)
    evaluate(NOW)
    assert deliver(clock) == Tally(to_retry=2)
    error = AlertDelivery.objects.first().last_error  # type: ignore[union-attr]
    assert "COMPTROLLER_EMAIL_URL" in error
    assert "wrong" not in error
    settings.EMAIL_HOST_PASSWORD = "correct horse"
    clock.now += RETRIES[0]
    assert deliver(clock) == Tally(sent=2)


def test_a_mail_server_that_is_down_is_asked_once_a_run(
    budget: Budget, spend: Spend, clock: Clock, settings: Any
) -> None:
    settings.EMAIL_BACKEND = "django.core.mail.backends.smtp.EmailBackend"
    settings.EMAIL_HOST, settings.EMAIL_PORT = "127.0.0.1", 1
    spend(50)
    evaluate(NOW)
    assert deliver(clock) == Tally(to_retry=1)
    assert sorted(AlertDelivery.objects.values_list("attempts", flat=True)) == [0, 1]


# --- webhooks -------------------------------------------------------------------------------------------------------
def test_the_signed_webhook(only_channels: Budget, spend: Spend, hook: Receiver, clock: Clock, settings: Any) -> None:
    settings.PUBLIC_URL = "https://money.acme.test"
    secret = channel(only_channels, "webhook", hook.url)
    spend(80.25)
    [_, alert] = evaluate(NOW)
    assert deliver(clock) == Tally(sent=1)
    [posted] = hook.posted
    assert posted.path == "/hook?key=very-secret"
    assert posted.headers["content-type"] == "application/json"
    assert posted.headers["x-comptroller-delivery"] == str(AlertDelivery.objects.get().pk)
    # Computed from the description in docs/alerts.md alone.
    parts = dict(part.split("=", 1) for part in posted.headers["x-comptroller-signature"].split(","))
    expected = hmac.new(secret.encode(), parts["t"].encode() + b"." + posted.body, hashlib.sha256).hexdigest()
    assert hmac.compare_digest(parts["v1"], expected)
    assert abs(int(parts["t"]) - datetime.now().timestamp()) < 60  # noqa: DTZ005
    body = posted.json
    assert (body["id"], body["type"], body["threshold"], body["percent"]) == (alert.pk, "budget.threshold", 80, 80)
    assert (body["spent_usd"], body["limit_usd"]) == ("80.25", "100")
    assert (body["period_start"], body["period_end"]) == ("2026-10-31T23:00:00Z", "2026-11-30T23:00:00Z")
    assert (body["customer"], body["team"], body["scope"], body["timezone"]) == (
        "Acme",
        "Core",
        "team",
        "Europe/Berlin",
    )
    assert body["url"].startswith("https://money.acme.test/admin/governance/budget/")


def test_the_slack_message(only_channels: Budget, spend: Spend, hook: Receiver, clock: Clock) -> None:
    Budget.objects.update(name="<!channel> & co")
    channel(only_channels, "slack", hook.url)
    spend(100)
    evaluate(NOW)
    assert deliver(clock) == Tally(sent=1)
    [posted] = hook.posted
    assert "x-comptroller-signature" not in posted.headers
    assert set(posted.json) == {"text", "blocks"}
    assert "&lt;!channel&gt; &amp; co: 100% reached" in posted.json["text"]
    assert "<!channel>" not in str(posted.json["blocks"][1:])
    assert posted.json["blocks"][0]["text"] == {"type": "plain_text", "text": "<!channel> & co: 100% reached"}
    assert "New requests are refused." in posted.json["text"]


def test_retries_back_off_and_then_the_message_has_failed(
    only_channels: Budget, spend: Spend, hook: Receiver, clock: Clock
) -> None:
    hook.answers = [500, 503, 429, 404, 500, 500]
    channel(only_channels, "webhook", hook.url)
    spend(50)
    evaluate(NOW)
    for number, wait in enumerate(RETRIES, start=1):
        assert deliver(clock) == Tally(to_retry=1)
        delivery = AlertDelivery.objects.get()
        assert (delivery.status, delivery.attempts, delivery.next_try_at) == ("waiting", number, clock.now + wait)
        assert str(delivery.response_status) in delivery.last_error
        clock.now += wait - timedelta(seconds=1)
        assert deliver(clock) == Tally()
        clock.now += timedelta(seconds=1)
    assert deliver(clock) == Tally(failed=1)
    clock.now += timedelta(days=30)
    assert deliver(clock) == Tally()
    delivery = AlertDelivery.objects.get()
    assert (delivery.status, delivery.attempts, delivery.next_try_at) == ("failed", 6, None)
    assert "tried 6 times" in delivery.last_error
    assert len({posted.headers["x-comptroller-delivery"] for posted in hook.posted}) == 1
    assert len(hook.posted) == 6
    assert alerts.try_again(delivery=delivery, actor=None)
    assert not alerts.try_again(delivery=delivery, actor=None)
    assert AuditEntry.objects.filter(action="alert_delivery.tried_again").count() == 1
    assert deliver_alerts() == {"sent": 1, "failed": 0, "to_retry": 0}


def test_a_receiver_that_hangs_does_not_hold_up_the_others(
    only_channels: Budget, spend: Spend, hook: Receiver, clock: Clock, mail: MailServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(outbound, "TIMEOUT", 0.3)
    hook.answers = ["hang"]
    channel(only_channels, "webhook", hook.url)
    day = Budget.objects.create(
        scope="team", team=only_channels.team, limit_nano_usd=10**9, period="day", alerts=[50], owner_email="o@x.test"
    )
    spend(50)
    assert {alert.budget_id for alert in evaluate(NOW)} == {only_channels.pk, day.pk}
    # Two messages wait for the receiver: it is asked once in this run.
    assert deliver(clock) == Tally(sent=1, to_retry=1)
    assert "did not answer in time" in AlertDelivery.objects.get(attempts=1, status="waiting").last_error
    clock.now += RETRIES[0]
    assert deliver(clock) == Tally(sent=2)


def test_a_redirect_is_not_followed(only_channels: Budget, spend: Spend, hook: Receiver, clock: Clock) -> None:
    hook.answers = [302]
    channel(only_channels, "slack", hook.url)
    spend(50)
    evaluate(NOW)
    assert deliver(clock) == Tally(to_retry=1)
    assert len(hook.posted) == 1
    assert "redirects are not followed" in AlertDelivery.objects.get().last_error


def test_private_addresses_are_refused_unless_allowed(
    only_channels: Budget, spend: Spend, hook: Receiver, clock: Clock, settings: Any
) -> None:
    channel(only_channels, "slack", hook.url)
    channel(only_channels, "webhook", hook.url.replace("127.0.0.1", "localhost"))
    spend(50)
    evaluate(NOW)
    settings.COMPTROLLER = {**settings.COMPTROLLER, "COMPTROLLER_ALLOW_PRIVATE_UPSTREAMS": False}
    assert deliver(clock) == Tally(failed=2)
    assert hook.posted == []
    for delivery in AlertDelivery.objects.all():
        assert "COMPTROLLER_ALLOW_PRIVATE_UPSTREAMS" in delivery.last_error


def test_a_channel_that_is_gone_or_off_fails_with_a_reason(
    only_channels: Budget, spend: Spend, hook: Receiver, clock: Clock
) -> None:
    for kind in ("slack", "webhook"):
        channel(only_channels, kind, hook.url)
    spend(50)
    evaluate(NOW)
    gone, off = only_channels.customer.alert_channels.order_by("name")
    gone.delete()
    alerts.change_channel(channel=off, is_active=False, actor=None)
    assert deliver(clock) == Tally(failed=2)
    reasons = dict(AlertDelivery.objects.values_list("kind", "last_error"))
    assert "deleted" in reasons["slack"]
    assert "switched off" in reasons["webhook"]
    assert AlertDelivery.objects.get(kind="slack").name == "my slack (127.0.0.1)"


def test_what_a_dying_worker_had_claimed_is_sent_by_the_next(
    only_channels: Budget, spend: Spend, hook: Receiver, clock: Clock
) -> None:
    channel(only_channels, "webhook", hook.url)
    spend(50)
    evaluate(NOW)
    seen = AlertDelivery.objects.get()
    assert claim(AlertDelivery.objects.get(), NOW)
    assert not claim(seen, NOW)  # another worker that read the same row
    assert deliver(clock) == Tally()
    clock.now += timedelta(minutes=5)
    assert deliver(clock) == Tally(sent=1)
    assert AlertDelivery.objects.get().attempts == 2


def test_secrets_are_in_no_row_and_no_log_in_plain(
    only_channels: Budget, spend: Spend, hook: Receiver, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("DEBUG")
    secret = channel(only_channels, "webhook", hook.url)
    hook.answers = [500]
    hook.text = "no"
    spend(50)
    evaluate(NOW)
    deliver(clock)
    [row] = only_channels.customer.alert_channels.values()
    [delivery] = AlertDelivery.objects.values()
    told = f"{row} {delivery} {list(AuditEntry.objects.values())} {caplog.text}"
    assert "it answered 500" in caplog.text
    assert "very-secret" not in told
    assert secret not in told
    assert secret.startswith("whsec_")


@pytest.mark.parametrize("allow_private", [True, False])
def test_an_answer_that_repeats_the_secret_address_is_kept_nowhere(
    only_channels: Budget,
    spend: Spend,
    hook: Receiver,
    clock: Clock,
    caplog: pytest.LogCaptureFixture,
    settings: Any,
    monkeypatch: pytest.MonkeyPatch,
    allow_private: bool,
) -> None:
    caplog.set_level("DEBUG")
    # Loopback stands for a public address: what is shown must not depend on the setting.
    monkeypatch.setattr(outbound, "is_public", lambda address: True)
    settings.COMPTROLLER = {**settings.COMPTROLLER, "COMPTROLLER_ALLOW_PRIVATE_UPSTREAMS": True}
    channel(only_channels, "slack", hook.url)
    settings.COMPTROLLER = {**settings.COMPTROLLER, "COMPTROLLER_ALLOW_PRIVATE_UPSTREAMS": allow_private}
    hook.answers, hook.text = [404, 404], "Cannot POST /hook?key=very-secret"
    spend(50)
    evaluate(NOW)
    assert deliver(clock) == Tally(to_retry=1)
    arrived, said = alerts.try_channel(channel=only_channels.customer.alert_channels.get(), actor=None)
    assert (arrived, said) == (False, "Not delivered: it answered 404.")
    assert len(hook.posted) == 2
    told = f"{list(AlertDelivery.objects.values())} {list(AuditEntry.objects.values())} {caplog.text}"
    assert "it answered 404" in told
    assert "very-secret" not in told


def test_an_e_mail_channel_that_is_gone_or_off_gets_nothing_more(
    budget: Budget, spend: Spend, mail: MailServer, clock: Clock
) -> None:
    # A channel may bear the name of a role: its messages are a channel's all the same.
    for name in ("approver", "Finance"):
        alerts.create_channel(customer=budget.customer, name=name, kind="email", emails=[f"{name}@x.test"], actor=None)
    spend(50)
    evaluate(NOW)
    budget.customer.alert_channels.get(name="approver").delete()
    off = budget.customer.alert_channels.get(name="Finance")
    alerts.change_channel(channel=off, is_active=False, actor=None)
    # Owner and approver of the budget hear of it: they are on no channel.
    assert deliver(clock) == Tally(sent=2, failed=2)
    assert mail.to("approver@x.test") == mail.to("finance@x.test") == []
    reasons = dict(AlertDelivery.objects.filter(status="failed").values_list("destination", "last_error"))
    assert "deleted" in reasons["approver@x.test"]
    assert "switched off" in reasons["finance@x.test"]


def test_a_dead_receiver_with_thousands_of_messages_does_not_starve_the_others(
    only_channels: Budget, spend: Spend, hook: Receiver, clock: Clock
) -> None:
    channel(only_channels, "slack", "http://127.0.0.1:1/dead")
    spend(50)
    [alert] = evaluate(NOW)
    first = AlertDelivery.objects.get()
    others = [Alert(key=f"more {number}", kind="threshold", created_at=NOW) for number in range(1500)]
    Alert.objects.bulk_create(others)
    AlertDelivery.objects.bulk_create(
        AlertDelivery(
            alert=one, channel=first.channel, kind="slack", destination=first.destination, name=first.name,
            next_try_at=NOW - timedelta(hours=1), created_at=NOW,
        )
        for one in others
    )  # fmt: skip
    channel(only_channels, "webhook", hook.url)
    living = only_channels.customer.alert_channels.get(kind="webhook")
    AlertDelivery.objects.create(
        alert=alert, channel=living, kind="webhook", destination=f"channel:{living.pk}", name="x", next_try_at=NOW,
        created_at=NOW,
    )  # fmt: skip
    assert deliver(clock) == Tally(sent=1, to_retry=1)
    assert len(hook.posted) == 1
