"""Tools and how they are chosen, of both OpenAI formats, as Claude's."""

from __future__ import annotations

from typing import Any, Final

from gateway.wire.openai_clients.claude import Claude
from gateway.wire.openai_clients.fields import JsonObject, list_of, object_of, text_of
from gateway.wire.openai_clients.parts import cache_mark
from gateway.wire.openai_clients.schema import closed
from gateway.wire.peek import BadBody

WEB_SEARCH: Final = "web_search_20250305"
"""The oldest version of Anthropic's search tool: every model and every cloud that has one takes it."""


def tools(given: object, model: Claude) -> list[JsonObject]:
    """Claude's tools for the `tools` of a request, in their order. Raises `BadBody`."""
    return [_tool(tool, f"tools[{index}]", model) for index, tool in enumerate(list_of(given, "tools"))]


def function(fields: JsonObject, where: str, model: Claude) -> JsonObject:
    """One function as a client tool."""
    schema = fields.get("parameters")
    schema = {"type": "object", "properties": {}} if schema is None else object_of(schema, f"{where}.parameters")
    strict = fields.get("strict") is True and model.takes_strict_tools
    tool: JsonObject = {"name": text_of(fields.get("name"), f"{where}.name")}
    if isinstance(description := fields.get("description"), str) and description:
        tool["description"] = description
    tool["input_schema"] = closed(schema) if strict else {"type": "object", **schema}
    return {**tool, **({"strict": True} if strict else {}), **cache_mark(fields)}


def web_search(options: JsonObject, max_uses: int | None) -> JsonObject:
    """OpenAI's web search as Anthropic's server tool."""
    tool: JsonObject = {"type": WEB_SEARCH, "name": "web_search"}
    if max_uses is not None:
        tool["max_uses"] = max_uses
    filters = options.get("filters")
    if isinstance(filters, dict) and isinstance(domains := filters.get("allowed_domains"), list) and domains:
        tool["allowed_domains"] = domains
    location = options.get("user_location")
    if isinstance(location, dict):
        # Chat completions have the place one level deeper than responses.
        inner = location.get("approximate")
        place = inner if isinstance(inner, dict) else location
        known = {key: place[key] for key in ("city", "region", "country", "timezone") if place.get(key)}
        tool["user_location"] = {"type": "approximate", **known}
    return tool


def choice(given: object, offered: list[JsonObject], *, parallel: object) -> tuple[JsonObject | None, list[JsonObject]]:
    """(Claude's `tool_choice` or None, the tools that are left): `allowed_tools` leaves out the others."""
    if not offered:
        return None, offered
    chosen, offered = _choice(given, offered)
    if parallel is False and (chosen is None or chosen["type"] != "none"):
        chosen = {**(chosen or {"type": "auto"}), "disable_parallel_tool_use": True}
    return chosen, offered


def forces(chosen: JsonObject | None) -> bool:
    """Whether the model must call a tool: it cannot think before it then."""
    return chosen is not None and chosen["type"] in {"any", "tool"}


def _tool(given: object, where: str, model: Claude) -> JsonObject:
    fields = object_of(given, where)
    kind = fields.get("type")
    if kind == "function":
        # Chat completions have the function one level deeper than responses.
        inner = fields.get("function")
        named = (
            function(inner, f"{where}.function", model) if isinstance(inner, dict) else function(fields, where, model)
        )
        return {**named, **cache_mark(fields)}
    if isinstance(kind, str) and kind.startswith("web_search"):
        return web_search(fields, None)
    raise BadBody(
        f"`{where}` is of type {kind!r}, which only OpenAI runs. Declare it as a function tool and run it yourself, "
        "or leave it out."
    )


def _choice(given: Any, offered: list[JsonObject]) -> tuple[JsonObject | None, list[JsonObject]]:
    match given:
        case None:
            return None, offered
        case "auto" | "none":
            return {"type": given}, offered
        case "required":
            return {"type": "any"}, offered
        case {"type": "function", "function": {"name": str(name)}} | {"type": "function", "name": str(name)}:
            return {"type": "tool", "name": name}, offered
        case {"type": "allowed_tools", "allowed_tools": {"mode": mode, "tools": list(named)}}:
            return _allowed(mode, named, offered)
        case {"type": "allowed_tools", "mode": mode, "tools": list(named)}:
            return _allowed(mode, named, offered)
        case {"type": str(kind)} if kind.startswith("web_search"):
            return {"type": "tool", "name": "web_search"}, offered
    raise BadBody(
        "`tool_choice` must be auto, none, required, or name a function: "
        '{"type": "function", "function": {"name": "…"}} (in responses {"type": "function", "name": "…"}).'
    )


def _allowed(mode: object, named: list[Any], offered: list[JsonObject]) -> tuple[JsonObject, list[JsonObject]]:
    names: set[str] = set()
    for entry in named:
        if isinstance(entry, dict):
            inner = entry.get("function")
            name = inner.get("name") if isinstance(inner, dict) else entry.get("name")
            if name is not None:
                names.add(text_of(name, "tool_choice.tools[].name"))
            if str(entry.get("type")).startswith("web_search"):
                names.add("web_search")
    left = [tool for tool in offered if tool["name"] in names]
    if not left:
        raise BadBody("`tool_choice.tools` names none of the request's `tools`.")
    return {"type": "any" if mode == "required" else "auto"}, left
