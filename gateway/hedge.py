"""Asking a second target while the first is silent: opt-in by a rule, for the time to the first token.

Whichever has content first answers the client. The other is given up, and charged for what it may have used.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

from gateway.admit import hold_again
from gateway.attempt import Outcome, Stream, TryNext, attempt, cut_off, why_cut
from gateway.exchange import Exchange, Target


async def race(
    exchange: Exchange, first: Target, others: Iterator[tuple[Target, float, bool]], seconds: float
) -> Outcome:
    """The first answer of this target or, after every `seconds` of silence, of another. Raises TryNext if all fail."""
    running = {asyncio.create_task(attempt(exchange, first, alone=False))}
    failed: TryNext | None = None
    more = True
    try:
        while running:
            done, running = await asyncio.wait(
                running, timeout=seconds if more else None, return_when=asyncio.FIRST_COMPLETED
            )
            for task in done:
                try:
                    outcome = task.result()
                except TryNext as error:
                    failed = error
                    continue
                running |= done - {task}
                await _give_up(exchange, running, "given up: another target answered first")
                running = set()
                # The last attempt is the one that answered.
                won = outcome.attempt
                exchange.attempts = [*(tried for tried in exchange.attempts if tried is not won), won]
                return outcome
            if not done and more:
                # Both may be charged: what is strict must have room for both.
                other = next(others, None) if not exchange.client_gone and await hold_again(exchange) else None
                more = other is not None
                if other is not None:
                    running.add(asyncio.create_task(attempt(exchange, other[0], alone=False, hedge=True)))
        raise failed or RuntimeError("no attempt was made")
    finally:
        failed = None
        await _give_up(exchange, running, "")


async def _give_up(exchange: Exchange, running: set[asyncio.Task[Outcome]], why: str) -> None:
    before = [tried for tried in exchange.attempts if not tried.ended]
    for task in running:
        task.cancel()
    for ended in await asyncio.gather(*running, return_exceptions=True):
        if not isinstance(ended, BaseException):
            # It had an answer in the same moment as the other one.
            if isinstance(ended, Stream):
                ended.attempt.metered = ended.meter.finish()
            cut_off(exchange, ended.attempt, why)
            ended.response.close()
    for tried in before:
        if why and tried.ended and tried.error == why_cut(exchange):
            tried.error, tried.failed = why, "hedged"
