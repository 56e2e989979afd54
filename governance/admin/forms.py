"""Form fields for lists that people type: one entry a line instead of JSON."""

from __future__ import annotations

import re
from typing import Any

from django import forms
from unfold.widgets import UnfoldAdminTextareaWidget, UnfoldAdminTextInputWidget

from governance.domain.access import most_specific_first


class LinesField(forms.CharField):
    """A list of strings, one a line (commas separate as well). Spaces belong to the entry: directories have them."""

    separators = r"[\n,]"
    widget = UnfoldAdminTextareaWidget(attrs={"rows": 3})

    def prepare_value(self, value: Any) -> Any:
        return "\n".join(str(item) for item in value) if isinstance(value, list | tuple) else value

    def to_python(self, value: Any) -> Any:
        return [item.strip() for item in re.split(self.separators, value or "") if item.strip()]

    def has_changed(self, initial: Any, data: Any) -> bool:
        return bool(list(initial or []) != self.to_python(data))


class PercentagesField(LinesField):
    """A list of whole percentages on one line: `50, 80, 95, 100`."""

    separators = r"[\s,]"
    widget = UnfoldAdminTextInputWidget

    def prepare_value(self, value: Any) -> Any:
        return ", ".join(str(item) for item in value) if isinstance(value, list | tuple) else value

    def to_python(self, value: Any) -> Any:
        try:
            return sorted({int(item.rstrip("%")) for item in super().to_python(value)})
        except ValueError:
            raise forms.ValidationError("Give whole percentages, for example 50, 80, 95, 100.") from None


class PairsField(LinesField):
    """Pairs of models, one a line: `claude-opus-* -> claude-sonnet-5-5`. Inside it is a mapping.

    It is shown in the order in which the first that fits counts, whatever the order it was typed in.
    """

    separators = r"\n"
    arrow = re.compile(r"\s*(?:->|→)\s*")

    def prepare_value(self, value: Any) -> Any:
        if not isinstance(value, dict):
            return value
        return "\n".join(f"{old} -> {new}" for old, new in most_specific_first(value))

    def to_python(self, value: Any) -> Any:
        pairs: dict[str, str] = {}
        for line in super().to_python(value):
            parts = self.arrow.split(line)
            if len(parts) != 2 or not all(parts):
                raise forms.ValidationError(f"“{line}” is no pair. Write claude-opus-* -> claude-sonnet-5-5.")
            if parts[0] in pairs:
                raise forms.ValidationError(f"{parts[0]} is named twice. Keep one of the lines.")
            pairs[parts[0]] = parts[1]
        return pairs

    def has_changed(self, initial: Any, data: Any) -> bool:
        try:
            return bool((initial or {}) != self.to_python(data))
        except forms.ValidationError:
            return True


LIST_FIELDS: dict[str, tuple[type[LinesField], str]] = {
    "model_patterns": (LinesField, "One model id or pattern a line, for example claude-opus-*; empty means every one."),
    "allowed_ips": (LinesField, "One IP address or network a line, for example 10.0.0.0/8; empty allows every one."),
    "directories": (LinesField, "One pattern a line, for example */billing/*; the project's own name always counts."),
    "alerts": (PercentagesField, "Percentages of the limit at which to tell, for example 50, 80, 95, 100."),
    "model_aliases": (
        PairsField,
        "One pair a line: claude-opus-* -> claude-sonnet-5-5. The most specific that fits counts; those of a "
        "key go before its team's. The answer says in a header what was asked for.",
    ),
    "downgrade": (
        PairsField,
        "One pair a line: claude-opus-* -> claude-sonnet-5-5. The most specific that fits counts; a key that may not "
        "use the cheaper model keeps the one it asked for.",
    ),
    "model_map": (
        PairsField,
        "One pair a line where it calls a model something else: claude-opus-* -> my-deployment. The most specific "
        "counts; empty takes its own names.",
    ),
}
"""Columns that hold a JSON list or mapping, with the field that edits each and what it says under it."""
