"""Alert pages: channels with their secret shown once, a test message, the delivery log; and who may see which."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext

from governance.alerts.record import Found, record
from governance.models import Alert, AlertChannel, AlertDelivery, AuditEntry
from governance.services import alerts
from tests.fakes.receiver import Receiver, receiver
from tests.governance.admin.conftest import Tenant, sign_in

CHANNELS = "/admin/governance/alertchannel/"
NOW = datetime(2026, 11, 22, 12, tzinfo=UTC)


@pytest.fixture
def hook() -> Iterator[Receiver]:
    with receiver() as made:
        yield made


@pytest.fixture
def fay(acme: Tenant) -> Client:
    """Finance of Acme."""
    return sign_in("fay", role="Finance", customer=acme.customer)


@pytest.fixture
def channel(acme: Tenant, hook: Receiver) -> AlertChannel:
    made, _ = alerts.create_channel(customer=acme.customer, name="Acme hook", kind="webhook", url=hook.url, actor=None)
    return made


@pytest.fixture
def alert(acme: Tenant, channel: AlertChannel) -> Alert:
    budget = acme.budget
    [made] = record(
        [
            Found(
                Alert(
                    key="a", kind="threshold", created_at=NOW, budget=budget, budget_name="Acme budget", scope="team",
                    target_name="Acme / Acme core", customer=acme.customer, customer_name="Acme", team=acme.team,
                    team_name="Acme core", period="month", period_start=NOW, period_end=NOW, threshold=80,
                    spent_nano_usd=81 * 10**9, limit_nano_usd=100 * 10**9, enforcement="stop",
                ),
                (("owner@acme.test", "owner"),),
            )
        ]
    )  # fmt: skip
    return made


def form(**values: object) -> dict[str, object]:
    return {"name": "New", "kind": "email", "emails": "a@x.test", "thresholds_from": "50", "is_active": "on", **values}


def page(client: Client, path: str, **data: object) -> str:
    answer = client.post(path, data, follow=True) if data else client.get(path)
    assert answer.status_code == 200, (path, answer.status_code)
    return answer.content.decode()


def test_finance_makes_an_e_mail_channel(acme: Tenant, fay: Client) -> None:
    page(fay, f"{CHANNELS}add/", **form(customer=acme.customer.pk, emails="a@x.test\nb@x.test", new_url="left over"))
    made = AlertChannel.objects.get()
    assert (made.customer, made.emails, made.url, made.on_raises) == (
        acme.customer,
        ["a@x.test", "b@x.test"],
        "",
        False,
    )
    assert AuditEntry.objects.filter(action="alert_channel.created", customer_id=acme.customer.pk).count() == 1
    assert "a@x.test, b@x.test" in page(fay, CHANNELS)


def test_wrong_input_is_explained(acme: Tenant, fay: Client) -> None:
    def refused(**values: object) -> str:
        told = page(fay, f"{CHANNELS}add/", **form(customer=acme.customer.pk, **values))
        assert not AlertChannel.objects.exists()
        return told

    assert "at least one e-mail address" in refused(emails="")
    assert "is not an e-mail address" in refused(emails="nobody")
    assert "Give the whole address" in refused(kind="slack", emails="")
    assert "must not carry a user name" in refused(kind="slack", new_url="https://u:p@x.test/")


def test_the_signing_secret_is_shown_once(acme: Tenant, fay: Client, hook: Receiver) -> None:
    shown = page(fay, f"{CHANNELS}add/", **form(customer=acme.customer.pk, kind="webhook", new_url=hook.url))
    made = AlertChannel.objects.get()
    secret = AlertChannel._meta.get_field("signing_secret").reveal(made)
    assert secret in shown
    own = f"{CHANNELS}{made.pk}/change/"
    for later in (page(fay, own), page(fay, CHANNELS)):
        assert secret not in later
        assert "very-secret" not in later
    renewed = page(fay, f"{CHANNELS}{made.pk}/renew_secret/", go="1")
    made.refresh_from_db()
    second = AlertChannel._meta.get_field("signing_secret").reveal(made)
    assert second != secret
    assert second in renewed


def test_a_change_keeps_the_stored_address(channel: AlertChannel, fay: Client, hook: Receiver) -> None:
    own = f"{CHANNELS}{channel.pk}/change/"
    page(fay, own, name="Renamed", thresholds_from="95", new_url="", is_active="on")
    stored = channel.url
    channel.refresh_from_db()
    assert (channel.name, channel.thresholds_from, channel.url, channel.kind) == ("Renamed", 95, stored, "webhook")
    page(fay, own, name="Renamed", thresholds_from="95", new_url="http://127.0.0.1:1/other", is_active="on")
    channel.refresh_from_db()
    assert channel.url != stored
    entry = AuditEntry.objects.filter(action="alert_channel.changed").latest("pk")
    assert entry.changes == {"url": ["(set)", "(new value)"]}


def test_send_a_test_shows_the_answer(channel: AlertChannel, fay: Client, hook: Receiver) -> None:
    test = f"{CHANNELS}{channel.pk}/send_test/"
    page(fay, test)
    assert hook.posted == []  # a GET sends nothing
    assert "127.0.0.1 answered 200." in page(fay, test, go="1")
    hook.answers = [500]
    assert "Not delivered: it answered 500" in page(fay, test, go="1")
    assert [posted.json["type"] for posted in hook.posted] == ["test", "test"]
    notes = AuditEntry.objects.filter(action="alert_channel.tested").values_list("note", flat=True)
    assert list(notes.order_by("pk")) == ["127.0.0.1 answered 200.", "Not delivered: it answered 500."]


def test_the_lists_tell_what_happened(alert: Alert, fay: Client) -> None:
    AlertDelivery.objects.filter(destination="owner@acme.test").update(status="failed", last_error="Not delivered: x.")
    told = page(fay, "/admin/governance/alert/")
    for part in ("Acme budget: 80% reached", "81.00", "100.00", "1 waiting", "1 failed"):
        assert part in told
    own = page(fay, f"/admin/governance/alert/{alert.pk}/change/")
    assert "$81.00 of $100.00 is spent, 81%" in own
    assert "owner@acme.test (budget owner)" in own
    log = page(fay, "/admin/governance/alertdelivery/")
    assert "Not delivered: x." in log
    assert "Acme hook (127.0.0.1)" in log


def test_try_again(alert: Alert, fay: Client) -> None:
    AlertDelivery.objects.filter(destination="owner@acme.test").update(status="failed", attempts=6, next_try_at=None)
    rows = list(AlertDelivery.objects.values_list("pk", flat=True))
    told = page(fay, "/admin/governance/alertdelivery/", action="try_again", _selected_action=rows)
    assert "1 will be sent again" in told
    assert set(AlertDelivery.objects.values_list("status", "attempts")) == {("waiting", 0)}


def test_a_channel_of_the_installation_is_for_superusers(
    acme: Tenant, globex: Tenant, fay: Client, root: Client
) -> None:
    page(fay, f"{CHANNELS}add/", **form(customer=""))
    assert not AlertChannel.objects.exists()
    page(root, f"{CHANNELS}add/", **form(customer=""))
    assert AlertChannel.objects.get().customer is None
    assert "New" not in page(fay, CHANNELS).partition("result_list")[2]
    assert "every customer" in page(root, CHANNELS)


def test_charlie_sees_and_does_nothing(alert: Alert, channel: AlertChannel, charlie: Client, hook: Receiver) -> None:
    delivery = AlertDelivery.objects.first()
    for path in (CHANNELS, "/admin/governance/alert/", "/admin/governance/alertdelivery/"):
        told = page(charlie, path)
        assert "Acme" not in told
        assert "acme.test" not in told
    for path in (
        f"{CHANNELS}{channel.pk}/change/", f"/admin/governance/alert/{alert.pk}/change/",
        f"/admin/governance/alertdelivery/{delivery.pk}/change/",  # type: ignore[union-attr]
    ):  # fmt: skip
        assert charlie.get(path).status_code == 302
    for name in ("send_test", "renew_secret"):
        assert charlie.post(f"{CHANNELS}{channel.pk}/{name}/", {"go": "1"}).status_code in {302, 403, 404}
    AlertDelivery.objects.update(status="failed")
    rows = list(AlertDelivery.objects.values_list("pk", flat=True))
    charlie.post("/admin/governance/alertdelivery/", {"action": "try_again", "_selected_action": rows})
    assert set(AlertDelivery.objects.values_list("status", flat=True)) == {"failed"}
    assert hook.posted == []
    assert not AuditEntry.objects.filter(action__in=["alert_channel.tested", "alert_channel.secret_renewed"]).exists()


def test_a_team_lead_sees_alerts_of_the_own_team_alone(alert: Alert, acme: Tenant, bob: Client) -> None:
    other = Alert.objects.create(
        key="b", kind="unpriced", created_at=NOW, customer=acme.customer, customer_name="Acme", model="claude-other"
    )
    told = page(bob, "/admin/governance/alert/")
    assert "80% reached" in told
    assert "claude-other" not in told
    assert "owner@acme.test" not in page(bob, f"/admin/governance/alert/{alert.pk}/change/")
    assert bob.get(f"/admin/governance/alert/{other.pk}/change/").status_code == 302
    for path in (CHANNELS, "/admin/governance/alertdelivery/"):
        assert bob.get(path).status_code == 403


def test_an_auditor_reads_and_changes_nothing(
    alert: Alert, acme: Tenant, channel: AlertChannel, hook: Receiver
) -> None:
    ann = sign_in("ann", role="Auditor", customer=acme.customer)
    for path in ("alert", "alertchannel", "alertdelivery"):
        assert "Acme" in page(ann, f"/admin/governance/{path}/")
    assert "127.0.0.1" in page(ann, f"{CHANNELS}{channel.pk}/change/")
    assert ann.get(f"{CHANNELS}add/").status_code == 403
    assert ann.post(f"{CHANNELS}{channel.pk}/send_test/", {"go": "1"}).status_code == 403
    AlertDelivery.objects.update(status="failed")
    rows = list(AlertDelivery.objects.values_list("pk", flat=True))
    ann.post("/admin/governance/alertdelivery/", {"action": "try_again", "_selected_action": rows})
    assert set(AlertDelivery.objects.values_list("status", flat=True)) == {"failed"}
    assert hook.posted == []


def test_the_queries_of_the_channel_list_do_not_grow_with_its_rows(acme: Tenant, alert: Alert, fay: Client) -> None:
    def channels(count: int) -> None:
        for number in range(count):
            name = f"{count} {number}"
            made, _ = alerts.create_channel(
                customer=acme.customer, name=name, kind="email", emails=["a@x.test"], actor=None
            )
            for status in ("failed", "sent"):
                AlertDelivery.objects.create(
                    alert=alert, channel=made, kind="email", destination=f"{name} {status}", name=name, status=status,
                    sent_at=NOW, created_at=NOW,
                )  # fmt: skip

    channels(4)
    page(fay, CHANNELS)
    with CaptureQueriesContext(connection) as few:
        page(fay, CHANNELS)
    channels(20)
    with CaptureQueriesContext(connection) as many:
        text = page(fay, CHANNELS)
    assert len(many) <= len(few)
    assert (text.count("Sent"), text.count("Failed")) == (24, 0)  # the newest message of each
