"""Cursor pagination by keyset: a page starts after a row, so rows inserted meanwhile shift nothing."""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Sequence
from typing import Any

from django.core.exceptions import ValidationError as DjangoValidationError
from django.db.models import Model, Q, QuerySet
from rest_framework.exceptions import ValidationError
from rest_framework.pagination import BasePagination
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.utils.urls import remove_query_param, replace_query_param
from rest_framework.views import APIView

DEFAULT_PAGE_SIZE = 100
MAX_PAGE_SIZE = 1000


class KeysetPagination(BasePagination):
    """`{"next", "previous", "results"}` in the order of the view's `keyset`: field names, the last unique.

    The view's `newest_first` turns the order around. A cursor carries the key of a row and the direction; it
    opens nothing that the user may not see, because the queryset is restricted before it comes here.
    """

    parameters = frozenset({"cursor", "page_size"})

    def paginate_queryset(
        self, queryset: QuerySet[Any] | Sequence[Any], request: Request, view: APIView | None = None
    ) -> list[Any]:
        if not isinstance(queryset, QuerySet):
            raise TypeError("Keyset pagination needs a queryset: the database does the comparing.")
        self.request = request
        self.keyset: tuple[str, ...] = getattr(view, "keyset", ("pk",))
        newest_first: bool = getattr(view, "newest_first", False)
        size = _page_size(request)
        after, backwards = self._read_cursor(queryset.model, request.query_params.get("cursor"))
        descending = newest_first != backwards
        if after is not None:
            queryset = queryset.filter(_beyond(self.keyset, after, "lt" if descending else "gt"))
        rows = list(queryset.order_by(*(("-" if descending else "") + name for name in self.keyset))[: size + 1])
        more, rows = len(rows) > size, rows[:size]
        if backwards:
            rows.reverse()
        self._has_next = bool(rows) and (more or backwards)
        self._has_previous = bool(rows) and (more if backwards else after is not None)
        self._rows = rows
        return rows

    def get_paginated_response(self, data: Any) -> Response:
        return Response(
            {
                "next": self._link("n", self._rows[-1]) if self._has_next else None,
                "previous": self._link("p", self._rows[0]) if self._has_previous else None,
                "results": data,
            }
        )

    def _link(self, direction: str, row: Model) -> str:
        key = [_text(getattr(row, name)) for name in self.keyset]
        cursor = base64.urlsafe_b64encode(json.dumps([direction, *key]).encode()).decode().rstrip("=")
        return replace_query_param(remove_query_param(self.request.build_absolute_uri(), "cursor"), "cursor", cursor)

    def _read_cursor(self, model: type[Model], cursor: str | None) -> tuple[list[Any] | None, bool]:
        if not cursor:
            return None, False
        columns = {field.name: field for field in model._meta.concrete_fields}
        fields = [model._meta.pk if name == "pk" else columns[name] for name in self.keyset]
        try:
            direction, *key = json.loads(base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4)))
            values = [
                field.to_python(value) for field, value in zip(fields, key, strict=True) if isinstance(value, str)
            ]
            if direction not in {"n", "p"} or len(values) != len(fields):
                raise ValueError(cursor)
        except (ValueError, TypeError, DjangoValidationError):
            raise ValidationError(
                {"cursor": ["This cursor is not one of ours. Use the address in “next” or “previous” as it is."]}
            ) from None
        return values, direction == "p"

    def get_paginated_response_schema(self, schema: dict[str, Any]) -> dict[str, Any]:
        link = {"type": "string", "format": "uri", "nullable": True}
        return {
            "type": "object",
            "required": ["next", "previous", "results"],
            "properties": {"next": link, "previous": link, "results": schema},
        }

    def get_schema_operation_parameters(self, view: APIView) -> list[dict[str, Any]]:
        return [
            {
                "name": "cursor",
                "in": "query",
                "schema": {"type": "string"},
                "description": "Taken from “next” or “previous” of a page.",
            },
            {
                "name": "page_size",
                "in": "query",
                "schema": {
                    "type": "integer",
                    "minimum": 1,
                    "maximum": MAX_PAGE_SIZE,
                    "default": DEFAULT_PAGE_SIZE,
                },
                "description": "Rows of one page.",
            },
        ]


def _page_size(request: Request) -> int:
    text = request.query_params.get("page_size", str(DEFAULT_PAGE_SIZE))
    if not re.fullmatch(r"[0-9]{1,4}", text) or not 1 <= int(text) <= MAX_PAGE_SIZE:
        raise ValidationError({"page_size": [f"Give a whole number from 1 to {MAX_PAGE_SIZE}, not “{text}”."]})
    return int(text)


def _beyond(names: Sequence[str], key: Sequence[Any], side: str) -> Q:
    """Rows strictly on one `side` ("lt", "gt") of a key, compared field by field.

    The leading `<=` repeats what the alternatives say already: it is what lets the database walk the index.
    """
    name, value = names[0], key[0]
    strictly = Q(**{f"{name}__{side}": value})
    if len(names) == 1:
        return strictly
    tied = Q(**{name: value}) & _beyond(names[1:], key[1:], side)
    return Q(**{f"{name}__{side}e": value}) & (strictly | tied)


def _text(value: Any) -> str:
    return value.isoformat() if hasattr(value, "isoformat") else str(value)
