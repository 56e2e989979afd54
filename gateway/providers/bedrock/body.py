"""A request's body as Bedrock takes it: without what only Anthropic's own API knows.

Measured from Claude Code 2.1.330, whose own Bedrock mode is the best witness of what Bedrock accepts: beside the
envelope it leaves out `context_management`, a message's own `output_config` and the betas for them, and asks for tool
search by another name. What else is refused is from LiteLLM's table of betas for Bedrock's InvokeModel
(`anthropic_beta_headers_config.json`, October 2026) and from Claude Code's contract for gateways, which names `tags`.
"""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Iterable, Sequence
from typing import Any, Final

import msgspec

from gateway.providers.base import Call, CannotCall, Operation
from gateway.wire.forms import Form, in_body, reshape, with_fields
from gateway.wire.turns import without_turn_config

_RENAMED: Final = {"advanced-tool-use-2025-11-20": "tool-search-tool-2025-10-19"}
"""Anthropic's betas that have another name here."""

_UNKNOWN: Final = frozenset(
    {
        "advisor-tool-2026-03-01",
        "code-execution-2025-05-22",
        "code-execution-2025-08-25",
        "context-management-2025-06-27",
        "fast-mode-2026-02-01",
        "files-api-2025-04-14",
        "mcp-client-2025-04-04",
        "mcp-client-2025-11-20",
        "mcp-servers-2025-12-04",
        "oauth-2025-04-20",
        "per-turn-control-2026-07-01",
        "prompt-caching-scope-2026-01-05",
        "request-tags-2026-08-21",
        "skills-2025-10-02",
        "structured-outputs-2025-11-13",
        "web-fetch-2025-09-10",
        "web-search-2025-03-05",
    }
)
"""Betas that Bedrock answers with "invalid beta flag"."""

_OPENED: Final = {"safeguards": ("dangerous-tool-use-2026-09-03",)}
"""Top-level fields by the betas that make them known: a field goes with its beta."""
_ANTHROPICS: Final = ("service_tier", "speed", "tags")
"""Top-level fields of Anthropic's own API, without which the answer says the same: its service tiers, fast service, and
labels of usage. What would change the answer (`mcp_servers`, `container`, `inference_geo`) is for Bedrock to refuse.
"""

_TURNS: Final = "mid-conversation-output-config-2026-07-01"
"""The beta that lets a message in a conversation have an `output_config` of its own."""

_COUNTED: Final = frozenset({"claude-code-20250219"})
"""Betas that Claude Code lets a count carry."""
_LEAST_OUTPUT: Final = 1

_NOTHING: Final = msgspec.Raw(b"")
_NO_EDITS: Final = msgspec.Raw(b"[]")


class _Inside(msgspec.Struct):
    """The field in which something may have to go."""

    context_management: msgspec.Raw = _NOTHING


class _Thinking(msgspec.Struct):
    budget_tokens: Any = None


class _Sized(msgspec.Struct):
    """What a count depends on."""

    max_tokens: Any = None
    thinking: _Thinking | None = None
    tools: msgspec.Raw = _NOTHING
    anthropic_beta: Any = None


_inside = msgspec.json.Decoder(_Inside).decode
_sized = msgspec.json.Decoder(_Sized).decode
_raws = msgspec.json.Decoder(list[msgspec.Raw]).decode
_fields = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode
_encode = msgspec.json.Encoder().encode
_UNREADABLE: Final = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)


def body_of(call: Call) -> bytes:
    """The body to send. Raises CannotCall for one that is no JSON object."""
    try:
        shaped = _shaped(call)
        return shaped if call.operation is Operation.MESSAGES else _to_count(shaped)
    except _UNREADABLE as error:
        raise CannotCall(f"The body is not a JSON object: {error}", client_error=True) from None


def accepted(betas: Iterable[str], unsupported: Iterable[str] = ()) -> list[str]:
    """The betas that Bedrock takes, by its own names, each once and in their order."""
    refused = _UNKNOWN.union(unsupported)
    named = (_RENAMED.get(beta, beta) for beta in betas if beta not in refused)
    return list(dict.fromkeys(beta for beta in named if beta not in refused))


def unsupported_betas(options: Any) -> tuple[str, ...]:
    """What the configuration adds."""
    found = options.get("unsupported_betas", ())
    return tuple(map(str, found)) if isinstance(found, Sequence) and not isinstance(found, str) else ()


def _shaped(call: Call) -> bytes:
    unsupported = unsupported_betas(call.provider.options)
    if call.form is Form.BEDROCK:
        return _own(call, unsupported) if unsupported else call.body
    kept = accepted(call.betas, unsupported)
    drop = [*_ANTHROPICS, *_unopened(call.betas, kept)]
    body, management = _without_unknown_parts(call.body, kept)
    if not management:
        drop.append("context_management")
    return reshape(body, call.form, Form.BEDROCK, model="", stream=call.stream, betas=kept, drop=drop)


def _own(call: Call, unsupported: Sequence[str]) -> bytes:
    """A client's own body of Bedrock's form: it knows what Bedrock takes, and only the administrator knows better."""
    asked = in_body(call.body)
    left = [beta for beta in asked if beta not in unsupported]
    if len(left) == len(asked):
        return call.body
    drop = _unopened(asked, left)
    if left:
        body = with_fields(call.body, anthropic_beta=left)
    else:
        body, drop = call.body, [*drop, "anthropic_beta"]
    return reshape(body, Form.BEDROCK, Form.BEDROCK, model="", stream=call.stream, drop=drop) if drop else body


def _unopened(asked: Sequence[str], kept: Sequence[str]) -> list[str]:
    """The fields whose betas were all left out."""
    return [
        field
        for field, openers in _OPENED.items()
        if any(beta in asked for beta in openers) and not any(beta in kept for beta in openers)
    ]


def _without_unknown_parts(body: bytes, kept: Sequence[str]) -> tuple[bytes, bool]:
    """The body without what Bedrock refuses inside of fields, and whether its `context_management` may stay.

    Of a context's management Bedrock takes compaction only (LiteLLM issue 27532). Messages that have nothing to leave
    out keep their bytes.
    """
    management = _compaction(_inside(body).context_management, kept)
    if management is not None:
        body = with_fields(body, context_management=management)
    return (body if _TURNS in kept else without_turn_config(body)), management is not None


def _compaction(management: msgspec.Raw, kept: Sequence[str]) -> msgspec.Raw | None:
    if not bytes(management).startswith(b"{") or not any(beta.startswith("compact-") for beta in kept):
        return None
    fields = _fields(management)
    edits = [edit for edit in _raws(fields.get("edits", _NO_EDITS)) if b'"compact_' in bytes(edit)]
    if not edits:
        return None
    return msgspec.Raw(_encode({**fields, "edits": edits}))


def _to_count(body: bytes) -> bytes:
    """CountTokens' own envelope. The body in it is an InvokeModel's, which must say `max_tokens`: more than it thinks.

    Source: botocore's service model, and Claude Code's contract for gateways: no empty `tools`, few betas.
    """
    fields, found = _fields(body), _sized(body)
    if not isinstance(found.max_tokens, int):
        budget = found.thinking.budget_tokens if found.thinking else None
        fields["max_tokens"] = msgspec.Raw(_encode(budget + 1 if isinstance(budget, int) else _LEAST_OUTPUT))
    if bytes(found.tools).translate(None, b" \r\n\t") == b"[]":
        del fields["tools"]
    fields.pop("anthropic_beta", None)
    betas = found.anthropic_beta if isinstance(found.anthropic_beta, list) else []
    if kept := [beta for beta in betas if beta in _COUNTED]:
        fields["anthropic_beta"] = msgspec.Raw(_encode(kept))
    return _encode({"input": {"invokeModel": {"body": b64encode(_encode(fields)).decode("ascii")}}})
