"""Near a hard limit: have the provider count the prompt, which costs nothing, instead of refusing by a cautious bound.

A count that does not come, in time or at all, changes nothing: the bound of the body stands.
"""

from __future__ import annotations

import asyncio
import logging
import time
from typing import Final

import msgspec

from gateway.calls import call_of
from gateway.exchange import Exchange, Target
from gateway.providers import PROVIDERS
from gateway.providers.base import CannotCall, Operation, Untranslatable
from gateway.upstream import UpstreamError
from gateway.wire import tokens
from gateway.wire.forms import Form, reshape
from gateway.worst import worst_case
from governance.domain.access import Grant

log = logging.getLogger(__name__)

COUNT_SECONDS: Final = 2.0
"""Longest wait for a count."""
MAX_COUNTED_BYTES: Final = 8 * 1024 * 1024
"""Bodies above this are not sent a second time: their upload alone would take longer than the wait."""
MAX_ANSWER_BYTES: Final = 64 * 1024
MARGIN_TOKENS: Final = 64
MARGIN_PER_TOKENS: Final = 32
"""Added to a count: 64 tokens and one for each 32. Anthropic calls its count an estimate from which the charge "may
differ by a small amount", and says no figure."""

_ABSENT: Final = msgspec.Raw(b"")


class _Counted(msgspec.Struct, omit_defaults=True):
    """What the counting endpoint takes, of a request for an answer; it refuses any other field.

    Left out on purpose: `context_management`, which could only make the count smaller.
    Source: `MessageCountTokensParams` of Anthropic's Python SDK (beta).
    """

    model: msgspec.Raw = _ABSENT
    messages: msgspec.Raw = _ABSENT
    system: msgspec.Raw = _ABSENT
    tools: msgspec.Raw = _ABSENT
    tool_choice: msgspec.Raw = _ABSENT
    thinking: msgspec.Raw = _ABSENT
    mcp_servers: msgspec.Raw = _ABSENT
    output_config: msgspec.Raw = _ABSENT
    output_format: msgspec.Raw = _ABSENT
    speed: msgspec.Raw = _ABSENT
    cache_control: msgspec.Raw = _ABSENT


class _Count(msgspec.Struct):
    input_tokens: int


_decode = msgspec.json.Decoder(_Counted).decode
_answer = msgspec.json.Decoder(_Count).decode
_UNREADABLE: Final = (msgspec.MsgspecError, UnicodeDecodeError, RecursionError)


def might_fit(exchange: Exchange, room_nano_usd: int) -> bool:
    """Whether it is worth asking: the prompt as estimated, and a third less, would fit where its bound does not.

    The older models' tokenizer makes a fifth fewer tokens of the same text than the newer one's, which the estimate is
    fitted to. `room_nano_usd` is what the tightest budget has left.
    """
    if exchange.peek is None or len(exchange.body) > MAX_COUNTED_BYTES:
        return False
    bound = tokens.upper_bound(exchange.body, exchange.peek)
    if not bound.countable:
        return False
    return worst_case(exchange, exchange.candidates, prompt_tokens=bound.estimate * 2 // 3) <= room_nano_usd


async def tighter_worst_case(exchange: Exchange, grant: Grant) -> int | None:
    """Nano-dollars that the request cannot exceed by the provider's own count of its prompt; None without a count."""
    target = _target(exchange)
    if target is None:
        return None
    counted = await exact_prompt(exchange, target)
    if counted is None:
        log.info("No count of the prompt of request %s (%s): its bound stands", exchange.record.id, grant.key_name)
        return None
    return worst_case(exchange, exchange.candidates, prompt_tokens=counted, of=target.model)


async def exact_prompt(exchange: Exchange, target: Target) -> int | None:
    """Tokens of the prompt as the provider counts them, with the margin; None where it cannot or may not be relied on.

    Not asked where the body leaves open what the provider will read: its count covers the first of several passes.
    """
    if exchange.peek is None or len(exchange.body) > MAX_COUNTED_BYTES:
        return None
    if not tokens.upper_bound(exchange.body, exchange.peek).countable:
        return None
    began = time.monotonic()
    try:
        async with asyncio.timeout(COUNT_SECONDS):
            counted = await _ask(exchange, target)
    except (TimeoutError, UpstreamError, CannotCall, Untranslatable, *_UNREADABLE) as error:
        log.warning("Provider %s did not count a prompt: %s", target.provider.name, error or "it took too long")
        return None
    finally:
        exchange.waited_seconds += time.monotonic() - began
    if counted is None or counted <= 0:
        return None
    return counted + MARGIN_TOKENS + counted // MARGIN_PER_TOKENS


async def _ask(exchange: Exchange, target: Target) -> int | None:
    shaped = reshape(exchange.body, exchange.format.form, Form.ANTHROPIC, model=target.model, stream=False)
    body = msgspec.json.encode(_decode(shaped))
    call = call_of(exchange, target, operation=Operation.COUNT_TOKENS, body=body)
    provider = PROVIDERS[target.provider.kind]
    request = await provider.request(call)
    response = await exchange.gateway.upstream.open(request)
    try:
        body = await response.read_all(MAX_ANSWER_BYTES)
    finally:
        response.close()
    if response.status != 200:
        log.warning("Provider %s answered a count with status %d", target.provider.name, response.status)
        return None
    translation = provider.translation(call)
    return _answer(translation.whole(body) if translation else body).input_tokens


def _target(exchange: Exchange) -> Target | None:
    """The first candidate that can be called: the count of a model is the same wherever it runs."""
    for candidate in exchange.candidates:
        provider = exchange.snapshot.providers[candidate.access.provider_id]
        for credential in provider.credentials:
            if not credential.problem:
                return Target(provider, credential, candidate.access, candidate.model)
    return None
