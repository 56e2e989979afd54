"""Alert channels, alerts and deliveries over the API."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime

import pytest

from governance.alerts.record import Found, record
from governance.models import Alert, AlertChannel, AlertDelivery, AuditEntry
from tests.fakes.receiver import Receiver, receiver
from tests.governance.api.world import World, results

CHANNELS = "/api/v1/alert-channels/"
NOW = datetime(2026, 11, 22, 12, tzinfo=UTC)


@pytest.fixture
def hook() -> Iterator[Receiver]:
    with receiver() as made:
        yield made


@pytest.fixture
def alert(world: World) -> Alert:
    [made] = record(
        [
            Found(
                Alert(
                    key="a", kind="threshold", created_at=NOW, budget_name="Core", customer=world.acme,
                    customer_name="Acme", team=world.core, team_name="Core", threshold=80, spent_nano_usd=81 * 10**9,
                    limit_nano_usd=100 * 10**9, period="month",
                ),
                (("owner@acme.test", "owner"),),
            )
        ]
    )  # fmt: skip
    return made


def test_a_webhook_shows_its_secret_once_and_its_address_never(world: World, hook: Receiver) -> None:
    body = {"customer": "Acme", "name": "ops", "kind": "webhook", "url": hook.url, "thresholds_from": 80}
    answer = world.alice.post(CHANNELS, body, format="json")
    assert answer.status_code == 201, answer.content
    made = answer.json()
    assert made["signing_secret"].startswith("whsec_")
    assert (made["host"], made["thresholds_from"], made["on_raises"]) == ("127.0.0.1", 80, True)
    own = f"{CHANNELS}{made['id']}/"
    later = world.alice.get(own).content + world.alice.get(CHANNELS).content
    assert b"very-secret" not in later
    assert made["signing_secret"].encode() not in later
    assert b"signing_secret" not in later

    changed = world.alice.patch(own, {"is_active": False, "url": hook.url}, format="json")
    assert changed.json()["is_active"] is False
    entry = AuditEntry.objects.filter(action="alert_channel.changed").get()
    assert entry.changes == {"is_active": [True, False]}  # the same address is no change
    assert world.alice.patch(own, {"kind": "slack"}, format="json").status_code == 400

    assert world.alice.post(f"{own}test/", {}, format="json").json() == {
        "delivered": True, "detail": "127.0.0.1 answered 200.",
    }  # fmt: skip
    renewed = world.alice.post(f"{own}renew-secret/", {}, format="json").json()
    assert renewed["signing_secret"] not in ("", made["signing_secret"])


def test_wrong_channels_are_explained(world: World) -> None:
    def refused(**body: object) -> dict[str, object]:
        answer = world.alice.post(CHANNELS, {"customer": "Acme", "name": "x", **body}, format="json")
        assert answer.status_code == 400, answer.content
        told: dict[str, object] = answer.json()
        return told

    assert "emails" in refused(kind="email")
    assert "emails" in refused(kind="email", emails=["nobody"])
    assert "url" in refused(kind="slack")
    assert "url" in refused(kind="slack", url="ftp://x.test/")
    assert "url" in refused(kind="email", emails=["a@x.test"], url="https://x.test/")
    assert "customer" in refused(kind="email", emails=["a@x.test"], customer=None)
    assert "emails" in refused(kind="slack", url="https://x.test/", emails=["a@x.test"])


def test_a_channel_of_the_installation_is_for_superusers(world: World) -> None:
    body = {"name": "all", "kind": "email", "emails": ["ops@x.test"]}
    assert world.alice.post(CHANNELS, body, format="json").status_code == 400
    made = world.root.post(CHANNELS, body, format="json")
    assert (made.status_code, made.json()["customer"]) == (201, None)
    assert results(world.alice.get(CHANNELS)) == []
    assert len(results(world.root.get(CHANNELS))) == 1


def test_a_member_of_a_team_alone_reaches_no_channel(world: World, hook: Receiver) -> None:
    body = {"customer": "Acme", "name": "ops", "kind": "slack", "url": hook.url}
    assert world.bob.post(CHANNELS, body, format="json").status_code == 403
    assert not AlertChannel.objects.exists()
    made = world.alice.post(CHANNELS, body, format="json").json()
    for person in (world.bob, world.charlie):
        assert results(person.get(CHANNELS)) == []
        for path in ("", "test/", "renew-secret/"):
            own = f"{CHANNELS}{made['id']}/{path}"
            assert (person.post(own, {}, format="json") if path else person.get(own)).status_code == 404
        assert person.patch(f"{CHANNELS}{made['id']}/", {"name": "mine"}, format="json").status_code == 404
    assert hook.posted == []


def test_alerts_are_read_by_those_they_concern(world: World, alert: Alert) -> None:
    for person in (world.alice, world.bob, world.root):
        [row] = results(person.get("/api/v1/alerts/?threshold__gte=80&customer=Acme"))
        assert (row["id"], row["spent_usd"], row["limit_usd"], row["amount_usd"]) == (alert.pk, "81", "100", None)
        assert (row["customer"], row["team"], row["budget"]) == ("Acme", "Core", "Core")
        assert person.get(f"/api/v1/alerts/{alert.pk}/").status_code == 200
    assert results(world.charlie.get("/api/v1/alerts/")) == []
    assert world.charlie.get(f"/api/v1/alerts/{alert.pk}/").status_code == 404
    assert world.root.post("/api/v1/alerts/", {}, format="json").status_code == 405


def test_deliveries(world: World, alert: Alert) -> None:
    [row] = results(world.alice.get(f"/api/v1/alert-deliveries/?alert_id={alert.pk}"))
    assert (row["status"], row["name"], row["attempts"]) == ("waiting", "owner@acme.test (budget owner)", 0)
    AlertDelivery.objects.update(status="failed", attempts=6, next_try_at=None)
    again = f"/api/v1/alert-deliveries/{row['id']}/try-again/"
    for person in (world.bob, world.charlie):
        assert results(person.get("/api/v1/alert-deliveries/")) == []
        assert person.post(again, {}, format="json").status_code == 404
    answer = world.alice.post(again, {}, format="json").json()
    assert (answer["status"], answer["attempts"]) == ("waiting", 0)
