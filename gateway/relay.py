"""From the first content on: a provider's answer in the client's format, metered on the way and settled at its end.

Where client and provider speak one format every byte goes on as it came, and only the meter sees its translation.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial

import msgspec

from gateway import errors, settle, standing
from gateway.attempt import VERDICTS, Failure, Outcome, Stream, Whole, ended
from gateway.availability import Result
from gateway.exchange import Attempt, Exchange
from gateway.formats.base import Encoder
from gateway.pinger import Pinger
from gateway.place import body_sent
from gateway.providers.base import Translation, Untranslatable, Verdict
from gateway.upstream import UpstreamError
from gateway.wire.headers import relayable
from gateway.wire.text import clean
from gateway.wire.usage import Metered


async def relay(exchange: Exchange, outcome: Outcome, pinger: Pinger) -> None:
    """Answer the client; whatever happens, the answer is this one."""
    match outcome:
        case Failure():
            _relay_failure(exchange, outcome)
        case Whole():
            _relay_whole(exchange, outcome)
        case Stream():
            await _relay_stream(exchange, outcome, pinger)


def _relay_failure(exchange: Exchange, failure: Failure) -> None:
    record, status = exchange.record, failure.response.status
    record.error_message = clean(failure.envelope.decode("utf-8", "replace"), 2000)
    record.error_type = settle.error_type(failure.envelope)
    settle.finish(exchange, "error", status)
    if exchange.answered_status is not None:
        # Pings opened a stream. One line: a line end inside would end the event.
        exchange.end(exchange.format.error_event(msgspec.json.format(failure.envelope, indent=-1)))
        return
    if failure.passes:
        own, body = relayable(failure.response.headers), failure.body
    else:
        own, body = exchange.format.error(status, failure.envelope)
    exchange.start(status, [*own, (b"content-length", str(len(body)).encode())])
    exchange.end(body)


def _relay_whole(exchange: Exchange, whole: Whole) -> None:
    status = whole.response.status
    if exchange.answered_status is not None:
        name = whole.attempt.target.provider.name
        settle.finish(exchange, "success", status)
        exchange.answer(errors.provider_failed(f"The provider {name} did not stream, as was asked.").answer)
        return
    body = whole.body
    if whole.passes:
        own = relayable(whole.response.headers)
    else:
        spoken = exchange.format
        body = spoken.whole(body, exchange.record.model_requested) if exchange.billable else spoken.count(body)
        own = [(b"content-type", b"application/json")]
    settle.finish(exchange, "success", status)
    length = (b"content-length", str(len(body)).encode())
    exchange.start(status, [*own, length, *settle.cost_headers(exchange), *standing.headers(exchange)])
    exchange.end(body)


async def _relay_stream(exchange: Exchange, stream: Stream, pinger: Pinger) -> None:
    """An event stream: every byte on as it comes, its usage tapped."""
    attempt, response, meter, translation = stream.attempt, stream.response, stream.meter, stream.translation
    encoder = None if stream.passes else exchange.format.encoder(exchange.record.model_requested)
    if exchange.answered_status is None:
        own = relayable(response.headers) if stream.passes else list(exchange.format.stream_headers)
        exchange.start(response.status, [*own, *standing.headers(exchange)])
    if stream.passes and translation is not None:
        pinger.framed = partial(getattr, translation, "at_boundary")
    gateway, line = exchange.gateway, exchange.line

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
    broken, result = "", Result.NOTHING
    try:
        first = stream.held if encoder is None else encoder.feed(stream.held)
        if first:
            pass_on(first)
        if not stream.ended:
            await response.relay(_sink(stream, encoder, pass_on))
            if translation is not None and not stream.blind:
                rest = _rest(stream, translation)
                meter.feed(rest)
                if not stream.passes and (rest := encoder.feed(rest) if encoder else rest):
                    pass_on(rest)
        result = Result.OK
    except (UpstreamError, Untranslatable) as error:
        broken, result = str(error), Result.CUT
    finally:
        exchange.on_client_gone, line.on_writable = left, None
        gateway.stream_ended()
        attempt.metered = metered = meter.finish()
        if result is Result.OK and not stream.blind:
            result = _result(metered)
        # Cancelled, by a stop or because nobody waits for it any more, it says nothing of its target.
        ended(exchange, attempt, broken, result)
    if stream.blind and not broken:
        pinger.stop()
        attempt.error = "its usage cannot be read"
        settle.finish(exchange, "success", 200)
        exchange.end()
        return
    _close_stream(exchange, attempt, metered, broken, pinger, encoder)


def _rest(stream: Stream, translation: Translation) -> bytes:
    try:
        return translation.finish()
    except Untranslatable:
        if not stream.passes:
            raise
        stream.blind = True
        return b""


def _result(metered: Metered) -> Result:
    """What a stream that ended by itself says about its target."""
    if metered.error_type:
        verdict = VERDICTS.get(metered.error_type, Verdict.FAILED)
        return Result(verdict.value)
    return Result.OK if metered.complete else Result.CUT


def _sink(stream: Stream, encoder: Encoder | None, pass_on: Callable[[bytes], None]) -> Callable[[bytes], None]:
    """What takes each part of the body: straight from one socket to the other."""
    feed = stream.meter.feed
    translate = stream.translation.feed if stream.translation is not None else None

    def plain(chunk: bytes) -> None:
        feed(chunk)
        pass_on(chunk)

    def as_it_came(chunk: bytes) -> None:
        if translate is not None and not stream.blind:
            try:
                feed(translate(chunk))
            except Untranslatable:
                # The client reads its own format; only the meter is at a loss.
                stream.blind = True
        pass_on(chunk)

    def translated(chunk: bytes) -> None:
        events = chunk if translate is None else translate(chunk)
        feed(events)
        if out := events if encoder is None else encoder.feed(events):
            pass_on(out)

    if translate is None and encoder is None:
        return plain
    return as_it_came if stream.passes else translated


def _close_stream(
    exchange: Exchange,
    attempt: Attempt,
    metered: Metered,
    broken: str,
    pinger: Pinger,
    encoder: Encoder | None,
) -> None:
    """Finish the record, then the client's stream: in peace, or with an error event that makes the client ask again."""
    pinger.stop()
    if metered.error_type:
        exchange.record.error_type, exchange.record.error_message = metered.error_type, metered.error_message
        attempt.error = attempt.error or metered.error_type
        settle.finish(exchange, "error", 200)
        exchange.end(encoder.finish() if encoder else b"")
    elif metered.complete:
        settle.finish(exchange, "success", 200)
        exchange.end(encoder.finish() if encoder else b"")
    else:
        what = broken or "its stream ended early"
        attempt.error = what
        answer = errors.provider_failed(f"The provider {attempt.target.provider.name} failed: {what}.").answer
        exchange.record.error_type, exchange.record.error_message = answer.type, answer.message
        settle.finish(exchange, "error", 200)
        if not pinger.at_boundary:
            if not exchange.format.broken_off:
                # Inside a frame that nothing can end: only a connection that breaks tells the client.
                exchange.line.drop()
                return
            exchange.break_off()
        exchange.answer(answer)
