"""What a provider says it used, as Anthropic says it: cached tokens are not part of the input there."""

from __future__ import annotations

from typing import Any, Final

import msgspec


class PromptDetails(msgspec.Struct):
    """Of which the prompt consists."""

    cached_tokens: int | None = None
    cache_write_tokens: int | None = None


class CompletionDetails(msgspec.Struct):
    """Of which the answer consists."""

    reasoning_tokens: int | None = None


class Reported(msgspec.Struct):
    """The `usage` of an answer or of a stream's last chunk."""

    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    total_tokens: int | None = None
    prompt_tokens_details: PromptDetails | None = None
    completion_tokens_details: CompletionDetails | None = None
    prompt_cache_hit_tokens: int | None = None
    """DeepSeek's name for cached tokens."""


UNKNOWN: Final[dict[str, Any]] = {"input_tokens": None, "output_tokens": None}
"""Where nothing was said: null is read as nothing by clients and by our own meter, and zero would be a lie."""


def translated(reported: Reported | None, tier: str | None) -> dict[str, Any]:
    """Anthropic's `usage` object. `tier` is the `service_tier` that served the request."""
    if reported is None or reported.prompt_tokens is None:
        return dict(UNKNOWN)
    prompt, completion = reported.prompt_tokens, reported.completion_tokens or 0
    told = reported.completion_tokens is not None or reported.total_tokens is not None
    details = reported.prompt_tokens_details or PromptDetails()
    cached = details.cached_tokens or reported.prompt_cache_hit_tokens or 0
    written = details.cache_write_tokens or 0
    reasoning = (reported.completion_tokens_details or CompletionDetails()).reasoning_tokens or 0
    # xAI and Gemini count thinking in the total alone; it is charged like any other token of the answer.
    output = max(completion, (reported.total_tokens or 0) - prompt)
    said: dict[str, Any] = {
        "input_tokens": max(0, prompt - cached - written),
        "cache_creation_input_tokens": written,
        "cache_read_input_tokens": cached,
        "output_tokens": output if told else None,
    }
    if thinking := max(reasoning, output - completion):
        said["output_tokens_details"] = {"thinking_tokens": thinking}
    if tier:
        said["service_tier"] = "standard" if tier in ("default", "auto") else tier
    return said
