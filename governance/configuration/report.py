"""What one application of a file did: a diff of `+`, `~` and `=` lines, and the secrets it made."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from governance.domain.keys import Secret
from governance.domain.money import usd_string

_WEEK_STARTS = {0: "monday", 6: "sunday"}

FILE_NAMES = {
    "model_patterns": "models",
    "model_map": "models",
    "limit_nano_usd": "limit_usd",
    "emergency_reserve_nano_usd": "emergency_reserve_usd",
    "is_active": "active",
}
"""Columns whose field in the file has another name."""


@dataclass(slots=True)
class Outcome:
    """`secrets` holds each new random key secret under its key's path, `Acme/Core/ada-laptop`."""

    lines: list[str] = field(default_factory=list)
    created: int = 0
    changed: int = 0
    unchanged: int = 0
    secrets: dict[str, Secret] = field(default_factory=dict)

    def add(self, label: str, *, adding: bool, changes: Mapping[str, list[Any]]) -> None:
        """One object; `changes` as `records.difference` gives them."""
        if adding:
            self.created += 1
            self.lines.append(f"+ {label}{_created(changes)}")
        elif changes:
            self.changed += 1
            told = (f"{_name(name)} {_show(name, old)} → {_show(name, new)}" for name, (old, new) in changes.items())
            self.lines.append(f"~ {label}: {', '.join(told)}")
        else:
            self.unchanged += 1
            self.lines.append(f"= {label}")

    def note(self, sentence: str) -> None:
        self.lines.append(f"  {sentence}")

    def summary(self) -> str:
        return (
            f"{self.created} created, {self.changed} changed, {self.unchanged} unchanged. "
            "Nothing was deleted: what the file does not name stays as it is."
        )


def _created(changes: Mapping[str, list[Any]]) -> str:
    """The values a new row starts with; what its label already says and what is empty are left out."""
    told = [
        f"{_name(name)} {_show(name, new)}"
        for name, (_, new) in changes.items()
        if name not in {"name", "scope", "customer", "team", "project", "developer", "virtual_key"}
        and name not in {"provider_access", "provider", "email", "created_at", "created_by", "position"}
        and new not in (None, "", [], {}, 0, True)
    ]
    return f": {', '.join(told)}" if told else ""


def _name(column: str) -> str:
    return FILE_NAMES.get(column, column)


def _target(target: Mapping[str, Any]) -> str:
    """One target of a route: `claude-haiku-5-5 at vertex × 3`."""
    place = f" at {target['provider']}" if target.get("provider") else ""
    weight = f" × {target['weight']:g}" if "weight" in target else ""
    return f"{target.get('model') or 'the same model'}{place}{weight}"


def _show(column: str, value: Any) -> str:
    if column.endswith("_nano_usd") and value is not None:
        return usd_string(value)
    if column in {"targets", "fallbacks"} and value:
        return f"[{', '.join(_target(target) for target in value)}]"
    if column == "week_start":
        return _WEEK_STARTS.get(value, str(value))
    match value:
        case None | "" | []:
            return "(none)"
        case dict():
            return f"{{{', '.join(f'{name}: {inner}' for name, inner in value.items())}}}" if value else "(none)"
        case bool():
            return str(value).lower()
        case list():
            return f"[{', '.join(str(item) for item in value)}]"
        case float():
            return f"{value:g}"
    return str(value)
