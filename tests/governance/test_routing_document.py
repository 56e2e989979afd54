"""docs/routing.md tells of every variable and action, and its example applies."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from governance.configuration import apply, parse
from governance.domain.complexity import FEATURES
from governance.domain.facts import VARIABLES
from governance.models import Customer, Provider, RoutingRule, Team

TEXT = (Path(__file__).resolve().parents[2] / "docs" / "routing.md").read_text(encoding="utf-8")


def test_every_variable_is_in_its_table() -> None:
    table = TEXT[TEXT.index("| variable |") : TEXT.index("Only what the rules")]
    rows = [line.split("|")[1] for line in table.splitlines()[2:] if line]
    named = {name for row in rows for name in re.findall(r"`(\w+)`", row)}
    assert named == {variable.name for variable in VARIABLES}


def test_every_action_is_in_its_table() -> None:
    actions = {"targets", "fallbacks", "deny", "max_tokens", "set_headers", "on_rate_limit", "hedge_ms"}
    table = TEXT[TEXT.index("| field | does |") : TEXT.index("A changed `max_tokens`")]
    assert set(re.findall(r"^\| `(\w+)` \|", table, re.MULTILINE)) == actions


def test_the_usual_weights_are_those_of_the_code() -> None:
    told = TEXT[TEXT.index("## Complexity score") : TEXT.index("## Dry run")]
    assert sorted(int(number) for number in re.findall(r"\((\d+)[ ,)]", told)) == sorted(
        int(f.weight) for f in FEATURES
    )


@pytest.mark.django_db
def test_the_example_applies() -> None:
    Team.objects.create(customer=Customer.objects.create(name="Acme"), name="Core")
    for name in ("anthropic", "vertex", "bedrock"):
        Provider.objects.create(name=name)
    example = TEXT[TEXT.index("```yaml") + 7 : TEXT.index("```\n\n## Order")]
    assert apply(parse(example)).created == RoutingRule.objects.count() == 5
