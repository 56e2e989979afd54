"""Filters by field name that refuse what they do not know."""

from __future__ import annotations

from typing import Any

import django_filters
from django import forms
from django.db.models import Model, Q, QuerySet
from django_filters.rest_framework import DjangoFilterBackend
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import extend_schema_field
from rest_framework.exceptions import ValidationError
from rest_framework.request import Request
from rest_framework.views import APIView

from governance.api.references import PATHS

MAX_NUMBER = 10**20


class StrictFilterBackend(DjangoFilterBackend):
    """django-filter, but an unknown parameter is an error: a misspelt filter would answer with every row."""

    def filter_queryset(self, request: Request, queryset: QuerySet[Any], view: APIView) -> QuerySet[Any]:
        filterset_class = self.get_filterset_class(view, queryset)
        known = set(filterset_class.base_filters) if filterset_class else set()
        paginator = getattr(view, "paginator", None)
        known |= set(getattr(paginator, "parameters", ()))
        unknown = sorted(set(request.query_params) - known)
        if unknown:
            raise ValidationError(
                {name: [f"There is no such filter. Known: {', '.join(sorted(known))}."] for name in unknown}
            )
        repeated = sorted(name for name, values in request.query_params.lists() if len(values) > 1)
        if repeated:
            raise ValidationError(
                {name: ["Given more than once. Use “__in” with commas for several values."] for name in repeated}
            )
        empty = sorted(name for name, value in request.query_params.items() if not value)
        if empty:
            raise ValidationError({name: ["This filter is empty. Give a value or leave it out."] for name in empty})
        filtered: QuerySet[Any] = super().filter_queryset(request, queryset, view)
        return filtered


class TextInFilter(django_filters.BaseInFilter, django_filters.CharFilter):
    """Several values, separated by commas."""


class NumberFilter(django_filters.NumberFilter):
    """A number within ±10²⁰: beyond that, `1e999999999` would be written out digit by digit."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(min_value=-MAX_NUMBER, max_value=MAX_NUMBER, **kwargs)


class NumberInFilter(django_filters.BaseInFilter, NumberFilter):
    """Several numbers, separated by commas."""


class AddressFilter(django_filters.CharFilter):
    """An IP address."""

    field_class = forms.GenericIPAddressField


@extend_schema_field(OpenApiTypes.BOOL)
class BooleanFilter(django_filters.TypedChoiceFilter):
    """`true` or `false`; anything else is an error, where django-filter's own would drop the filter."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(choices=[("true", "true"), ("false", "false")], coerce=lambda text: text == "true", **kwargs)


class NamedFilter(django_filters.CharFilter):
    """Rows that refer to a row by its name, a path of names, or its id (`Core`, `Acme/Core`, `7`)."""

    def __init__(self, model: type[Model], **kwargs: Any) -> None:
        self.path = PATHS[model]
        super().__init__(**kwargs)

    def filter(self, queryset: QuerySet[Any], value: str) -> QuerySet[Any]:
        if not value:
            return queryset
        name = self.field_name
        wanted = Q(**{f"{name}__{self.path[-1]}__iexact": value})
        parts = [part.strip() for part in value.split("/")]
        if 1 < len(parts) <= len(self.path):
            columns = zip(self.path[-len(parts) :], parts, strict=True)
            wanted |= Q(**{f"{name}__{column}__iexact": part for column, part in columns})
        if value.isascii() and value.isdigit() and len(value) < 19:
            wanted |= Q(**{f"{name}_id": int(value)})
        return queryset.filter(wanted)


def range_filters(name: str, kind: type[django_filters.Filter]) -> dict[str, django_filters.Filter]:
    """`name`, `name__gte`, `name__gt`, `name__lte`, `name__lt`."""
    filters = {name: kind(field_name=name)}
    for lookup in ("gte", "gt", "lte", "lt"):
        filters[f"{name}__{lookup}"] = kind(field_name=name, lookup_expr=lookup)
    return filters


def text_filters(name: str) -> dict[str, django_filters.Filter]:
    """`name` and `name__in`."""
    return {
        name: django_filters.CharFilter(field_name=name),
        f"{name}__in": TextInFilter(field_name=name, lookup_expr="in"),
    }


def filterset(name: str, filters: dict[str, django_filters.Filter]) -> type[django_filters.FilterSet]:
    """A filter set of exactly these filters."""
    made: type[django_filters.FilterSet] = type(name, (django_filters.FilterSet,), filters)
    return made
