"""Read `[[sim: key=value flag key="quoted value"]]` directives out of a prompt, one for each step."""

from __future__ import annotations

import json
import re
from typing import Any

from gateway.simulator.answer import BIG_EVENT_BYTES, FIELDS, BadScript

_OPEN = re.compile(r"\[\[\s*sim\s*:")
_TOKEN = re.compile(
    r"""\s*(?:
        (?P<end>\]\])
      | (?P<key>[A-Za-z_][\w.-]*)
        (?:=(?: "(?P<double>(?:[^"\\]|\\.)*)"
              | '(?P<single>(?:[^'\\]|\\.)*)'
              | (?P<bare>(?:(?!\]\])[^\s"'])+)
        ))?(?=\s|\]\])
    )""",
    re.VERBOSE | re.DOTALL,
)
_ESCAPE = re.compile(r"\\(u[0-9a-fA-F]{4}|.)", re.DOTALL)
_ESCAPES = {"n": "\n", "t": "\t", "r": "\r", "b": "\b", "f": "\f"}
_TOOL_FIRST = frozenset({"content", "message"})
_JSON_FIELDS = frozenset({"iterations", "extra", "headers", "content", "input"})


def directives(text: str) -> list[dict[str, Any]]:
    """The directives in order, each as the fields of an answer. Raises BadScript at the first unreadable one.

    What is inside a quoted value is never read as a directive: a prompt for a subagent may carry its own.
    """
    found: list[dict[str, Any]] = []
    position = 0
    while opening := _OPEN.search(text, position):
        fields, position = _fields(text, opening.end())
        found.append(fields)
    return found


def without(text: str) -> str:
    """The prompt with its directives taken out."""
    kept: list[str] = []
    position = 0
    while opening := _OPEN.search(text, position):
        kept.append(text[position : opening.start()])
        _, position = _fields(text, opening.end())
    return "".join([*kept, text[position:]]).strip()


def _fields(text: str, position: int) -> tuple[dict[str, Any], int]:
    values: dict[str, Any] = {}
    while True:
        token = _TOKEN.match(text, position)
        if token is None:
            rest = text[position : position + 40].strip()
            raise BadScript(f'unreadable directive near {rest!r}; write [[sim: key=value key="quoted value" flag]]')
        position = token.end()
        if token["end"]:
            return _sorted_out(values), position
        values[token["key"]] = _value(token)


def _value(token: re.Match[str]) -> Any:
    quoted = token["double"] if token["double"] is not None else token["single"]
    if quoted is not None:
        return _ESCAPE.sub(_unescape, quoted)
    if token["bare"] is not None:
        return _scalar(token["bare"])
    return BIG_EVENT_BYTES if token["key"] == "big_event" else True


def _unescape(escape: re.Match[str]) -> str:
    code = escape[1]
    return chr(int(code[1:], 16)) if len(code) > 1 else _ESCAPES.get(code, code)


def _scalar(word: str) -> Any:
    if word in {"true", "false", "null"} or re.fullmatch(r"-?\d{1,18}(\.\d+)?", word):
        return json.loads(word)
    return word


def _sorted_out(values: dict[str, Any]) -> dict[str, Any]:
    """JSON read, and with `tool` every word that is no field of an answer turned into an input of the tool.

    `content` and `message` name a tool's input where there is a tool; `input.KEY` always does.
    """
    given: dict[str, Any] = {}
    if "tool" in values:
        for key in [key for key in values if key not in FIELDS or key in _TOOL_FIRST]:
            given[key.removeprefix("input.")] = values.pop(key)
    found = {key: _json(key, value) if key in _JSON_FIELDS else value for key, value in values.items()}
    if given:
        found["input"] = {**found.get("input", {}), **given}
    return found


def _json(key: str, value: Any) -> Any:
    try:
        return json.loads(value)
    except (TypeError, ValueError) as error:
        raise BadScript(f"{key} must be JSON in quotes: {error}") from None
