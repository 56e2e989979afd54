"""Forms of prices: a price, a customer's terms, a mapping, and the decision about a proposal."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from django import forms
from django.utils import timezone
from unfold.widgets import (
    UnfoldAdminDecimalFieldWidget,
    UnfoldAdminTextInputWidget,
    UnfoldBooleanSwitchWidget,
)

from governance.models import ModelAlias, Price, PriceOverride
from governance.pricing_source import CLASSES
from governance.services import price_rules, prices


class UtcMomentField(forms.DateTimeField):
    """A date and time in UTC; empty means now."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.widget = UnfoldAdminTextInputWidget(attrs={"type": "datetime-local"})
        self.widget.is_required = self.required

    def prepare_value(self, value: Any) -> Any:
        return f"{value.astimezone(UTC):%Y-%m-%dT%H:%M}" if isinstance(value, datetime) else value

    def to_python(self, value: Any) -> datetime | None:
        moment = super().to_python(value)
        return None if moment is None else moment.replace(tzinfo=UTC)


def backdated_field(what: str) -> forms.BooleanField:
    return forms.BooleanField(
        label="Begins in the past on purpose",
        required=False,
        widget=UnfoldBooleanSwitchWidget,
        help_text=f"{what} Requests since then keep what they were charged until the period is re-priced.",
    )


class PriceForm(forms.ModelForm):  # type: ignore[type-arg]
    """A row of the catalog; one that begins in the past needs the switch."""

    backdated = backdated_field("For a change that was published late.")

    class Meta:
        model = Price
        fields = "__all__"  # noqa: DJ007  (the admin names them)

    def clean(self) -> dict[str, Any]:
        values: dict[str, Any] = super().clean() or {}
        moment = values.get("effective_from")
        if moment and not values.get("backdated"):
            prices.check_beginning(values.get("platform", ""), values.get("model_id", ""), moment)
        return values


def _rate(name: str) -> forms.DecimalField:
    return forms.DecimalField(
        label=name.capitalize(),
        required=False,
        max_digits=15,
        decimal_places=9,
        min_value=0,
        widget=UnfoldAdminDecimalFieldWidget(attrs={"step": "any"}),
    )


class OverrideForm(forms.ModelForm):  # type: ignore[type-arg]
    """A percentage, or rates in five inputs instead of JSON."""

    effective_from = UtcMomentField(
        label="From (UTC)", required=False, help_text="Requests that start at or after it take the terms. Empty: now."
    )
    effective_to = UtcMomentField(label="To (UTC)", required=False, help_text="Empty: until it is ended.")
    backdated = backdated_field("For an agreement that is older than its entry.")
    rate_input = _rate("input")
    rate_output = _rate("output")
    rate_cache_read = _rate("cache read")
    rate_cache_write_5m = _rate("cache write 5 min")
    rate_cache_write_1h = _rate("cache write 1 h")

    class Meta:
        model = PriceOverride
        fields = ("customer", "platform", "model_patterns", "percent", "effective_from", "effective_to", "note")

    def clean(self) -> dict[str, Any]:
        values: dict[str, Any] = super().clean() or {}
        rates = {name: str(values[f"rate_{name}"]) for name in CLASSES if values.get(f"rate_{name}") is not None}
        self.instance.rates = values["rates"] = rates
        values["effective_from"] = values.get("effective_from") or timezone.now()
        if not self.errors:
            price_rules.check_terms(
                percent=values.get("percent"),
                rates=rates,
                effective_from=values["effective_from"],
                effective_to=values.get("effective_to"),
                backdated=bool(values.get("backdated")),
            )
        return values


class AliasForm(forms.ModelForm):  # type: ignore[type-arg]
    """A mapping that leads somewhere."""

    class Meta:
        model = ModelAlias
        fields = ("platform", "alias", "model_id", "region", "note")

    def clean(self) -> dict[str, Any]:
        values: dict[str, Any] = super().clean() or {}
        if not self.errors:
            columns = ("platform", "alias", "model_id", "region")
            price_rules.check_mapping(ModelAlias(**{name: values.get(name, "") for name in columns}))
        return values


class DecideForm(forms.Form):
    """When the new price begins, and why."""

    effective_from = UtcMomentField(label="In force from (UTC)", required=False, help_text="Empty: from now on.")
    backdated = backdated_field("For a change that was published late.")
    note = forms.CharField(
        label="Note",
        max_length=300,
        required=False,
        widget=UnfoldAdminTextInputWidget,
        help_text="Where you checked it; it stays in the audit trail.",
    )
