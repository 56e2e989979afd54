"""Content nobody scripted: a labelled text, a Write call for a prompt that wants a file, JSON for a schema."""

from __future__ import annotations

import json
import math
import re
from pathlib import PurePosixPath
from typing import Any

import msgspec

from gateway.simulator.answer import Answer
from gateway.simulator.conversation import Ask, Tool, Turn, system_text

LABEL = "(simulated provider)"
_FILE = re.compile(
    r"\b(?:create|write|make|save|add)\b[^\n]*?(?<![\w/.])((?:[\w.-]*/)*[\w-]+\.[A-Za-z]\w{0,9})\b", re.I
)
_DIRECTORY = re.compile(r"[Ww]orking directory: (\S.*)")
_HEARD = 2000
"""Characters of a prompt that are looked at."""
_SUBAGENT_TOOLS = ("Agent", "Task")

Block = dict[str, Any]


def content(ask: Ask, turn: Turn, answer: Answer, prompt: str, scripted: bool) -> list[Block]:
    """The content blocks of the reply. `prompt` is without directives; `scripted` stops the guessing."""
    if answer.content is not None:
        return [dict(block) for block in answer.content]
    blocks: list[Block] = []
    if answer.thinking is not None:
        blocks.append({"type": "thinking", "thinking": answer.thinking, "signature": "c2ltdWxhdGVk"})
    if answer.text is not None:
        blocks.append({"type": "text", "text": answer.text})
    if answer.tool is not None:
        blocks.append(_call(_offered_name(ask, answer.tool), answer.input))
    if answer.refusal or any(block["type"] != "thinking" for block in blocks):
        return blocks
    if scripted or answer.chunks is not None:
        return [*blocks, {"type": "text", "text": _filler(answer, prompt)}]
    return [*blocks, *_guessed(ask, turn, prompt)]


def shaped(ask: Ask) -> list[Block] | None:
    """What the client's own machinery demands: a forced tool or a JSON schema. It outranks directives."""
    choice = ask.tool_choice
    if choice is not None and choice.type == "tool" and (tool := ask.tool_named(choice.name)) is not None:
        instance = example(_schema(tool))
        return [_call(choice.name, instance if isinstance(instance, dict) else {})]
    wanted = (ask.output_config or {}).get("format")
    if isinstance(wanted, dict) and wanted.get("type") == "json_schema" and isinstance(wanted.get("schema"), dict):
        return [{"type": "text", "text": json.dumps(example(wanted["schema"]))}]
    return None


def example(schema: dict[str, Any]) -> Any:
    """The smallest plausible value of a JSON schema: required properties, first choice, labelled text."""
    if "const" in schema:
        return schema["const"]
    if schema.get("enum"):
        return schema["enum"][0]
    for branch in ("anyOf", "oneOf"):
        if schema.get(branch):
            return example(schema[branch][0])
    kind = schema.get("type")
    match kind[0] if isinstance(kind, list) and kind else kind:
        case "object":
            properties = schema.get("properties", {})
            names = [name for name in schema.get("required", properties) if name in properties]
            return {name: example(properties[name]) for name in names}
        case "array":
            return [example(schema.get("items", {}))] * int(schema.get("minItems", 0))
        case "integer" | "number":
            return schema.get("minimum", 0)
        case "boolean":
            return False
        case "null":
            return None
    return "Simulated"


def _guessed(ask: Ask, turn: Turn, prompt: str) -> list[Block]:
    if turn.step > 0:
        return [{"type": "text", "text": f"{LABEL} Done. The tool's result arrived and no model looked at it."}]
    asked = _FILE.search(prompt[:_HEARD])
    if asked is not None and ask.tool_named("Write") is not None:
        path = _absolute(ask, asked[1])
        return [
            {"type": "text", "text": f"{LABEL} Writing {path}."},
            _call("Write", {"file_path": path, "content": _file_content(path)}),
        ]
    return [{"type": "text", "text": _reply(prompt)}]


def _reply(prompt: str) -> str:
    heard = " ".join(prompt[:_HEARD].split())
    if len(heard) > 80:
        heard = heard[:79] + "…"
    about = f" to “{heard}”" if heard else ""
    return f"{LABEL} This is a canned answer{about}. No model was asked."


def _filler(answer: Answer, prompt: str) -> str:
    """Long enough for the wanted number of deltas, each a word."""
    text = _reply(prompt)
    if answer.chunks is None or answer.chunks <= 1:
        return text
    words = text.split(" ")
    repeated = words * math.ceil(answer.chunks / len(words))
    return " ".join(repeated[: answer.chunks])


def _call(name: str, given: dict[str, Any]) -> Block:
    return {"type": "tool_use", "name": name, "input": given}


def _offered_name(ask: Ask, name: str) -> str:
    """The subagent tool has had two names: take the one this client offers."""
    if name in _SUBAGENT_TOOLS and (tool := ask.tool_named(name, *_SUBAGENT_TOOLS)) is not None:
        return tool.name
    return name


def _schema(tool: Tool) -> dict[str, Any]:
    schema = msgspec.json.decode(tool.input_schema)
    return schema if isinstance(schema, dict) else {}


def _absolute(ask: Ask, path: str) -> str:
    if path.startswith("/"):
        return path
    for text in system_text(ask):
        if found := _DIRECTORY.search(text):
            return str(PurePosixPath(found[1].strip()) / path)
    return path


def _file_content(path: str) -> str:
    note = "Written by Comptroller's simulated provider."
    match PurePosixPath(path).suffix:
        case ".py":
            return f'"""{note}"""\n\nprint("hello")\n'
        case ".json":
            return json.dumps({"note": note}) + "\n"
        case ".html":
            return f"<!doctype html>\n<p>{note}</p>\n"
        case ".js" | ".ts":
            return f'// {note}\nconsole.log("hello");\n'
    return f"{note}\n"
