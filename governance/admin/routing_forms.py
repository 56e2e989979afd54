"""Form fields of routing rules: a condition whose mistake is pointed at, targets and headers one a line."""

from __future__ import annotations

import re
from typing import Any

from django import forms
from django.core.exceptions import ValidationError
from django.utils.html import format_html
from unfold.widgets import UnfoldAdminDecimalFieldWidget, UnfoldAdminTextareaWidget

from governance.admin import pickers
from governance.admin.forms import LinesField
from governance.domain.actions import headers_problem, target_problem
from governance.domain.cel import BadCondition
from governance.domain.complexity import FEATURES
from governance.domain.facts import LANGUAGE
from governance.models import RoutingRule, RoutingSettings
from governance.services.routing import named, provider_names, stored

MONO = {"class": "cmp-mono", "spellcheck": "false", "autocomplete": "off"}
TARGETS = ("customer", "team", "virtual_key")
_ACTIONS = {"targets", "fallbacks", "deny", "set_headers", "max_tokens", "on_rate_limit", "hedge_ms"}
# A model may have an @ of its own (claude-x@20250101): the provider's stands after a space, or first.
_TARGET = re.compile(
    r"(?P<model>[^\s@]\S*)?\s*(?:(?:^|(?<=\s))@\s*(?P<provider>.+?))?(?:\s+x\s*(?P<weight>\d+(?:\.\d+)?))?"
)


class ConditionField(forms.CharField):
    """CEL over the variables; the text stays as it was typed, so that the place of a mistake is that of the input."""

    def __init__(self, **kwargs: Any) -> None:
        rows = {"rows": 4, **MONO}
        super().__init__(**{"strip": False, "widget": UnfoldAdminTextareaWidget(attrs=rows), **kwargs})

    def to_python(self, value: Any) -> str:
        return str(value or "").replace("\r\n", "\n").rstrip()

    def clean(self, value: Any) -> str:
        text: str = super().clean(value)
        try:
            LANGUAGE.check(text)
        except BadCondition as error:
            line = text.split("\n")[error.line - 1 : error.line] or [""]
            start = max(0, error.column - 60)
            shown, mark = line[0][start : start + 90], "." * (error.column - 1 - start) + "^"
            raise ValidationError(
                format_html('{}<span class="cmp-pointed">{}\n{}</span>', str(error), shown, mark)
            ) from None
        return text


class TargetsField(LinesField):
    """Targets, one a line: `claude-haiku-5-5 @ vertex x 3`. Inside they are as the columns hold them."""

    separators = r"\n"
    widget = UnfoldAdminTextareaWidget(attrs={"rows": 3, **MONO})

    def prepare_value(self, value: Any) -> Any:
        if not isinstance(value, list):
            return value
        return "\n".join(_line(target) for target in named(value, provider_names()))

    def to_python(self, value: Any) -> Any:
        given = []
        for line in super().to_python(value):
            found = _TARGET.fullmatch(line)
            if found is None:
                raise ValidationError(f"“{line}” is no target. Write claude-haiku-5-5 @ vertex x 3.")
            weight = float(found["weight"]) if found["weight"] else 1
            whole = int(weight) if weight == int(weight) else weight
            given.append({"model": found["model"] or "", "provider": found["provider"] or "", "weight": whole})
        targets = stored(given)
        if problem := target_problem(targets):
            raise ValidationError(problem)
        return targets

    def has_changed(self, initial: Any, data: Any) -> bool:
        try:
            return [_plain(target) for target in initial or []] != [_plain(target) for target in self.to_python(data)]
        except ValidationError:
            return True


class HeadersField(LinesField):
    """Headers, one a line: `x-lane: b`."""

    separators = r"\n"
    widget = UnfoldAdminTextareaWidget(attrs={"rows": 2, **MONO})

    def prepare_value(self, value: Any) -> Any:
        return "\n".join(f"{name}: {text}" for name, text in value.items()) if isinstance(value, dict) else value

    def to_python(self, value: Any) -> Any:
        headers: dict[str, str] = {}
        for line in super().to_python(value):
            name, colon, text = line.partition(":")
            if not colon:
                raise ValidationError(f"“{line}” is no header. Write x-lane: b.")
            headers[name.strip().lower()] = text.strip()
        if problem := headers_problem(headers):
            raise ValidationError(problem)
        return headers

    def has_changed(self, initial: Any, data: Any) -> bool:
        try:
            return bool(dict(initial or {}) != self.to_python(data))
        except ValidationError:
            return True


def _line(target: dict[str, Any]) -> str:
    place = f"@ {target['provider']}" if target.get("provider") else ""
    weight = f"x {target['weight']:g}" if "weight" in target else ""
    return " ".join(part for part in (target.get("model", ""), place, weight) if part)


def _plain(target: dict[str, Any]) -> tuple[Any, ...]:
    return target.get("provider_id"), target.get("model", ""), target.get("weight", 1)


class RuleForm(forms.ModelForm):  # type: ignore[type-arg]
    """One target, the one that the scope names; what was left in a hidden input does not count."""

    condition = ConditionField(help_text="When it applies, in CEL over the variables below; true is always.")
    targets = TargetsField(
        label="Goes to",
        required=False,
        help_text="One target a line: model @ provider x weight. Without a provider, each of the key's that has the "
        "model; without a model (@ vertex), the one asked for. Several share the sessions by weight.",
    )
    fallbacks = TargetsField(
        label="Falls back to",
        required=False,
        help_text="Asked in this order when those fail. A rule with fallbacks alone leaves the first target as it is.",
    )
    set_headers = HeadersField(
        label="Headers to the provider", required=False, help_text="One a line: x-lane: b. Credentials cannot be set."
    )

    class Meta:
        model = RoutingRule
        fields = "__all__"  # noqa: DJ007  (the admin names them)

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        for name in TARGETS:
            if name in self.fields:
                self.fields[name].required = False
        if "virtual_key" in self.fields:
            choices: Any = self.fields["virtual_key"]
            choices.label_from_instance = pickers.label
            choices.queryset = choices.queryset.select_related(*pickers.RELATED["virtual_key"])

    def clean(self) -> dict[str, Any]:
        values: dict[str, Any] = super().clean() or {}
        scope = values.get("scope")
        if scope is None or self.instance.pk:
            return values
        target = None if scope == RoutingRule.Scope.GLOBAL else values.get(scope)
        if scope != RoutingRule.Scope.GLOBAL and target is None:
            self.add_error(scope, f"Choose the {RoutingRule.Scope(scope).label.lower()} that it is for.")
            return values
        rule = RoutingRule(scope=scope, **({scope: target} if target else {}))
        rule.fill_tenancy()
        return {**values, **{name: getattr(rule, name) for name in TARGETS}}

    def _update_errors(self, errors: ValidationError) -> None:
        """What the model says too, but not that a rule does nothing where what it does could not be read."""
        if hasattr(errors, "error_dict") and _ACTIONS & set(self.errors):
            errors.error_dict.pop("targets", None)
        super()._update_errors(errors)  # type: ignore[misc]


class WeightsForm(forms.ModelForm):  # type: ignore[type-arg]
    """A number for each feature; only what differs from the usual weight is stored."""

    class Meta:
        model = RoutingSettings
        fields: list[str] = []

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        weights = self.instance.weights
        for feature in FEATURES:
            self.fields[feature.name] = forms.FloatField(
                label=f"{feature.name.capitalize()} (usually {feature.weight:g})",
                min_value=0,
                max_value=1_000,
                initial=weights[feature.name],
                help_text=feature.reason,
                widget=UnfoldAdminDecimalFieldWidget,
            )

    def clean(self) -> dict[str, Any]:
        values: dict[str, Any] = super().clean() or {}
        usual = {feature.name: feature.weight for feature in FEATURES}
        given = {name: values[name] for name in usual if name in values}
        self.instance.complexity_weights = {name: weight for name, weight in given.items() if weight != usual[name]}
        return values

    def _post_clean(self) -> None:
        """The model's own words about the weights, on the whole form: the inputs are no columns of it."""
        try:
            self.instance.clean()
        except ValidationError as error:
            self.add_error(None, error.messages)
