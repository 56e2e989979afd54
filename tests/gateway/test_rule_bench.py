"""The test bench: pasted and logged requests, what is assumed, and whose keys and rows one sees."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

import pytest
from django.contrib.auth.models import Permission, User
from django.test import Client
from ulid import ULID

from governance.models import Customer, Membership, Provider, ProviderAccess, RoutingRule, Team, VirtualKey
from governance.services import routing
from observability.models import Request

pytestmark = pytest.mark.django_db
PAGE = "/admin/routing/bench/"
BODY = json.dumps({"model": "claude-opus-5-5", "max_tokens": 100, "messages": [{"role": "user", "content": "Hello"}]})


@pytest.fixture
def key() -> VirtualKey:
    team = Team.objects.create(customer=Customer.objects.create(name="Acme"), name="Core")
    return VirtualKey.objects.create(team=team, name="ada-laptop", model_patterns=["claude-*"])


@pytest.fixture
def root(client: Client) -> Client:
    client.force_login(User.objects.create_superuser("root"))
    return client


def made(name: str, target: Any = None, **values: Any) -> RoutingRule:
    return routing.create_rule(name=name, target=target, actor=None, **{"condition": "true", **values})


def tried(client: Client, **values: Any) -> Any:
    answer = client.post(PAGE, values)
    assert answer.status_code == 200
    return answer


def test_a_pasted_request_and_its_headers(root: Client, key: VirtualKey) -> None:
    vertex = Provider.objects.create(name="vertex", kind="vertex")
    ProviderAccess.objects.create(virtual_key=key, provider=Provider.objects.create(name="anthropic"))
    made("fails", condition='headers["x-nobody"] == "1"', deny="Never.")
    made("cap", condition="turns == 1", max_tokens=50, set_headers={"x-lane": "b"}, position=200)
    made(
        "haiku", key.team, condition='request_class == "subagent" && complexity < 30',
        targets=[{"provider_id": vertex.pk, "provider": "vertex", "model": "claude-haiku-5-5"}],
        fallbacks=[{"model": "claude-haiku-5-5"}, {"model": "gpt-x"}],
    )  # fmt: skip
    everything = tried(root, body=BODY, headers="x-claude-code-agent-id: a-1").context
    assert everything["verdict"] == "No rule chooses a target; those that matched are below."
    assert [(step.rule, step.failed) for step in everything["decision"].steps] == [("fails", True), ("cap", False)]
    assert everything["decision"].max_tokens == 50

    answer = tried(root, body=BODY, headers="x-claude-code-agent-id: a-1\nX-Other: 1", key=key.pk)
    assert answer.context["verdict"] == "“haiku” decides."
    assert answer.context["targets"] == [
        ("100 %", "claude-haiku-5-5 at vertex", "the key may not use this provider"),
        ("fallback 1", "claude-haiku-5-5", ""),
        ("fallback 2", "gpt-x", "the key may not use this model"),
    ]
    facts = {fact.name: fact for fact in answer.context["facts"]}
    assert (facts["request_class"].value, facts["request_class"].read, facts["team"].value) == (
        "subagent",
        True,
        "Core",
    )
    assert facts["headers"].value == '{"x-claude-code-agent-id": "a-1", "x-other": "1"}'
    assert facts["budget_used_percent"].origin == "not told"
    html = answer.content.decode()
    assert "Score, of 100" in html
    assert str(answer.context["score"].value) in html


def test_an_alias_of_the_key_goes_first(root: Client, key: VirtualKey) -> None:
    key.model_aliases = {"claude-opus-*": "claude-sonnet-5-5"}
    key.save()
    made("sonnet", condition='model == "claude-sonnet-5-5"', deny="No.")
    assert tried(root, body=BODY, key=key.pk).context["verdict"] == "Refused by “sonnet”: No."
    assert tried(root, body=BODY).context["verdict"].startswith("None of 1 rule matches")


def test_a_logged_request_with_what_is_assumed(root: Client, key: VirtualKey) -> None:
    at = datetime(2026, 11, 28, 9, tzinfo=UTC)
    row = Request.objects.create(
        id=str(ULID()), started_at=at, finished_at=at, status="success", model_requested="claude-opus-5-5",
        customer_id=key.team.customer_id, team_id=key.team_id, virtual_key_id=key.pk, team="Core", input_tokens=9_000,
    )  # fmt: skip
    made("long", key, condition="turns > 10 && prompt_tokens == 9000", targets=[{"model": "claude-haiku-5-5"}])
    shown = root.get(PAGE, {"request": row.pk})
    assert shown.context["key"] == key
    assert "The key that sent the request: " in shown.content.decode()
    assert "Any key: only rules for everybody" not in shown.content.decode()
    assert shown.context["decision"].rule == ""
    assert {fact.name: fact.origin for fact in shown.context["facts"]}["turns"] == "not told"
    assumed = tried(root, request_id=row.pk, assumed='turns = 12\neffort = "high"')
    assert assumed.context["decision"].rule == "long"
    assert {fact.name: fact.origin for fact in assumed.context["facts"]}["turns"] == "assumed"
    assert "high effort" in [part.told for part in assumed.context["score"].parts]


@pytest.mark.parametrize(
    ("values", "sentence"),
    [
        ({"body": "{"}, "The body is not valid JSON"),
        ({"body": BODY, "headers": "nonsense"}, "is no header"),
        ({"assumed": "turns"}, "is no variable with a value"),
        ({"assumed": "turms = 1"}, "is no variable with a value"),
        ({"assumed": "effort = high"}, "is not JSON"),
        ({"assumed": 'turns = "many"'}, "turns is a whole number"),
        ({"assumed": "turns = true"}, "turns is a whole number"),
        ({"request_id": "01ARZ3NDEKTSV4RRFFQ69G5FAV"}, "No request of this id"),
    ],
)
def test_what_is_wrong_is_said(root: Client, values: dict[str, str], sentence: str) -> None:
    answer = tried(root, **values)
    assert sentence in answer.content.decode()
    assert "decision" not in answer.context


def test_others_see_neither_key_nor_row(client: Client, key: VirtualKey) -> None:
    at = datetime(2026, 11, 28, 9, tzinfo=UTC)
    row = Request.objects.create(
        id=str(ULID()), started_at=at, finished_at=at, status="success", customer_id=key.team.customer_id
    )
    charlie = User.objects.create_user("charlie", is_staff=True)
    Membership.objects.create(user=charlie, customer=Customer.objects.create(name="Globex"))
    client.force_login(charlie)
    assert client.get(PAGE).status_code == 403
    charlie.user_permissions.add(Permission.objects.get(codename="view_routingrule"))
    assert "ada-laptop" not in client.get(PAGE).content.decode()
    assert "Your roles lack the permission" in tried(client, request_id=row.pk).content.decode()
    charlie.user_permissions.add(Permission.objects.get(codename="view_request"))
    assert "No request of this id" in tried(client, request_id=row.pk).content.decode()
    assert "Select a valid choice" in tried(client, body=BODY, key=key.pk).content.decode()
