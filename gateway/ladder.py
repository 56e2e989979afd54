"""The steps on the way to a budget's limit: a cheaper model takes a dearer one's place, then few requests run at once.

Both are opt-in, budget by budget. Telling people is the step before (alerts), refusing the one after (`admit`).
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Iterable, Iterator

from msgspec.structs import replace

from gateway import errors
from gateway.authorize import may_use
from gateway.exchange import Candidate, Exchange
from gateway.leasing import Away
from governance.domain.access import Grant, matches
from governance.domain.allowance import Allowance, Ladder
from governance.snapshot import applicable

THROTTLE_SECONDS = 10.0
"""How long a throttled request waits for its turn before the client is told to come again."""
LOOK_AGAIN_SECONDS = 0.05


async def descend(exchange: Exchange, grant: Grant, model: str) -> str:
    """The model that the budgets leave to the request; waits where they let few run at once."""
    project = exchange.project
    allowances = grant.allowances + project.allowances if project and project.allowances else grant.allowances
    if not any(allowance.ladder for allowance in allowances):
        return model
    await hear(exchange, [allowance for allowance in allowances if allowance.ladder])
    model = _downgrade(exchange, grant, model, allowances)
    await _throttle(exchange, model, allowances)
    return model


async def hear(exchange: Exchange, allowances: Iterable[Allowance]) -> None:
    """Ask how the budgets stand where this process does not know yet: the first request after a pause."""
    gateway = exchange.gateway
    unheard = gateway.book.unheard(allowances, exchange.record.started_at)
    if unheard is not None:
        # With the database away nobody knows: the request goes on as it came.
        with contextlib.suppress(Away):
            await gateway.leasing.ask(unheard)


def _downgrade(exchange: Exchange, grant: Grant, model: str, allowances: tuple[Allowance, ...]) -> str:
    for allowance, ladder, share in _steps(exchange, model, allowances):
        if not ladder.downgrade_at or share * 100 < ladder.downgrade_at:
            continue
        cheaper = _cheaper(exchange, grant, ladder)
        if cheaper is None:
            # The key may use none of them: what was asked for goes on, and the budget's limit decides.
            continue
        exchange.candidates = cheaper
        exchange.downgraded_from, model = model, exchange.model
        exchange.record.route_rule = f"{allowance.name}: {model} from {ladder.downgrade_at} % on"[:120]
        return model
    return model


def _cheaper(exchange: Exchange, grant: Grant, ladder: Ladder) -> tuple[Candidate, ...] | None:
    """The candidates with the cheaper models that the ladder names; None where nothing of it is allowed and new."""
    found, changed = [], False
    for candidate in exchange.candidates:
        model = next((to for pattern, to in ladder.downgrade if matches((pattern,), candidate.model)), candidate.model)
        if model != candidate.model:
            if not may_use(exchange, grant, candidate.access, model):
                continue
            changed = True
        found.append(replace(candidate, model=model))
    return tuple(found) if changed else None


async def _throttle(exchange: Exchange, model: str, allowances: tuple[Allowance, ...]) -> None:
    """Wait for a turn, and count as running from then on: between the look and the count nothing else runs."""
    deadline = time.monotonic() + THROTTLE_SECONDS
    while (full := _full(exchange, model, allowances)) is not None:
        if time.monotonic() >= deadline or exchange.client_gone:
            raise errors.throttled(*full)
        exchange.waited_seconds += LOOK_AGAIN_SECONDS
        await asyncio.sleep(LOOK_AGAIN_SECONDS)
    exchange.steps = tuple(allowance.key for allowance, _, _ in _steps(exchange, model, allowances))
    exchange.gateway.on_ladders.update(exchange.steps)


def leave(exchange: Exchange) -> None:
    """The request ended: the next one may run."""
    if exchange.steps:
        exchange.gateway.on_ladders.subtract(exchange.steps)
        exchange.steps = ()


def _full(exchange: Exchange, model: str, allowances: tuple[Allowance, ...]) -> tuple[Allowance, Ladder, float] | None:
    """The first budget that is throttled and has as many requests running as it lets."""
    for allowance, ladder, share in _steps(exchange, model, allowances):
        throttled = ladder.throttle_at and share * 100 >= ladder.throttle_at
        if throttled and exchange.gateway.on_ladders[allowance.key] >= ladder.throttle_concurrent:
            return allowance, ladder, share
    return None


def _steps(
    exchange: Exchange, model: str, allowances: tuple[Allowance, ...]
) -> Iterator[tuple[Allowance, Ladder, float]]:
    """The budgets with a ladder that count this model, and the share of each that is used."""
    book, now = exchange.gateway.book, exchange.record.started_at
    for allowance in applicable(allowances, model):
        if allowance.ladder is not None:
            used, _, limit = book.figures(allowance, now)
            yield allowance, allowance.ladder, used / limit if limit else 1.0
