"""What a routing rule would have done to requests of the log, and what they would have cost.

The rule is looked at by itself, as if no other decided before it. A row tells the facts that it keeps; where the
condition hangs on another, the request cannot be judged, and is counted as such: never as one that does not match.
How the price list knows a model at a provider, the app above says that calls it (`use_names`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, Final
from zoneinfo import ZoneInfo

from django.db.models import Count
from msgspec.structs import replace

from governance.catalog import price_book
from governance.domain.cel import Condition, ConditionFailed
from governance.domain.facts import LANGUAGE, NOTED, VARIABLES, WEEKDAYS, Facts, values_of
from governance.domain.pricing import PriceBook
from governance.domain.provider_kinds import KINDS
from governance.domain.routing import Action, RuleTarget
from governance.domain.usage import Usage
from governance.models import Customer, Provider, RoutingRule
from observability.models import Request
from observability.selectors.proof import usage_of

CHOICES: Final = (1_000, 5_000, 20_000)
_ALWAYS: Final = frozenset(variable.name for variable in VARIABLES if variable.logged)
_UNKNOWN: Final = "No value with name"
"""How the library says that a condition needed a variable that was not given."""

PricedAs = Callable[[Provider, str], tuple[str, str]]
"""(model id, region) that the price list knows a model at a provider by."""


def _as_named(provider: Provider, model: str) -> tuple[str, str]:
    return model, provider.region


_priced_as: PricedAs = _as_named


def use_names(priced_as: PricedAs) -> None:
    """Price targets by the ids that their providers get."""
    global _priced_as
    _priced_as = priced_as


@dataclass(slots=True)
class Line:
    """Requests of one model that would go to one other. Amounts in nano-dollars; `cold` with nothing in the cache."""

    model: str
    becomes: str
    requests: float = 0
    now: int = 0
    then: float = 0
    cold: float = 0
    unpriced: bool = False
    """Whether the price list does not know the other model there: then it is taken at the dearest rate."""


@dataclass(slots=True)
class DryRun:
    """The outcome over `looked` requests, from the newest on."""

    looked: int = 0
    matched: int = 0
    unjudged: int = 0
    failed: int = 0
    denied: int = 0
    longer: int = 0
    """Answers that had more output tokens than the rule's cap."""
    oldest: Any = None
    newest: Any = None
    lines: list[Line] = field(default_factory=list)
    unknown: tuple[str, ...] = ()
    """Facts that the condition reads and some rows do not tell."""
    reasons: tuple[str, ...] = ()
    """Why it failed, each once."""

    @property
    def now(self) -> int:
        return sum(line.now for line in self.lines)

    @property
    def then(self) -> int:
        return round(sum(line.then for line in self.lines))

    @property
    def cold(self) -> int:
        return round(sum(line.cold for line in self.lines))

    @property
    def share(self) -> float:
        """Percent of the requests that match."""
        return 100 * self.matched / self.looked if self.looked else 0.0


def dry_run(rule: RoutingRule, user: Any, *, most: int) -> DryRun:
    """Look at the last `most` requests of those whom the rule is for, as far as the user may see them.

    Raises BadCondition.
    """
    condition = LANGUAGE.compile(rule.condition)
    rows = Request.objects.visible_to(user).filter(**_scope(rule)).exclude(request_class__in=["models", "count_tokens"])
    run, judge = DryRun(), _Judge(condition)
    costs = _Costs(rule.action)
    for row in rows.order_by("-started_at", "-id")[:most].iterator(chunk_size=500):
        run.looked += 1
        run.newest = run.newest or row.started_at
        run.oldest = row.started_at
        match judge.holds(row):
            case None:
                run.unjudged += 1
            case "failed":
                run.failed += 1
            case True:
                run.matched += 1
                costs.add(row, run)
    run.lines = sorted(costs.lines.values(), key=lambda line: -line.now)
    run.unknown, run.reasons = tuple(sorted(judge.unknown)), tuple(judge.reasons)
    return run


def _scope(rule: RoutingRule) -> dict[str, Any]:
    return {} if rule.target is None else {f"{rule.scope}_id": rule.target.pk}


def facts_of(row: Request, zone: ZoneInfo) -> tuple[Facts, frozenset[str]]:
    """The facts that a row tells, and their names."""
    local = row.started_at.astimezone(zone)
    client, _, version = row.client.partition("/")
    kept = {name: value for name, value in row.routing.get("facts", {}).items() if name in NOTED}
    alias = row.routing.get("alias", {})
    facts = Facts(**{
        "model": alias.get("to", row.model_requested),
        "request_class": row.request_class or ("subagent" if row.agent_id else "main"),
        "prompt_tokens": usage_of(row).prompt_tokens,
        "stream": row.stream,
        "hour": local.hour,
        "weekday": WEEKDAYS[local.weekday()],
        "client": client,
        "client_version": version,
        "customer": row.customer,
        "team": row.team,
        "project": row.project,
        "developer": row.developer,
        "key": row.virtual_key,
        "session": row.session_id,
        "tags": row.tags,
        **kept,
    })  # fmt: skip
    return facts, _ALWAYS | set(kept)


class _Judge:
    """Asks the condition about rows, with only those facts that the row tells."""

    def __init__(self, condition: Condition) -> None:
        self._condition = condition
        self._zones: dict[int, ZoneInfo] = {
            pk: ZoneInfo(name) for pk, name in Customer.objects.values_list("pk", "timezone")
        }
        self.unknown: set[str] = set()
        self.reasons: dict[str, None] = {}

    def holds(self, row: Request) -> bool | str | None:
        """Whether it holds, `failed`, or None where a fact decides that the row does not tell.

        CEL helps: `a && b` is false where a is, whatever b would be.
        """
        facts, known = facts_of(row, self._zones.get(row.customer_id or 0, ZoneInfo("UTC")))
        try:
            return self._condition.holds(LANGUAGE.bind(values_of(facts, self._condition.names & known)))
        except ConditionFailed as error:
            if _UNKNOWN in str(error):
                self.unknown |= self._condition.names - known
                return None
            self.reasons.setdefault(str(error))
            return "failed"


class _Costs:
    """Adds up what matching requests cost, and what they would have."""

    def __init__(self, action: Action) -> None:
        self._action = action
        self._book: PriceBook = price_book()
        self._providers = {provider.pk: provider for provider in Provider.objects.prefetch_related("credentials")}
        self._named = {provider.name: provider for provider in self._providers.values()}
        self._names: dict[tuple[int, str], tuple[str, str]] = {}
        self.lines: dict[tuple[str, str], Line] = {}

    def add(self, row: Request, run: DryRun) -> None:
        if self._action.deny:
            run.denied += 1
        if self._action.max_tokens is not None and row.output_tokens > self._action.max_tokens:
            run.longer += 1
        model = row.model or row.model_requested
        for target, share in self._shares():
            becomes = self._name(target, model) if target else "refused" if self._action.deny else model
            line = self.lines.setdefault((model, becomes), Line(model, becomes))
            line.requests += share
            line.now += round(row.cost_nano_usd * share)
            if target is not None:
                self._price(line, row, target, share)
            elif not self._action.deny:
                line.then += row.cost_nano_usd * share
                line.cold += row.cost_nano_usd * share

    def _shares(self) -> Sequence[tuple[RuleTarget | None, float]]:
        targets = self._action.targets
        total = sum(target.weight for target in targets)
        return [(target, target.weight / total) for target in targets] or [(None, 1.0)]

    def _name(self, target: RuleTarget, model: str) -> str:
        name = target.model or model
        if target.provider_id is None:
            return name
        provider = self._providers.get(target.provider_id)
        return f"{name} at {provider.name if provider else 'a provider that is gone'}"

    def _price(self, line: Line, row: Request, target: RuleTarget, share: float) -> None:
        served = row.model or row.model_requested
        provider = self._provider(target, row)
        asked = (row.attempts or [{}])[-1].get("asked_for") or row.model_requested
        if target.model in ("", served, asked) and (provider is None or provider.name == row.provider):
            # It stays where it was, at what it cost.
            line.then += row.cost_nano_usd * share
            line.cold += row.cost_nano_usd * share
            return
        usage = usage_of(row)
        if not usage.total_tokens:
            return
        platform, model, region = self._place(provider, row, target.model or served)
        for name, counted in (("then", usage), ("cold", _cold(usage))):
            cost = self._book.cost(platform, model, counted, row.started_at, region=region, customer_id=row.customer_id)
            setattr(line, name, getattr(line, name) + cost.nano_usd * share)
            line.unpriced |= cost.quality == "unpriced"

    def _provider(self, target: RuleTarget, row: Request) -> Provider | None:
        """The target's provider, else the row's own; None where it is gone."""
        if target.provider_id in self._providers:
            return self._providers[target.provider_id]
        return self._named.get(row.provider)

    def _as_priced(self, provider: Provider, model: str) -> tuple[str, str]:
        """Worked out once for each model: a provider's secrets are opened on the way."""
        if (provider.pk, model) not in self._names:
            self._names[provider.pk, model] = _priced_as(provider, model)
        return self._names[provider.pk, model]

    def _place(self, provider: Provider | None, row: Request, model: str) -> tuple[str, str, str]:
        """(platform, model id, region) by which the price list knows the model there."""
        if provider is not None:
            return KINDS[provider.kind].platform, *self._as_priced(provider, model)
        platforms = [str(entry["platform"]) for entry in row.attempts if entry.get("platform")]
        return platforms[-1] if platforms else "anthropic", model, row.region


def _cold(usage: Usage) -> Usage:
    """The same prompt where nothing is cached yet: what was read is written, for five minutes."""
    written = usage.cache_write_5m_tokens + usage.cache_read_tokens
    return replace(usage, cache_read_tokens=0, cache_write_5m_tokens=written, iterations=())


def decided_by(names: Iterable[str], rows: Any) -> dict[str, int]:
    """How many of the rows each of the rules decided."""
    found = rows.filter(route_rule__in=list(names)).order_by().values_list("route_rule")
    return dict(found.annotate(number=Count("id")))
