"""Who asks, from where and for what, as far as a request tells without being asked (CLAUDE_CODE.md §2).

Everything here is the client's word: it labels a request, it never grants anything.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import lru_cache
from typing import Final

import msgspec

from gateway.wire.headers import Headers
from gateway.wire.peek import Peek
from gateway.wire.text import clean

MAX_TAGS: Final = 20
MAX_TAG_CHARACTERS: Final = 64
MAX_DIRECTORY_CHARACTERS: Final = 300

_MAX_TAGS_HEADER: Final = 4_096
_MAX_REMEMBERED_BYTES: Final = 1_024
_MAX_SEARCHED: Final = 1 << 20
"""Bytes of system text that are searched in one request; Claude Code sends 10 to 60 KB."""

_DIRECTORY_LABEL: Final = b"Primary working directory: "
_DIRECTORY: Final = re.compile(rb'Primary working directory: ((?:[^"\\\x00-\x1f]|\\[^nr]){1,2000})')
_BILLING: Final = re.compile(rb"x-anthropic-billing-header: ([^\"\\]{0,300})")
_PRODUCT: Final = re.compile(r"([\w.-]{1,60}/[\w.+-]{1,58})(?: \(([^)]{0,200})\))?")


class Attribution(msgspec.Struct, frozen=True):
    """Labels of one request; each is bounded, clean, and empty where the request does not tell it."""

    session_id: str = ""
    device_id: str = ""
    agent_id: str = ""
    parent_agent_id: str = ""
    prompt_id: str = ""
    request_class: str = ""
    """`main`, `subagent`, `compaction`, `auxiliary`, …"""
    client: str = ""
    """Name and version: `claude-cli/2.1.330`."""
    entrypoint: str = ""
    """`cli`, `sdk-cli`, …"""
    working_directory: str = ""
    project: str = ""
    """Named by choice: the `x-comptroller-project` header, else `project` in the metadata."""
    tags: dict[str, str] = {}


def attribute(headers: Headers, body: bytes, peek: Peek | None) -> Attribution:
    """Read the labels; `peek` is None where the body could not be read."""
    told = headers.values(_LABELS)
    short = sum([len(value) for value in told if value is not None]) <= _MAX_REMEMBERED_BYTES
    found = _known_labels(told) if short else _labels(told)
    if peek is None:
        return found
    user_id = peek.user_id
    system = [bytes(raw) for raw in peek.system] if body else ()
    client, entrypoint = found.client, found.entrypoint
    if system and not (client.startswith("claude-cli/") and entrypoint):
        client, entrypoint = _billed(client, entrypoint, system[0])
    return Attribution(
        found.session_id or user_id.session_id,
        user_id.device_id,
        found.agent_id,
        found.parent_agent_id,
        found.prompt_id,
        found.request_class,
        client,
        entrypoint,
        _directory(system) if system else "",
        found.project or user_id.extra.get("project", ""),
        found.tags,
    )


_LABELS: Final = (
    b"x-claude-code-session-id",
    b"x-claude-code-agent-id",
    b"x-claude-code-parent-agent-id",
    b"x-claude-code-prompt-id",
    b"x-claude-code-request-class",
    b"user-agent",
    b"x-comptroller-project",
    b"x-comptroller-tags",
)


def _labels(told: tuple[bytes | None, ...]) -> Attribution:
    """What the headers of `_LABELS` say."""
    texts = [_utf8(value.decode("latin-1").strip()) if value else "" for value in told]
    session, agent, parent, prompt, request_class, user_agent, project, tags = texts
    client, entrypoint = _agent(user_agent)
    return Attribution(
        session_id=clean(session, 64),
        agent_id=clean(agent, 64),
        parent_agent_id=clean(parent, 64),
        prompt_id=clean(prompt, 64),
        request_class=clean(request_class, 32),
        client=client,
        entrypoint=entrypoint,
        project=clean(project, 120),
        tags=_tags(tags),
    )


_known_labels = lru_cache(maxsize=4096)(_labels)
"""Every request of a session comes with the same ones."""


def _utf8(value: str) -> str:
    """Header values are latin-1 by the letter and UTF-8 in practice."""
    if value.isascii():
        return value
    try:
        return value.encode("latin-1").decode()
    except UnicodeError:
        return value


def _agent(user_agent: str) -> tuple[str, str]:
    """(client, entry point) from the `User-Agent`."""
    product = _PRODUCT.match(user_agent)
    client = product[1] if product else clean(user_agent, 120)
    details = (product[2] or "").split(",") if product else []
    return client, clean(details[-1], 32) if len(details) > 1 else ""


def _billed(client: str, entrypoint: str, system: bytes) -> tuple[str, str]:
    """The same, completed from the billing text in the first system block."""
    billing = _BILLING.search(system, 0, 4_096)
    if billing is not None:
        pairs = (piece.strip().partition("=") for piece in billing[1].decode("utf-8", "replace").split(";"))
        told = {name: value for name, _, value in pairs}
        entrypoint = entrypoint or clean(told.get("cc_entrypoint"), 32)
        if not client and told.get("cc_version"):
            client = clean(f"claude-cli/{told['cc_version']}", 120)
    return client, entrypoint


def _directory(system: Sequence[bytes]) -> str:
    """The working directory: newer clients tell it in a system message, older ones in a system block.

    The last text that tells it counts: a session that changes its directory tells again. Only system texts are
    searched: a conversation may well quote the line.
    """
    left = _MAX_SEARCHED
    for text in reversed(system):
        at = text.find(_DIRECTORY_LABEL, 0, left)
        if at >= 0 and (found := _DIRECTORY.match(text, at)):
            return _path(found[1])
        left -= len(text)
        if left <= 0:
            break
    return ""


def _path(escaped: bytes) -> str:
    """The path out of its JSON string; of one that is too long the end, which names the project, is kept."""
    try:
        path = clean(msgspec.json.decode(b'"' + escaped + b'"'), 4_096)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return ""
    return path if len(path) <= MAX_DIRECTORY_CHARACTERS else "…" + path[1 - MAX_DIRECTORY_CHARACTERS :]


def _tags(value: str) -> dict[str, str]:
    """`k=v,k2=v2`; a piece without a name or a value is ignored, and so is what goes beyond the bounds."""
    tags: dict[str, str] = {}
    for piece in value[:_MAX_TAGS_HEADER].split(",") if value else ():
        name, _, text = piece.partition("=")
        name, text = clean(name.strip(), MAX_TAG_CHARACTERS), clean(text.strip(), MAX_TAG_CHARACTERS)
        if name and text and (name in tags or len(tags) < MAX_TAGS):
            tags[name] = text
    return tags
