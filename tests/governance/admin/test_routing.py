"""Routing rules in the admin: their order, mistakes that are pointed at, warnings, and who may."""

from __future__ import annotations

import re
from typing import Any

import pytest
from django.contrib.messages import get_messages
from django.test import Client
from django.urls import reverse
from django.utils import timezone
from django.utils.html import escape
from ulid import ULID

from governance.models import AuditEntry, Provider, RoutingRule, RoutingSettings
from governance.services import routing
from observability.models import Request
from tests.governance.admin.conftest import Tenant, sign_in

LIST = "/admin/governance/routingrule/"
ADD = f"{LIST}add/"


def a_rule(name: str, target: Any = None, **values: Any) -> RoutingRule:
    action = {} if values.keys() & {"targets", "max_tokens"} else {"deny": "No."}
    return routing.create_rule(name=name, target=target, actor=None, **{"condition": "true", **action, **values})


def form(**values: str) -> dict[str, str]:
    return {
        "name": "r", "scope": "global", "position": "10", "condition": "true", "is_active": "on", "targets": "",
        "fallbacks": "", "deny": "", "set_headers": "", "max_tokens": "", "on_rate_limit": "", "hedge_ms": "", **values,
    }  # fmt: skip


def told(answer: Any) -> list[str]:
    return [str(message) for message in get_messages(answer.wsgi_request)]


def page(rule: RoutingRule) -> str:
    return reverse("admin:governance_routingrule_change", args=[rule.pk])


def names(html: str) -> list[str]:
    return re.findall(r"field-name_cell.*?<a[^>]*>([^<]+)", html, re.DOTALL)


def test_the_list_stands_in_the_order_of_evaluation(root: Client, acme: Tenant) -> None:
    provider = Provider.objects.create(name="vertex", kind="vertex", is_active=False)
    a_rule(
        "second", position=20, targets=[{"provider_id": provider.pk, "provider": "vertex", "weight": 3}, {"model": "m"}]
    )
    a_rule("first", position=10, condition="turns > 3", description="Why.")
    a_rule("of the team", acme.team)
    a_rule("of the key", acme.key)
    a_rule("of the customer", acme.customer)
    Request.objects.create(
        id=str(ULID()), started_at=timezone.now(), finished_at=timezone.now(), status="success", route_rule="first"
    )
    html = root.get(LIST).content.decode()
    assert names(html) == ["of the key", "of the team", "of the customer", "first", "second"]
    assert "To the same model at vertex (75 %), m (25 %)" in html
    assert "vertex is switched off: left out." in html
    assert re.search(r"field-num_matches[^>]*>1<", html)
    assert "Why." in html


def test_a_rule_that_cannot_be_read_any_more_is_shown_as_a_problem(root: Client) -> None:
    rule = a_rule("old")
    RoutingRule.objects.filter(pk=rule.pk).update(condition="gone == 1")
    for address in (LIST, page(rule)):
        assert "Its condition cannot be read any more: Line 1, column 1" in root.get(address).content.decode()


def test_aliases_of_a_team_are_pairs_one_a_line(alice: Client, acme: Tenant) -> None:
    url = reverse("admin:governance_team_change", args=[acme.team.pk])
    lines = "claude-opus-* -> claude-sonnet-5-5\nclaude-fable-5 -> claude-haiku-5-5"
    answer = alice.post(url, {"name": acme.team.name, "cost_center": "", "is_active": "on", "model_aliases": lines})
    assert answer.status_code == 302
    acme.team.refresh_from_db()
    assert list(acme.team.model_aliases.items()) == [
        ("claude-opus-*", "claude-sonnet-5-5"), ("claude-fable-5", "claude-haiku-5-5"),
    ]  # fmt: skip
    assert "claude-opus-* -&gt; claude-sonnet-5-5" in alice.get(url).content.decode()


@pytest.mark.parametrize("line", ["gpt-* = claude", "claude-opus-*", "a -> b -> c", "-> claude-haiku-5-5"])
def test_a_line_that_is_no_pair_is_refused(alice: Client, acme: Tenant, line: str) -> None:
    url = reverse("admin:governance_team_change", args=[acme.team.pk])
    answer = alice.post(url, {"name": acme.team.name, "cost_center": "", "is_active": "on", "model_aliases": line})
    assert f"“{escape(line)}” is no pair. Write claude-opus-* -&gt; claude-sonnet-5-5." in answer.content.decode()
    acme.team.refresh_from_db()
    assert acme.team.model_aliases == {}


def test_a_rule_is_made_with_targets_one_a_line(root: Client) -> None:
    vertex = Provider.objects.create(name="Vertex EU", kind="vertex")
    answer = root.post(ADD, form(
        condition='request_class == "subagent"',
        targets="claude-haiku-5-5 @ vertex eu x 3\n@ Vertex EU\nclaude-sonnet-4-5@20250929 x 0.5",
        fallbacks="claude-sonnet-5-5", set_headers="X-Lane: b: c", max_tokens="8000",
    ))  # fmt: skip
    assert answer.status_code == 302, re.findall(r"errorlist.*?</ul>|text-red[^>]*>[^<]+", answer.content.decode())
    rule = RoutingRule.objects.get()
    place = {"provider_id": vertex.pk, "provider": "Vertex EU"}
    assert rule.targets == [
        {**place, "model": "claude-haiku-5-5", "weight": 3},
        place,
        {"model": "claude-sonnet-4-5@20250929", "weight": 0.5},
    ]  # fmt: skip
    assert (rule.fallbacks, rule.set_headers, rule.max_tokens) == (
        [{"model": "claude-sonnet-5-5"}], {"x-lane": "b: c"}, 8000,
    )  # fmt: skip
    html = root.get(page(rule)).content.decode()
    assert "claude-haiku-5-5 @ Vertex EU x 3\n@ Vertex EU\nclaude-sonnet-4-5@20250929 x 0.5" in html
    assert "budget_used_percent" in html
    # Saved as it is, nothing changed: no entry in the trail.
    count = AuditEntry.objects.count()
    same = form(
        condition=rule.condition,
        targets="claude-haiku-5-5 @ Vertex EU x 3\n@ Vertex EU\nclaude-sonnet-4-5@20250929 x 0.5",
        fallbacks="claude-sonnet-5-5", set_headers="x-lane: b: c", max_tokens="8000",
    )  # fmt: skip
    assert root.post(page(rule), same).status_code == 302
    assert AuditEntry.objects.count() == count


def test_a_mistake_is_pointed_at(root: Client) -> None:
    answer = root.post(ADD, form(condition="true &&\r\n  teem == 1", deny="No."))
    html = answer.content.decode()
    assert "Line 2, column 3: there is no variable or function teem. Did you mean team?" in html
    assert '<span class="cmp-pointed">  teem == 1\n..^</span>' in html
    assert not RoutingRule.objects.exists()


@pytest.mark.parametrize(
    ("values", "sentence"),
    [
        ({"targets": "m @ nowhere"}, "There is no provider &#x27;nowhere&#x27;."),
        ({"targets": "a b c"}, "is no target"),
        ({"set_headers": "x-a"}, "is no header"),
        ({"set_headers": "cookie: x"}, "own: it carries a credential"),
        ({}, "It does nothing"),
        ({"scope": "team", "deny": "No."}, "Choose the team that it is for."),
    ],
)
def test_what_is_wrong_is_said_at_its_field(root: Client, values: dict[str, str], sentence: str) -> None:
    assert sentence in root.post(ADD, form(**values)).content.decode()
    assert not RoutingRule.objects.exists()


@pytest.mark.parametrize("field", ["targets", "fallbacks"])
def test_a_target_that_cannot_be_read_is_not_called_missing(root: Client, field: str) -> None:
    html = root.post(ADD, form(**{field: "m @ nowhere"})).content.decode()
    assert "There is no provider" in html
    assert "It does nothing" not in html


def test_what_is_most_likely_not_meant_is_told(root: Client) -> None:
    answer = root.post(ADD, form(condition='headers["x-a"] == "b"', targets="claude-unheard-of"))
    messages = told(answer)
    assert any('"x-a" is not there' in message for message in messages)
    assert any("claude-unheard-of is not in the price list" in message for message in messages)


def test_rules_move_past_their_neighbours_alone(root: Client, acme: Tenant) -> None:
    first, second, third = (a_rule(name, position=5) for name in ("first", "second", "third"))
    other = a_rule("other", acme.team, position=7)
    answer = root.post(LIST, {"action": "move_up", "_selected_action": [second.pk, third.pk]})
    assert told(answer) == ["Moved up: second, third."]
    order = RoutingRule.objects.filter(scope="global").order_by("position", "pk").values_list("name", flat=True)
    assert list(order) == ["second", "third", "first"]
    other.refresh_from_db()
    assert other.position == 7
    answer = root.post(LIST, {"action": "move_down", "_selected_action": [first.pk]})
    assert told(answer)[-1] == "It stands at the end already."
    assert AuditEntry.objects.filter(action="routing_rule.moved").exists()


def test_who_sees_and_who_changes(alice: Client, charlie: Client, acme: Tenant, globex: Tenant) -> None:
    mine, everybody = a_rule("of acme", acme.customer), a_rule("everybody")
    auditor = sign_in("audrey", role="Auditor", customer=acme.customer)
    finance = sign_in("fin", role="Finance", customer=acme.customer)
    assert names(alice.get(LIST).content.decode()) == ["of acme", "everybody"]
    assert names(charlie.get(LIST).content.decode()) == ["everybody"]
    assert charlie.get(page(mine)).status_code == 302
    changed = form(name="of acme", deny="Changed.")
    for client in (auditor, finance):
        assert client.get(page(mine)).status_code == 200
        assert client.post(page(mine), changed).status_code == 403
        assert client.get(ADD).status_code == 403
    assert alice.post(page(mine), changed).status_code == 302
    mine.refresh_from_db()
    assert mine.deny == "Changed."
    # Everybody's rule decides about Globex, too: Alice belongs to Acme alone.
    answer = alice.post(page(everybody), form(name="everybody", deny="Changed."))
    assert any("every customer" in message for message in told(answer))
    everybody.refresh_from_db()
    assert everybody.deny == "No."


def test_switching_off_is_audited(root: Client) -> None:
    rule = a_rule("r")
    assert told(root.post(LIST, {"action": "switch_off", "_selected_action": [rule.pk]})) == ["Switched off: r."]
    rule.refresh_from_db()
    assert not rule.is_active
    assert AuditEntry.objects.latest("pk").changes == {"is_active": [True, False]}


def test_weights_are_numbers_and_only_what_differs_is_kept(root: Client) -> None:
    url = "/admin/governance/routingsettings/1/change/"
    assert root.get(url).status_code == 200
    usual = {"prompt": "30", "thinking": "25", "turns": "15", "class": "15", "tools": "10", "images": "5"}
    assert root.post(url, {**usual, "tools": "40"}).status_code == 302
    assert RoutingSettings.objects.get().complexity_weights == {"tools": 40.0}
    none = root.post(url, dict.fromkeys(usual, "0"))
    assert "At least one weight must be above 0." in none.content.decode()
    assert RoutingSettings.objects.get().complexity_weights == {"tools": 40.0}
