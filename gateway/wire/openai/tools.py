"""Tool definitions of a Messages body as functions, and which of them can be offered at all."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final, NamedTuple

import msgspec

from gateway.wire.openai.body import ABSENT, Tool, ToolChoice
from gateway.wire.openai.dialect import CannotTranslate, Dialect
from gateway.wire.openai.names import name_for_provider

_fields = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode
_NO_PROPERTIES: Final = {"type": "object", "properties": {}}
_STRING: Final = {"type": "string"}


def _schema(required: Sequence[str], **properties: Any) -> dict[str, Any]:
    return {"type": "object", "properties": properties, "required": list(required)}


_EDITOR: Final = {
    "path": _STRING,
    "view_range": {"type": "array", "items": {"type": "integer"}},
    "file_text": _STRING,
    "old_str": _STRING,
    "new_str": _STRING,
    "insert_line": {"type": "integer"},
    "insert_text": _STRING,
}


def _command(*names: str) -> dict[str, Any]:
    return {"type": "string", "enum": list(names)}


_ANTHROPICS: Final[dict[str, tuple[str, dict[str, Any]]]] = {
    "bash_": (
        "Run a command in a bash session that stays open; `restart` begins a new session.",
        _schema((), command=_STRING, restart={"type": "boolean"}),
    ),
    "text_editor_": (
        "View and edit text files. str_replace needs old_str to be in the file exactly once.",
        _schema(("command", "path"), command=_command("view", "create", "str_replace", "insert"), **_EDITOR),
    ),
    "memory_": (
        "Keep notes in files under /memories that outlast this conversation; look there before you begin.",
        _schema(
            ("command",),
            command=_command("view", "create", "str_replace", "insert", "delete", "rename"),
            **_EDITOR,
            old_path=_STRING,
            new_path=_STRING,
        ),
    ),
}
"""Tools that Claude knows by type and the client runs: what Anthropic's documentation says of their arguments."""


class Offered(NamedTuple):
    """The fields `tools`, `tool_choice` and `parallel_tool_calls`, as far as there is something to say."""

    fields: dict[str, Any]
    preamble: str
    """Descriptions that are too long for their field."""


def offered(tools: Sequence[Tool], choice: ToolChoice | None, dialect: Dialect) -> Offered:
    """What the model may call.

    A tool that runs at Anthropic (web search, code execution, tool search) is left out where the client brings tools of
    its own, which most likely do the work. Raises CannotTranslate where there is no other tool, or it is to be called:
    an answer without it would look like one with it.
    """
    functions: list[dict[str, Any]] = []
    names: set[str] = set()
    long: list[str] = []
    missing: list[str] = []
    for tool in tools:
        made = _function(tool)
        if made is None:
            missing.append(tool.type or tool.name)
            continue
        most, described = dialect.most_description_characters, made.get("description", "")
        if most is not None and len(described) > most:
            long.append(f"# Tool {made['name']}\n{described}")
            made["description"] = "Described in the system message."
        functions.append({"type": "function", "function": made})
        names.add(made["name"])
    called = name_for_provider(choice.name or "") if choice is not None and choice.type == "tool" else ""
    if missing and (not functions or (called and called not in names)):
        raise CannotTranslate(
            f"The tool {', '.join(missing)} runs at Anthropic, and no provider of this kind has it. Have requests "
            "with it routed to a provider of Claude."
        )
    if not functions:
        return Offered({}, "")
    return Offered({"tools": functions, **_choice(choice, called)}, "\n\n".join(long))


def _function(tool: Tool) -> dict[str, Any] | None:
    """None for what runs at Anthropic, or is drawn by pixels that no other model was taught."""
    name = name_for_provider(tool.name)
    if tool.type in (None, "custom"):
        described = {"description": tool.description} if tool.description else {}
        return {"name": name, **described, "parameters": _parameters(tool.input_schema)}
    for kind, (description, schema) in _ANTHROPICS.items():
        if tool.type.startswith(kind):
            return {"name": name, "description": description, "parameters": schema}
    return None


def _parameters(schema: msgspec.Raw) -> object:
    """The client's own bytes, but for an object without `properties`, which OpenAI refuses."""
    if schema is ABSENT:
        return _NO_PROPERTIES
    try:
        fields = _fields(schema)
    except msgspec.MsgspecError:
        raise CannotTranslate("The `input_schema` of a tool is not an object.") from None
    if "properties" in fields or bytes(fields.get("type", b"")) != b'"object"':
        return schema
    return {**fields, "properties": {}}


def _choice(choice: ToolChoice | None, called: str) -> dict[str, Any]:
    if choice is None:
        return {}
    said: dict[str, Any] = {}
    match choice.type:
        case "any":
            said["tool_choice"] = "required"
        case "none":
            said["tool_choice"] = "none"
        case "tool":
            said["tool_choice"] = {"type": "function", "function": {"name": called}}
    if choice.disable_parallel_tool_use:
        said["parallel_tool_calls"] = False
    return said
