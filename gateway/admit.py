"""Step 4: take a hold on every budget and limit that applies, in memory, or refuse naming the one that is used up.

A hold comes out of the slices that this process has leased. Only where they do not reach is the database asked, and
the request waits for the answer: near a limit, or at the first request of a while.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from datetime import UTC, datetime

from gateway import count, errors
from gateway.exchange import Exchange
from gateway.leasing import Away
from gateway.worst import worst_case, worst_tokens
from governance.domain.access import Grant
from governance.domain.allowance import Allowance, Enforcement, Exhausted, Unit
from governance.domain.book import Hold, Short
from governance.snapshot import applicable

PATIENCE_SECONDS = 0.8
"""How long a request waits for what other processes hold unused: they look every quarter of a second."""
ASK_AGAIN_SECONDS = 0.05
TURN_SECONDS = 5.0
"""How long where there is room that others were served from first: no limit is reached, so nobody is refused for it."""


async def admit(exchange: Exchange, grant: Grant) -> None:
    """Hold the allowances of customer, team, project, developer and key; those of a provider are held in `route`.

    Held is what the dearest candidate could cost, on whatever counts any of their models.
    """
    allowances = _counted_for_all(exchange, grant)
    refusal = await take(exchange, allowances)
    if refusal is not None and await _fits_when_counted(exchange, grant, refusal):
        refusal = await take(exchange, allowances)
    if refusal is not None:
        raise errors.exhausted(refusal, grant, exchange.worst_nano_usd)


def _counted_for_all(exchange: Exchange, grant: Grant) -> Sequence[Allowance]:
    models = {candidate.model for candidate in exchange.candidates}
    if len(models) == 1:
        return counted(exchange, grant, exchange.candidates[0].model)
    found = {a.key: a for model in sorted(models) for a in counted(exchange, grant, model)}
    return tuple(found.values())


def counted(exchange: Exchange, grant: Grant, model: str) -> Sequence[Allowance]:
    """The allowances of customer, team, project, developer and key that count requests for a model."""
    project = exchange.project
    return exchange.snapshot.remembered(
        ("counted", grant.key_id, project.id if project else None, model),
        lambda: tuple(applicable((*grant.allowances, *(project.allowances if project else ())), model)),
    )


async def hold_again(exchange: Exchange) -> bool:
    """Hold the worst case of another try under the hard limits, since the last one is charged; False without room."""
    hard = [
        a
        for hold in exchange.holds
        for a in hold.allowances
        if a.enforcement is Enforcement.HARD and a.unit in {Unit.USD, Unit.TOKENS}
    ]
    return await take(exchange, list({a.key: a for a in hard}.values())) is None


async def _fits_when_counted(exchange: Exchange, grant: Grant, refusal: Exhausted) -> bool:
    """Whether the provider's own count of the prompt brings the worst case down to where it may fit."""
    allowance = refusal.allowance
    room = refusal.limit - refusal.used - refusal.held
    if allowance.unit is not Unit.USD or allowance.enforcement is not Enforcement.HARD or room <= 0:
        return False
    if not count.might_fit(exchange, room):
        return False
    tighter = await count.tighter_worst_case(exchange, grant)
    if tighter is None or tighter > room:
        return False
    exchange.worst_nano_usd = tighter
    return True


async def take(exchange: Exchange, allowances: Sequence[Allowance]) -> Exhausted | None:
    """Add a hold on these allowances to the exchange, or return the one that has no room."""
    if not allowances:
        return None
    # Each looks at the whole body: only for what a hard limit asks.
    hard = {allowance.unit for allowance in allowances if allowance.enforcement is Enforcement.HARD}
    if Unit.USD in hard and not exchange.worst_nano_usd:
        exchange.worst_nano_usd = worst_case(exchange, exchange.candidates)
    if Unit.TOKENS in hard and not exchange.worst_tokens:
        exchange.worst_tokens = worst_tokens(exchange)
    outcome = _admit(exchange, allowances)
    if isinstance(outcome, Short):
        outcome = await _ask(exchange, allowances, outcome)
    _note(exchange, allowances, outcome)
    if isinstance(outcome, Exhausted):
        return outcome
    exchange.holds.append(outcome)
    return None


def _admit(exchange: Exchange, allowances: Sequence[Allowance], *, lenient: bool = False) -> Hold | Short | Exhausted:
    gateway = exchange.gateway
    if exchange.snapshot is not gateway.snapshot:
        # The configuration changed while the request came in: what counts is what counts now.
        now_counted = gateway.snapshot.allowances
        allowances = [now_counted[allowance.key] for allowance in allowances if allowance.key in now_counted]
    return gateway.book.admit(
        allowances,
        exchange.record.started_at,
        exchange.worst_nano_usd,
        exchange.worst_tokens,
        now=datetime.now(UTC),
        lenient=lenient,
    )


async def _ask(exchange: Exchange, allowances: Sequence[Allowance], short: Short) -> Hold | Exhausted:
    """Have the missing part leased; wait a moment where other processes hold it and may give it back.

    With the database away, hard limits refuse (closed) and all others go on (open): their charges are counted in the
    ledger all the same, once it can be written.
    """
    book, leasing = exchange.gateway.book, exchange.gateway.leasing
    began = time.monotonic()
    while True:
        try:
            await leasing.ask(short)
        except Away:
            outcome = _admit(exchange, allowances, lenient=True)
            if isinstance(outcome, Short):
                strict = (s.allowance for s, _ in outcome.missing if s.allowance.enforcement is Enforcement.HARD)
                raise errors.budget_unknown(next(strict)) from None
            return outcome
        outcome = _admit(exchange, allowances)
        if not isinstance(outcome, Short):
            return outcome
        waited = time.monotonic() - began
        if waited >= PATIENCE_SECONDS and (waited >= TURN_SECONDS or not book.has_room(outcome)):
            now = datetime.now(UTC)
            book.futile(outcome, now)
            return book.exhausted(outcome, now)
        short = outcome
        await asyncio.sleep(ASK_AGAIN_SECONDS)


def _note(exchange: Exchange, allowances: Sequence[Allowance], outcome: Hold | Exhausted) -> None:
    """Keep each budget's figures of this moment on the record: they explain the decision later."""
    decisions = exchange.record.budget_decision
    if isinstance(outcome, Hold):
        for state in outcome.states:
            if state.allowance.unit is Unit.USD:
                decisions.append(_decision(state.allowance, *state.figures, ""))
        return
    book, now = exchange.gateway.book, exchange.record.started_at
    for allowance in allowances:
        if allowance.unit is Unit.USD:
            decisions.append(_decision(allowance, *book.figures(allowance, now), outcome.allowance.key))


def _decision(allowance: Allowance, used: int, held: int, limit: int, refused: str) -> dict[str, object]:
    decision: dict[str, object] = {
        "budget_id": allowance.id,
        "budget": allowance.name,
        "scope": allowance.scope,
        "spent_nano_usd": used,
        "held_nano_usd": held,
        "limit_nano_usd": limit,
        "enforcement": allowance.enforcement.value,
    }
    if allowance.key == refused:
        decision["refused"] = True
    return decision
