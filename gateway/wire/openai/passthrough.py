"""A Chat Completions request of a client that speaks the format itself: its own bytes but for what must be ours."""

from __future__ import annotations

from typing import Any

import msgspec

from gateway.wire.forms import with_fields


class _Options(msgspec.Struct):
    stream: bool | None = None
    stream_options: dict[str, Any] | None = None


_options = msgspec.json.Decoder(_Options).decode


def spliced(body: bytes, model: str) -> bytes:
    """With our `model`, and with a stream's usage asked for. Raises msgspec.MsgspecError for what is no request."""
    asked = _options(body)
    values: dict[str, object] = {"model": model}
    if asked.stream and not (asked.stream_options or {}).get("include_usage"):
        values["stream_options"] = {**(asked.stream_options or {}), "include_usage": True}
    return with_fields(body, **values)
