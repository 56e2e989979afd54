"""Step 5: order the providers and credentials that the request may be sent to."""

from __future__ import annotations

import hashlib
import logging
import math
from collections.abc import Sequence

from gateway import errors
from gateway.admit import take
from gateway.errors import Refused
from gateway.exchange import Candidate, Exchange, Target
from gateway.providers import PROVIDERS
from governance.domain.access import Access, Grant
from governance.domain.allowance import Allowance, Exhausted
from governance.snapshot import CredentialConfig, ProviderConfig, applicable

log = logging.getLogger(__name__)


async def route(exchange: Exchange, grant: Grant) -> None:
    """Set the targets. The first provider with a credential whose own allowances have room is held; others follow it.

    Whether one had better be left alone for now (it fails, a credential cools down) is `forward`'s to look up.
    """
    only = exchange.candidates[0] if len(exchange.candidates) == 1 else None
    if only is not None and not only.access.allowances:
        question = ("targets", only.access.provider_id, only.access.id, only.model)
        exchange.targets = exchange.snapshot.remembered(question, lambda: _fixed(exchange, only))
        if exchange.targets:
            return
    refusal: Exhausted | None = None
    targets: list[Target] = []
    seed = exchange.record.session_id or exchange.record.id
    held: Access | None = None
    for candidate in _ordered(exchange, seed):
        access = candidate.access
        provider = exchange.snapshot.providers[access.provider_id]
        credentials = _credentials(provider, seed)
        if not credentials:
            continue
        if held is None:
            allowances = _counting(exchange, access) if exchange.billable else ()
            refusal = await take(exchange, allowances)
            if refusal is not None:
                continue
            held = access
        elif access.allowances and exchange.billable and access is not held:
            # Its allowances are not held: it would have to be admitted on its own.
            continue
        targets += [Target(provider, credential, access, candidate.model) for credential in credentials]
    if not targets:
        if refusal is not None:
            raise errors.exhausted(refusal, grant, exchange.worst_nano_usd)
        raise _nobody(exchange)
    exchange.targets = targets


def _counting(exchange: Exchange, access: Access) -> Sequence[Allowance]:
    """What of a provider's own allowances counts any of the models that it may be asked for."""
    models = {each.model for each in exchange.candidates if each.access is access}
    found = {a.key: a for model in sorted(models) for a in applicable(access.allowances, model)}
    return tuple(found.values())


def _fixed(exchange: Exchange, candidate: Candidate) -> tuple[Target, ...]:
    """The one target of a provider with one credential; empty where there is something to choose."""
    provider = exchange.snapshot.providers[candidate.access.provider_id]
    credentials = _credentials(provider, "")
    return (Target(provider, credentials[0], candidate.access, candidate.model),) if len(credentials) == 1 else ()


def _nobody(exchange: Exchange) -> Refused:
    names = dict.fromkeys(exchange.snapshot.providers[each.access.provider_id].name for each in exchange.candidates)
    for candidate in exchange.candidates:
        provider = exchange.snapshot.providers[candidate.access.provider_id]
        log.error("Provider %s cannot be called: %s", provider.name, _problem(provider))
    return errors.provider_failed(
        f"No credential for {', '.join(names)} can be used. The platform team has to enter one."
    )


def _ordered(exchange: Exchange, seed: str) -> Sequence[Candidate]:
    """By tier and rank, then by weight; the same session always gets the same order: its prompt cache is kept."""
    if len(exchange.candidates) == 1:
        return exchange.candidates
    return sorted(
        exchange.candidates,
        key=lambda candidate: (
            candidate.tier,
            candidate.rank,
            -_score(seed, f"{candidate.access.provider_id}|{candidate.model}", candidate.weight),
        ),
    )


def _credentials(provider: ProviderConfig, seed: str) -> Sequence[CredentialConfig]:
    usable = [credential for credential in provider.credentials if not credential.problem]
    if not PROVIDERS[provider.kind].needs_credential:
        return usable[:1] or [CredentialConfig("none", 1.0, "")]
    if len(usable) < 2:
        return usable
    return sorted(usable, key=lambda credential: -_score(seed, credential.name, credential.weight))


def _score(seed: str, name: str, weight: float) -> float:
    """Weighted rendezvous hashing: each name wins a share of the seeds in proportion to its weight."""
    if weight <= 0:
        return 0.0
    digest = hashlib.blake2b(f"{seed}|{name}".encode(), digest_size=8).digest()
    return weight / -math.log((int.from_bytes(digest) + 1) / (2**64 + 1))


def _problem(provider: ProviderConfig) -> str:
    return "; ".join(credential.problem for credential in provider.credentials) or "it has no credential"
