"""Before step 2: take a place among the requests that this process serves, or wait for one in turn with other keys.

A place is asked for before the body is read: what waits costs a connection and the little of its body that comes
unasked.
"""

from __future__ import annotations

import asyncio
import time

from msgspec.structs import replace

from gateway import errors
from gateway.exchange import Exchange
from gateway.line import ClientGone
from gateway.overload import Gate, Refusal
from governance.domain.access import Grant
from observability import metrics

LINGER_SECONDS = 0.5


async def take_place(exchange: Exchange, grant: Grant) -> None:
    """Raises Refused (529) where no place becomes free in time, ClientGone where the client leaves meanwhile."""
    size = declared_bytes(exchange)
    if exchange.gateway.gate.try_enter(grant.key_id, size) or await _wait(exchange, grant.key_id, size):
        exchange.place = size


def leave_place(exchange: Exchange) -> None:
    """Give the place and the body back; harmless where there is none."""
    # Whoever still holds the exchange must not hold what was given back.
    exchange.body = b""
    size, exchange.place = exchange.place, None
    if size is not None and exchange.grant is not None:
        exchange.gateway.gate.leave(exchange.grant.key_id, size)


def body_came(exchange: Exchange) -> None:
    """The whole body is in memory: give back what was reserved beyond its length."""
    length = len(exchange.body)
    if exchange.place is not None and exchange.place > length and exchange.grant is not None:
        exchange.gateway.gate.shrink(exchange.grant.key_id, exchange.place - length)
        exchange.place = length


def body_sent(exchange: Exchange) -> None:
    """An answer has begun: the body is not sent again, and a stream of minutes need not keep it."""
    exchange.body = b""
    if exchange.peek is not None:
        # Its system texts are views of the body.
        exchange.peek = replace(exchange.peek, system=())
    body_came(exchange)


def declared_bytes(exchange: Exchange) -> int:
    """The room that the body needs. One that does not say its length may become as long as is allowed.

    Raises Refused for a body that says it is too long: it needs no place to hear so.
    """
    limit = exchange.gateway.max_body_bytes
    declared = exchange.headers.get(b"content-length")
    if declared is None or not declared.isdigit():
        return limit if exchange.headers.get(b"transfer-encoding") is not None else 0
    if int(declared) > limit:
        raise errors.body_too_large(limit)
    return int(declared)


async def _wait(exchange: Exchange, key: int, size: int) -> bool:
    """Wait in the queue; True with a place. Cancelled, it leaves neither a place nor a waiter behind."""
    if exchange.client_gone:
        raise ClientGone
    gate, began = exchange.gateway.gate, time.monotonic()
    answer: asyncio.Future[Refusal | None] = asyncio.get_running_loop().create_future()
    waiter = gate.enter(key, size, answer.set_result)

    def gone() -> None:
        if gate.give_up(waiter):
            answer.set_exception(ClientGone())

    exchange.on_client_gone = gone
    try:
        # The shield: a place that comes in the same moment as the cancellation must be known, to be given back.
        why = await asyncio.shield(answer)
    except asyncio.CancelledError:
        if not gate.give_up(waiter) and answer.done() and answer.exception() is None and answer.result() is None:
            gate.leave(key, size)
        raise
    finally:
        exchange.on_client_gone = None
    if why is not Refusal.QUEUE_FULL:
        metrics.queued(time.monotonic() - began)
    if why is not None:
        if why is Refusal.QUEUE_FULL:
            await _linger(gate)
        raise errors.overloaded(why, gate.bounds.seconds, gate.retry_after())
    return True


async def _linger(gate: Gate) -> None:
    """Let who finds the queue full wait a moment for that answer, as many as may wait in the queue.

    A client that asks again at once, and a hundred of its kind, would else spend the process's time on being refused.
    """
    if gate.lingering < gate.bounds.queue:
        gate.lingering += 1
        try:
            await asyncio.sleep(LINGER_SECONDS)
        finally:
            gate.lingering -= 1
