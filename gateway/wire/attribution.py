"""Who asks, from where and for what, as far as a request tells without being asked (CLAUDE_CODE.md §2).

Everything here is the client's word: it labels a request, it never grants anything.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Final

import msgspec

from gateway.wire.headers import Headers
from gateway.wire.peek import Peek, UserId
from gateway.wire.text import clean

MAX_TAGS: Final = 20
MAX_TAG_CHARACTERS: Final = 64
MAX_DIRECTORY_CHARACTERS: Final = 300

_MAX_TAGS_HEADER: Final = 4_096
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
    user_id = peek.user_id if peek else UserId()
    system = [bytes(raw) for raw in peek.system] if peek and body else []
    client, entrypoint = _agent(headers.get(b"user-agent") or "")
    if not (client.startswith("claude-cli/") and entrypoint) and system:
        client, entrypoint = _billed(client, entrypoint, system[0])
    return Attribution(
        session_id=_header(headers, b"x-claude-code-session-id", 64) or user_id.session_id,
        device_id=user_id.device_id,
        agent_id=_header(headers, b"x-claude-code-agent-id", 64),
        parent_agent_id=_header(headers, b"x-claude-code-parent-agent-id", 64),
        prompt_id=_header(headers, b"x-claude-code-prompt-id", 64),
        request_class=_header(headers, b"x-claude-code-request-class", 32),
        client=client,
        entrypoint=entrypoint,
        working_directory=_directory(system),
        project=_header(headers, b"x-comptroller-project", 120) or user_id.extra.get("project", ""),
        tags=_tags(headers),
    )


def _header(headers: Headers, name: bytes, limit: int) -> str:
    if name not in headers:
        return ""
    return clean(_utf8(headers.get(name)), limit)


def _utf8(value: str | None) -> str:
    """Header values are latin-1 by the letter and UTF-8 in practice."""
    if not value or value.isascii():
        return value or ""
    try:
        return value.encode("latin-1").decode()
    except UnicodeError:
        return value


@lru_cache(maxsize=1024)
def _agent(user_agent: str) -> tuple[str, str]:
    """(client, entry point) from the `User-Agent`; an organisation has a few dozen of them."""
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


def _directory(system: list[bytes]) -> str:
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


def _tags(headers: Headers) -> dict[str, str]:
    """`k=v,k2=v2`; a piece without a name or a value is ignored, and so is what goes beyond the bounds."""
    if b"x-comptroller-tags" not in headers:
        return {}
    value = _utf8(headers.get(b"x-comptroller-tags"))[:_MAX_TAGS_HEADER]
    tags: dict[str, str] = {}
    for piece in value.split(",") if value else ():
        name, _, text = piece.partition("=")
        name, text = clean(name.strip(), MAX_TAG_CHARACTERS), clean(text.strip(), MAX_TAG_CHARACTERS)
        if name and text and (name in tags or len(tags) < MAX_TAGS):
            tags[name] = text
    return tags
