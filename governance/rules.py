"""The routing rules as values, compiled once for each version of the configuration."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace

from governance.domain.access import Grant
from governance.domain.cel import BadCondition
from governance.domain.complexity import DEFAULT_WEIGHTS
from governance.domain.facts import LANGUAGE
from governance.domain.routing import SCOPES, Action, Chain, Group, Rule, RuleTarget
from governance.models import Provider, RoutingRule, RoutingSettings

NOBODY = Chain()
Target = tuple[str, int]
"""A scope and the id of what it names; 0 for everybody."""


@dataclass(frozen=True, slots=True)
class Rules:
    """Every active rule in its place, and the weights of the complexity score."""

    groups: Mapping[Target, tuple[Group, ...]] = field(default_factory=dict)
    weights: Mapping[str, float] = field(default_factory=lambda: dict(DEFAULT_WEIGHTS))
    problems: Mapping[int, str] = field(default_factory=dict)
    """By rule: why it is left out."""

    def places(self, grant: Grant) -> tuple[Target, ...]:
        """Where rules for this key stand, in the order in which they are looked at."""
        own = dict(zip(SCOPES, (grant.key_id, grant.team_id, grant.customer_id, 0), strict=True))
        return tuple((scope, pk) for scope, pk in own.items() if (scope, pk) in self.groups)

    def chain(self, places: Iterable[Target]) -> Chain:
        return Chain.of(group for place in places for group in self.groups[place])


def read(breathe: Callable[[], None] = lambda: None) -> Rules:
    """The rules and weights now; call inside a transaction. One that does not compile is left out and named."""
    placed: defaultdict[Target, list[Rule]] = defaultdict(list)
    problems: dict[int, str] = {}
    names = dict(Provider.objects.values_list("pk", "name"))
    for row in RoutingRule.objects.filter(is_active=True).order_by("position", "pk"):
        try:
            condition = LANGUAGE.compile(row.condition)
        except BadCondition as error:
            problems[row.pk] = str(error)
            continue
        target = 0 if row.scope == RoutingRule.Scope.GLOBAL else getattr(row, f"{row.scope}_id")
        placed[row.scope, target].append(Rule(row.pk, row.name, row.scope, condition, _named(row.action, names)))
        breathe()
    groups = {place: Group.several(rules) for place, rules in placed.items()}
    settings = RoutingSettings.objects.first() or RoutingSettings()
    return Rules(groups, settings.weights, problems)


def _named(action: Action, names: Mapping[int, str]) -> Action:
    """With the names that the providers have now; one that is gone keeps the name that the rule remembers."""

    def now(target: RuleTarget) -> RuleTarget:
        return replace(target, provider=names.get(target.provider_id or 0, target.provider))

    return replace(action, targets=tuple(map(now, action.targets)), fallbacks=tuple(map(now, action.fallbacks)))
