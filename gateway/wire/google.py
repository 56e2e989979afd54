"""Errors in the form that all of Google's APIs share, and the same in Anthropic's envelope.

`{"error": {"code": 400, "message": "…", "status": "INVALID_ARGUMENT", "details": […]}}`, in a list of one where a
stream was asked for. Source: Google's API design guide (AIP-193).
"""

from __future__ import annotations

import re
from typing import Any, Final

import msgspec

from gateway.wire.error_types import ERROR_TYPES


class Problem(msgspec.Struct, frozen=True):
    """What an error says; `code` is the HTTP status that it means."""

    message: str
    code: int = 0
    status: str = ""
    reason: str = ""
    """In one word, from its details, for example API_KEY_INVALID."""


_TOO_LONG: Final = re.compile(
    r"input token count(?: \(?(\d+)\)?)? exceeds the maximum number of (?:input )?tokens allowed(?: \(?(\d+)\)?)?",
    re.IGNORECASE,
)
"""Gemini's sentence about a prompt that does not fit."""

_encode = msgspec.json.Encoder().encode


def read_error(body: bytes) -> Problem | None:
    """What an error body says; None where it is not in Google's form."""
    try:
        found = msgspec.json.decode(body)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return None
    if isinstance(found, list) and found:
        found = found[0]
    error = found.get("error") if isinstance(found, dict) else None
    if not isinstance(error, dict) or not isinstance(message := error.get("message"), str):
        return None
    code, status = error.get("code"), error.get("status")
    return Problem(
        message,
        code if isinstance(code, int) and not isinstance(code, bool) else 0,
        status if isinstance(status, str) else "",
        _reason(error.get("details")),
    )


def envelope(status: int, body: bytes, service: str) -> bytes:
    """An error answer in Anthropic's envelope, its sentence word for word; `service` is named where it has none."""
    return problem_envelope(status, read_error(body) or Problem(f"{service} answered with status {status}."))


def problem_envelope(status: int, problem: Problem) -> bytes:
    """The same for an error that was read. Claude Code compacts the conversation at Anthropic's own words for a prompt
    that is too long, so what means the same is said in them.
    """
    kind = ERROR_TYPES.get(status, "invalid_request_error" if 400 <= status < 500 else "api_error")
    message = problem.message
    if found := _TOO_LONG.search(message):
        had, most = found.groups()
        message = (
            f"prompt is too long: {had} tokens > {most} maximum" if had and most else f"prompt is too long: {message}"
        )
    return _encode({"type": "error", "error": {"type": kind, "message": message}})


def _reason(details: Any) -> str:
    if not isinstance(details, list):
        return ""
    reasons = (each.get("reason") for each in details if isinstance(each, dict))
    return next((reason for reason in reasons if isinstance(reason, str)), "")
