"""The life of one request, step by step: read this file first.

A request is authenticated, read, authorized, admitted, routed and forwarded; whatever happens on the way, it is settled
once. (`take_place` lets it wait where the process has enough to do; `steer` finds the model and the targets that an
alias or a routing rule wants; `descend` may put a cheaper model in the place of the one asked for, where a budget near
its limit says so.) A step that says no raises `Refused` with the answer; `errors.py` is the one place that words them.

Clients speak several formats (`surfaces/`, `formats/`), providers too (`providers/`); in between, a request is a Claude
Messages body and an answer is Anthropic's.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable

from gateway import errors, settle
from gateway.admit import admit
from gateway.authenticate import authenticate
from gateway.authorize import authorize
from gateway.errors import Refused
from gateway.exchange import ClientGone, Exchange
from gateway.forward import forward
from gateway.ladder import descend
from gateway.place import leave_place, take_place
from gateway.providers.base import Operation
from gateway.read import attribute, read
from gateway.route import route
from gateway.steer import steer
from observability import metrics

log = logging.getLogger(__name__)


async def messages(exchange: Exchange) -> None:
    """`POST /v1/messages`, or what another format has in its place: a model call, streaming or not."""
    grant = authenticate(exchange)
    await take_place(exchange, grant)
    request = await read(exchange)
    model = await steer(exchange, grant, request.model)
    authorize(exchange, grant, model)
    await descend(exchange, grant, model)
    await admit(exchange, grant)
    await route(exchange, grant)
    await forward(exchange)


async def count_tokens(exchange: Exchange) -> None:
    """`POST /v1/messages/count_tokens`: free, so neither admitted nor billed."""
    exchange.billable = False
    exchange.operation = Operation.COUNT_TOKENS
    exchange.record.request_class = "count_tokens"
    grant = authenticate(exchange)
    await take_place(exchange, grant)
    request = await read(exchange)
    model = await steer(exchange, grant, request.model)
    authorize(exchange, grant, model)
    await route(exchange, grant)
    await forward(exchange)


async def run(exchange: Exchange, steps: Callable[[Exchange], Awaitable[None]]) -> None:
    """Run the steps; answer and record however they end."""
    try:
        await steps(exchange)
    except Refused as refused:
        answer = refused.answer
        _fail(exchange, answer, "refused" if answer.refusal else "error")
        exchange.answer(answer)
    except ClientGone:
        exchange.client_gone = True
        exchange.record.error_type = "client_closed"
        exchange.record.error_message = "The client closed the connection before its request went to a provider."
    except asyncio.CancelledError:
        # The end of a drain, or a second stop signal (gateway/drain.py): the last that the client hears of us.
        if exchange.finished:
            return
        answer = errors.stopping()
        _fail(exchange, answer, "error")
        exchange.cut(answer)
    except Exception:
        log.exception("Request %s failed inside the gateway", exchange.record.id)
        answer = errors.internal()
        _fail(exchange, answer, "error")
        exchange.answer(answer)
    finally:
        try:
            settle.finish(exchange, "error", exchange.answered_status)
        finally:
            _leave(exchange)


def _leave(exchange: Exchange) -> None:
    """Keep nothing: the connection has its line until the next request, but not this one's body with it."""
    exchange.line.on_gone = None
    leave_place(exchange)


def _fail(exchange: Exchange, answer: errors.Answer, status: str) -> None:
    """Note the answer on the record and settle before it is sent."""
    record = exchange.record
    record.error_type, record.error_message = answer.type, answer.message
    if answer.floods:
        _sample(exchange)
    if exchange.peek is None and exchange.recorded:
        attribute(exchange, None)
    if answer.repeats and record.session_id:
        exchange.recorded = exchange.gateway.repeats.first((record.virtual_key_id, record.session_id, answer.message))
    settle.finish(exchange, status, answer.status if exchange.answered_status is None else exchange.answered_status)


def _sample(exchange: Exchange) -> None:
    """Of many refusals in a second one is a row: an overload must not become one of the log, too."""
    record = exchange.record
    left_out = exchange.gateway.floods.left_out(record.virtual_key_id)
    if left_out is None:
        exchange.recorded = False
        metrics.refused_without_row(record)
    elif left_out:
        record.error_message += f" ({left_out:,} more refusals of this key have no row of their own.)"
