"""Errors of Chat Completions servers, and the same in Anthropic's envelope.

Claude Code acts on the wording of three of Anthropic's sentences: it compacts the conversation at "prompt is too long",
and asks again with fewer `max_tokens` at the two about them. So what means the same is said in these very words.
"""

from __future__ import annotations

import re
from typing import Any, Final

import msgspec

from gateway.wire.error_types import ERROR_TYPES


class Problem(msgspec.Struct, frozen=True):
    """What an error body says."""

    message: str
    kind: str = ""
    code: str = ""
    status: int | None = None
    """Where the body says one, as OpenRouter's does."""


_TOO_LONG: Final = (
    "context_length_exceeded",
    "maximum context length",
    "maximum model length",
    "exceeds the context window",
    "exceeds the available context size",
    "exceed_context_size",
    "exceed the configured limit",
    "prompt is too long",
)
"""OpenAI's, Azure's and OpenRouter's; vLLM's; OpenAI's Responses; llama.cpp's twice; OpenAI's since GPT-5."""

_LIMIT: Final = re.compile(
    r"(?:maximum (?:context|model) length(?: is| of)?|configured limit of|context size)\D{0,20}(\d+)", re.IGNORECASE
)
_PROMPT: Final = re.compile(
    r"(?:resulted in|your request has|\(length) (\d+)|(\d+) (?:in the messages|of text input|input tokens)",
    re.IGNORECASE,
)
_ANSWER: Final = re.compile(r"(\d+) (?:in the completion|in the output)|is too large: (\d+)", re.IGNORECASE)
_REQUESTED: Final = re.compile(r"requested (?:about )?(\d+) tokens", re.IGNORECASE)
_TOO_MUCH: Final = re.compile(
    r"is too large: (\d+)\. This model supports at most (\d+) completion tokens", re.IGNORECASE
)

_encode = msgspec.json.Encoder().encode


def read_error(body: bytes) -> Problem | None:
    """What an error body says, in whichever of the forms in use; None where it is none."""
    try:
        found = msgspec.json.decode(body)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return None
    if isinstance(found, list) and found:
        found = found[0]
    if not isinstance(found, dict):
        return None
    error = found.get("error")
    if isinstance(error, str) and error:
        return Problem(error)
    if not isinstance(error, dict):
        # vLLM's older form, and FastAPI's.
        error = found if found.get("object") == "error" else {"message": found.get("detail")}
    message = error.get("message")
    if not isinstance(message, str) or not message:
        return None
    metadata = error.get("metadata")
    if isinstance(metadata, dict) and isinstance(raw := metadata.get("raw"), str):
        # OpenRouter's own sentence is "Provider returned error"; what the provider said stands here.
        message = f"{message}: {raw}"
    code = error.get("code")
    numeric = isinstance(code, int) and not isinstance(code, bool) and 400 <= code < 600
    return Problem(message, _word(error.get("type")), _word(code), code if numeric else None)


def envelope(status: int, body: bytes) -> bytes:
    """An error answer in Anthropic's form."""
    problem = read_error(body) or Problem(f"The provider answered with status {status}.")
    return _envelope(ERROR_TYPES.get(status, "invalid_request_error" if status < 500 else "api_error"), problem)


def event(problem: Problem) -> bytes:
    """The data of an `error` event for an error inside a stream."""
    kind = ERROR_TYPES.get(problem.status or 0, "api_error")
    text = f"{problem.kind} {problem.code}".lower()
    if "rate_limit" in text:
        kind = "rate_limit_error"
    elif "overload" in text or "unavailable" in text:
        kind = "overloaded_error"
    elif "invalid_request" in text or "badrequest" in text:
        kind = "invalid_request_error"
    return _envelope(kind, problem)


def too_long(problem: Problem) -> bool:
    """Whether the prompt, or the prompt with the answer asked for, does not fit."""
    text = f"{problem.message} {problem.kind} {problem.code}".lower()
    return any(sign in text for sign in _TOO_LONG)


def _envelope(kind: str, problem: Problem) -> bytes:
    message = problem.message
    if too_long(problem):
        kind, message = "invalid_request_error", _too_long(message)
    elif found := _TOO_MUCH.search(message):
        asked, most = found.groups()
        kind = "invalid_request_error"
        message = f"max_tokens: {asked} > {most}, which is the maximum allowed number of output tokens for this model"
    return _encode({"type": "error", "error": {"type": kind, "message": message}})


def _too_long(message: str) -> str:
    limit, prompt, answer = _number(_LIMIT, message), _number(_PROMPT, message), _number(_ANSWER, message)
    if limit and prompt and answer and prompt < limit:
        # The prompt fits, so that to shorten it would not help: fewer tokens for the answer do.
        return (
            f"input length and `max_tokens` exceed context limit: {prompt} + {answer} > {limit}, decrease input length "
            "or `max_tokens` and try again"
        )
    needed = prompt or _number(_REQUESTED, message)
    if limit and needed and needed > limit:
        return f"prompt is too long: {needed} tokens > {limit} maximum"
    return f"prompt is too long: {message}"


def _number(pattern: re.Pattern[str], text: str) -> int | None:
    found = pattern.search(text)
    return int(next(group for group in found.groups() if group)) if found else None


def _word(value: Any) -> str:
    return str(value)[:100] if isinstance(value, str | int) and not isinstance(value, bool) else ""
