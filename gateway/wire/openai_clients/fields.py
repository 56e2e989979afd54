"""Read the loosely shaped JSON of a client's request: what is of the wrong type is refused with the field's name."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, TypeVar

import msgspec

from gateway.wire.peek import BadBody

T = TypeVar("T")
JsonObject = dict[str, Any]
TOO_DEEP: Final = "The body is nested too deeply to be read. Send fewer levels of arrays and objects."

_decode = msgspec.json.Decoder(JsonObject).decode


def read_body(body: bytes) -> JsonObject:
    """The request as an object. Raises `BadBody`."""
    if not body:
        raise BadBody("The body is empty. Send a JSON object with `model` and what to answer.")
    try:
        return _decode(body)
    except RecursionError:
        raise BadBody(TOO_DEEP) from None
    except UnicodeDecodeError as error:
        raise BadBody(f"The body is not valid UTF-8 ({error.reason}). Encode it as UTF-8.") from None
    except msgspec.ValidationError:
        raise BadBody("The body is JSON, but not an object. Send one JSON object.") from None
    except msgspec.DecodeError as error:
        raise BadBody(f"The body is not valid JSON: {error}. Send one JSON object.") from None


def shallow(translate: Callable[[JsonObject], T], fields: JsonObject) -> T:
    """What becomes of a request. Raises `BadBody` for one that could be read but not walked through: that needs more
    of the stack.
    """
    try:
        return translate(fields)
    except RecursionError:
        raise BadBody(TOO_DEEP) from None


def text_of(value: object, where: str) -> str:
    """A string that must be there."""
    if not isinstance(value, str):
        raise BadBody(f"`{where}` must be a string, not {kind_of(value)}.")
    return value


def model_of(fields: Mapping[str, Any]) -> str:
    """The model that is asked for, as the client spells it."""
    if fields.get("model") in (None, ""):
        raise BadBody("`model` is missing. Name a model, for example `claude-sonnet-5-5`.")
    return text_of(fields["model"], "model")


def object_of(value: object, where: str) -> JsonObject:
    """An object that must be there."""
    if not isinstance(value, dict):
        raise BadBody(f"`{where}` must be an object, not {kind_of(value)}.")
    return value


def list_of(value: object, where: str) -> Sequence[Any]:
    """A list that may be absent."""
    if value is None:
        return ()
    if not isinstance(value, list):
        raise BadBody(f"`{where}` must be an array, not {kind_of(value)}.")
    return value


def whole(fields: Mapping[str, Any], *names: str) -> int | None:
    """The first of these fields that is given, as a whole number of at least 1; None where none is."""
    for name in names:
        value = fields.get(name)
        if value is None:
            continue
        if isinstance(value, bool) or not isinstance(value, int) or value < 1:
            raise BadBody(f"`{name}` must be a whole number of at least 1.")
        return value
    return None


def number(fields: Mapping[str, Any], name: str, most: float) -> float | None:
    """A number from 0 to `most`, as it was given; None where it is absent."""
    value = fields.get(name)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= most:
        raise BadBody(f"`{name}` must be a number from 0 to {most:g}.")
    return value


def flag(fields: Mapping[str, Any], name: str) -> bool:
    """A boolean; false where it is absent."""
    value = fields.get(name)
    if value is None:
        return False
    if not isinstance(value, bool):
        raise BadBody(f"`{name}` must be true or false, not {kind_of(value)}.")
    return value


def kind_of(value: object) -> str:
    """What a JSON value is, for a sentence."""
    match value:
        case None:
            return "null"
        case bool():
            return "a boolean"
        case int() | float():
            return "a number"
        case str():
            return "a string"
        case list():
            return "an array"
    return "an object"
