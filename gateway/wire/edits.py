"""Lines of code in the arguments of the tools that write files."""

from __future__ import annotations

from typing import Any, Final

import msgspec

from gateway.wire.text import count_lines

EDIT_TOOLS: Final = frozenset({"Write", "Edit", "MultiEdit", "NotebookEdit"})

MAX_INPUT_BYTES: Final = 4 * 1024 * 1024
"""The arguments that one answer may make the meter hold; what comes after is not counted."""


class _Edit(msgspec.Struct):
    old_string: Any = ""
    new_string: Any = ""


class _Input(msgspec.Struct):
    content: Any = ""
    old_string: Any = ""
    new_string: Any = ""
    new_source: Any = ""
    edits: list[_Edit] = []


_decode = msgspec.json.Decoder(_Input).decode


def changed_lines(tool: str, arguments: bytes | msgspec.Raw) -> tuple[int, int]:
    """(added, removed) of one call, from its JSON arguments; (0, 0) where they cannot be read.

    A written file counts every line as added: what it replaced is not on the wire.
    """
    try:
        call = _decode(arguments)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return 0, 0
    if tool == "Write":
        return _difference("", call.content)
    if tool == "NotebookEdit":
        return _difference("", call.new_source)
    if tool == "MultiEdit":
        pairs = [_difference(edit.old_string, edit.new_string) for edit in call.edits]
        return sum(added for added, _ in pairs), sum(removed for _, removed in pairs)
    return _difference(call.old_string, call.new_string)


def _difference(old: object, new: object) -> tuple[int, int]:
    """Lines that differ between the common beginning and the common end: the context around an edit is not work."""
    if not isinstance(old, str) or not isinstance(new, str):
        return 0, 0
    if not old or not new:
        return count_lines(new), count_lines(old)
    before, after = old.removesuffix("\n").split("\n"), new.removesuffix("\n").split("\n")
    start, shorter = 0, min(len(before), len(after))
    while start < shorter and before[start] == after[start]:
        start += 1
    end = 0
    while end < shorter - start and before[-1 - end] == after[-1 - end]:
        end += 1
    return len(after) - start - end, len(before) - start - end
