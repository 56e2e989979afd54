"""Routing rules, weights and model aliases in a configuration file: there and back."""

from __future__ import annotations

import pytest

from governance.configuration import ConfigurationError, apply, export, parse
from governance.models import Provider, RoutingRule, RoutingSettings, Team, VirtualKey

pytestmark = pytest.mark.django_db

EXAMPLE = """
providers:
  - {name: anthropic, kind: anthropic, credentials: [{name: main, secret_env: KEY}]}
  - {name: sim, kind: simulated}
customers:
  - name: Acme
    teams:
      - name: Core
        model_aliases: {"claude-opus-*": claude-sonnet-5-5}
        keys: [{name: ada, model_aliases: {claude-fable-5: claude-haiku-5-5}}]
routes:
  - name: subagents to haiku
    condition: 'request_class in ["subagent", "auxiliary"]'
    targets: [{model: claude-haiku-5-5, weight: 3}, {provider: sim, model: claude-haiku-4-5, weight: 0.5}]
    fallbacks: [{provider: anthropic}]
    on_rate_limit: relay
  - {name: caps, customer: Acme, condition: "true", max_tokens: 8000, hedge_ms: 900, set_headers: {x-lane: b}}
  - {name: no opus at night, customer: Acme, team: Core, condition: hour < 6, deny: Sleep., active: false}
  - {name: of the key, customer: Acme, team: Core, key: ada, condition: turns > 9, max_tokens: 100, description: Why.}
complexity_weights: {prompt: 40, tools: 2.5}
"""
ENVIRON = {"KEY": "sk-ant-x"}


def test_there_and_back() -> None:
    outcome = apply(parse(EXAMPLE), environ=ENVIRON)
    assert [line for line in outcome.lines if line.startswith("+ route")] == [
        '+ route subagents to haiku: condition request_class in ["subagent", "auxiliary"], targets [claude-haiku-5-5 '
        "× 3, claude-haiku-4-5 at sim × 0.5], fallbacks [the same model at anthropic], on_rate_limit relay",
        "+ route caps: condition true, set_headers {x-lane: b}, max_tokens 8000, hedge_ms 900",
        "+ route no opus at night: condition hour < 6, deny Sleep.",
        "+ route of the key: description Why., condition turns > 9, max_tokens 100",
    ]  # fmt: skip
    rules = {rule.name: rule for rule in RoutingRule.objects.all()}
    assert [rules[name].position for name in ("subagents to haiku", "caps", "no opus at night", "of the key")] == [
        10, 20, 30, 40,
    ]  # fmt: skip
    team = Team.objects.get()
    assert (rules["no opus at night"].team, rules["no opus at night"].customer) == (team, team.customer)
    assert rules["of the key"].virtual_key == VirtualKey.objects.get()
    assert team.model_aliases == {"claude-opus-*": "claude-sonnet-5-5"}
    assert VirtualKey.objects.get().model_aliases == {"claude-fable-5": "claude-haiku-5-5"}
    assert RoutingSettings.objects.get().weights["tools"] == 2.5

    again = apply(parse(EXAMPLE), environ=ENVIRON)
    assert (again.created, again.changed) == (0, 0), again.lines
    exported = export()
    back = apply(parse(exported), environ=ENVIRON)
    assert (back.created, back.changed) == (0, 0), back.lines
    assert export() == exported


def test_a_rule_may_move_to_others_and_lose_its_cap() -> None:
    apply(parse(EXAMPLE), environ=ENVIRON)
    text = "routes: [{name: caps, condition: 'turns > 2', max_tokens: 0, hedge_ms: 700, position: 7}]"
    outcome = apply(parse(text))
    assert outcome.changed == 1
    rule = RoutingRule.objects.get(name="caps")
    assert (rule.scope, rule.customer, rule.max_tokens, rule.hedge_ms, rule.position) == ("global", None, None, 700, 7)
    assert apply(parse(text)).changed == 0


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (
            "routes: [{name: r, condition: 'model ==', deny: x}]",
            "routes[0].condition: Line 1, column 9: it ends too early.",
        ),
        (
            "routes: [{name: r, condition: 'true', targets: [{provider: no}]}]",
            "routes[0].targets: There is no provider 'no'. Known: none.",
        ),
        (
            "routes: [{name: r, condition: 'true'}]",
            "routes[0].targets: It does nothing: name a target, a refusal, headers, a cap or an option.",
        ),
        ("routes: [{name: r, team: T, deny: x}]", "routes[0].customer: is missing: whose team or key is it?"),
        ("routes: [{name: r, customer: A, deny: x}]", "routes[0].customer: there is no customer 'A'."),
        (
            "routes: [{name: r, deny: x}, {name: R, deny: y}]",
            "routes[1]: is the same route as routes[0]. Keep one of them.",
        ),
        (
            "complexity_weights: {size: 3}",
            "complexity_weights.complexity_weights: Give weights by feature: prompt, thinking, turns, class, tools, "
            "images.",
        ),
    ],
)
def test_a_mistake_is_named_by_its_place(text: str, told: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        apply(parse(text))
    assert caught.value.problems == (told,)


def test_a_rule_whose_provider_is_gone_goes_there_and_back() -> None:
    apply(parse(EXAMPLE), environ=ENVIRON)
    Provider.objects.filter(name="sim").delete()
    outcome = apply(parse(export()), environ=ENVIRON)
    assert (outcome.created, outcome.changed) == (0, 0), outcome.lines
    with pytest.raises(ConfigurationError, match="There is no provider 'sim'"):
        apply(parse("routes: [{name: new, condition: 'true', targets: [{provider: sim}]}]"))
