"""The rules of a snapshot: whose they are, in which order, and that a bad one stops nothing."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest
from django.core.exceptions import ValidationError

from governance import rules, snapshot
from governance.domain.access import Grant
from governance.domain.facts import Facts
from governance.domain.routing import decide
from governance.models import Customer, RoutingRule, RoutingSettings, Team, VirtualKey
from governance.services import routing

pytestmark = pytest.mark.django_db
NOW = datetime(2026, 11, 28, 12, tzinfo=UTC)


@pytest.fixture
def key() -> VirtualKey:
    team = Team.objects.create(customer=Customer.objects.create(name="Acme", timezone="Asia/Tokyo"), name="Core")
    return VirtualKey.objects.create(team=team, name="ada")


def grant(key: VirtualKey) -> Grant:
    return Grant(key.pk, key.name, key.team.customer_id, "Acme", key.team_id, "Core")


def made(name: str, target: Any = None, **values: Any) -> RoutingRule:
    return routing.create_rule(name=name, target=target, actor=None, **{"condition": "true", "deny": "No.", **values})


def names(key: VirtualKey) -> list[str]:
    known = snapshot.load(NOW).rules
    return [rule.name for rule in known.chain(known.places(grant(key))).rules]


def test_the_most_specific_come_first_then_the_position_then_the_older(key: VirtualKey) -> None:
    other = Team.objects.create(customer=key.team.customer, name="Web")
    made("everybody 2", position=20)
    made("everybody 1b", position=10)
    made("everybody 1c", position=10)
    made("customer", key.team.customer)
    made("key", key)
    made("team", key.team)
    made("another team", other)
    made("off", key, is_active=False)
    assert names(key) == ["key", "team", "customer", "everybody 1b", "everybody 1c", "everybody 2"]


def test_any_change_is_a_change_of_everything(key: VirtualKey) -> None:
    known = snapshot.load(NOW)
    rule = made("r")
    changes = snapshot.changes_since(known)
    assert (changes.whole, changes.keys) == (True, frozenset())
    known = snapshot.load(NOW)
    routing.change(rule=rule, actor=None, condition="false")
    assert snapshot.changes_since(known).whole
    known = snapshot.load(NOW)
    routing.set_weights(weights={"tools": 50}, actor=None)
    assert snapshot.changes_since(known).whole
    assert snapshot.load(NOW).rules.weights["tools"] == 50
    assert snapshot.load(NOW).zones == {key.team.customer_id: "Asia/Tokyo"}


def test_a_rule_that_no_longer_compiles_is_left_out_and_named(key: VirtualKey) -> None:
    made("good")
    bad = made("bad", position=1)
    RoutingRule.objects.filter(pk=bad.pk).update(condition="model ==")
    known = rules.read()
    assert known.problems == {bad.pk: "Line 1, column 9: it ends too early."}
    assert names(key) == ["good"]


def test_single_keys_are_followed_with_the_same_rules(key: VirtualKey) -> None:
    made("r")
    known = snapshot.load(NOW)
    VirtualKey.objects.filter(pk=key.pk).update(revoked_at=NOW)
    followed = snapshot.with_keys(known, snapshot.changes_since(known))
    assert followed.rules is known.rules


def test_keys_without_rules_of_their_own_share_a_chain(key: VirtualKey) -> None:
    second = VirtualKey.objects.create(team=key.team, name="bob")
    made("team", key.team)
    known = snapshot.load(NOW).rules
    assert known.places(grant(key)) == known.places(grant(second)) == (("team", key.team_id),)
    assert decide(known.chain(known.places(grant(key))), Facts()).deny == "No."


def test_weights_have_bounds() -> None:
    for weights in (
        {"size": 1},
        {"tools": -1},
        {"tools": "many"},
        {"tools": True},
        dict.fromkeys(RoutingSettings().weights, 0),
    ):
        with pytest.raises(ValidationError, match=r"[wW]eight"):
            routing.set_weights(weights=weights, actor=None)  # type: ignore[arg-type]
