"""Step 3: may this key, from this address, use this model on any provider?"""

from __future__ import annotations

from gateway import errors
from gateway.exchange import Exchange
from gateway.providers import PROVIDERS
from governance.domain.access import Access, Grant, address_allowed, matches
from governance.snapshot import Snapshot


def authorize(exchange: Exchange, grant: Grant, model: str) -> None:
    """Set the exchange's candidates: the providers that the key may use for the model."""
    check_address(exchange, grant)
    # What is refused is worked out anew each time: the message names what would be allowed.
    exchange.candidates = exchange.snapshot.remembered(
        ("candidates", grant.key_id, model), lambda: _candidates(exchange, grant, model)
    )


def _candidates(exchange: Exchange, grant: Grant, model: str) -> tuple[Access, ...]:
    accesses = accesses_of(grant, exchange.snapshot)
    candidates = tuple(access for access in accesses if matches(access.models, model))
    if not matches(grant.models, model) or (accesses and not candidates):
        allowed = allowed_models(grant, exchange)
        raise errors.model_not_allowed(model, allowed, grant)
    if not candidates:
        raise errors.no_provider(model, grant)
    if grant.refuse_unpriced and not any(_priced(exchange, access, model) for access in candidates):
        raise errors.model_unpriced(model)
    return candidates


def check_address(exchange: Exchange, grant: Grant) -> None:
    """Refuse a client outside of the key's networks."""
    if not address_allowed(grant.networks, exchange.record.client_ip):
        raise errors.address_not_allowed(exchange.record.client_ip)


def accesses_of(grant: Grant, snapshot: Snapshot) -> tuple[Access, ...]:
    """The key's providers that are active; a key that names none may use every active provider."""
    if grant.accesses:
        return tuple(access for access in grant.accesses if access.provider_id in snapshot.providers)
    return tuple(Access(None, provider_id) for provider_id in snapshot.providers)


def allowed_models(grant: Grant, exchange: Exchange) -> list[str]:
    """Ids of the price catalog that this key may use, in the order of the catalog."""
    snapshot = exchange.snapshot
    found: dict[str, None] = {}
    for access in accesses_of(grant, snapshot):
        platform = PROVIDERS[snapshot.providers[access.provider_id].kind].platform
        for model in snapshot.prices.models(platform, exchange.record.started_at):
            if matches(grant.models, model) and matches(access.models, model):
                found[model] = None
    return sorted(found)


def _priced(exchange: Exchange, access: Access, model: str) -> bool:
    provider = exchange.snapshot.providers[access.provider_id]
    return (
        exchange.snapshot.prices.find(PROVIDERS[provider.kind].platform, model, exchange.record.started_at) is not None
    )
