"""One try at one target, up to the moment from which its answer goes to the client.

Nothing has reached the client yet when a try fails: `TryNext` says what to tell it if no other target does better. A
stream is held back until its first content, so that a provider that breaks off or is overloaded right after its head
can still be replaced; one that nobody could replace goes on at once.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from typing import Final

import msgspec

from gateway import errors
from gateway.availability import Outcome as Ending
from gateway.availability import Result
from gateway.calls import call_of
from gateway.errors import Refused
from gateway.exchange import Attempt, Exchange, Target
from gateway.providers import PROVIDERS, Provider
from gateway.providers.base import Call, CannotCall, Operation, Translation, Untranslatable, UpstreamRequest, Verdict
from gateway.upstream import NotNoted, TimedOut, Unanswered, UpstreamError, UpstreamResponse
from gateway.wire.forms import Form, continues_thread
from gateway.wire.text import without_secrets
from gateway.wire.usage import Meter, Metered, metered_whole
from gateway.worst import prompt_estimate
from observability.spool import Admitted

log = logging.getLogger(__name__)

MAX_ERROR_BYTES: Final = 1024 * 1024
MAX_ANSWER_BYTES: Final = 64 * 1024 * 1024
MAX_HELD_BYTES: Final = 256 * 1024
"""Of a stream's beginning without content; pings and heads are some hundred bytes."""
MAX_SAID: Final = 200
"""Characters of a provider's own words that are kept of a failure."""
_REQUEST_IDS: Final = (b"request-id", b"x-request-id", b"x-amzn-requestid", b"apim-request-id")
"""Where a provider names the request: Anthropic, OpenAI, Amazon, Azure."""


_MALFORMED: Final = (TypeError, RecursionError, msgspec.DecodeError, UnicodeDecodeError)
"""What a translation raises over a body that is JSON, but not what its format promises."""

_NO_THREADS: Final = "thread: this provider holds no conversations. Send the whole conversation."
"""Anthropic's SDK does so by itself when it is told with the code; left out, the conversation would be lost unseen."""


class TryNext(Exception):
    """The attempt failed before anything reached the client; `refusal` is what to say if no other succeeds."""

    def __init__(self, refusal: Refused, reason: str, *, same_target: bool = False) -> None:
        super().__init__(str(refusal))
        self.refusal = refusal
        self.reason = reason
        """One word for metrics and the log."""
        self.same_target = same_target
        """Whether the same target may answer a moment later."""


class Failure(msgspec.Struct):
    """The provider refuses the request itself: its answer is the client's."""

    attempt: Attempt
    response: UpstreamResponse
    body: bytes
    envelope: bytes
    """The same in Anthropic's form."""
    passes: bool


class Whole(msgspec.Struct):
    """A JSON answer, read to its end and metered."""

    attempt: Attempt
    response: UpstreamResponse
    body: bytes
    """As it came where it `passes`, else a message in Anthropic's form."""
    passes: bool
    """Whether the client speaks the provider's format, and gets its bytes as they are."""


class Stream(msgspec.Struct):
    """A stream from its first content on; `held` came before and with it."""

    attempt: Attempt
    response: UpstreamResponse
    meter: Meter
    translation: Translation | None
    passes: bool
    held: bytes
    ended: bool
    """Whether nothing follows what is held."""
    blind: bool = False
    """Whether its bytes pass although the meter cannot read them: what it used is estimated."""


Outcome = Failure | Whole | Stream


async def attempt(exchange: Exchange, target: Target, *, alone: bool, hedge: bool = False) -> Outcome:
    """Ask one target. Raises TryNext, or Refused where no target may be asked any more.

    `alone` says that no other could take its place: then a stream is not held back.
    """
    provider = PROVIDERS[target.provider.kind]
    began = time.monotonic()
    tried = Attempt(target, provider.platform, began, hedge=hedge)
    tried.turn = exchange.gateway.availability.began(
        target.provider, target.credential, began, _tokens(exchange, target)
    )
    exchange.attempts.append(tried)
    try:
        call, request = await _request(exchange, tried, provider)
        response = await _open(exchange, tried, request)
        del request  # with its body
    except TryNext as error:
        tried.failed = error.reason
        raise
    except asyncio.CancelledError:
        if not tried.ended:
            ended(exchange, tried, why_cut(exchange), Result.NOTHING)
        raise
    tried.status = response.status
    tried.provider_request_id = next(filter(None, map(response.header, _REQUEST_IDS)), b"").decode("latin-1")[:128]
    outcome: Outcome | None = None
    try:
        outcome = await _answer(exchange, tried, provider, call, response, alone=alone)
        return outcome
    except TryNext as error:
        tried.failed = error.reason
        raise
    except asyncio.CancelledError:
        cut_off(exchange, tried)
        raise
    finally:
        if outcome is None:
            response.close()


async def _answer(
    exchange: Exchange, tried: Attempt, provider: Provider, call: Call, response: UpstreamResponse, *, alone: bool
) -> Outcome:
    passes = provider.form is exchange.format.form
    if not 200 <= response.status < 300:
        return await _failure(exchange, tried, provider, response, passes=passes, alone=alone)
    if tried.turn is not None:
        tried.turn.answered(time.monotonic(), response.headers)
    if response.content_type == provider.stream_type:
        return await _stream(exchange, tried, provider, call, response, passes=passes, alone=alone)
    if response.content_type == "application/json":
        return await _whole(exchange, tried, provider.translation(call), response, passes=passes)
    what = response.content_type or "an answer without a type"
    ended(exchange, tried, f"answered {what}", Result.FAILED)
    name = tried.target.provider.name
    message = f"The provider {name} answered with {what[:80]} instead of JSON or an event stream."
    raise TryNext(errors.provider_failed(message), "answer")


async def _request(exchange: Exchange, tried: Attempt, provider: Provider) -> tuple[Call, UpstreamRequest]:
    try:
        call = call_of(exchange, tried.target)
        if provider.form is not Form.ANTHROPIC and continues_thread(call.body):
            raise CannotCall(_NO_THREADS, client_error=True, code="thread_unsupported_request")
        return call, await provider.request(call)
    except (CannotCall, *_MALFORMED) as problem:
        error = problem
        if not isinstance(error, CannotCall):
            error = CannotCall("The request has a shape that this provider cannot be sent.", client_error=True)
        ended(exchange, tried, str(error), Result.NOTHING if error.client_error else Result.CANNOT_CALL)
        if not error.client_error:
            name = tried.target.provider.name
            log.error("Provider %s cannot be called: %s", name, f"{error} {error.detail}".rstrip())
            message = f"The provider {name} cannot be called: {error}"
            raise TryNext(errors.provider_failed(message), "cannot_call") from None
        missing = exchange.operation is Operation.COUNT_TOKENS
        refusal = errors.cannot_serve(str(error), missing=missing, code=error.code)
        raise TryNext(refusal, "cannot_serve") from None


async def _open(exchange: Exchange, tried: Attempt, request: UpstreamRequest) -> UpstreamResponse:
    name = tried.target.provider.name
    try:
        return await exchange.gateway.upstream.open(request, _note(exchange, tried))
    except NotNoted:
        ended(exchange, tried, "not sent", Result.NOTHING)
        exchange.attempts.remove(tried)
        raise errors.log_full() from None
    except UpstreamError as error:
        timed_out = isinstance(error, TimedOut)
        if timed_out:
            # It had the whole request and may have worked on it: unknown is never zero.
            tried.metered = Metered()
        result = Result.TIMEOUT if timed_out else Result.CONNECT
        ended(exchange, tried, f"{error} {error.detail}".strip(), result)
        refusal = errors.provider_failed(f"The provider {name} failed: {error}.")
        reason = "timeout" if timed_out else "connection"
        raise TryNext(refusal, reason, same_target=isinstance(error, Unanswered)) from None
    except asyncio.CancelledError:
        # Where nothing was sent, as on the way to a connection, nothing is charged.
        tried.metered = Metered() if tried.noted else None
        ended(exchange, tried, why_cut(exchange), Result.NOTHING)
        raise


def _note(exchange: Exchange, tried: Attempt) -> Callable[[], bool] | None:
    """What notes the request in the spool at the last moment before it is sent; None for what is free anyway."""
    if not exchange.billable:
        return None

    def note() -> bool:
        target = tried.target
        provider = PROVIDERS[target.provider.kind]
        name, _ = provider.priced_as(target.provider, exchange.called(provider, target.model), "")
        tried.noted = True
        return exchange.gateway.recorder.admit(
            Admitted(
                record=exchange.record,
                provider=target.provider.name,
                credential=target.credential.name,
                platform=tried.platform,
                model=target.model,
                provider_access_id=target.access.id,
                prompt_tokens=prompt_estimate(exchange),
                priced_as=name if name != target.model else "",
            )
        )

    return note


async def _failure(
    exchange: Exchange, tried: Attempt, provider: Provider, response: UpstreamResponse, *, passes: bool, alone: bool
) -> Failure:
    """What is the client's own mistake; what is the provider's or ours raises."""
    try:
        body = await response.read_all(MAX_ERROR_BYTES)
    except UpstreamError:
        body = b""
    verdict = provider.classify(response.status, body)
    # The client's own mistake is told in full to the client; it may quote the prompt.
    said = "" if verdict is Verdict.RELAY else _said(tried, provider.error(response.status, body))
    ended(exchange, tried, f"{verdict.value} ({response.status})", Result(verdict.value), response, said=said)
    # Never a 401 or 403 to a client: it would send the developer to sign in.
    tells = verdict is Verdict.MODEL and alone and response.status not in {401, 403}
    if verdict is Verdict.RELAY or tells:
        envelope = body if passes and provider.form is Form.ANTHROPIC else provider.error(response.status, body)
        return Failure(tried, response, body, envelope, passes)
    raise _no(exchange, tried, verdict, response.status, response.header(b"retry-after") or b"")


class _Error(msgspec.Struct):
    message: str = ""


class _Envelope(msgspec.Struct):
    error: _Error


def _said(tried: Attempt, envelope: bytes) -> str:
    """What the provider says in an error of Anthropic's form; empty where it is none."""
    try:
        message = msgspec.json.decode(envelope, type=_Envelope).error.message
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return ""
    return without_secrets(message, tried.target.credential.secret, MAX_SAID)


def _no(exchange: Exchange, tried: Attempt, verdict: Verdict, status: int, retry_after: bytes = b"") -> TryNext:
    target = tried.target
    name = target.provider.name
    match verdict:
        case Verdict.RATE_LIMITED:
            message = f"The provider {name} limits this organisation's requests. Waiting helps."
            refusal = errors.provider_rate_limited(message, retry_after if retry_after.isdigit() else b"5")
            return TryNext(refusal, verdict.value)
        case Verdict.OVERLOADED:
            return TryNext(errors.provider_overloaded(name), verdict.value, same_target=True)
        case Verdict.CREDENTIAL:
            return TryNext(errors.credential_rejected(name), verdict.value)
        case Verdict.MODEL:
            return TryNext(errors.model_not_served(target.model, name), verdict.value)
        case Verdict.FAILED | Verdict.RELAY:
            refusal = errors.provider_failed(f"The provider {name} failed with status {status}.")
            return TryNext(refusal, Verdict.FAILED.value, same_target=status in {500, 502, 503, 504})


async def _whole(
    exchange: Exchange, tried: Attempt, translation: Translation | None, response: UpstreamResponse, *, passes: bool
) -> Whole:
    name = tried.target.provider.name
    try:
        body = await response.read_all(MAX_ANSWER_BYTES)
        message = _translated(translation, body, passes=passes)
    except (UpstreamError, Untranslatable) as error:
        tried.metered = Metered()
        ended(exchange, tried, str(error), Result.CUT)
        refusal = errors.provider_failed(f"The provider {name} failed: {error}. The request may have been charged.")
        raise TryNext(refusal, "cut") from None
    if message is None:
        tried.metered = Metered()
    elif exchange.billable:
        tried.metered = metered_whole(message)
        if not tried.metered.complete:
            ended(exchange, tried, "answered something that is not a message", Result.FAILED)
            refusal = errors.provider_failed(f"The provider {name} answered something that is not a message.")
            raise TryNext(refusal, "answer")
    ended(exchange, tried)
    return Whole(tried, response, body if passes or message is None else message, passes)


def _translated(translation: Translation | None, body: bytes, *, passes: bool) -> bytes | None:
    """The answer in Anthropic's form; None for one that passes as it came and cannot be read. Raises Untranslatable."""
    try:
        return translation.whole(body) if translation else body
    except Untranslatable:
        if passes:
            return None
        raise


VERDICTS: Final = {
    "overloaded_error": Verdict.OVERLOADED,
    "rate_limit_error": Verdict.RATE_LIMITED,
    "authentication_error": Verdict.CREDENTIAL,
    "permission_error": Verdict.CREDENTIAL,
    "invalid_request_error": Verdict.RELAY,
    "not_found_error": Verdict.RELAY,
    "request_too_large": Verdict.RELAY,
}
"""What an error event of a stream means; any other is the provider's failure."""


async def _stream(
    exchange: Exchange,
    tried: Attempt,
    provider: Provider,
    call: Call,
    response: UpstreamResponse,
    *,
    passes: bool,
    alone: bool,
) -> Stream:
    """The stream with its beginning: up to its first content, or its first bytes where nobody could replace it."""
    translation, meter = provider.translation(call), Meter(stream=True)
    held: list[bytes] = []
    size, done, broken, blind = 0, False, "", False
    try:
        while not (meter.first_content or meter.complete or meter.error_type or done or blind):
            chunk = await response.read()
            done = not chunk
            try:
                events = chunk if translation is None else translation.feed(chunk) if chunk else translation.finish()
            except Untranslatable:
                if not passes:
                    raise
                events, blind = b"", True
            meter.feed(events)
            held.append(chunk if passes else events)
            size += len(held[-1])
            if size > MAX_HELD_BYTES or (alone and size and not done):
                break
    except (UpstreamError, Untranslatable) as error:
        broken = str(error)
    except asyncio.CancelledError:
        # What its head said it used is known exactly.
        tried.metered = meter.finish()
        raise
    started = bool(size) and not broken and (blind or not (done and not meter.complete))
    verdict = VERDICTS.get(meter.error_type, Verdict.FAILED) if meter.error_type else Verdict.RELAY
    if (started and verdict is Verdict.RELAY) or meter.first_content:
        return Stream(tried, response, meter, translation, passes, b"".join(held), done, blind)
    tried.metered = meter.finish()
    name = tried.target.provider.name
    if meter.error_type:
        ended(exchange, tried, f"{meter.error_type} as its first event", Result(verdict.value), response)
        raise _no(exchange, tried, verdict, response.status)
    what = broken or ("ended the stream before any content" if size else "closed the stream without an event")
    ended(exchange, tried, what, Result.CUT)
    raise TryNext(errors.provider_failed(f"The provider {name} failed: {broken or f'it {what}'}."), "cut")


def ended(
    exchange: Exchange,
    tried: Attempt,
    error: str = "",
    result: Result = Result.OK,
    response: UpstreamResponse | None = None,
    *,
    said: str = "",
) -> None:
    """Note the end of an attempt and what was wrong with it, and tell what it says about its target.

    `response` is given where its headers may say for how long to leave the target alone; `said` is
    the provider's own words.
    """
    now = tried.ended = time.monotonic()
    tried.error = f"{error}: {said}" if said else error or tried.error
    if error and not any(each.metered or (each.noted and not each.ended) for each in exchange.attempts):
        # Nothing of this request is charged so far: if the process died now, the note on it must not charge it either.
        exchange.gateway.recorder.withdraw(exchange.record.id)
    exchange.waited_seconds += now - tried.started
    if tried.turn is None:
        return
    if result is Result.OK:
        usage = tried.metered.usage if tried.metered else None
        first = exchange.first_content
        outcome = Ending(
            result,
            tokens=usage.total_tokens if usage else None,
            latency=now - tried.started,
            ttft=first - tried.started if first is not None else None,
        )
    else:
        headers = response.headers if response is not None else ()
        outcome = Ending(result, tried.status, headers, detail=error, said=said)
    tried.turn.ended(now, outcome)
    tried.turn = None


def cut_off(exchange: Exchange, tried: Attempt, why: str = "") -> None:
    """The attempt was cancelled after its provider had begun to answer."""
    if not tried.ended:
        tried.metered = tried.metered or Metered()
        ended(exchange, tried, result=Result.NOTHING)
    tried.error = tried.error or why or why_cut(exchange)


def _tokens(exchange: Exchange, target: Target) -> int:
    """What the try will probably use of a limit of tokens: the prompt."""
    return prompt_estimate(exchange) if target.credential.tokens_per_minute else 0


def why_cut(exchange: Exchange) -> str:
    """What a cancellation means."""
    return "given up: the client is gone" if exchange.client_gone else "cut off by the gateway's stop"
