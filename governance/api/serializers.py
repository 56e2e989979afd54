"""The base of every serializer of the API."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from django.db import models
from rest_framework import serializers
from rest_framework.request import Request

from governance.api.fields import MomentField, OneOfField


class StrictFields(serializers.BaseSerializer[Any]):
    """Refuses a field that it does not take: a misspelt one must not be dropped in silence."""

    def to_internal_value(self, data: Any) -> Any:
        if isinstance(data, Mapping):
            fields: Mapping[str, serializers.Field[Any, Any, Any, Any]] = getattr(self, "fields", {})
            writable = [name for name, field in fields.items() if not field.read_only]
            wrong = {
                name: [
                    "This field is read-only."
                    if name in fields
                    else f"There is no such field. Known: {', '.join(writable)}."
                ]
                for name in data
                if name not in writable
            }
            if wrong:
                raise serializers.ValidationError(wrong)
        return super().to_internal_value(data)


class InputSerializer(StrictFields, serializers.Serializer[Any]):
    """What an action takes."""


def taken(serializer_class: type[InputSerializer], request: Request) -> dict[str, Any]:
    """The checked input of an action. Raises ValidationError."""
    serializer = serializer_class(data=request.data)
    serializer.is_valid(raise_exception=True)
    values: dict[str, Any] = serializer.validated_data
    return values


class RowSerializer(StrictFields, serializers.ModelSerializer[Any]):
    """A row of a model. Unique names and the like are checked by the service that saves it."""

    serializer_field_mapping = {
        **serializers.ModelSerializer.serializer_field_mapping,
        models.DateTimeField: MomentField,
    }

    serializer_choice_field = OneOfField

    def get_validators(self) -> list[Any]:
        return []
