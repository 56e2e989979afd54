"""Step 4: take a hold on every budget and limit that applies, in memory, or refuse naming the one that is used up."""

from __future__ import annotations

from collections.abc import Sequence

from gateway import errors
from gateway.exchange import Exchange
from gateway.providers import PROVIDERS
from gateway.wire import tokens
from governance.domain.access import Access, Grant
from governance.domain.allowance import Allowance, Enforcement, Exhausted, Unit
from governance.domain.pricing import PriceRow
from governance.snapshot import applicable

LARGEST_CONTEXT = 1_000_000
"""Tokens of the longest prompt that any Claude model takes."""


def admit(exchange: Exchange, grant: Grant, model: str) -> None:
    """Hold the allowances of customer, team, project, developer and key; those of a provider are held in `route`."""
    allowances = applicable((*grant.allowances, *(exchange.project.allowances if exchange.project else ())), model)
    refusal = take(exchange, allowances, model)
    if refusal is not None:
        raise errors.exhausted(refusal, grant, exchange.worst_nano_usd)


def take(exchange: Exchange, allowances: Sequence[Allowance], model: str) -> Exhausted | None:
    """Add a hold on these allowances to the exchange, or return the one that has no room."""
    if not allowances:
        return None
    if not exchange.worst_nano_usd and any(a.enforcement is Enforcement.HARD for a in allowances):
        exchange.worst_nano_usd = worst_case(exchange, exchange.candidates, model)
    book = exchange.gateway.book
    now = exchange.record.started_at
    for allowance in allowances:
        if allowance.unit is Unit.USD:
            used, held = book.figures(allowance, now)
            exchange.record.budget_decision.append(
                {
                    "budget_id": allowance.id,
                    "budget": allowance.name,
                    "scope": allowance.scope,
                    "spent_nano_usd": used,
                    "held_nano_usd": held,
                    "limit_nano_usd": allowance.limit,
                    "enforcement": allowance.enforcement.value,
                }
            )
    outcome = book.admit(allowances, now, exchange.worst_nano_usd)
    if isinstance(outcome, Exhausted):
        for decision in exchange.record.budget_decision:
            if outcome.allowance.unit is Unit.USD and decision["budget_id"] == outcome.allowance.id:
                decision["refused"] = True
        return outcome
    exchange.holds.append(outcome)
    return None


def worst_case(exchange: Exchange, candidates: Sequence[Access], model: str) -> int:
    """Nano-dollars that the request cannot exceed at the dearest of its candidates."""
    peek, prices, at = exchange.peek, exchange.snapshot.prices, exchange.record.started_at
    if peek is None:
        return 0
    bound = tokens.upper_bound(exchange.body, peek)
    worst = 0
    for access in candidates:
        platform = PROVIDERS[exchange.snapshot.providers[access.provider_id].kind].platform
        row = prices.find(platform, model, at)
        context = _context_tokens(row)
        output = peek.max_tokens or (row.max_output_tokens if row else None) or 128_000
        prompt = context if bound.open_ended else min(bound.tokens, context)
        ceiling = prices.ceiling(
            platform,
            model,
            at,
            prompt,
            output,
            peek.web_search_max_uses,
            fast=peek.speed == "fast",
            cache_1h=bound.one_hour,
        )
        worst = max(worst, ceiling)
    return worst


def _context_tokens(row: PriceRow | None) -> int:
    """The longest prompt of a model. A tier that begins where the listed window ends tells of a longer one."""
    listed = row.context_tokens if row else None
    if row is None or listed is None or any(tier.above_prompt_tokens >= listed for tier in row.tiers):
        return LARGEST_CONTEXT
    return listed
