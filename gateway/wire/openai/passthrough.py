"""A Chat Completions request of a client that speaks the format itself: its own bytes but for what must be ours."""

from __future__ import annotations

from typing import Any, Final

import msgspec

from gateway.wire.forms import with_fields
from gateway.wire.openai.dialect import CannotTranslate, Dialect


class _Options(msgspec.Struct):
    stream: bool | None = None
    stream_options: dict[str, Any] | None = None
    max_tokens: int | None = None
    max_completion_tokens: int | None = None
    service_tier: Any = None
    models: Any = None
    web_search_options: Any = None
    plugins: Any = None
    tools: Any = None


_LEFT_OUT = frozenset({"service_tier", "models"})


class _Admitted(msgspec.Struct):
    max_tokens: int | None = None


_USUAL = Dialect()
_RUN_BY_THE_CLIENT: Final = ("function", "custom")
_options = msgspec.json.Decoder(_Options).decode
_admitted = msgspec.json.Decoder(_Admitted).decode
_fields = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode
_encode = msgspec.json.Encoder().encode


def spliced(body: bytes, model: str, admitted: bytes = b"{}", dialect: Dialect = _USUAL) -> bytes:
    """With our `model`, a stream's usage asked for, and no longer an answer than was admitted.

    `admitted` is the same request as a Messages body: budgets hold for its `max_tokens`, which a client that names no
    bound got by default and a rule may have lowered. `service_tier` is left out, as another tier has another price: the
    account's own holds; so is OpenRouter's `models`, by which a client could choose what it may not use. Raises
    CannotTranslate for what has a fee that no meter sees, and msgspec.MsgspecError for what is no request.
    """
    asked = _options(body)
    _refuse_unmetered(asked)
    if asked.service_tier is not None or asked.models is not None:
        body = _encode({name: raw for name, raw in _fields(body).items() if name not in _LEFT_OUT})
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


def _refuse_unmetered(asked: _Options) -> None:
    """The usage that the server tells has nothing of what it charges for its own tools, a fee for each search."""
    for name, value in (("web_search_options", asked.web_search_options), ("plugins", asked.plugins)):
        if value is not None and value != []:
            raise CannotTranslate(f"`{name}` has a fee that is not metered here, so it is refused: leave it out.")
    for index, tool in enumerate(asked.tools if isinstance(asked.tools, list) else ()):
        kind = tool.get("type") if isinstance(tool, dict) else None
        if isinstance(kind, str) and kind not in _RUN_BY_THE_CLIENT:
            raise CannotTranslate(
                f"`tools[{index}]` is run by the provider for a fee that is not metered here, so it is refused: "
                "declare it as a function and run it yourself, or leave it out."
            )
