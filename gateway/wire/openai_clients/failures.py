"""Errors in Anthropic's envelope as OpenAI's clients expect them.

The `openai` SDK picks its exception by the status and reads `message`, `type`, `code` and `param`; agents look at the
code to tell a spent budget from a rate limit, and a prompt that is too long from a wrong one.
"""

from __future__ import annotations

from typing import Final

import msgspec

from gateway.wire.openai_clients.fields import JsonObject

_CODES: Final = {
    "authentication_error": ("invalid_request_error", "invalid_api_key"),
    "permission_error": ("invalid_request_error", "permission_denied"),
    "billing_error": ("insufficient_quota", "insufficient_quota"),
    "rate_limit_error": ("rate_limit_error", "rate_limit_exceeded"),
    "request_too_large": ("invalid_request_error", "request_too_large"),
    "not_found_error": ("invalid_request_error", "not_found"),
    "invalid_request_error": ("invalid_request_error", None),
    "timeout_error": ("server_error", "timeout"),
    "overloaded_error": ("server_error", "overloaded"),
    "api_error": ("server_error", "server_error"),
}
"""(type, code) by Anthropic's type."""
_TOO_LONG: Final = ("prompt is too long", "input length and `max_tokens` exceed", "exceed context limit")
_encode = msgspec.json.Encoder().encode


class _Inner(msgspec.Struct):
    type: str = "api_error"
    message: str = ""


class _Envelope(msgspec.Struct):
    error: _Inner = msgspec.field(default_factory=_Inner)


_decode = msgspec.json.Decoder(_Envelope).decode


def failure(body: bytes) -> JsonObject:
    """`message`, `type`, `param` and `code` of an error. What is not Anthropic's envelope becomes a server error."""
    try:
        inner = _decode(body).error
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        inner = _Inner(message="The provider answered with an error that could not be read.")
    kind, code = _CODES.get(inner.type, ("server_error", inner.type or None))
    if inner.type == "invalid_request_error" and any(words in inner.message for words in _TOO_LONG):
        code = "context_length_exceeded"
    return {"message": inner.message, "type": kind, "param": None, "code": code}


def failure_body(body: bytes) -> bytes:
    """The error as the body of an answer of its own."""
    return _encode({"error": failure(body)})
