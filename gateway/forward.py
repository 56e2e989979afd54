"""Step 6: send the request to a target and relay its answer; where one fails before any content, the next is asked.

Once a byte of content has reached the client there is no other try. A client that leaves does not stop the provider:
its answer is read to the end, so that what it costs is known exactly. `attempt.py` is one try, `relay.py` what follows.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from functools import partial
from operator import itemgetter
from typing import Any

from gateway import errors
from gateway.admit import hold_again
from gateway.attempt import Outcome, TryNext, attempt, cut_off
from gateway.availability import Outcome as Ending
from gateway.availability import Result, Unusable
from gateway.errors import Refused
from gateway.exchange import ClientGone, Exchange, Target
from gateway.hedge import hedges, race
from gateway.pinger import Pinger
from gateway.providers.base import Verdict
from gateway.relay import relay

RETRY_DELAYS = (0.3, 1.0)
"""Seconds before a single target is tried again after it was overloaded, failed or could not be reached."""
MOST_PASSED_OVER = 5
"""Targets that a row names as passed over: whoever has more sees what is wrong on the provider's page."""


async def forward(exchange: Exchange) -> None:
    """Answer the client from the first target that works. Raises Refused where none does, ClientGone where nobody is
    there any more.
    """
    if exchange.client_gone:
        raise ClientGone
    task: asyncio.Task[Any] = asyncio.current_task()  # type: ignore[assignment]  # every request runs in one
    abandoned = exchange.gateway.abandoned
    exchange.on_client_gone = partial(abandoned.add, task) if exchange.billable else partial(abandoned.give_up, task)
    pinger = Pinger(exchange)
    try:
        await _relay(exchange, await _outcome(exchange), pinger)
    except asyncio.CancelledError:
        if not abandoned.is_given_up(task):
            raise
        task.uncancel()
        exchange.record.error_type = "client_closed"
        exchange.record.error_message = "The client left, and the answer was not read to its end."
    finally:
        pinger.stop()
        exchange.on_client_gone = None
        abandoned.discard(task)
        for tried in exchange.attempts:
            if tried.turn is not None:
                # Whatever kept it from its end, its credential has room for another.
                tried.turn.ended(time.monotonic(), Ending(Result.NOTHING))


async def _relay(exchange: Exchange, outcome: Outcome, pinger: Pinger) -> None:
    try:
        await relay(exchange, outcome, pinger)
    except asyncio.CancelledError:
        cut_off(exchange, outcome.attempt)
        raise
    finally:
        outcome.response.close()


async def _outcome(exchange: Exchange) -> Outcome:
    """The first target's answer that is one; the others are asked only while nothing is said and nobody left."""
    refusal: Refused | None = None
    same_target = False
    tries = _tries(exchange)
    for target, delay, last in tries:
        if refusal is not None:
            if exchange.client_gone or (delay and not same_target):
                break
            if exchange.attempts[-1].metered is not None and not await hold_again(exchange):
                break
        if delay:
            exchange.waited_seconds += delay
            await asyncio.sleep(delay)
        try:
            if not last and hedges(exchange):
                return await race(exchange, target, _other(exchange, target))
            return await attempt(exchange, target, alone=last)
        except TryNext as error:
            # Not the exception itself: with its traceback it would hold this frame, and the frame it.
            refusal, same_target = error.refusal, error.same_target
            if exchange.relay_rate_limits and error.reason == Verdict.RATE_LIMITED.value:
                break
    try:
        raise refusal or _none_usable(exchange)
    finally:
        del refusal


_OF_THE_PROVIDER = frozenset({"connection", "timeout", "overloaded", "failed", "cut"})

Try = tuple[Target, float, bool]
"""A target, the seconds to wait before it is asked, and whether no other target follows."""


def _tries(exchange: Exchange) -> Iterator[Try]:
    """Each target once, those that had better be left alone for now after all others; a lone one again after a wait.

    Whether a target may be asked is looked up when its turn comes: what other requests met meanwhile counts.
    """
    targets, usable = exchange.targets, exchange.gateway.availability.usable
    if len(targets) == 1:
        target = targets[0]
        why = usable(target.provider, target.credential, time.monotonic())
        if why is None or why.last_resort:
            for delay in (0.0, *RETRY_DELAYS):
                yield target, delay, True
        return
    passed: list[tuple[Target, Unusable]] = []
    aside: list[tuple[float, Target]] = []
    asked = False
    for number, target in enumerate(targets, 1):
        if any(tried.target is target for tried in exchange.attempts):
            continue  # as a hedge
        why = usable(target.provider, target.credential, time.monotonic())
        if why is None and _in_trouble(exchange, target):
            # Another credential of a provider that just failed as a whole would meet the same.
            aside.append((0.0, target))
            continue
        if why is None:
            if passed:
                _tell_passed(exchange, passed)
            asked = True
            yield target, 0.0, number == len(targets) and not aside
            continue
        passed.append((target, why))
        if why.last_resort:
            aside.append((why.until, target))
    aside.sort(key=itemgetter(0))
    if asked or aside:
        # Where none was usable, the first of them to be asked gave way to no other.
        first = None if asked else aside[0][1]
        _tell_passed(exchange, [each for each in passed if each[0] is not first])
    for number, (_, target) in enumerate(aside, 1):
        yield target, 0.0, number == len(aside)


def _in_trouble(exchange: Exchange, target: Target) -> bool:
    """Whether the provider failed in this request, in a way that is not its credential's."""
    return any(
        tried.failed in _OF_THE_PROVIDER and tried.target.provider.id == target.provider.id
        for tried in exchange.attempts
    )


def _other(exchange: Exchange, target: Target) -> Target | None:
    """What may be asked beside a target: the next of another provider or model that may be asked, and was not yet."""
    asked = {id(tried.target) for tried in exchange.attempts}
    now, usable = time.monotonic(), exchange.gateway.availability.usable
    for other in exchange.targets:
        another = (other.provider.id, other.model) != (target.provider.id, target.model)
        new = another and id(other) not in asked
        if new and usable(other.provider, other.credential, now) is None:
            return other
    return None


def _tell_passed(exchange: Exchange, passed: Sequence[tuple[Target, Unusable]]) -> None:
    """Keep on the row which targets gave way to another one, and why."""
    if not passed:
        return
    ago = time.time() - time.monotonic()
    exchange.record.routing["passed_over"] = [
        {
            "provider": target.provider.name,
            "credential": target.credential.name,
            "why": f"{why.why[:160]}; left alone until {datetime.fromtimestamp(why.until + ago, UTC):%H:%M:%S} UTC",
        }
        for target, why in passed[:MOST_PASSED_OVER]
    ]


def _none_usable(exchange: Exchange) -> Refused:
    """Every target was at a limit that was set here: all that is not is asked, if only at last."""
    now, usable = time.monotonic(), exchange.gateway.availability.usable
    found = [usable(target.provider, target.credential, now) for target in exchange.targets]
    wait = math.ceil(min((why.until - now for why in found if why is not None), default=0.0))
    message = f"Every credential for {exchange.model} is at the limit that was set for it. Waiting helps."
    return errors.provider_rate_limited(message, str(max(1, wait)).encode())
