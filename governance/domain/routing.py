"""Routing rules: which targets a request goes to, decided from facts about it, and why.

Rules of the key come first, then those of its team, its customer, and those for everybody; inside one of these, by
position. What matches applies: a rule that names targets, or refuses, ends it; one that sets headers, a cap or an
option applies and the next is looked at (of what two rules set, the first counts; of caps, the lowest). A rule that
cannot be worked out for a request is passed over and reported. What nobody decides goes where it would go anyway.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from governance.domain.cel import Condition, ConditionFailed
from governance.domain.complexity import Score
from governance.domain.facts import LANGUAGE, Facts, noted, values_of

SCOPES: Final = ("virtual_key", "team", "customer", "global")
"""From the most specific on: the order in which they are looked at."""

ON_RATE_LIMIT: Final = ("fallback", "relay")
MAX_SET_HEADERS: Final = 20

_GROUP = 16
"""Conditions that are asked at once: with more, a match makes more of them be asked one by one."""


@dataclass(frozen=True, slots=True)
class RuleTarget:
    """Where a request may go. No provider is each one that has the model; no model is the one asked for."""

    provider_id: int | None = None
    model: str = ""
    weight: float = 1.0
    provider: str = field(default="", compare=False)
    """What the provider is called, or was when the rule was saved."""


@dataclass(frozen=True, slots=True)
class Action:
    """What a rule does. Tokens and milliseconds; None and empty leave things as they are."""

    targets: tuple[RuleTarget, ...] = ()
    fallbacks: tuple[RuleTarget, ...] = ()
    deny: str = ""
    set_headers: tuple[tuple[str, str], ...] = ()
    max_tokens: int | None = None
    on_rate_limit: str = ""
    hedge_ms: int | None = None

    @property
    def decides(self) -> bool:
        return bool(self.targets or self.deny)


@dataclass(frozen=True, slots=True)
class Rule:
    """One rule, ready to be asked."""

    id: int
    name: str
    scope: str
    condition: Condition
    action: Action


@dataclass(frozen=True, slots=True)
class Step:
    """A rule that matched or failed on the way to the decision; `told` says what it did, or why it failed."""

    rule_id: int
    rule: str
    scope: str
    failed: bool
    told: str


@dataclass(frozen=True, slots=True)
class Decision:
    """What the rules make of one request."""

    rule: str = ""
    """The rule that decided; empty where none did."""
    rule_id: int | None = None
    targets: tuple[RuleTarget, ...] = ()
    fallbacks: tuple[RuleTarget, ...] = ()
    deny: str = ""
    set_headers: tuple[tuple[str, str], ...] = ()
    max_tokens: int | None = None
    on_rate_limit: str = ""
    hedge_ms: int | None = None
    steps: tuple[Step, ...] = ()
    looked: int = 0
    """Rules that were asked, the deciding one with them."""
    score: Score | None = None
    noted: Mapping[str, Any] = field(default_factory=dict)
    """Facts that rules read and the row keeps."""

    @property
    def failures(self) -> tuple[Step, ...]:
        return tuple(step for step in self.steps if step.failed)

    def explained(self) -> dict[str, Any]:
        """The decision for the request row; empty where no rule matched, failed, or read what the row keeps."""
        if not self.steps and not self.noted:
            return {}
        told: dict[str, Any] = {"looked": self.looked}
        if self.rule:
            told["rule"] = self.rule
        if self.steps:
            told["steps"] = [
                {"rule": step.rule, "id": step.rule_id, "scope": step.scope, "told": step.told}
                | ({"failed": True} if step.failed else {})
                for step in self.steps
            ]
        if self.noted:
            told["facts"] = dict(self.noted)
        if failed := [step.rule_id for step in self.failures]:
            told["failed"] = failed
        if self.score is not None:
            told["complexity"] = {
                "score": self.score.value,
                "parts": [{"told": part.told, "points": part.points} for part in self.score.parts],
            }
        return told


@dataclass(frozen=True, slots=True)
class Group:
    """A few rules in their order, with the condition that says whether any of them needs a look."""

    rules: tuple[Rule, ...]
    any_of: Condition | None

    @classmethod
    def several(cls, rules: Iterable[Rule]) -> tuple[Group, ...]:
        """Rules of one scope and target in groups."""
        ordered = list(rules)
        parts = [tuple(ordered[start : start + _GROUP]) for start in range(0, len(ordered), _GROUP)]
        return tuple(
            cls(part, LANGUAGE.any_of(rule.condition for rule in part) if len(part) > 1 else None) for part in parts
        )

    def open(self, bindings: Any) -> bool:
        """Whether one of them matches or may fail: then they are asked one by one."""
        if self.any_of is None:
            return True
        try:
            return self.any_of.holds(bindings)
        except ConditionFailed:
            return True


@dataclass(frozen=True, slots=True)
class Chain:
    """The rules that apply to one key, in their order, and what they need to know of a request."""

    groups: tuple[Group, ...] = ()
    names: frozenset[str] = frozenset()

    @classmethod
    def of(cls, groups: Iterable[Group]) -> Chain:
        groups = tuple(groups)
        names = (rule.condition.names for group in groups for rule in group.rules)
        return cls(groups, frozenset().union(*names))

    @property
    def rules(self) -> tuple[Rule, ...]:
        return tuple(rule for group in self.groups for rule in group.rules)

    def __bool__(self) -> bool:
        return bool(self.groups)


def chain_of(rules: Iterable[Rule]) -> Chain:
    """A chain of rules that stand in their order already."""
    return Chain.of(Group.several(rules))


def decide(chain: Chain, facts: Facts) -> Decision:
    """What the chain makes of the facts; never raises."""
    taken = _Taken(facts.score if "complexity" in chain.names else None, noted(facts, chain.names))
    looked = 0
    bindings = LANGUAGE.bind(values_of(facts, chain.names))
    for group in chain.groups:
        if not group.open(bindings):
            looked += len(group.rules)
            continue
        for rule in group.rules:
            looked += 1
            try:
                if not rule.condition.holds(bindings):
                    continue
            except ConditionFailed as error:
                taken.steps.append(Step(rule.id, rule.name, rule.scope, True, str(error)))
                continue
            taken.apply(rule)
            if rule.action.decides:
                return taken.decision(looked, rule)
    return taken.decision(looked, None)


@dataclass(slots=True)
class _Taken:
    """What the rules that matched have set so far."""

    score: Score | None
    noted: Mapping[str, Any]
    steps: list[Step] = field(default_factory=list)
    headers: dict[str, str] = field(default_factory=dict)
    max_tokens: int | None = None
    fallbacks: tuple[RuleTarget, ...] = ()
    on_rate_limit: str = ""
    hedge_ms: int | None = None

    def apply(self, rule: Rule) -> None:
        action = rule.action
        for name, value in action.set_headers:
            self.headers.setdefault(name, value)
        if action.max_tokens is not None:
            self.max_tokens = min(action.max_tokens, self.max_tokens or action.max_tokens)
        self.fallbacks = self.fallbacks or action.fallbacks
        self.on_rate_limit = self.on_rate_limit or action.on_rate_limit
        self.hedge_ms = self.hedge_ms if self.hedge_ms is not None else action.hedge_ms
        self.steps.append(Step(rule.id, rule.name, rule.scope, False, describe(action)))

    def decision(self, looked: int, rule: Rule | None) -> Decision:
        return Decision(
            rule=rule.name if rule else "",
            rule_id=rule.id if rule else None,
            targets=rule.action.targets if rule else (),
            fallbacks=self.fallbacks,
            deny=rule.action.deny if rule else "",
            set_headers=tuple(self.headers.items()),
            max_tokens=self.max_tokens,
            on_rate_limit=self.on_rate_limit,
            hedge_ms=self.hedge_ms,
            steps=tuple(self.steps),
            looked=looked,
            score=self.score,
            noted=self.noted,
        )


def describe(action: Action, providers: Mapping[int, str] | None = None) -> str:
    """The action in words; without `providers` (names by id) they are called what the targets call them."""
    told = []
    if action.deny:
        told.append("refused")
    if action.targets:
        told.append(f"to {_named(action.targets, providers, weighted=True)}")
    if action.fallbacks:
        told.append(f"{'then' if action.targets else 'falls back to'} {_named(action.fallbacks, providers)}")
    if action.max_tokens is not None:
        told.append(f"at most {action.max_tokens:,} output tokens")
    if action.set_headers:
        told.append(f"sets {', '.join(name for name, _ in action.set_headers)}")
    if action.on_rate_limit:
        told.append(
            {"fallback": "on a rate limit the next target", "relay": "a rate limit reaches the client"}[
                action.on_rate_limit
            ]
        )
    if action.hedge_ms is not None:
        told.append(f"next target after {action.hedge_ms:,} ms without a token")
    return "; ".join(told)


def _named(targets: Sequence[RuleTarget], providers: Mapping[int, str] | None, *, weighted: bool = False) -> str:
    total = sum(target.weight for target in targets)
    told = []
    for target in targets:
        name = target.model or "the same model"
        if target.provider_id is not None:
            gone = "a provider that is gone"
            place = target.provider or gone if providers is None else providers.get(target.provider_id, gone)
            name += f" at {place}"
        if weighted and len(targets) > 1 and total > 0:
            name += f" ({100 * target.weight / total:.0f} %)"
        told.append(name)
    return ", ".join(told)
