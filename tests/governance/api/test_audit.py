"""The audit trail over the API: newest first, read only, each customer's own."""

from __future__ import annotations

from governance.models import Provider
from governance.services.audit import record
from tests.governance.api.world import World, client_for, results, user_with

URL = "/api/v1/audit/"


def test_who_sees_which_entries(world: World) -> None:
    for target in (world.acme, world.core, world.web, world.ops, Provider.objects.create(name="anthropic")):
        record(actor=None, action="thing.changed", target=target, changes={"name": ["old", "new"]}, note="why")
    seen = {
        who: [row["target_name"] for row in results(getattr(world, who).get(URL))]
        for who in ("alice", "bob", "charlie", "root")
    }
    assert seen["alice"] == ["Acme / Web", "Acme / Core", "Acme"]
    assert seen["bob"] == ["Acme / Core"]
    assert seen["charlie"] == ["Globex / Ops"]
    assert len(seen["root"]) == 5


def test_an_entry_in_full(world: World) -> None:
    entry = record(
        actor=None, actor_name="apply", action="team.changed", target=world.core, changes={"name": ["A", "B"]}
    )
    row = world.alice.get(f"{URL}{entry.pk}/").json()
    assert (row["action"], row["actor_name"], row["target_type"]) == ("team.changed", "apply", "team")
    assert row["changes"] == {"name": ["A", "B"]}
    assert row["at"].endswith("Z")
    assert world.charlie.get(f"{URL}{entry.pk}/").status_code == 404


def test_filters(world: World) -> None:
    record(actor=None, action="team.changed", target=world.core)
    record(actor=None, action="customer.changed", target=world.acme)
    assert len(results(world.alice.get(f"{URL}?action=team.changed"))) == 1
    assert len(results(world.alice.get(f"{URL}?target_type=team&target_id={world.core.pk}"))) == 1
    assert results(world.alice.get(f"{URL}?at__lt=2020-01-01T00:00:00Z")) == []
    assert world.alice.get(f"{URL}?actor=x").status_code == 400


def test_nothing_writes(world: World) -> None:
    entry = record(actor=None, action="team.changed", target=world.core)
    for method in ("post", "put", "patch", "delete"):
        for url in (URL, f"{URL}{entry.pk}/"):
            assert getattr(world.root, method)(url, {}, format="json").status_code == 405


def test_permission(world: World) -> None:
    client = client_for(user_with("nobody", customer=world.acme))
    assert client.get(URL).status_code == 403
