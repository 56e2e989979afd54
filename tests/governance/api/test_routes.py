"""Routing rules over the API: providers by name, the place of a mistake, and who reaches what."""

from __future__ import annotations

from typing import Any

import pytest

from governance.models import AuditEntry, Provider, RoutingRule, VirtualKey
from tests.governance.api.world import World, results

URL = "/api/v1/routes/"


def made(client: Any, **body: Any) -> dict[str, Any]:
    answer = client.post(URL, {"name": "r", "condition": "true", "deny": "No.", **body}, format="json")
    assert answer.status_code == 201, answer.content
    row: dict[str, Any] = answer.json()
    return row


def test_a_rule_is_made_and_changed_with_providers_by_name(world: World) -> None:
    vertex = Provider.objects.create(name="vertex", kind="vertex")
    targets = [{"provider": "Vertex", "model": "claude-haiku-5-5", "weight": 3}, {"model": "claude-sonnet-5-5"}]
    row = made(
        world.root, name="subagents", deny="", condition='request_class == "subagent"', scope="team",
        target="Acme/Core", targets=targets, fallbacks=[{"provider": "vertex"}], set_headers={"x-lane": "b"},
        max_tokens=8_000, on_rate_limit="relay", hedge_ms=900,
    )  # fmt: skip
    assert row["targets"] == [
        {"provider": "vertex", "model": "claude-haiku-5-5", "weight": 3}, {"model": "claude-sonnet-5-5"},
    ]  # fmt: skip
    assert (row["scope"], row["target"], row["customer"]) == ("team", "Core", "Acme")
    assert RoutingRule.objects.get().targets[0] == {
        "provider_id": vertex.pk, "provider": "vertex", "model": "claude-haiku-5-5", "weight": 3,
    }  # fmt: skip
    vertex.name = "vertex-eu"
    vertex.save()
    changed = world.root.patch(f"{URL}{row['id']}/", {"position": 5, "max_tokens": None}, format="json").json()
    assert (changed["position"], changed["max_tokens"]) == (5, None)
    assert changed["fallbacks"] == [{"provider": "vertex-eu"}]
    assert [entry.action for entry in AuditEntry.objects.order_by("pk")] == [
        "routing_rule.created", "routing_rule.changed",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("body", "field", "told"),
    [
        ({"condition": "model =="}, "condition", "Line 1, column 9: it ends too early."),
        ({"condition": "true &&\n  teem"}, "condition", "Line 2, column 3: there is no variable or function teem."),
        ({"deny": "", "targets": [{"provider": "nowhere"}]}, "targets", "There is no provider 'nowhere'."),
        ({"deny": "", "targets": [{"modle": "x"}]}, "targets", "There is no field 'modle'"),
        ({"deny": "", "targets": [{"model": "claude-*"}]}, "targets", "is not a model id"),
        ({"deny": "", "targets": [{}]}, "targets", "names neither a provider nor a model"),
        ({"deny": "", "targets": [{"model": "m", "weight": 0}]}, "targets", "the weight is 0"),
        ({"deny": ""}, "targets", "It does nothing"),
        ({"targets": [{"model": "m"}]}, "deny", "goes nowhere"),
        ({"deny": "", "set_headers": {"authorization": "x"}}, "set_headers", "the gateway's own"),
        ({"deny": "", "set_headers": {"x-goog-a": "x"}}, "set_headers", "the gateway's own"),
        ({"deny": "", "set_headers": {"X A": "x"}}, "set_headers", "not a header's name"),
        ({"deny": "", "set_headers": {"x-a": "a\r\nb"}}, "set_headers", "plain characters"),
        ({"deny": "", "hedge_ms": 5}, "hedge_ms", "greater than or equal to 50"),
        ({"scope": "team"}, "target", "Say whom it is for."),
        ({"target": "Core"}, "scope", "global names nobody"),
        ({"when": "true"}, "when", "There is no such field"),
    ],
)
def test_a_wrong_rule_is_refused_with_a_sentence(world: World, body: dict[str, Any], field: str, told: str) -> None:
    answer = world.root.post(URL, {"name": "r", "condition": "true", "deny": "No.", **body}, format="json")
    assert answer.status_code == 400, answer.content
    assert told in answer.json()[field][0]
    assert not RoutingRule.objects.exists()


def test_every_mistake_is_told_at_once(world: World) -> None:
    made(world.root, name="twice")
    answer = world.root.post(URL, {"name": "Twice", "condition": "model = 'x'", "deny": "No."}, format="json").json()
    assert answer == {
        "detail": "A rule of this name exists.",
        "condition": ["Line 1, column 7: Write == to compare, or .matches() for a pattern."],
    }


def test_a_rule_stays_with_whom_it_is_for(world: World) -> None:
    row = made(world.root)
    answer = world.root.patch(f"{URL}{row['id']}/", {"scope": "team", "target": "Core"}, format="json")
    assert (answer.status_code, set(answer.json())) == (400, {"scope", "target"})


def test_everybody_reaches_their_own_alone(world: World) -> None:
    key = VirtualKey.objects.create(team=world.web, name="web-key")
    made(world.root, name="everybody")
    made(world.alice, name="acme", scope="customer", target="Acme")
    made(world.bob, name="core", scope="team", target="Core")
    made(world.alice, name="key", scope="virtual_key", target="web-key")
    made(world.charlie, name="globex", scope="customer", customer="Globex")
    assert [row["name"] for row in results(world.alice.get(URL))] == ["everybody", "acme", "core", "key"]
    assert [row["name"] for row in results(world.bob.get(URL))] == ["everybody", "acme", "core"]
    assert [row["name"] for row in results(world.charlie.get(URL))] == ["everybody", "globex"]
    hidden = RoutingRule.objects.get(virtual_key=key)
    assert world.charlie.patch(f"{URL}{hidden.pk}/", {"deny": "x"}, format="json").status_code == 404
    # A team's member sees its customer's rule and does not change it; nor does a customer's member everybody's.
    acme, everybody = RoutingRule.objects.get(name="acme"), RoutingRule.objects.get(name="everybody")
    assert world.bob.patch(f"{URL}{acme.pk}/", {"deny": "x"}, format="json").status_code == 403
    assert world.alice.patch(f"{URL}{everybody.pk}/", {"deny": "x"}, format="json").status_code == 403
    body = {"name": "mine", "condition": "true", "deny": "No."}
    assert world.alice.post(URL, body, format="json").status_code == 403
    assert not RoutingRule.objects.filter(name="mine").exists()


def test_aliases_of_teams_and_keys(world: World) -> None:
    aliases = {"claude-opus-*": "claude-sonnet-5-5", "claude-*": "claude-haiku-5-5"}
    team = world.root.patch(f"/api/v1/teams/{world.core.pk}/", {"model_aliases": aliases}, format="json").json()
    assert team["model_aliases"] == aliases
    body = {"team": "Acme/Core", "name": "k", "model_aliases": {"claude-opus-*": "claude-haiku-5-5"}}
    key = world.root.post("/api/v1/keys/", body, format="json").json()
    assert key["model_aliases"] == {"claude-opus-*": "claude-haiku-5-5"}
    wrong = world.root.patch(f"/api/v1/keys/{key['id']}/", {"model_aliases": {"a": "b-*"}}, format="json")
    assert (wrong.status_code, list(wrong.json())) == (400, ["model_aliases"])
