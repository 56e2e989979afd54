"""Filters of the request log: every field by its name."""

from __future__ import annotations

from typing import Any

import django_filters
from django.db.models import Q, QuerySet, Value
from django.db.models.fields.json import KeyTextTransform
from django.db.models.lookups import Exact
from rest_framework.exceptions import ValidationError

from governance.api.filters import (
    AddressFilter,
    BooleanFilter,
    NumberFilter,
    NumberInFilter,
    filterset,
    range_filters,
    text_filters,
)
from governance.api.references import public_id_of
from governance.models import KeySecret
from observability.models import Request

TEXTS = (
    "id", "status", "error_type", "session_id", "agent_id", "parent_agent_id", "prompt_id", "request_class",
    "client", "device_id", "working_directory", "endpoint", "provider", "provider_credential",
    "region", "model_requested", "model", "route_rule", "speed", "inference_geo", "service_tier",
    "cost_quality", "cache", "stop_reason", "provider_request_id",
)  # fmt: skip
MOMENTS = ("started_at", "finished_at")
NUMBERS = (
    "http_status", "input_tokens", "output_tokens", "thinking_tokens", "cache_read_tokens",
    "cache_write_5m_tokens", "cache_write_1h_tokens", "web_searches", "cost_nano_usd", "price_id",
    "latency_ms", "ttft_ms", "gateway_overhead_us", "lines_added", "lines_removed", "request_bytes",
)  # fmt: skip
OWNERS = ("customer", "team", "project", "developer")
CHOICES = {"status": Request.Status, "cost_quality": Request.CostQuality, "cache": Request.Cache}


class OwnerFilter(django_filters.CharFilter):
    """Whose request it was: the name that the row keeps, or the numeric id beside it."""

    def filter(self, queryset: QuerySet[Any], value: str) -> QuerySet[Any]:
        return queryset.filter(self.wanted(value)) if value else queryset

    def wanted(self, value: str) -> Q:
        named = Q(**{self.field_name: value})
        return named | Q(**{f"{self.field_name}_id": int(value)}) if _is_id(value) else named


class KeyFilter(OwnerFilter):
    """A virtual key by name, numeric id, or public id: `sk-cmp-XXXXXXXX`."""

    def wanted(self, value: str) -> Q:
        if not value.startswith("sk-cmp-"):
            return super().wanted(value)
        public_id = public_id_of(value)
        if public_id is None:
            raise ValidationError(
                {
                    "virtual_key": [
                        "Name the key by its public id, sk-cmp- and 8 characters. "
                        "A whole secret does not belong in an address: if you sent one, rotate it."
                    ]
                }
            )
        # Whose key it is needs no check here: the rows themselves are restricted to what the user sees.
        keys = KeySecret.objects.filter(public_id=public_id).values("virtual_key_id")
        return Q(virtual_key_id__in=keys)


class TagsFilter(django_filters.CharFilter):
    """Rows that carry all of the tags `k=v,k2=v2`: the form of the x-comptroller-tags header."""

    def filter(self, queryset: QuerySet[Any], value: str) -> QuerySet[Any]:
        for pair in value.split(",") if value else []:
            name, separator, tag = (part.strip() for part in pair.partition("="))
            # A key of digits would be read as a position in a list.
            if not separator or not name or name.lstrip("-").isdigit():
                raise ValidationError({"tags": [f"“{pair}” is not of the form name=value."]})
            queryset = queryset.filter(Exact(KeyTextTransform(name, "tags"), Value(tag)))
        return queryset


def _is_id(value: str) -> bool:
    return value.isascii() and value.isdigit() and len(value) < 19


def _filters() -> dict[str, django_filters.Filter]:
    filters: dict[str, django_filters.Filter] = {}
    for name in TEXTS:
        filters |= text_filters(name)
    for name, choices in CHOICES.items():
        filters[name] = django_filters.ChoiceFilter(field_name=name, choices=choices.choices)
    for name in MOMENTS:
        filters |= range_filters(name, django_filters.IsoDateTimeFilter)
    for name in NUMBERS:
        filters |= range_filters(name, NumberFilter)
    for name in OWNERS:
        filters[name] = OwnerFilter(field_name=name)
        filters[f"{name}_id"] = NumberFilter(field_name=f"{name}_id")
        filters[f"{name}_id__in"] = NumberInFilter(field_name=f"{name}_id", lookup_expr="in")
    filters["virtual_key"] = KeyFilter(field_name="virtual_key")
    filters["virtual_key_id"] = NumberFilter(field_name="virtual_key_id")
    filters["virtual_key_id__in"] = NumberInFilter(field_name="virtual_key_id", lookup_expr="in")
    filters["stream"] = BooleanFilter(field_name="stream")
    filters["client_ip"] = AddressFilter(field_name="client_ip")
    filters["tags"] = TagsFilter(field_name="tags")
    return filters


RequestFilters = filterset("RequestFilters", _filters())
