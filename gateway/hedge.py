"""Asking a second target while the first is silent: opt-in by a rule, for the time to the first token.

Whichever has content first answers the client. The other is given up, and charged for what it may have used. One is
started beside the first, at another provider or for another model: two of the same would be silent together.
"""

from __future__ import annotations

import asyncio

from gateway.admit import hold_again
from gateway.attempt import Outcome, Stream, TryNext, attempt, cut_off, why_cut
from gateway.exchange import Exchange, Target

OVERTAKEN = "given up: another target answered first"


def hedges(exchange: Exchange) -> bool:
    """Whether a second target may be asked for this request: only a stream tells when it is silent."""
    return exchange.hedge_seconds is not None and exchange.billable and bool(exchange.peek and exchange.peek.stream)


async def race(exchange: Exchange, first: Target, second: Target | None) -> Outcome:
    """The first answer of a target or, once it has been silent for `hedge_seconds`, of another. Raises TryNext where
    all that were asked failed.
    """
    running = {asyncio.create_task(attempt(exchange, first, alone=False))}
    wait = exchange.hedge_seconds
    won: Outcome | None = None
    failed: TryNext | None = None
    try:
        while running and won is None:
            done, _ = await asyncio.wait(running, timeout=wait, return_when=asyncio.FIRST_COMPLETED)
            if not done:
                wait = None
                # Both may be charged: what is strict must have room for both.
                if second is not None and not exchange.client_gone and await hold_again(exchange):
                    running.add(asyncio.create_task(attempt(exchange, second, alone=False, hedge=True)))
            for task in done:
                if won is not None:
                    break
                running.discard(task)
                try:
                    won = task.result()
                except TryNext as error:
                    failed = error
        if won is None:
            raise failed or RuntimeError("no attempt was made")
        await asyncio.shield(_give_up(exchange, running, OVERTAKEN))
        # The last attempt is the one that answered.
        exchange.attempts = [*(tried for tried in exchange.attempts if tried is not won.attempt), won.attempt]
        return won
    except BaseException:
        if won is not None:
            _close(exchange, won, "")
        await _give_up(exchange, running, "")
        raise
    finally:
        failed = None


async def _give_up(exchange: Exchange, running: set[asyncio.Task[Outcome]], why: str) -> None:
    before = [tried for tried in exchange.attempts if not tried.ended]
    for task in running:
        task.cancel()
    for outcome in await asyncio.gather(*running, return_exceptions=True):
        if not isinstance(outcome, BaseException):
            # It had an answer in the same moment as the other one.
            _close(exchange, outcome, why)
    for tried in before:
        if why and tried.ended and tried.error in {why, why_cut(exchange)}:
            tried.error, tried.failed = why, "hedged"


def _close(exchange: Exchange, outcome: Outcome, why: str) -> None:
    if isinstance(outcome, Stream) and outcome.attempt.metered is None:
        outcome.attempt.metered = outcome.meter.finish()
    cut_off(exchange, outcome.attempt, why)
    outcome.response.close()
