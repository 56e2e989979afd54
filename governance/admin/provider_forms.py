"""Forms of providers and credentials: what the kind needs in inputs of its own, no JSON; a secret goes in only."""

from __future__ import annotations

import re
from typing import Any

from django import forms
from unfold.widgets import UnfoldAdminIntegerFieldWidget, UnfoldAdminPasswordWidget, UnfoldAdminTextInputWidget

from governance.admin.forms import LinesField
from governance.domain.access import most_specific_first
from governance.domain.provider_kinds import (
    KINDS,
    LIST_OPTIONS,
    METHODS,
    NEEDS_SECRET,
    NUMBER_OPTIONS,
    PATTERN_OPTIONS,
    option_problem,
    secret_problem,
)
from governance.models import Provider, ProviderCredential
from governance.services.providers import seal_secret

OPTION = "option_"
"""What the inputs of a kind's own settings begin with."""
_EMPTY = '""'
"""How people write a setting that is said to be empty."""


def of_kinds(*kinds: str) -> str:
    """For unfold's conditional fields: whether an input is shown, by the kind that is chosen."""
    return f"typeof kind === 'undefined' || [{', '.join(repr(kind) for kind in kinds)}].includes(kind)"


def options_of(kind: str) -> list[str]:
    """The inputs of a kind's own settings."""
    known = KINDS.get(kind)
    return [OPTION + name for name in (known.options or {})] if known else []


class ByPatternField(LinesField):
    """A list of words for every model, `low, high`, or one a line by pattern of models: `gpt-oss* -> low, high`.

    Inside it is a list, or a mapping of such lists.
    """

    separators = r"\n"
    arrow = re.compile(r"\s*(?:->|→)\s*")

    def prepare_value(self, value: Any) -> Any:
        if isinstance(value, list):
            return ", ".join(value) or "* ->"
        if isinstance(value, dict):
            return "\n".join(
                f"{pattern} -> {', '.join(words)}".rstrip() for pattern, words in most_specific_first(value)
            )
        return value

    def to_python(self, value: Any) -> Any:
        lines = super().to_python(value)
        if not any(self.arrow.search(line) for line in lines):
            return [word for line in lines for word in _words(line)]
        found: dict[str, list[str]] = {}
        for line in lines:
            pattern, *words = self.arrow.split(line)
            if len(words) != 1 or not pattern or pattern in found:
                raise forms.ValidationError(f"“{line}” is not one pattern of models, an arrow and words.")
            found[pattern] = _words(words[0])
        return found

    def has_changed(self, initial: Any, data: Any) -> bool:
        try:
            return bool((initial or []) != self.to_python(data))
        except forms.ValidationError:
            return True


def _words(text: str) -> list[str]:
    return [word.strip() for word in text.split(",") if word.strip()]


def _option_field(name: str, help_text: str) -> forms.Field:
    label = name.replace("_", " ").capitalize()
    if name in LIST_OPTIONS:
        return LinesField(label=label, required=False, help_text=f"{help_text} One a line.")
    if name in PATTERN_OPTIONS:
        example = "For all: low, medium, high. By pattern, one a line: gpt-oss* -> low, high; * -> for none."
        return ByPatternField(label=label, required=False, help_text=f"{help_text} {example}")
    if name in NUMBER_OPTIONS:
        return forms.IntegerField(
            label=label, required=False, min_value=1, help_text=help_text, widget=UnfoldAdminIntegerFieldWidget
        )
    return forms.CharField(
        label=label, required=False, max_length=200, help_text=help_text, widget=UnfoldAdminTextInputWidget
    )


_OPTIONS = {name: text for known in KINDS.values() for name, text in (known.options or {}).items()}
OPTION_FIELDS = {OPTION + name: _option_field(name, text) for name, text in _OPTIONS.items()}
CONDITIONS = {
    "region": of_kinds(*(kind for kind, known in KINDS.items() if known.needs_region)),
    "project": of_kinds(*(kind for kind, known in KINDS.items() if known.needs_project)),
    **{
        OPTION + name: of_kinds(*(kind for kind, known in KINDS.items() if name in (known.options or {})))
        for name in _OPTIONS
    },
}
"""When each input that not every kind has is shown."""


class _ProviderForm(forms.ModelForm):  # type: ignore[type-arg]
    class Meta:
        model = Provider
        fields = ["name", "kind", "base_url", "region", "project", "model_map", "rank", "is_active"]

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        for name, value in self.instance.options.items():
            if OPTION + name in self.fields:
                self.initial[OPTION + name] = _EMPTY if value == "" else value

    def clean(self) -> dict[str, Any]:
        values: dict[str, Any] = super().clean() or {}
        known = KINDS.get(values.get("kind") or self.instance.kind)
        if known is None:
            return values
        # What was left in an input that the kind hides does not count.
        for name, needed in (("region", known.needs_region), ("project", known.needs_project)):
            if not needed and values.get(name):
                values[name] = ""
                self.changed_data.append(name)
        given = {name: values.get(OPTION + name) for name in known.options or {}}
        options = {name: "" if value == _EMPTY else value for name, value in given.items() if value}
        for name, problem in [(name, option_problem(name, value)) for name, value in options.items()]:
            if problem:
                # Said at its input and kept from the model, whose own check names a column that is no input.
                self.add_error(OPTION + name, problem)
                del options[name]
        if options != self.instance.options:
            self.instance.options = options
            # The audit trail and the save look at columns: the one behind these inputs is `options`.
            self.changed_data.append("options")
        return values


ProviderForm = type("ProviderForm", (_ProviderForm,), dict(OPTION_FIELDS))
"""With one input for each setting that some kind has."""


class CredentialForm(forms.ModelForm):  # type: ignore[type-arg]
    """The secret goes in and does not come out: an empty input keeps what is stored."""

    new_secret = forms.CharField(
        label="Secret",
        required=False,
        max_length=8000,
        widget=UnfoldAdminPasswordWidget(attrs={"autocomplete": "new-password", "placeholder": "•••• unchanged"}),
        help_text="Stored encrypted and never shown again. Leave empty to keep the stored one.",
    )

    class Meta:
        model = ProviderCredential
        fields = [
            "name", "method", "identifier", "secret_env", "weight", "requests_per_minute", "tokens_per_minute",
            "concurrent", "is_active",
        ]  # fmt: skip

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if not self.instance.secret and "new_secret" in self.fields:
            self.fields["new_secret"].widget.attrs["placeholder"] = "none stored"

    def clean(self) -> dict[str, Any]:
        values: dict[str, Any] = super().clean() or {}
        method, secret = values.get("method") or self.instance.method, values.get("new_secret", "")
        provider = values.get("provider")
        needs_none = provider is not None and provider.kind in KINDS and not KINDS[provider.kind].methods
        if method not in NEEDS_SECRET:
            if secret:
                self.add_error("new_secret", f"“{METHODS[method]}” has no secret of its own: leave it empty.")
        elif problem := secret_problem(method, secret):
            self.add_error("new_secret", problem)
        elif not (secret or values.get("secret_env") or self.instance.secret or needs_none):
            self.add_error("new_secret", "Give the secret, or name the environment variable that holds it.")
        return values

    def save(self, commit: bool = True) -> Any:
        if self.cleaned_data.get("new_secret"):
            seal_secret(self.instance, self.cleaned_data["new_secret"])
            # The audit trail and the save look at columns: the column behind this input is `secret`.
            self.changed_data.append("secret")
        return super().save(commit)
