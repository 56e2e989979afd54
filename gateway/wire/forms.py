"""Whose wire format a body has, and how one Claude format becomes another without touching what they share.

Anthropic, Bedrock and Vertex carry the same Messages body in three envelopes: Bedrock and Vertex name the model in the
path and say `anthropic_version`; Bedrock says in the path, too, whether to stream, and has the betas in the body. Only
these top-level fields are put in or taken out; every other one stays byte for byte and in its order, so that the
provider's prompt cache is kept. Source: CLAUDE_CODE.md §7.
"""

from __future__ import annotations

from collections.abc import Iterable
from enum import StrEnum
from functools import lru_cache
from typing import Any, Final

import msgspec


class Form(StrEnum):
    """A wire format of requests and answers."""

    ANTHROPIC = "anthropic"
    BEDROCK = "bedrock"
    VERTEX = "vertex"
    OPENAI_CHAT = "openai_chat"
    OPENAI_RESPONSES = "openai_responses"
    GEMINI = "gemini"


CLAUDE: Final = frozenset({Form.ANTHROPIC, Form.BEDROCK, Form.VERTEX})
"""The formats that share one body."""
OPENAI: Final = frozenset({Form.OPENAI_CHAT, Form.OPENAI_RESPONSES})

_MAX_REMEMBERED: Final = 2048
_VERSIONS: Final = {Form.BEDROCK: "bedrock-2023-05-31", Form.VERTEX: "vertex-2023-10-16"}
_ENVELOPE: Final = {
    Form.ANTHROPIC: ("model", "stream"),
    Form.BEDROCK: ("anthropic_version", "anthropic_beta"),
    Form.VERTEX: ("anthropic_version", "stream"),
}
"""The top-level fields that each format has of its own."""

_fields = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode
_encode = msgspec.json.Encoder().encode


def reshape(
    body: bytes,
    was: Form,
    becomes: Form,
    *,
    model: str,
    stream: bool,
    betas: Iterable[str] = (),
    drop: Iterable[str] = (),
) -> bytes:
    """A Claude body in another envelope; the same bytes where nothing differs.

    `model` and `stream` are said where the format says them in the body, `betas` where it says those there; `drop`
    names top-level fields that the receiver refuses. Raises msgspec.DecodeError for a body that is no JSON object.
    """
    drop = frozenset(drop)
    if was is becomes and was is not Form.ANTHROPIC and not drop:
        return body
    fields = _fields(body)
    kept = {name: raw for name, raw in fields.items() if name not in drop}
    if was is becomes and len(kept) == len(fields) and fields.get("model") == _raw(model):
        return body
    own = _ENVELOPE[becomes]
    said: dict[str, msgspec.Raw] = {}
    if "model" in own:
        said["model"] = _raw(model)
    if was is not becomes:
        for name in _ENVELOPE[was]:
            if name not in own or name == "anthropic_version":
                kept.pop(name, None)
        if "anthropic_version" in own:
            said["anthropic_version"] = _raw(_VERSIONS[becomes])
        if "anthropic_beta" in own and (betas := list(betas)):
            said["anthropic_beta"] = _raw(betas)
        # The path of Bedrock and Vertex decides, whatever the body says beside it.
        if "stream" in own and stream:
            said["stream"] = _raw(stream)
        elif bytes(kept.get("stream", msgspec.Raw())) == b"true":
            del kept["stream"]
    # A field that is there keeps its place; what is new comes first, so that it never moves with the conversation.
    new = {name: raw for name, raw in said.items() if name not in kept}
    return _encode({**new, **{name: said.get(name, raw) for name, raw in kept.items()}})


class _Betas(msgspec.Struct):
    anthropic_beta: Any = None


_betas = msgspec.json.Decoder(_Betas).decode


def _split(header: str) -> tuple[str, ...]:
    return tuple(beta for beta in (part.strip() for part in header.split(",")) if beta)


_known = lru_cache(maxsize=256)(_split)
"""Every request of a client's version carries the same few."""


_ANTHROPICS: Final = {"tool-search-tool-2025-10-19": "advanced-tool-use-2025-11-20"}
"""Betas that the clouds have another name for."""


def betas(form: Form, header: str | None, body: bytes) -> tuple[str, ...]:
    """The betas that a request asks for, as Anthropic calls them: of the `anthropic-beta` header and, from clients of
    Bedrock, of the body too; Claude Code's own Bedrock mode says some in each.
    """
    asked: tuple[str, ...] = ()
    if header:
        asked = _known(header) if len(header) <= _MAX_REMEMBERED else _split(header)
    if form is Form.ANTHROPIC:
        return asked
    if form is Form.BEDROCK:
        asked = (*in_body(body), *asked)
    return tuple(dict.fromkeys(_ANTHROPICS.get(beta, beta) for beta in asked))


def in_body(body: bytes) -> tuple[str, ...]:
    """The betas that a body of Bedrock's asks for."""
    try:
        found = _betas(body).anthropic_beta
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return ()
    return tuple(beta for beta in found if isinstance(beta, str)) if isinstance(found, list) else ()


class _Threaded(msgspec.Struct):
    thread: Any = None


_threaded = msgspec.json.Decoder(_Threaded).decode


def continues_thread(body: bytes) -> bool:
    """Whether a body is but the next part of a conversation that Anthropic's API holds (`thread`)."""
    try:
        return b'"thread"' in body and _threaded(body).thread is not None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return False


def with_fields(body: bytes, **values: object) -> bytes:
    """The body with other values of some top-level fields; every other one stays byte for byte and in its order."""
    fields = _fields(body)
    fields.update((name, _raw(value)) for name, value in values.items())
    return _encode(fields)


def _raw(value: object) -> msgspec.Raw:
    return msgspec.Raw(_encode(value))
