"""Error answers in Anthropic's envelope."""

from __future__ import annotations

from typing import Any

import msgspec

_TYPES = {
    400: "invalid_request_error",
    401: "authentication_error",
    402: "billing_error",
    403: "permission_error",
    404: "not_found_error",
    408: "timeout_error",
    413: "request_too_large",
    429: "rate_limit_error",
    504: "timeout_error",
    529: "overloaded_error",
}


def error_type(status: int) -> str:
    """Anthropic's name for an error of this HTTP status."""
    return _TYPES.get(status, "invalid_request_error" if status < 500 else "api_error")


def envelope(kind: str, message: str, request_id: str, details: dict[str, Any] | None = None) -> dict[str, Any]:
    error: dict[str, Any] = {"type": kind, "message": message}
    if details is not None:
        error["details"] = details
    return {"type": "error", "error": error, "request_id": request_id}


def body(
    status: int, message: str, request_id: str, kind: str | None = None, *, details: dict[str, Any] | None = None
) -> bytes:
    return msgspec.json.encode(envelope(kind or error_type(status), message, request_id, details))
