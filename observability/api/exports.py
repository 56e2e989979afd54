"""Exports of the request log over the API: ask for one, watch it, download its file."""

from __future__ import annotations

from typing import Any

import django_filters
from django.http import StreamingHttpResponse
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiResponse, extend_schema
from rest_framework import serializers
from rest_framework.decorators import action
from rest_framework.exceptions import PermissionDenied
from rest_framework.request import Request

from governance.api.errors import Conflict
from governance.api.fields import NamedField
from governance.api.filters import BooleanFilter, NamedFilter, filterset, range_filters, text_filters
from governance.api.serializers import RowSerializer
from governance.api.views import CreateResource
from governance.models import Customer
from observability.exports.download import as_attachment
from observability.exports.services import NotAvailable, request_export
from observability.models import LogExport

READ_ONLY = (
    "id", "customer_id", "status", "scheduled", "rows", "bytes", "sha256", "error", "requested_by", "created_at",
    "finished_at",
)  # fmt: skip


class ExportSerializer(RowSerializer):
    customer = NamedField(
        Customer, required=False, allow_null=True, help_text="null exports every customer: for superusers only."
    )
    customer_id = serializers.IntegerField(read_only=True, allow_null=True)
    requested_by = serializers.SlugRelatedField[Any](slug_field="username", read_only=True)

    class Meta:
        model = LogExport
        fields = ("format", "starts_at", "ends_at", "customer", *READ_ONLY)
        read_only_fields = READ_ONLY


class Exports(CreateResource):
    """Exports of the log to files. A new one is queued; its `status` becomes `done` or `failed`."""

    queryset = LogExport.objects.select_related("customer", "requested_by")
    serializer_class = ExportSerializer
    newest_first = True
    not_offered = "An export is asked for with POST; it does not change afterwards."
    filterset_class = filterset(
        "ExportFilters",
        {
            **text_filters("status"),
            **text_filters("format"),
            "customer": NamedFilter(Customer, field_name="customer"),
            "scheduled": BooleanFilter(field_name="scheduled"),
            **range_filters("created_at", django_filters.IsoDateTimeFilter),
        },
    )

    def create_row(self, values: dict[str, Any]) -> LogExport:
        user: Any = self.request.user
        customer = values.get("customer")
        if customer is None and not user.is_superuser:
            raise PermissionDenied("Name a customer: exports of every customer are for superusers.")
        return request_export(
            format=values.get("format", LogExport.Format.JSONL),
            starts_at=values["starts_at"],
            ends_at=values["ends_at"],
            customer=customer,
            actor=user,
        )

    @extend_schema(
        responses={(200, "application/octet-stream"): OpenApiTypes.BINARY, 409: OpenApiResponse(description="No file.")}
    )
    @action(detail=True, filter_backends=[], pagination_class=None)
    def download(self, request: Request, *args: Any, **kwargs: Any) -> StreamingHttpResponse:
        """The file. 409 while there is none."""
        try:
            return as_attachment(self.get_object(), actor=request.user)
        except NotAvailable as error:
            raise Conflict(str(error)) from None
