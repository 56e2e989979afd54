"""Lowering what a request may answer: `max_tokens`, and a thinking budget that would no longer fit below it."""

from __future__ import annotations

from typing import Final

import msgspec

from gateway.wire.forms import Form, with_fields
from gateway.wire.peek import Peek

_LEAST_THINKING: Final = 1_024
"""Tokens of the smallest thinking budget that Anthropic takes."""
_FIELDS: Final = {
    Form.OPENAI_CHAT: ("max_completion_tokens", "max_tokens"),
    Form.OPENAI_RESPONSES: ("max_output_tokens",),
}
_present = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode


def exceeds(peek: Peek, most: int) -> bool:
    """Whether a request may answer with more tokens than that."""
    return peek.max_tokens is None or peek.max_tokens > most


def capped(body: bytes, peek: Peek, most: int) -> bytes:
    """A Messages body that asks for at most so many output tokens; every other field byte for byte."""
    fields: dict[str, object] = {"max_tokens": most}
    budget = peek.thinking_budget_tokens
    if peek.thinking == "enabled" and budget is not None and budget >= most:
        room = most > _LEAST_THINKING
        fields["thinking"] = {"type": "enabled", "budget_tokens": most - 1} if room else {"type": "disabled"}
    return with_fields(body, **fields)


def capped_as_sent(body: bytes, form: Form, most: int) -> bytes:
    """The same for what a client sent in a format that is none of Claude's."""
    names = _FIELDS.get(form, ())
    there = _present(body)
    return with_fields(body, **dict.fromkeys([n for n in names if n in there] or names[:1], most))
