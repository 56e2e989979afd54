"""Step 3: may this key, from this address, use this model on any provider? And which of a rule's targets may it use?"""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import datetime
from typing import Final

from gateway import errors
from gateway.exchange import Candidate, Exchange
from gateway.providers import PROVIDERS
from gateway.wire.forms import CLAUDE, OPENAI
from governance.domain import bedrock_ids, vertex_ids
from governance.domain.access import Access, Grant, address_allowed, matches
from governance.snapshot import ProviderConfig, Snapshot

_NAME: Final = re.compile(r"claude-[a-z0-9.-]+")
"""A model as Anthropic spells it."""


def authorize(exchange: Exchange, grant: Grant, model: str) -> None:
    """Set the exchange's candidates: the providers that the key may use for the model, or those of the plan."""
    check_address(exchange, grant)
    if exchange.plan:
        exchange.candidates = tuple(_planned(exchange, grant))
        if exchange.candidates:
            return
    # What is refused is worked out anew each time: the message names what would be allowed.
    exchange.candidates = exchange.snapshot.remembered(
        ("candidates", grant.key_id, model), lambda: _candidates(exchange, grant, model)
    )


def may_use(exchange: Exchange, grant: Grant, access: Access, model: str) -> bool:
    """Whether the key may use a model through one of its providers."""
    if not matches(grant.models, model) or not matches(access.models, model):
        return False
    return not grant.refuse_unpriced or _priced(exchange, access, model)


def _planned(exchange: Exchange, grant: Grant) -> Iterator[Candidate]:
    """What of a rule's plan the key may use: a rule chooses among what is allowed, and allows nothing."""
    accesses, providers = accesses_of(grant, exchange.snapshot), exchange.snapshot.providers
    for planned in exchange.plan:
        fitting = [
            access
            for access in accesses
            if planned.provider_id in (None, access.provider_id) and may_use(exchange, grant, access, planned.model)
        ]
        # The first of those that serve a model stand beside the rule's other targets, the rest behind them.
        first = min((providers[access.provider_id].rank for access in fitting), default=0)
        for access in fitting:
            rank = providers[access.provider_id].rank - first
            weight = planned.weight * (access.weight if planned.provider_id is None else 1.0)
            yield Candidate(access, planned.model, planned.tier, rank, weight)


def _candidates(exchange: Exchange, grant: Grant, model: str) -> tuple[Candidate, ...]:
    accesses = accesses_of(grant, exchange.snapshot)
    candidates = tuple(access for access in accesses if matches(access.models, model))
    if not matches(grant.models, model) or (accesses and not candidates):
        allowed = allowed_models(grant, exchange)
        raise errors.model_not_allowed(model, allowed, grant)
    if not candidates:
        raise errors.no_provider(model, grant)
    if grant.refuse_unpriced and not any(_priced(exchange, access, model) for access in candidates):
        raise errors.model_unpriced(model)
    providers = exchange.snapshot.providers
    return tuple(
        Candidate(access, model, rank=providers[access.provider_id].rank, weight=access.weight) for access in candidates
    )


def check_address(exchange: Exchange, grant: Grant) -> None:
    """Refuse a client outside of the key's networks."""
    if not address_allowed(grant.networks, exchange.record.client_ip):
        raise errors.address_not_allowed(exchange.record.client_ip)


def accesses_of(grant: Grant, snapshot: Snapshot) -> tuple[Access, ...]:
    """The key's providers that are active; a key that names none may use every active provider."""
    if grant.accesses:
        return tuple(access for access in grant.accesses if access.provider_id in snapshot.providers)
    return tuple(Access(None, provider_id) for provider_id in snapshot.providers)


def allowed_models(grant: Grant, exchange: Exchange) -> tuple[str, ...]:
    """Models that this key may use, as Anthropic spells them, in alphabetical order; no other key of the price list.

    A client of OpenAI's formats sees, too, the names that its providers have for models.
    """
    own = exchange.format.form in OPENAI
    return exchange.snapshot.remembered(
        ("models", grant.key_id, own),
        lambda: _allowed_models(grant, exchange.snapshot, exchange.record.started_at, own),
    )


def _allowed_models(grant: Grant, snapshot: Snapshot, at: datetime, own: bool) -> tuple[str, ...]:
    found: set[str] = set()
    for access in accesses_of(grant, snapshot):
        names = _names(snapshot.providers[access.provider_id], snapshot, at, own)
        found.update(name for name in names if matches(grant.models, name) and matches(access.models, name))
    return tuple(sorted(found))


def _names(config: ProviderConfig, snapshot: Snapshot, at: datetime, own: bool) -> Iterator[str]:
    """What a provider serves, as far as the price list and the configuration tell."""
    provider = PROVIDERS[config.kind]
    if provider.form in CLAUDE:
        yield from _claude(snapshot, provider.platform, at)
        return
    # Its own names are no client's of Anthropic's: it serves them what its map names for their models.
    patterns = tuple(pattern for pattern, _ in config.model_map)
    if patterns:
        yield from (name for name in _claude(snapshot, "anthropic", at) if matches(patterns, name))
    if own:
        listed = snapshot.prices.models(provider.platform, at)
        yield from (name for _, name in config.model_map) if patterns else (name for name in listed if "/" not in name)


def _claude(snapshot: Snapshot, platform: str, at: datetime) -> Iterator[str]:
    """The models of a platform that Anthropic has a name for: the price list has keys by region and route, too."""
    for listed in snapshot.prices.models(platform, at):
        name = vertex_ids.anthropic_id(bedrock_ids.anthropic_id(listed))
        if _NAME.fullmatch(name):
            yield name


def _priced(exchange: Exchange, access: Access, model: str) -> bool:
    config = exchange.snapshot.providers[access.provider_id]
    provider = PROVIDERS[config.kind]
    name, _ = provider.priced_as(config, model, "")
    return exchange.snapshot.prices.find(provider.platform, name, exchange.record.started_at) is not None
