"""Every answer that is not the provider's own: one exhaustive place that turns a reason into status, body and headers.

The shapes follow what the real client does with each of them: it stops at once on a 429 or 401 that carries
`x-should-retry: false`, and shows the message.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from zoneinfo import ZoneInfo

from gateway.overload import Refusal
from gateway.wire.forms import OPENAI, Form
from governance.domain.access import Grant
from governance.domain.allowance import Allowance, Enforcement, Exhausted, Ladder, Unit
from governance.domain.money import show_usd

HeaderList = tuple[tuple[bytes, bytes], ...]
NO_RETRY: HeaderList = ((b"x-should-retry", b"false"),)
_SERVED = "POST /anthropic/v1/messages, POST /anthropic/v1/messages/count_tokens and GET /anthropic/v1/models"


@dataclass(frozen=True, slots=True)
class Answer:
    """An error in Anthropic's envelope. `refusal` tells our own no from a failure."""

    status: int
    type: str
    message: str
    headers: HeaderList = ()
    refusal: bool = True
    repeats: bool = False
    """The client sends the same request again although nothing will change: its repeats are one event in the log."""
    floods: bool = False
    """It comes in great numbers when it comes: the log has a sample of them."""
    code: str = ""
    """What Anthropic's SDK goes by, where it goes by more than the type (`details.error_code`)."""

    def body(self, request_id: str) -> bytes:
        error: dict[str, object] = {"type": self.type, "message": self.message}
        if self.code:
            error["details"] = {"error_code": self.code}
        return json.dumps({"type": "error", "error": error, "request_id": request_id}).encode()


class Refused(Exception):
    """Ends a request with the answer it carries."""

    def __init__(self, answer: Answer) -> None:
        super().__init__(answer.message)
        self.answer = answer


def key_missing(form: Form) -> Refused:
    return Refused(
        Answer(
            401,
            "authentication_error",
            f"No virtual key was sent. Set {_variable(form)} to the key you were given (it starts with sk-cmp-).",
            NO_RETRY,
        )
    )


def key_in_signature() -> Refused:
    return Refused(
        Answer(
            401,
            "authentication_error",
            "The request is signed with AWS credentials, which cannot carry a virtual key. Set "
            f"{_variable(Form.BEDROCK)} to the key you were given (it starts with sk-cmp-).",
            NO_RETRY,
        )
    )


def key_unknown(form: Form) -> Refused:
    return Refused(
        Answer(
            401,
            "authentication_error",
            f"This is not a virtual key of this gateway. Check {_variable(form)}, or ask for a new key.",
            NO_RETRY,
        )
    )


def key_revoked(grant: Grant) -> Refused:
    return Refused(
        Answer(
            401,
            "authentication_error",
            f"The virtual key {grant.key_name!r} was revoked. {_ask(grant, 'a new key')}",
            NO_RETRY,
        )
    )


def key_expired(grant: Grant, at: datetime) -> Refused:
    return Refused(
        Answer(
            401,
            "authentication_error",
            f"The virtual key {grant.key_name!r} expired on {at:%Y-%m-%d %H:%M} UTC. {_ask(grant, 'a new key')}",
            NO_RETRY,
        )
    )


def secret_replaced(grant: Grant, at: datetime) -> Refused:
    return Refused(
        Answer(
            401,
            "authentication_error",
            f"This secret of the virtual key {grant.key_name!r} was replaced and ended on {at:%Y-%m-%d %H:%M} UTC. "
            f"Use the new one. {_ask(grant, 'it')}",
            NO_RETRY,
        )
    )


def owner_inactive(grant: Grant) -> Refused:
    return Refused(
        Answer(
            401,
            "authentication_error",
            f"The {grant.inactive} of the virtual key {grant.key_name!r} is switched off. {_ask(grant, 'help')}",
            NO_RETRY,
        )
    )


def address_not_allowed(address: str | None) -> Refused:
    return Refused(
        Answer(
            403,
            "permission_error",
            f"This virtual key may not be used from {address or 'an unknown address'}. "
            "Use an allowed network, or ask for a change.",
            NO_RETRY,
        )
    )


def model_not_allowed(model: str, allowed: Sequence[str], grant: Grant) -> Refused:
    names = ", ".join(allowed[:30]) or "none"
    return Refused(
        Answer(
            400,
            "invalid_request_error",
            f"The model {model!r} is not allowed for the virtual key {grant.key_name!r}. Allowed: {names}. "
            f"Choose one with /model. {_ask(grant, 'another')}",
            repeats=True,
        )
    )


def denied_by_rule(rule: str, sentence: str) -> Refused:
    return Refused(Answer(400, "invalid_request_error", f"{sentence} (Routing rule {rule!r}.)", repeats=True))


def model_not_found(model: str) -> Refused:
    return Refused(
        Answer(404, "not_found_error", f"This virtual key may use no model {model[:200]!r}. GET /v1/models lists them.")
    )


def no_provider(model: str, grant: Grant) -> Refused:
    return Refused(
        Answer(
            400,
            "invalid_request_error",
            f"No active provider serves {model!r} for the virtual key {grant.key_name!r}. {_ask(grant, 'help')}",
        )
    )


def model_not_served(model: str, provider: str) -> Refused:
    """The provider has not got the model, or not for us: nothing that waiting mends."""
    return Refused(
        Answer(
            400,
            "invalid_request_error",
            f"The provider {provider} does not serve {model!r} to this gateway. Choose another with /model, or ask the "
            "platform team for it.",
            refusal=False,
            repeats=True,
        )
    )


def model_unpriced(model: str) -> Refused:
    return Refused(
        Answer(
            400,
            "invalid_request_error",
            f"The model {model!r} has no price in the catalog and your organisation refuses such models. "
            "Choose another with /model, or ask for its price to be entered.",
        )
    )


def bad_request(message: str) -> Refused:
    return Refused(Answer(400, "invalid_request_error", message))


def body_too_large(limit: int) -> Refused:
    return Refused(
        Answer(
            413,
            "request_too_large",
            f"The request body is larger than {limit:,} bytes. Send less, or start a new session.",
        )
    )


def body_overdue(seconds: float) -> Refused:
    """408: the client may send it again, and Claude Code does."""
    return Refused(
        Answer(
            408,
            "timeout_error",
            f"The request's body stopped coming: no byte for {seconds:.0f} s. Check the network between you and the "
            "gateway.",
        )
    )


def stopping() -> Answer:
    """A stop's deadline came before the answer's end: another process, or this one when it is back, takes it."""
    return Answer(
        529,
        "overloaded_error",
        "This gateway process was stopped before the answer ended. Send the request again.",
        ((b"retry-after", b"1"),),
        refusal=False,
    )


def headers_too_large(limit: int) -> Refused:
    return Refused(
        Answer(
            431,
            "invalid_request_error",
            f"The request headers are larger than {limit:,} bytes. Send fewer or shorter headers.",
            NO_RETRY,
        )
    )


def not_found(method: str, path: str, served: str = _SERVED) -> Refused:
    return Refused(
        Answer(
            404,
            "not_found_error",
            f"{method} {path} is not served here. This gateway serves {served}.",
        )
    )


def method_not_allowed(method: str, path: str, allowed: str) -> Refused:
    return Refused(
        Answer(
            405,
            "invalid_request_error",
            f"{path} takes {allowed}, not {method}.",
            ((b"allow", allowed.encode()),),
        )
    )


def exhausted(cause: Exhausted, grant: Grant, worst_nano_usd: int) -> Refused:
    """A budget or a limit that is used up."""
    if cause.allowance.unit is Unit.USD:
        return Refused(_budget_answer(cause, grant, worst_nano_usd))
    return Refused(_rate_answer(cause))


def not_ready() -> Refused:
    return Refused(
        Answer(
            503,
            "api_error",
            "The gateway is starting and has not read its configuration yet. Try again.",
            ((b"retry-after", b"1"),),
            refusal=False,
        )
    )


def log_full() -> Refused:
    """The request log cannot take more: nothing is served that could not be accounted for."""
    return Refused(
        Answer(
            529,
            "overloaded_error",
            "The gateway cannot write its request log at the moment and takes no new request. Try again shortly.",
            ((b"retry-after", b"5"),),
            refusal=False,
        )
    )


def overloaded(why: Refusal, seconds: float, retry_after: int) -> Refused:
    """This process is at its own limit. Claude Code waits as `retry-after` says and tries up to 11 times."""
    match why:
        case Refusal.QUEUE_FULL:
            what = "The gateway serves as many requests as it can, and as many wait as may."
        case Refusal.WAITED:
            what = f"The gateway serves as many requests as it can, and none ended for this one within {seconds:g} s."
        case Refusal.STOPPING:
            what = "This process of the gateway is stopping."
    return Refused(
        Answer(
            529,
            "overloaded_error",
            f"{what} Nothing was sent to a provider and nothing is charged. Try again in {retry_after} s.",
            ((b"retry-after", str(retry_after).encode()),),
            floods=True,
        )
    )


def throttled(allowance: Allowance, ladder: Ladder, share: float) -> Refused:
    """A budget near its limit that lets few requests run at once, for longer than a request may wait."""
    return Refused(
        Answer(
            429,
            "rate_limit_error",
            f"The budget {allowance.name!r} of {_scope(allowance)} is {share:.0%} used and lets "
            f"{ladder.throttle_concurrent} requests run at once from {ladder.throttle_at} % on. Wait for one to end.",
            ((b"retry-after", b"5"),),
        )
    )


def budget_unknown(allowance: Allowance) -> Refused:
    """The database is away and a hard limit's slice is used up: closed, since nobody could say what is left of it."""
    return Refused(
        Answer(
            529,
            "overloaded_error",
            f"What is left of {allowance.name!r} of {_scope(allowance)} cannot be checked at the moment, and it may "
            "never be passed. The platform team can see this; try again shortly.",
            ((b"retry-after", b"5"),),
            refusal=False,
        )
    )


def provider_rate_limited(message: str, retry_after: bytes) -> Refused:
    return Refused(Answer(429, "rate_limit_error", message, ((b"retry-after", retry_after),), refusal=False))


def provider_overloaded(provider: str) -> Refused:
    return Refused(
        Answer(
            529,
            "overloaded_error",
            f"The provider {provider} is overloaded. Try again in a moment.",
            NO_RETRY,
            refusal=False,
        )
    )


def cannot_serve(message: str, *, missing: bool, code: str = "") -> Refused:
    """What no target can be asked for; `missing` for a call that has no counterpart: clients do without it on a 404."""
    kind = "not_found_error" if missing else "invalid_request_error"
    return Refused(Answer(404 if missing else 400, kind, message, code=code))


def provider_failed(message: str) -> Refused:
    return Refused(Answer(503, "api_error", message, NO_RETRY, refusal=False))


def credential_rejected(provider: str) -> Refused:
    """Never the provider's 401 or 403: the developer's own key is fine."""
    return Refused(
        Answer(
            503,
            "api_error",
            f"The provider {provider} rejected this gateway's credential. "
            "Your key is fine; the platform team was told.",
            NO_RETRY,
            refusal=False,
        )
    )


def internal() -> Answer:
    return Answer(
        500,
        "api_error",
        "The gateway failed on this request and logged why. Try again.",
        NO_RETRY,
        refusal=False,
    )


def _variable(form: Form) -> str:
    """Where a client of this format has its key. Vertex mode sends Anthropic's: Google's own carries none."""
    if form in OPENAI:
        return "OPENAI_API_KEY"
    return "AWS_BEARER_TOKEN_BEDROCK" if form is Form.BEDROCK else "ANTHROPIC_AUTH_TOKEN"


def _ask(grant: Grant, what: str) -> str:
    return f"Ask {grant.contact or 'whoever manages this gateway in your organisation'} for {what}."


def _budget_answer(cause: Exhausted, grant: Grant, worst_nano_usd: int) -> Answer:
    allowance = cause.allowance
    if cause.passing:
        return _passing_answer(cause, worst_nano_usd)
    spent, limit = show_usd(cause.used), show_usd(cause.limit)
    what = f"The budget {allowance.name!r} of {_scope(allowance)}"
    if allowance.enforcement is Enforcement.HARD and cause.used < cause.limit:
        left = show_usd(max(0, cause.limit - cause.used - cause.held))
        held = f", {show_usd(cause.held)} held for running and coming requests" if cause.held else ""
        what += (
            f" has {left} left of {limit} ({spent} spent{held}) and this request could cost up to "
            f"{show_usd(worst_nano_usd)}."
        )
    else:
        what += f" is used up: {spent} of {limit} spent."
    message = f"{what} {_reset(cause)} {_ask(grant, 'a higher limit')}"
    headers: list[tuple[bytes, bytes]] = [
        *NO_RETRY,
        (b"anthropic-ratelimit-unified-status", b"rejected"),
        (b"anthropic-ratelimit-unified-overage-utilization", b"1"),
        (b"anthropic-ratelimit-unified-overage-surpassed-threshold", b"1"),
        (b"anthropic-ratelimit-unified-overage-period", _overage_period(allowance)),
        (b"anthropic-ratelimit-unified-overage-disabled-reason", b"org_spend_cap_reached"),
    ]
    if cause.resets_at is not None:
        stamp = str(int(cause.resets_at.timestamp())).encode()
        headers += [
            (b"retry-after", str(cause.retry_after).encode()),
            (b"anthropic-ratelimit-unified-reset", stamp),
            (b"anthropic-ratelimit-unified-overage-reset", stamp),
        ]
    if allowance.shared:
        headers.append((b"anthropic-ratelimit-unified-overage-scope", b"group_pool"))
    return Answer(429, "billing_error", message, tuple(headers))


def _passing_answer(cause: Exhausted, worst_nano_usd: int) -> Answer:
    """There is room, but it is held for running and coming requests: it comes back in moments, so the client waits."""
    allowance = cause.allowance
    left = show_usd(cause.limit - cause.used)
    could = f"; this request could cost up to {show_usd(worst_nano_usd)}" if worst_nano_usd else ""
    message = (
        f"The budget {allowance.name!r} of {_scope(allowance)} has {left} left of {show_usd(cause.limit)}, of which "
        f"{show_usd(cause.held)} are held for running requests{could}. Try again in a moment."
    )
    return Answer(429, "rate_limit_error", message, ((b"retry-after", b"2"),))


def _rate_answer(cause: Exhausted) -> Answer:
    allowance = cause.allowance
    unit = {Unit.REQUESTS: "requests", Unit.TOKENS: "tokens"}.get(allowance.unit)
    if not cause.limit:
        # No moment brings room: a client that waited would only come again in vain.
        what = f"{unit} per {_seconds(allowance.seconds)}" if unit else "requests at once"
        message = f"The limit of {_scope(allowance)} is 0 {what}: it lets none through until it is raised."
        return Answer(429, "rate_limit_error", message, NO_RETRY)
    if unit is None:
        message = f"At most {cause.limit:,} requests of {_scope(allowance)} may run at once. Wait for one to end."
    else:
        message = (
            f"The limit of {_scope(allowance)} is {cause.limit:,} {unit} per {_seconds(allowance.seconds)}; "
            f"it has room again in {cause.retry_after} s."
        )
    # Clients give up at once on a retry-after above 60: only the longer windows say more than that.
    return Answer(429, "rate_limit_error", message, ((b"retry-after", str(cause.retry_after).encode()),))


def _scope(allowance: Allowance) -> str:
    return f"{allowance.scope.replace('_', ' ')} {allowance.target}"


def _reset(cause: Exhausted) -> str:
    period = cause.allowance.period
    if period is not None and period.rolling:
        return f"Room comes back as the charges of the last {period.rolling} {period.kind}s grow old."
    if cause.resets_at is None:
        return "It does not reset."
    zone = period.timezone if period else "UTC"
    return f"It resets on {cause.resets_at.astimezone(ZoneInfo(zone)):%Y-%m-%d %H:%M} ({zone})."


def _seconds(seconds: int) -> str:
    return {1: "second", 60: "minute", 3600: "hour", 86400: "day"}.get(seconds, f"{seconds} s")


def _overage_period(allowance: Allowance) -> bytes:
    match allowance.period.kind if allowance.period else "":
        case "hour" | "day":
            return b"daily"
        case "week":
            return b"weekly"
    return b"monthly"
