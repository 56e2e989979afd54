"""Serializer fields of the API: USD, moments in UTC, references by name or id."""

from __future__ import annotations

from datetime import UTC
from decimal import Decimal
from typing import Any

from django.db.models import Model
from drf_spectacular.utils import extend_schema_field
from rest_framework import serializers

from governance.api.references import find, name_of
from governance.domain.money import usd_string, usd_to_nano
from governance.models import Customer


@extend_schema_field({"type": "string", "format": "decimal", "example": "1204.5"})
class UsdField(serializers.Field[int, Any, str, int]):
    """Nano-dollars inside, an exact decimal string of USD outside. Never rounds."""

    def to_internal_value(self, data: Any) -> int:
        if isinstance(data, bool) or not isinstance(data, str | int | float):
            raise serializers.ValidationError("Give an amount in USD such as “1204.50”.")
        try:
            # str() of a float gives back the digits that the caller typed.
            nano = usd_to_nano(Decimal(str(data)) if isinstance(data, float) else data)
        except ValueError as error:
            raise serializers.ValidationError(f"{error}. Give an amount such as “1204.50”.") from None
        if nano < 0:
            raise serializers.ValidationError("The amount must not be negative.")
        return nano

    def to_representation(self, value: int) -> str:
        return usd_string(value)


class OneOfField(serializers.ChoiceField):
    """One of a few texts; what is none of them is answered with them."""

    def to_internal_value(self, data: Any) -> Any:
        try:
            return super().to_internal_value(data)
        except serializers.ValidationError:
            known = ", ".join(str(choice) for choice in self.choices if choice != "")
            raise serializers.ValidationError(f"“{data}” is none of the choices: {known}.") from None


class MomentField(serializers.DateTimeField):
    """ISO 8601 in UTC with a trailing Z, whatever zone the server is in."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(default_timezone=UTC, **kwargs)


class AliasesField(serializers.DictField):
    """Pairs of (pattern, model) in their order: the model takes the place of what fits the pattern."""

    child = serializers.CharField(max_length=200)

    def __init__(self, **kwargs: Any) -> None:
        told = 'Another model takes the place of what is asked for: {"claude-opus-*": "claude-sonnet-5-5"}.'
        super().__init__(**{"help_text": told, **kwargs})


@extend_schema_field({"type": "string", "example": "Core", "description": "A name, a path of names, or an id."})
class NamedField(serializers.Field[Any, Any, str, Any]):
    """A reference, shown as the name; taken as a name, a path of names or an id of a row that the user sees.

    A bare name is looked for within the `customer` of the same input or of the row that is changed.
    """

    def __init__(self, model: type[Model], **kwargs: Any) -> None:
        self.model = model
        super().__init__(**kwargs)

    def to_internal_value(self, data: Any) -> Any:
        user = self.context["request"].user
        return find(self.model, data, user, within=self._customer(user))

    def to_representation(self, value: Any) -> str:
        return name_of(value)

    def _customer(self, user: Any) -> Customer | None:
        if self.model is Customer:
            return None
        instance = getattr(self.parent, "instance", None)
        if instance is not None:
            return getattr(instance, "customer", None)
        given = getattr(self.parent, "initial_data", {}).get("customer")
        try:
            return None if given is None else find(Customer, given, user)
        except serializers.ValidationError:
            return None  # the customer's own field says what is wrong with it
