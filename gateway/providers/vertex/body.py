"""A request's body and betas as Vertex AI takes them: without what only Anthropic's own API knows.

Measured from Claude Code 2.1.330, whose own Vertex mode leaves out a message's `output_config` and the betas of single
turns, and asks for tool search by another name. What else is refused is from LiteLLM's table of betas
(`anthropic_beta_headers_config.json`, October 2026). Geography, service tiers and fast service are sold by Anthropic
alone. A client's own Vertex body stays byte for byte, but for thinking of other models: it knows what Vertex AI takes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

import msgspec

from gateway.providers.base import Call, CannotCall, Operation
from gateway.wire.foreign import without_foreign_thinking
from gateway.wire.forms import Form, reshape
from gateway.wire.turns import without_turn_config

_RENAMED: Final = {"advanced-tool-use-2025-11-20": "tool-search-tool-2025-10-19"}
"""Anthropic's betas that have another name here."""

_UNKNOWN: Final = frozenset(
    {
        "advisor-tool-2026-03-01",
        "code-execution-2025-05-22",
        "code-execution-2025-08-25",
        "fast-mode-2026-02-01",
        "files-api-2025-04-14",
        "fine-grained-tool-streaming-2025-05-14",
        "mcp-client-2025-04-04",
        "mcp-client-2025-11-20",
        "mcp-servers-2025-12-04",
        "mid-conversation-output-config-2026-07-01",
        "mid-conversation-tool-changes-2026-07-01",
        "oauth-2025-04-20",
        "output-128k-2025-02-19",
        "per-turn-control-2026-07-01",
        "prompt-caching-scope-2026-01-05",
        "request-tags-2026-08-21",
        "skills-2025-10-02",
        "structured-outputs-2025-11-13",
        "token-efficient-tools-2025-02-19",
        "web-fetch-2025-09-10",
    }
)
"""Betas that Vertex AI answers with "Unexpected value(s) for the `anthropic-beta` header"."""

_OPENED: Final = {
    "context_management": ("context-management-2025-06-27", "compact-2026-01-12", "compact-2026-09-04"),
    "container": ("code-execution-2025-05-22", "code-execution-2025-08-25", "skills-2025-10-02"),
    "mcp_servers": ("mcp-client-2025-04-04", "mcp-client-2025-11-20"),
    "safeguards": ("dangerous-tool-use-2026-09-03",),
}
"""Top-level fields by the betas that make them known: a field goes with its beta."""
_ANTHROPICS: Final = ("inference_geo", "service_tier", "speed", "tags")
"""Top-level fields of Anthropic's own API."""

_fields = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode
_encode = msgspec.json.Encoder().encode
_UNREADABLE: Final = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)


def body_of(call: Call, model: str) -> bytes:
    """The body to send; `model` is Vertex AI's id, which only a count names in its body. Raises CannotCall."""
    try:
        if call.operation is Operation.COUNT_TOKENS:
            return _to_count(_shaped(call), model)
        return _shaped(call)
    except _UNREADABLE as error:
        raise CannotCall(f"The body is not a JSON object: {error}", client_error=True) from None


def accepted(call: Call) -> tuple[str, ...]:
    """The betas to ask for, by Vertex AI's own names, each once and in their order.

    Those of its own clients are theirs to choose, but for what the configuration leaves out.
    """
    refused = unsupported_betas(call.provider.options)
    if call.form is not Form.VERTEX:
        refused = refused.union(_UNKNOWN)
    named = (_RENAMED.get(beta, beta) for beta in call.betas if beta not in refused)
    return tuple(dict.fromkeys(beta for beta in named if beta not in refused))


def unsupported_betas(options: Mapping[str, Any]) -> frozenset[str]:
    """What the configuration leaves out."""
    found = options.get("unsupported_betas", ())
    return frozenset(map(str, found)) if isinstance(found, Sequence) and not isinstance(found, str) else frozenset()


def _shaped(call: Call) -> bytes:
    kept = accepted(call)
    drop = [field for field, betas in _OPENED.items() if _closed(betas, call.betas, kept)]
    body = without_foreign_thinking(call.body)
    if call.form is Form.VERTEX:
        return reshape(body, Form.VERTEX, Form.VERTEX, model="", stream=call.stream, drop=drop)
    body = without_turn_config(body)
    return reshape(body, call.form, Form.VERTEX, model="", stream=call.stream, drop=[*drop, *_ANTHROPICS])


def _closed(openers: Sequence[str], asked: Sequence[str], kept: Sequence[str]) -> bool:
    """Whether a field's betas were asked for and all left out."""
    return any(beta in asked for beta in openers) and not any(beta in kept for beta in openers)


def _to_count(body: bytes, model: str) -> bytes:
    """A count has its model in the body, and neither an answer's size nor a stream."""
    fields = _fields(body)
    for name in ("stream", "max_tokens", "metadata", "model"):
        fields.pop(name, None)
    return _encode({"model": model, **fields})
