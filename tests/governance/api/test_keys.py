"""Virtual keys over the API: a secret comes once, and only to whom may have it."""

from __future__ import annotations

import re
from datetime import timedelta
from typing import Any

from django.conf import settings
from django.utils import timezone

from governance.domain.keys import parse_secret, same_digest
from governance.models import AuditEntry, KeySecret, Project, Provider, ProviderAccess, VirtualKey
from tests.governance.api.world import World, client_for, results, user_with

URL = "/api/v1/keys/"


def issue(world: World, **body: Any) -> dict[str, Any]:
    answer = world.alice.post(URL, {"team": "Core", "name": "ada-laptop", **body}, format="json")
    assert answer.status_code == 201, answer.json()
    row: dict[str, Any] = answer.json()
    return row


def test_issue_shows_the_secret_once(world: World) -> None:
    row = issue(world, developer="ada@acme.test", project="billing", models=["claude-*"], allowed_ips=["10.0.0.0/8"])
    secret = parse_secret(row["secret"])
    assert secret is not None
    stored = KeySecret.objects.get()
    assert same_digest(stored.digest, secret.digest(settings.COMPTROLLER["COMPTROLLER_KEY_PEPPER"]))
    assert row["customer"] == "Acme"
    assert row["developer"] == "ada@acme.test"
    assert row["models"] == ["claude-*"]
    assert [one["public_id"] for one in row["secrets"]] == [f"sk-cmp-{secret.public_id}"]
    assert VirtualKey.objects.get().created_by == world.alice.get("/api/v1/teams/").wsgi_request.user
    for url in (URL, f"{URL}{row['id']}/", "/api/v1/audit/"):
        text = world.alice.get(url).content.decode()
        assert secret.random not in text
        assert stored.digest not in text
    assert list(AuditEntry.objects.values_list("action", "target_name")) == [("virtual_key.issued", "ada-laptop")]


def test_answers_are_not_to_be_cached(world: World) -> None:
    answer = world.alice.post(URL, {"team": "Core", "name": "k"}, format="json")
    assert "no-store" in answer.headers["Cache-Control"]


def test_who_sees(world: World) -> None:
    core = issue(world)
    web = issue(world, team="Web", name="web")
    assert {row["id"] for row in results(world.alice.get(URL))} == {core["id"], web["id"]}
    assert {row["id"] for row in results(world.bob.get(URL))} == {core["id"]}
    assert results(world.charlie.get(URL)) == []
    before = AuditEntry.objects.count()
    for outsider, key in ((world.charlie, core), (world.bob, web)):
        url = f"{URL}{key['id']}/"
        assert outsider.get(url).status_code == 404
        assert outsider.patch(url, {"name": "mine"}, format="json").status_code == 404
        assert outsider.post(f"{url}rotate/", {}, format="json").status_code == 404
        assert outsider.post(f"{url}revoke/", {}, format="json").status_code == 404
    for team in ("Core", "Acme/Core", world.core.pk):
        assert world.charlie.post(URL, {"team": team, "name": "x"}, format="json").status_code == 400
    project = Project.objects.create(customer=world.globex, name="secret")
    stolen = world.alice.post(URL, {"team": "Core", "name": "x", "project": project.pk}, format="json")
    assert stolen.status_code == 400
    assert AuditEntry.objects.count() == before


def test_permissions_by_action(world: World) -> None:
    key = issue(world)
    url = f"{URL}{key['id']}/"
    reader = client_for(user_with("reader", "governance.view_virtualkey", customer=world.acme))
    issuer = client_for(user_with("issuer", "governance.issue_virtualkey", customer=world.acme))
    revoker = client_for(user_with("revoker", "governance.revoke_virtualkey", customer=world.acme))
    assert reader.get(url).status_code == 200
    assert issuer.get(url).status_code == 403
    for client, rotates, revokes in ((reader, 403, 403), (issuer, 200, 403), (revoker, 403, 200)):
        assert client.post(f"{url}rotate/", {}, format="json").status_code == rotates
        assert client.post(f"{url}revoke/", {}, format="json").status_code == revokes
    assert reader.post(URL, {"team": "Core", "name": "n"}, format="json").status_code == 403
    assert issuer.post(URL, {"team": "Core", "name": "n"}, format="json").status_code == 201


def test_change(world: World) -> None:
    key = issue(world)
    soon = (timezone.now() + timedelta(days=1)).replace(microsecond=0)
    body = {
        "name": "ada-desktop",
        "models": ["claude-opus-*"],
        "allowed_ips": ["10.1.2.3"],
        "expires_at": soon.isoformat(),
    }
    changed = world.alice.patch(f"{URL}{key['id']}/", body, format="json").json()
    assert changed["expires_at"] == soon.strftime("%Y-%m-%dT%H:%M:%SZ")
    assert changed["models"] == ["claude-opus-*"]
    entry = AuditEntry.objects.latest("pk")
    assert entry.action == "virtual_key.changed"
    assert entry.changes["name"] == ["ada-laptop", "ada-desktop"]
    for body, field in (
        ({"models": "all"}, "models"), ({"allowed_ips": ["here"]}, "allowed_ips"), ({"revoked_at": None}, "revoked_at"),
        ({"secret": "x"}, "secret"), ({"team": "Web"}, "team"), ({"expires_at": "later"}, "expires_at"),
    ):  # fmt: skip
        answer = world.alice.patch(f"{URL}{key['id']}/", body, format="json")
        assert (answer.status_code, list(answer.json())) == (400, [field])


def test_an_expiry_that_is_past_is_refused(world: World) -> None:
    answer = world.alice.post(URL, {"team": "Core", "name": "k", "expires_at": "2020-01-01T00:00:00Z"}, format="json")
    assert (answer.status_code, list(answer.json())) == (400, ["expires_at"])


def test_rotate_overlaps(world: World) -> None:
    key = issue(world)
    rotated = world.alice.post(f"{URL}{key['id']}/rotate/", {"overlap_seconds": 600}, format="json")
    assert rotated.status_code == 200
    assert rotated.json()["secret"] != key["secret"]
    new, old = rotated.json()["secrets"]
    assert new["valid_until"] is None
    left = KeySecret.objects.get(public_id=old["public_id"][-8:]).valid_until
    assert left is not None
    assert timedelta(seconds=500) < left - timezone.now() <= timedelta(seconds=600)
    assert AuditEntry.objects.latest("pk").action == "virtual_key.rotated"
    for wrong in ({"overlap_seconds": -1}, {"overlap_seconds": 10**9}, {"overlap_seconds": "x"}, {"overlap": 1}):
        assert world.alice.post(f"{URL}{key['id']}/rotate/", wrong, format="json").status_code == 400


def test_revoke_is_for_good_and_idempotent(world: World) -> None:
    key = issue(world)
    url = f"{URL}{key['id']}/"
    first = world.alice.post(f"{url}revoke/", {"reason": "laptop lost"}, format="json").json()
    assert first["is_active"] is False
    assert first["revoked_reason"] == "laptop lost"
    again = world.alice.post(f"{url}revoke/", {"reason": "again"}, format="json").json()
    assert again == first
    assert AuditEntry.objects.filter(action="virtual_key.revoked").count() == 1
    rotated = world.alice.post(f"{url}rotate/", {}, format="json")
    assert rotated.status_code == 409
    assert "issue a new key" in rotated.json()["detail"]


def test_providers_of_a_key(world: World) -> None:
    for name in ("anthropic", "backup"):
        Provider.objects.create(name=name)
    key = issue(world, providers=[{"name": "anthropic", "models": ["claude-*"], "weight": 1}])
    (access,) = key["providers"]
    assert (access["name"], access["models"], access["weight"]) == ("anthropic", ["claude-*"], 1.0)
    url = f"{URL}{key['id']}/"
    both = world.alice.patch(
        url, {"providers": [{"name": "anthropic", "weight": 3}, {"name": "backup"}]}, format="json"
    )
    assert [one["name"] for one in both.json()["providers"]] == ["anthropic", "backup"]
    kept, _ = both.json()["providers"]
    assert (kept["id"], kept["weight"], kept["models"]) == (access["id"], 3.0, ["claude-*"])
    limit = {"scope": "provider_access", "target": access["id"], "limit_usd": "1"}
    assert world.alice.post("/api/v1/budgets/", limit, format="json").status_code == 201
    twice = world.alice.patch(url, {"providers": [{"name": "backup"}, {"name": "backup"}]}, format="json")
    assert (twice.status_code, list(twice.json())) == (400, ["detail"])
    assert world.alice.patch(url, {"providers": []}, format="json").json()["providers"] == []
    assert AuditEntry.objects.filter(action="budget.deleted").count() == 1
    assert not ProviderAccess.objects.exists()
    refused = world.alice.patch(url, {"providers": [{"name": "nobody"}]}, format="json")
    assert refused.status_code == 400
    issuer = client_for(user_with("issuer", "governance.issue_virtualkey", customer=world.acme))
    answer = issuer.post(URL, {"team": "Core", "name": "n", "providers": []}, format="json")
    assert answer.status_code == 403
    assert not VirtualKey.objects.filter(name="n").exists()


def test_filters(world: World) -> None:
    one = issue(world, developer="ada@acme.test")
    two = issue(world, name="ci", team="Web")
    world.alice.post(f"{URL}{two['id']}/revoke/", {}, format="json")

    def found(query: str) -> set[int]:
        return {row["id"] for row in results(world.alice.get(f"{URL}?{query}"))}

    assert found("team=Core") == found("developer=ada@acme.test") == found("name=ada-laptop") == {one["id"]}
    assert found("is_active=true") == {one["id"]}
    assert found("is_active=false") == {two["id"]}
    public_id = re.match(r"sk-cmp-.{8}", one["secret"])
    assert public_id is not None
    assert found(f"public_id={public_id[0]}") == {one["id"]}
    assert found("customer=Globex") == set()


def test_the_list_takes_the_same_queries_whatever_its_size(world: World, django_assert_max_num_queries: Any) -> None:
    provider = Provider.objects.create(name="anthropic")
    for n in range(15):
        key = VirtualKey.objects.create(team=world.core, name=f"key-{n}", developer=world.ada)
        KeySecret.objects.create(virtual_key=key, public_id=f"{n:08}", digest="0" * 64)
        ProviderAccess.objects.create(virtual_key=key, provider=provider)
    with django_assert_max_num_queries(7):
        assert len(results(world.alice.get(URL))) == 15
