"""A JSON schema as Claude's structured output takes it: closed objects, and limits that it does not know as words."""

from __future__ import annotations

from typing import Any, Final

from gateway.wire.openai_clients.fields import JsonObject

_UNKNOWN: Final = (
    "minimum",
    "maximum",
    "exclusiveMinimum",
    "exclusiveMaximum",
    "multipleOf",
    "minLength",
    "maxLength",
    "maxItems",
    "uniqueItems",
    "minProperties",
    "maxProperties",
)
"""Refused by the API; its own SDKs move them into the description too."""
_OF_ONE: Final = ("items", "not", "if", "then", "else", "contains")
_OF_MANY: Final = ("anyOf", "allOf", "prefixItems")
_BY_NAME: Final = ("properties", "$defs", "definitions")


def closed(schema: JsonObject) -> JsonObject:
    """The schema, its keys in their order, with every object closed to further properties.

    Values where a schema should be are passed on as they are: they are the provider's to judge.
    """
    result: JsonObject = {}
    unknown: list[str] = []
    for key, value in schema.items():
        if key in _UNKNOWN or (key == "minItems" and value not in (0, 1)):
            unknown.append(f"{key}: {value}")
        elif key == "oneOf":
            result["anyOf"] = _each(value)
        elif key in _OF_ONE:
            result[key] = _one(value)
        elif key in _OF_MANY:
            result[key] = _each(value)
        elif key in _BY_NAME and isinstance(value, dict):
            result[key] = {name: _one(each) for name, each in value.items()}
        else:
            result[key] = value
    is_object = result.get("type") == "object" or "properties" in result
    if is_object and result.get("additionalProperties", True) is True:
        result["additionalProperties"] = False
    if unknown:
        said = result.get("description")
        result["description"] = (f"{said}\n\n" if isinstance(said, str) else "") + "{" + ", ".join(unknown) + "}"
    return result


def _one(value: Any) -> Any:
    return closed(value) if isinstance(value, dict) else value


def _each(value: Any) -> Any:
    return [_one(each) for each in value] if isinstance(value, list) else value
