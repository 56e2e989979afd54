"""Read YAML text into the schema; every mistake is found in one pass and named by its path."""

from __future__ import annotations

import dataclasses
import re
import types
from decimal import Decimal, InvalidOperation
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

import yaml

from governance.configuration.errors import ConfigurationError
from governance.configuration.schema import Document

_KINDS = {str: "text", int: "a whole number", bool: "true or false", Decimal: "a number"}


class _Loader(yaml.SafeLoader):
    """YAML's core schema: `no` is text and not false, `1:30` is text and not 90, 0.1 is a Decimal, exactly 0.1."""

    yaml_implicit_resolvers: dict[Any, Any] = {}


def _mapping(loader: _Loader, node: yaml.MappingNode) -> dict[Any, Any]:
    seen: set[Any] = set()
    for key_node, _ in node.value:
        if key_node.value in seen:
            line = key_node.start_mark.line + 1
            raise ConfigurationError([f"Line {line}: {key_node.value} is said twice in one place."])
        seen.add(str(key_node.value))
    return loader.construct_mapping(node, deep=True)


def _scalar(convert: Any) -> Any:
    return lambda loader, node: convert(loader.construct_scalar(node))


for _tag, _pattern, _first, _convert in (
    ("null", r"~|null|", ["~", "n", ""], lambda text: None),
    ("bool", r"true|false", ["t", "f"], lambda text: text == "true"),
    ("int", r"[-+]?[0-9]+", list("-+0123456789"), int),
    ("float", r"[-+]?([0-9]+\.[0-9]*|\.[0-9]+)", list("-+.0123456789"), Decimal),
):
    _Loader.add_implicit_resolver(f"tag:yaml.org,2002:{_tag}", re.compile(f"^(?:{_pattern})$"), _first)
    _Loader.add_constructor(f"tag:yaml.org,2002:{_tag}", _scalar(_convert))
_Loader.add_constructor("tag:yaml.org,2002:map", _mapping)


def parse(text: str) -> Document:
    """The document. Raises ConfigurationError with every mistake of form."""
    try:
        data = yaml.load(text, Loader=_Loader)  # noqa: S506  (a SafeLoader)
    except (yaml.YAMLError, ValueError) as error:
        raise ConfigurationError([f"The file is not YAML: {error}"]) from None
    problems: list[str] = []
    document = _decode(Document, {} if data is None else data, "", problems)
    if problems:
        raise ConfigurationError(problems)
    assert isinstance(document, Document)  # noqa: S101  (no problems: it was decoded)
    return document


def _decode(kind: Any, value: Any, path: str, problems: list[str]) -> Any:
    """`value` as `kind`; what does not fit is added to `problems` and gives None."""
    kind = _without_none(kind)
    if kind is Any:
        return value
    if dataclasses.is_dataclass(kind):
        return _object(kind, value, path, problems)
    if get_origin(kind) is list:
        if not isinstance(value, list):
            return _refuse(problems, path, f"must be a list, not {_show(value)}.")
        (item,) = get_args(kind)
        return [_decode(item, inner, f"{path}[{index}]", problems) for index, inner in enumerate(value)]
    if get_origin(kind) is dict:
        return _pairs(kind, value, path, problems)
    if get_origin(kind) is Literal:
        options = get_args(kind)
        if value in options:
            return value
        return _refuse(problems, path, f"must be one of {', '.join(options)}, not {_show(value)}.")
    if kind is Decimal and isinstance(value, int | str | Decimal) and not isinstance(value, bool):
        try:
            number = Decimal(value)
        except InvalidOperation:
            return _refuse(problems, path, f"must be a number, not {_show(value)}.")
        return number if number.is_finite() else _refuse(problems, path, "must be a finite number.")
    if not isinstance(value, kind) or (kind is int and isinstance(value, bool)):
        quotes = ' Put it in quotes: "…".' if kind is str and not isinstance(value, list | dict) else ""
        return _refuse(problems, path, f"must be {_KINDS[kind]}, not {_show(value)}.{quotes}")
    return value


def _object(kind: Any, value: Any, path: str, problems: list[str]) -> Any:
    hints = get_type_hints(kind)
    if not isinstance(value, dict):
        return _refuse(problems, path or "The file", f"must be a mapping of {', '.join(hints)}.")
    prefix = f"{path}." if path else ""
    problems += [
        f"{prefix}{name}: no such field. Known here: {', '.join(hints)}." for name in value if name not in hints
    ]
    given = {
        name: _decode(hints[name], inner, f"{prefix}{name}", problems)
        for name, inner in value.items()
        if name in hints and inner is not None
    }
    required = [
        field.name
        for field in dataclasses.fields(kind)
        if field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING
    ]
    missing = [name for name in required if value.get(name) in (None, "")]
    problems += [f"{prefix}{name}: is missing." for name in missing]
    return None if missing else kind(**given)


def _pairs(kind: Any, value: Any, path: str, problems: list[str]) -> Any:
    if not isinstance(value, dict):
        return _refuse(problems, path, f"must be a mapping, not {_show(value)}.")
    of_name, of_value = get_args(kind)
    return {
        _decode(of_name, name, f"{path}.{name}", problems): _decode(of_value, inner, f"{path}.{name}", problems)
        for name, inner in value.items()
    }


def _without_none(kind: Any) -> Any:
    # `Literal[…] | None` is a typing.Union where `int | None` is a types.UnionType.
    if get_origin(kind) in (types.UnionType, Union):
        (kind,) = (option for option in get_args(kind) if option is not types.NoneType)
    return kind


def _refuse(problems: list[str], path: str, sentence: str) -> None:
    problems.append(f"{path}: {sentence}" if path else sentence)


def _show(value: Any) -> str:
    match value:
        case None:
            return "nothing"
        case bool():
            return str(value).lower()
        case list():
            return "a list"
        case dict():
            return "a mapping"
        case str():
            return repr(value[:40])
    return str(value)[:40]
