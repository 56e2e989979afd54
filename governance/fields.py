"""Model and form fields for money: nano-dollars in the database, USD on the screen."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

from django import forms
from django.core.exceptions import ValidationError
from django.db import models

from governance.domain.money import nano_to_usd, usd_string, usd_to_nano


class UsdFormField(forms.DecimalField):
    """USD typed by a person; its Python value is whole nano-dollars."""

    def clean(self, value: Any) -> Any:
        usd: Decimal | None = super().clean(value)
        if usd is None:
            return None
        try:
            return usd_to_nano(usd)
        except ValueError as error:
            raise ValidationError(str(error)) from None

    def prepare_value(self, value: Any) -> Any:
        return usd_string(value) if isinstance(value, int) else value

    def has_changed(self, initial: Any, data: Any) -> bool:
        return super().has_changed(nano_to_usd(initial) if isinstance(initial, int) else initial, data)


class NanoUsdField(models.BigIntegerField):  # type: ignore[type-arg]
    """Whole nano-dollars (10⁻⁹ USD); forms show and take USD."""

    description = "Amount in nano-dollars"

    def formfield(self, **kwargs: Any) -> Any:
        defaults = {"form_class": UsdFormField, "max_digits": 19, "decimal_places": 9}
        kwargs.pop("min_value", None)
        kwargs.pop("max_value", None)
        # BigIntegerField.formfield forces its own bounds, in nano-dollars; the USD field has its own.
        return models.Field.formfield(self, **{**defaults, **kwargs})
