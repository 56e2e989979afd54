"""A Chat Completions request of a client that speaks the format itself: its own bytes but for what must be ours."""

from __future__ import annotations

from typing import Any

import msgspec

from gateway.wire.forms import with_fields
from gateway.wire.openai.dialect import Dialect


class _Options(msgspec.Struct):
    stream: bool | None = None
    stream_options: dict[str, Any] | None = None
    max_tokens: int | None = None
    max_completion_tokens: int | None = None


class _Admitted(msgspec.Struct):
    max_tokens: int | None = None


_USUAL = Dialect()
_options = msgspec.json.Decoder(_Options).decode
_admitted = msgspec.json.Decoder(_Admitted).decode


def spliced(body: bytes, model: str, admitted: bytes = b"{}", dialect: Dialect = _USUAL) -> bytes:
    """With our `model`, a stream's usage asked for, and no longer an answer than was admitted.

    `admitted` is the same request as a Messages body: budgets hold for its `max_tokens`, which a client that names no
    bound got by default and a rule may have lowered. Raises msgspec.MsgspecError for what is no request.
    """
    asked = _options(body)
    values: dict[str, object] = {"model": model}
    bound = _admitted(admitted).max_tokens
    if bound is not None:
        bound = min(bound, dialect.max_output_tokens or bound)
        given = {"max_completion_tokens": asked.max_completion_tokens, "max_tokens": asked.max_tokens}
        named = {name: tokens for name, tokens in given.items() if tokens is not None}
        if not named:
            values[dialect.max_tokens_field] = bound
        values.update((name, bound) for name, tokens in named.items() if tokens > bound)
    if asked.stream and not (asked.stream_options or {}).get("include_usage"):
        values["stream_options"] = {**(asked.stream_options or {}), "include_usage": True}
    return with_fields(body, **values)
