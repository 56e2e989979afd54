"""Re-pricing of a period over the API: ask for a preview, read it, approve or reject it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from django.http import StreamingHttpResponse
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import extend_schema, extend_schema_field
from rest_framework import serializers
from rest_framework.decorators import action
from rest_framework.exceptions import PermissionDenied
from rest_framework.request import Request
from rest_framework.response import Response

from governance.api.errors import Conflict
from governance.api.fields import NamedField, UsdField
from governance.api.filters import NamedFilter, filterset, text_filters
from governance.api.permissions import demand_reach
from governance.api.serializers import InputSerializer, RowSerializer, taken
from governance.api.views import CreateResource
from governance.domain.money import usd_string
from governance.models import Customer, Repricing
from observability.repricing import services
from observability.repricing.export import as_csv, by_model

READ_ONLY = (
    "id", "customer_id", "status", "requests", "changed", "old_usd", "new_usd", "difference_usd", "posted",
    "posted_usd", "left_out", "by_model", "error", "requested_by", "created_at", "computed_at", "decided_by",
    "decided_at", "decision_note", "posted_at",
)  # fmt: skip


class RepricingSerializer(RowSerializer):
    customer = NamedField(
        Customer, required=False, allow_null=True, help_text="null means every customer: for superusers only."
    )
    customer_id = serializers.IntegerField(read_only=True, allow_null=True)
    models = serializers.JSONField(source="model_patterns", required=False, help_text="Ids or patterns; empty: all.")
    old_usd = UsdField(source="old_nano_usd", read_only=True)
    new_usd = UsdField(source="new_nano_usd", read_only=True)
    difference_usd = UsdField(source="difference_nano_usd", read_only=True)
    posted_usd = UsdField(source="posted_nano_usd", read_only=True)
    by_model = serializers.SerializerMethodField(help_text="Sums of the preview by model; in lists it is null.")
    requested_by = serializers.SlugRelatedField[Any](slug_field="username", read_only=True)
    decided_by = serializers.SlugRelatedField[Any](slug_field="username", read_only=True)

    class Meta:
        model = Repricing
        fields = ("customer", "starts_at", "ends_at", "models", "reason", *READ_ONLY)
        read_only_fields = tuple(name for name in READ_ONLY if not name.endswith("_usd") and name != "by_model")

    @extend_schema_field({"type": "array", "nullable": True, "items": {"type": "object"}})
    def get_by_model(self, row: Repricing) -> list[dict[str, Any]] | None:
        if getattr(self.context.get("view"), "action", "") == "list":
            return None
        return [
            {
                "model": one["model"],
                "requests": one["requests"],
                **{f"{name}_usd": usd_string(one[name]) for name in ("old", "new", "difference")},
            }
            for one in by_model(row)
        ]


class DecideSerializer(InputSerializer):
    note = serializers.CharField(max_length=300, allow_blank=True, default="", help_text="Kept in the trail.")


class Repricings(CreateResource):
    """What a period would cost by today's prices; posted as adjustments once another person approves it."""

    queryset = Repricing.objects.select_related("customer", "requested_by", "decided_by")
    serializer_class = RepricingSerializer
    newest_first = True
    action_permissions = {"approve": "decide_repricing", "reject": "decide_repricing", "lines": "view_repricing"}
    not_offered = "A re-pricing is asked for with POST, then approved or rejected with POST …/approve/ or …/reject/."
    filterset_class = filterset(
        "RepricingFilters", {"customer": NamedFilter(Customer, field_name="customer"), **text_filters("status")}
    )

    def create_row(self, values: dict[str, Any]) -> Repricing:
        user: Any = self.request.user
        customer = values.get("customer")
        if customer is None and not user.is_superuser:
            raise PermissionDenied("Name a customer: re-pricing of every customer is for superusers.")
        if customer is not None:
            demand_reach(user, customer)
        return services.request_repricing(
            customer=customer,
            starts_at=values["starts_at"],
            ends_at=values["ends_at"],
            models=values.get("model_patterns"),
            reason=values["reason"],
            actor=user,
        )

    @extend_schema(request=DecideSerializer, responses={200: RepricingSerializer})
    @action(detail=True, methods=["post"], filter_backends=[], pagination_class=None)
    def approve(self, request: Request, *args: Any, **kwargs: Any) -> Response:
        """Post the adjustments of the preview; not by the person who asked for it."""
        return self._decide(request, services.approve_repricing)

    @extend_schema(request=DecideSerializer, responses={200: RepricingSerializer})
    @action(detail=True, methods=["post"], filter_backends=[], pagination_class=None)
    def reject(self, request: Request, *args: Any, **kwargs: Any) -> Response:
        """Drop it; nothing is posted."""
        return self._decide(request, services.reject_repricing)

    @extend_schema(responses={(200, "text/csv"): OpenApiTypes.BINARY})
    @action(detail=True, filter_backends=[], pagination_class=None)
    def lines(self, request: Request, *args: Any, **kwargs: Any) -> StreamingHttpResponse:
        """Every request whose cost changes, as CSV."""
        return as_csv(self.get_object())

    def _decide(self, request: Request, decide: Callable[..., Repricing]) -> Response:
        row: Repricing = self.get_object()
        if row.status != Repricing.Status.READY:
            raise Conflict(f"This re-pricing is not waiting for a decision: {row.get_status_display().lower()}.")
        decide(repricing=row, actor=request.user, **taken(DecideSerializer, request))
        return Response(self.get_serializer(self.get_queryset().get(pk=row.pk)).data)
