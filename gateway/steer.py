"""Between steps 2 and 3: which model, on which targets? What aliases of the key or its team and routing rules say.

An alias first puts its model in the place of the one asked for, then the rules are asked. What they decide never
allows anything: of their targets those count that the key may use (`authorize`), and where none is left the request
goes on as if no rule had decided, which the row says.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from msgspec.structs import replace

from gateway import errors
from gateway.authorize import accesses_of, may_use
from gateway.exchange import Exchange, Planned
from gateway.facts import counted_budgets, facts_of, used_percent
from gateway.ladder import hear
from gateway.providers.base import Operation
from gateway.wire import cap
from gateway.wire.forms import CLAUDE
from governance.domain.access import Grant, matches
from governance.domain.routing import Chain, Decision, RuleTarget, decide
from governance.snapshot import ProviderConfig
from observability import metrics


async def steer(exchange: Exchange, grant: Grant, model: str) -> str:
    """The model to go on with; sets the plan of the exchange. Raises Refused where a rule says so."""
    if grant.aliases:
        model = _aliased(exchange, grant, model)
    rules = exchange.snapshot.rules
    if rules.groups and (chain := _chain(exchange, grant)):
        decision = await _decide(exchange, grant, model, chain)
        _follow(exchange, grant, model, decision)
    return model


def _aliased(exchange: Exchange, grant: Grant, model: str) -> str:
    """What the first alias that fits puts in the place of the model; an alias of an alias is none."""
    for pattern, other in grant.aliases:
        if matches((pattern,), model):
            if other == model:
                return model
            exchange.aliased_from = model
            exchange.record.route_rule = f"alias {pattern} → {other}"[:120]
            exchange.record.routing = {"alias": {"pattern": pattern, "from": model[:200], "to": other}}
            return other
    return model


def _chain(exchange: Exchange, grant: Grant) -> Chain:
    """The rules for this key. Keys of which none has rules of its own share their team's chain."""
    snapshot = exchange.snapshot
    places = snapshot.rules.places(grant)
    return snapshot.remembered(("rules", places), lambda: snapshot.rules.chain(places))


async def _decide(exchange: Exchange, grant: Grant, model: str, chain: Chain) -> Decision:
    percent = 0
    if "budget_used_percent" in chain.names:
        budgets = counted_budgets(exchange, grant, model)
        await hear(exchange, budgets)
        percent = used_percent(exchange, budgets)
    decision = decide(chain, facts_of(exchange, grant, model, chain.names, percent))
    for failure in decision.failures:
        metrics.rule_failed(failure.rule)
    return decision


def _follow(exchange: Exchange, grant: Grant, model: str, decision: Decision) -> None:
    """Do what was decided, and keep it on the row."""
    record = exchange.record
    told = decision.explained()
    if not told:
        return
    record.routing = {**record.routing, **told}
    if not decision.steps:
        return
    if decision.deny:
        record.route_rule = decision.rule[:120]
        raise errors.denied_by_rule(decision.rule, decision.deny)
    if decision.max_tokens is not None:
        _cap(exchange, decision.max_tokens)
    exchange.extra_headers = tuple((name.encode(), value.encode()) for name, value in decision.set_headers)
    exchange.relay_rate_limits = decision.on_rate_limit == "relay"
    exchange.hedge_seconds = None if decision.hedge_ms is None else decision.hedge_ms / 1000
    if decision.targets or decision.fallbacks:
        _plan(exchange, grant, model, decision)
    if decision.rule and exchange.plan:
        record.route_rule = decision.rule[:120]
    else:
        record.routing.pop("rule", None)


def _plan(exchange: Exchange, grant: Grant, model: str, decision: Decision) -> None:
    """Targets first (what was asked for, where a rule names only fallbacks), then each fallback in its own tier."""
    firsts: Sequence[RuleTarget] = decision.targets or (RuleTarget(),)
    wanted = [(target, 0) for target in firsts]
    wanted += [(target, tier) for tier, target in enumerate(decision.fallbacks, 1)]
    judged: list[tuple[Planned, str]] = []
    kept: list[dict[str, Any]] = []
    left_out: list[dict[str, Any]] = []
    names = exchange.snapshot.providers
    for target, tier in wanted:
        planned = Planned(target.model or model, target.provider_id, tier, target.weight)
        why, told = _why_not(exchange, grant, planned), _told(planned, target.provider, names)
        judged.append((planned, why))
        if why:
            left_out.append(told | {"why": why})
        else:
            kept.append(told)
    routing: dict[str, Any] = exchange.record.routing
    routing["targets"] = kept
    if left_out:
        routing["left_out"] = left_out
    exchange.plan = tuple(each for each, why in judged if not why)


def _why_not(exchange: Exchange, grant: Grant, planned: Planned) -> str:
    """Why a target cannot be used by this key; empty where it can."""
    if planned.provider_id is not None and planned.provider_id not in exchange.snapshot.providers:
        return "the provider is switched off or gone"
    accesses = accesses_of(grant, exchange.snapshot)
    fitting = [access for access in accesses if planned.provider_id in (None, access.provider_id)]
    if not fitting:
        return "the key may not use this provider"
    if not any(may_use(exchange, grant, access, planned.model) for access in fitting):
        return "the key may not use this model there"
    return ""


def _told(planned: Planned, name: str, providers: Mapping[int, ProviderConfig]) -> dict[str, Any]:
    told: dict[str, Any] = {"model": planned.model[:200], "tier": planned.tier}
    if planned.provider_id is not None:
        config = providers.get(planned.provider_id)
        told["provider"] = config.name if config else name or "gone"
    if planned.weight != 1.0:
        told["weight"] = planned.weight
    return told


def _cap(exchange: Exchange, most: int) -> None:
    """Lower `max_tokens`; a count of tokens names none, and may not."""
    peek = exchange.peek
    if peek is None or exchange.operation is not Operation.MESSAGES or not cap.exceeds(peek, most):
        return
    exchange.body = cap.capped(exchange.body, peek, most)
    if exchange.untranslated and exchange.format.form not in CLAUDE:
        exchange.untranslated = cap.capped_as_sent(exchange.untranslated, exchange.format.form, most)
    budget = peek.thinking_budget_tokens
    exchange.peek = replace(
        peek, max_tokens=most, thinking_budget_tokens=budget if budget is None else min(budget, most - 1)
    )
    exchange.record.routing["max_tokens"] = {"from": peek.max_tokens, "to": most}
