"""The most that a request can cost, and use: what a hard budget or limit holds for it. See docs/worst-case.md."""

from __future__ import annotations

from collections.abc import Sequence

from gateway.exchange import Candidate, Exchange
from gateway.providers import PROVIDERS
from gateway.wire import tokens
from governance.domain.pricing import PriceRow

LARGEST_CONTEXT = 1_000_000
"""Tokens of the longest prompt that any Claude model takes."""
SURELY_TEXT = 4096
"""Bytes of a body that is too short to carry an image worth looking for."""


def worst_case(
    exchange: Exchange, candidates: Sequence[Candidate], prompt_tokens: int | None = None, *, of: str = ""
) -> int:
    """Nano-dollars that the request cannot exceed at the dearest of its candidates.

    `prompt_tokens` is the prompt's length where it is known, for the model `of` if that is given, since others count
    otherwise; else the body bounds it from above.
    """
    peek, prices, at = exchange.peek, exchange.snapshot.prices, exchange.record.started_at
    if peek is None:
        return 0
    bound = tokens.upper_bound(exchange.body, peek)
    worst = 0
    for candidate in candidates:
        platform, name, region, row = _priced_as(exchange, candidate)
        context = _context_tokens(row)
        prompt = context if bound.open_ended else min(bound.tokens, context)
        ceiling = prices.ceiling(
            platform,
            name,
            at,
            prompt if prompt_tokens is None or of not in ("", candidate.model) else min(prompt, prompt_tokens),
            _output_tokens(exchange, row),
            peek.web_search_max_uses,
            fast=peek.speed == "fast",
            cache_1h=bound.one_hour,
            region=region,
            customer_id=exchange.grant.customer_id if exchange.grant else None,
        )
        worst = max(worst, ceiling)
    return worst


def _priced_as(exchange: Exchange, candidate: Candidate) -> tuple[str, str, str, PriceRow | None]:
    """(platform, model, region, price) of a candidate, as the price list knows it."""
    config = exchange.snapshot.providers[candidate.access.provider_id]
    provider = PROVIDERS[config.kind]
    name, region = provider.priced_as(config, exchange.called(provider, candidate.model), "")
    return (
        provider.platform,
        name,
        region,
        exchange.snapshot.prices.find(provider.platform, name, exchange.record.started_at),
    )


def prompt_estimate(exchange: Exchange) -> int:
    """Tokens that the prompt probably has, for a request whose provider never said; never more than a window holds.

    A body with images or documents is mostly their base64, which is no text: those few are looked at in full.
    """
    if exchange.prompt_estimate is None:
        body = exchange.body
        if len(body) > SURELY_TEXT and exchange.peek is not None and b'"base64"' in body:
            estimate = tokens.upper_bound(body, exchange.peek).estimate
        else:
            estimate = tokens.estimate_prompt(len(body))
        exchange.prompt_estimate = min(estimate, LARGEST_CONTEXT)
    return exchange.prompt_estimate


def worst_tokens(exchange: Exchange) -> int:
    """Tokens that the request cannot exceed at any of its candidates."""
    peek = exchange.peek
    if peek is None:
        return 0
    bound = tokens.upper_bound(exchange.body, peek)
    worst = 0
    for candidate in exchange.candidates:
        *_, row = _priced_as(exchange, candidate)
        context = _context_tokens(row)
        prompt = context if bound.open_ended else min(bound.tokens, context)
        worst = max(worst, prompt + _output_tokens(exchange, row))
    return worst


def _output_tokens(exchange: Exchange, row: PriceRow | None) -> int:
    asked = exchange.peek.max_tokens if exchange.peek else None
    return asked or (row.max_output_tokens if row else None) or 128_000


def _context_tokens(row: PriceRow | None) -> int:
    """The longest prompt of a model. A tier that begins where the listed window ends tells of a longer one."""
    listed = row.context_tokens if row else None
    if row is None or listed is None or any(tier.above_prompt_tokens >= listed for tier in row.tiers):
        return LARGEST_CONTEXT
    return listed
