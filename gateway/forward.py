"""Step 6: send the unchanged bytes to a target and relay its answer, metering it on the way.

Targets are tried in order until one answers; once a byte of an answer has reached the client there is no other try.
A client that leaves does not stop the provider: its answer is read to the end, so that what it costs is known exactly.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any

import msgspec

from gateway import errors, settle, standing
from gateway.admit import hold_again
from gateway.errors import Refused
from gateway.exchange import Attempt, ClientGone, Exchange, Target
from gateway.pinger import Pinger
from gateway.place import body_sent
from gateway.providers import PROVIDERS
from gateway.providers.base import Verdict
from gateway.upstream import NotNoted, TimedOut, Unanswered, UpstreamError, UpstreamResponse
from gateway.wire import sse
from gateway.wire.headers import relayable
from gateway.wire.text import clean
from gateway.wire.usage import Meter, Metered, metered_whole
from gateway.worst import prompt_estimate
from observability.spool import Admitted

log = logging.getLogger(__name__)

MAX_ERROR_BYTES = 1024 * 1024
MAX_ANSWER_BYTES = 64 * 1024 * 1024
RETRY_DELAYS = (0.3, 1.0)
"""Seconds before a single target is tried again after it was overloaded, failed or could not be reached."""


class _TryNext(Exception):
    """This attempt failed before anything reached the client; `refusal` is what to say if no other succeeds."""

    def __init__(self, refusal: Refused, *, same_target: bool) -> None:
        super().__init__(str(refusal))
        self.refusal = refusal
        self.same_target = same_target
        """Whether the same target may answer a moment later."""


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
    refusal: Refused | None = None
    same_target = False
    try:
        for target, delay in _tries(exchange.targets):
            if refusal is not None and (exchange.client_gone or (delay and not same_target)):
                break
            if refusal is not None and exchange.attempts[-1].metered is not None and not await hold_again(exchange):
                break
            if delay:
                exchange.waited_seconds += delay
                await asyncio.sleep(delay)
            try:
                await _attempt(exchange, target, pinger)
                return
            except _TryNext as error:
                # Not the exception itself: with its traceback it would hold this frame, and the frame it.
                refusal, same_target = error.refusal, error.same_target
    except asyncio.CancelledError:
        if not abandoned.is_given_up(task):
            raise
        task.uncancel()
        exchange.record.error_type = "client_closed"
        exchange.record.error_message = "The client left, and the answer was not read to its end."
        return
    finally:
        pinger.stop()
        exchange.on_client_gone = None
        abandoned.discard(task)
    try:
        if refusal is not None:
            raise refusal
    finally:
        del refusal


def _tries(targets: Sequence[Target]) -> Iterator[tuple[Target, float]]:
    """Each target once; a lone one again after a short wait."""
    for target in targets:
        yield target, 0.0
    if len(targets) == 1:
        for delay in RETRY_DELAYS:
            yield targets[0], delay


async def _attempt(exchange: Exchange, target: Target, pinger: Pinger) -> None:
    provider = PROVIDERS[target.provider.kind]
    attempt = Attempt(target, provider.platform, time.monotonic())
    exchange.attempts.append(attempt)
    request = provider.request(
        target.provider,
        target.credential,
        exchange.path,
        exchange.line.query,
        exchange.headers,
        exchange.body,
    )
    name = target.provider.name
    try:
        response = await exchange.gateway.upstream.open(request, _note(exchange, attempt))
    except NotNoted:
        exchange.attempts.remove(attempt)
        raise errors.log_full() from None
    except UpstreamError as error:
        if isinstance(error, TimedOut):
            # It had the whole request and may have worked on it: unknown is never zero.
            attempt.metered = Metered()
        _ended(exchange, attempt, f"{error} {error.detail}".strip())
        refusal = errors.provider_failed(f"The provider {name} failed: {error}.")
        raise _TryNext(refusal, same_target=isinstance(error, Unanswered)) from None
    except asyncio.CancelledError:
        # Where nothing was sent, as on the way to a connection, nothing is charged.
        attempt.metered = Metered() if attempt.noted else None
        _ended(exchange, attempt, _why_cut(exchange))
        raise
    del request  # with its body
    attempt.status = response.status
    attempt.provider_request_id = (response.header(b"request-id") or b"").decode("latin-1")[:128]
    try:
        if not 200 <= response.status < 300:
            await _provider_error(exchange, attempt, response)
            return
        exchange.gateway.credential_accepted(target)
        if response.content_type == "text/event-stream":
            await _relay_stream(exchange, attempt, response, pinger)
        elif response.content_type == "application/json":
            await _relay_whole(exchange, attempt, response)
        else:
            what = response.content_type or "an answer without a type"
            _ended(exchange, attempt, f"answered {what}")
            raise _TryNext(
                errors.provider_failed(
                    f"The provider {name} answered with {what[:80]} instead of JSON or an event stream."
                ),
                same_target=False,
            )
    except asyncio.CancelledError:
        if not attempt.ended:
            attempt.metered = attempt.metered or Metered()
            _ended(exchange, attempt)
        attempt.error = attempt.error or _why_cut(exchange)
        raise
    finally:
        response.close()


def _note(exchange: Exchange, attempt: Attempt) -> Callable[[], bool] | None:
    """What notes the request in the spool at the last moment before it is sent; None for what is free anyway."""
    if not exchange.billable:
        return None

    def note() -> bool:
        target = attempt.target
        attempt.noted = True
        return exchange.gateway.recorder.admit(
            Admitted(
                record=exchange.record,
                provider=target.provider.name,
                credential=target.credential.name,
                platform=attempt.platform,
                model=exchange.model,
                provider_access_id=target.access.id,
                prompt_tokens=prompt_estimate(exchange),
            )
        )

    return note


async def _provider_error(exchange: Exchange, attempt: Attempt, response: UpstreamResponse) -> None:
    """Relay what is the client's own mistake; translate what is the provider's or ours."""
    target = attempt.target
    name = target.provider.name
    try:
        body = await response.read_all(MAX_ERROR_BYTES)
    except UpstreamError:
        body = b""
    verdict = PROVIDERS[target.provider.kind].classify(response.status, body)
    _ended(exchange, attempt, f"{verdict.value} ({response.status})")
    match verdict:
        case Verdict.RELAY:
            exchange.record.error_message = clean(body.decode("utf-8", "replace"), 2000)
            exchange.record.error_type = settle.error_type(body)
            settle.finish(exchange, "error", response.status)
            headers = [*relayable(response.headers), (b"content-length", str(len(body)).encode())]
            _send_whole(exchange, response.status, headers, body, name)
        case Verdict.RATE_LIMITED:
            retry_after = response.header(b"retry-after") or b""
            message = f"The provider {name} limits this organisation's requests. Waiting helps."
            refusal = errors.provider_rate_limited(message, retry_after if retry_after.isdigit() else b"5")
            raise _TryNext(refusal, same_target=False)
        case Verdict.OVERLOADED:
            raise _TryNext(errors.provider_overloaded(name), same_target=True)
        case Verdict.CREDENTIAL:
            log.error(
                "Provider %s rejected the credential %s with status %d.",
                name,
                target.credential.name,
                response.status,
            )
            exchange.gateway.credential_rejected(target, response.status)
            raise _TryNext(errors.credential_rejected(name), same_target=False)
        case Verdict.FAILED:
            refusal = errors.provider_failed(f"The provider {name} failed with status {response.status}.")
            raise _TryNext(refusal, same_target=response.status in {500, 502, 503, 504})


def _send_whole(
    exchange: Exchange, status: int, headers: Sequence[tuple[bytes, bytes]], body: bytes, name: str
) -> None:
    """Answer with a whole body. Where pings opened a stream already, its end is an error event instead."""
    if exchange.answered_status is None:
        exchange.start(status, headers)
        exchange.end(body)
    elif status >= 400:
        # One line: a line end inside would end the event.
        exchange.end(sse.encode("error", msgspec.json.format(body, indent=-1)))
    else:
        exchange.answer(errors.provider_failed(f"The provider {name} did not stream, as was asked.").answer)


async def _relay_whole(exchange: Exchange, attempt: Attempt, response: UpstreamResponse) -> None:
    """A JSON answer: read to the end, priced, then sent with what it cost."""
    name = attempt.target.provider.name
    try:
        body = await response.read_all(MAX_ANSWER_BYTES)
    except UpstreamError as error:
        attempt.metered = Metered()
        _ended(exchange, attempt, str(error))
        raise errors.provider_failed(
            f"The provider {name} failed: {error}. The request may have been charged."
        ) from None
    _ended(exchange, attempt)
    if exchange.billable:
        attempt.metered = metered_whole(body)
        if not attempt.metered.complete:
            attempt.error = "answered something that is not a message"
            raise errors.provider_failed(f"The provider {name} answered something that is not a message.")
    settle.finish(exchange, "success", response.status)
    length = (b"content-length", str(len(body)).encode())
    headers = [*relayable(response.headers), length, *settle.cost_headers(exchange), *standing.headers(exchange)]
    _send_whole(exchange, response.status, headers, body, name)


async def _relay_stream(exchange: Exchange, attempt: Attempt, response: UpstreamResponse, pinger: Pinger) -> None:
    """An event stream: every byte on as it comes, its usage tapped."""
    name = attempt.target.provider.name
    meter = Meter(stream=True)
    broken = ""
    try:
        chunk = await response.read()
        meter.feed(chunk)
    except UpstreamError as error:
        chunk, broken = b"", str(error)
    if not chunk:
        attempt.metered = meter.finish()
        _ended(exchange, attempt, broken or "closed the stream without an event")
        refusal = errors.provider_failed(
            f"The provider {name} failed: {broken or 'it closed the stream without an event'}."
        )
        raise _TryNext(refusal, same_target=False)
    if exchange.answered_status is None:
        exchange.start(response.status, [*relayable(response.headers), *standing.headers(exchange)])
    gateway, line = exchange.gateway, exchange.line

    def relay(chunk: bytes) -> None:
        """On as it comes: straight from one socket to the other, or the provider waits until the client has read."""
        meter.feed(chunk)
        pass_on(chunk)

    def pass_on(chunk: bytes) -> None:
        if exchange.first_content is None and meter.first_content:
            exchange.first_content = time.monotonic()
        pinger.write(chunk)
        if line.paused and not exchange.client_gone:
            response.pause()

    left = exchange.on_client_gone

    def read_on() -> None:
        """The client is gone: what it costs is known only at the end."""
        response.resume()
        if left is not None:
            left()

    body_sent(exchange)
    gateway.stream_started()
    exchange.on_client_gone, line.on_writable = read_on, response.resume
    try:
        pass_on(chunk)
        await response.relay(relay)
    except UpstreamError as error:
        broken = str(error)
    finally:
        exchange.on_client_gone, line.on_writable = left, None
        gateway.stream_ended()
        attempt.metered = metered = meter.finish()
        _ended(exchange, attempt, broken)
    _close_stream(exchange, attempt, metered, broken, pinger)


def _close_stream(exchange: Exchange, attempt: Attempt, metered: Metered, broken: str, pinger: Pinger) -> None:
    """Finish the record, then the client's stream: in peace, or with an error event that makes the client ask again."""
    pinger.stop()
    if metered.error_type:
        exchange.record.error_type, exchange.record.error_message = metered.error_type, metered.error_message
        attempt.error = attempt.error or metered.error_type
        settle.finish(exchange, "error", 200)
        exchange.end()
    elif metered.complete:
        settle.finish(exchange, "success", 200)
        exchange.end()
    else:
        what = broken or "its stream ended early"
        attempt.error = what
        answer = errors.provider_failed(f"The provider {attempt.target.provider.name} failed: {what}.").answer
        exchange.record.error_type, exchange.record.error_message = answer.type, answer.message
        settle.finish(exchange, "error", 200)
        if not pinger.at_boundary:
            exchange.write(sse.BROKEN_OFF)
        exchange.answer(answer)


def _why_cut(exchange: Exchange) -> str:
    return "given up: the client is gone" if exchange.client_gone else "cut off by the gateway's stop"


def _ended(exchange: Exchange, attempt: Attempt, error: str = "") -> None:
    attempt.ended = time.monotonic()
    attempt.error = error or attempt.error
    if error and all(each.metered is None for each in exchange.attempts):
        # Nothing of this request is charged so far: if the process died now, the note on it must not charge it either.
        exchange.gateway.recorder.withdraw(exchange.record.id)
    exchange.waited_seconds += attempt.ended - attempt.started
