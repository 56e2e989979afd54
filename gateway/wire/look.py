"""A second look into a request's body, for routing rules that ask for it: turns, images, tool names and effort.

Apart from `peek`, so that requests without such rules pay nothing. What is of an unknown shape counts as not there.
"""

from __future__ import annotations

from typing import Any, Final

import msgspec

from gateway.wire.text import clean

MAX_TOOL_NAMES: Final = 200
_EMPTY: Final = msgspec.Raw(b"")
_UNREADABLE: Final = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)


class Look(msgspec.Struct, frozen=True):
    """What the conversation looks like."""

    turns: int = 0
    """Messages of the user, tool results with them."""
    images: int = 0
    """Image blocks, those inside of tool results too."""
    effort: str = ""
    """Of `output_config`: in the body, else in the last system message that has one."""
    tool_names: tuple[str, ...] = ()


class _Output(msgspec.Struct):
    effort: Any = None


class _Tool(msgspec.Struct):
    name: Any = None


class _Block(msgspec.Struct):
    type: Any = None
    content: msgspec.Raw = _EMPTY


class _Message(msgspec.Struct):
    role: Any = None
    content: msgspec.Raw = _EMPTY
    output_config: msgspec.Raw = _EMPTY


class _Body(msgspec.Struct):
    messages: list[_Message] = []
    tools: msgspec.Raw = _EMPTY
    output_config: msgspec.Raw = _EMPTY


_body = msgspec.json.Decoder(_Body).decode
_blocks = msgspec.json.Decoder(list[_Block]).decode
_tools = msgspec.json.Decoder(list[_Tool]).decode
_output = msgspec.json.Decoder(_Output).decode


def look(body: bytes) -> Look:
    """Look at a Messages body; at nothing in particular where it cannot be read."""
    try:
        found = _body(body)
    except _UNREADABLE:
        return Look()
    effort = _effort(found.output_config)
    for message in reversed(found.messages):
        effort = effort or _effort(message.output_config)
    pictured = b'"image"' in body
    return Look(
        turns=sum(message.role == "user" for message in found.messages),
        images=sum(_images(message.content) for message in found.messages) if pictured else 0,
        effort=effort,
        tool_names=_names(found.tools),
    )


def _images(raw: msgspec.Raw, depth: int = 0) -> int:
    if bytes(memoryview(raw)[:1]) != b"[" or depth > 2:
        return 0
    try:
        blocks = _blocks(raw)
    except _UNREADABLE:
        return 0
    return sum(1 if block.type == "image" else _images(block.content, depth + 1) for block in blocks)


def _effort(raw: msgspec.Raw) -> str:
    if not len(memoryview(raw)):
        return ""
    try:
        effort = _output(raw).effort
    except _UNREADABLE:
        return ""
    return clean(effort, 16) if isinstance(effort, str) else ""


def _names(raw: msgspec.Raw) -> tuple[str, ...]:
    if not len(memoryview(raw)):
        return ()
    try:
        tools = _tools(raw)
    except _UNREADABLE:
        return ()
    return tuple(clean(tool.name, 128) for tool in tools[:MAX_TOOL_NAMES] if isinstance(tool.name, str))
