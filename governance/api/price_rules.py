"""What single customers pay instead of the list price, and mappings of ids that are not listed, over the API."""

from __future__ import annotations

from typing import Any

from drf_spectacular.utils import extend_schema
from rest_framework import serializers
from rest_framework.decorators import action
from rest_framework.request import Request
from rest_framework.response import Response

from governance.api.fields import MomentField, NamedField
from governance.api.filters import NamedFilter, filterset, text_filters
from governance.api.prices import BACKDATED
from governance.api.serializers import InputSerializer, RowSerializer, taken
from governance.api.views import CreateResource, WriteResource
from governance.models import Customer, ModelAlias, PriceOverride
from governance.services import price_rules


class OverrideSerializer(RowSerializer):
    customer = NamedField(Customer)
    customer_id = serializers.IntegerField(read_only=True)
    models = serializers.JSONField(source="model_patterns", required=False, help_text="Ids or patterns; empty: all.")
    effective_from = MomentField(required=False, help_text="Requests that start from then on take it; default: now.")
    backdated = serializers.BooleanField(write_only=True, default=False, help_text=BACKDATED)
    created_by = serializers.SlugRelatedField[Any](slug_field="username", read_only=True)

    class Meta:
        model = PriceOverride
        fields = (
            "id", "customer", "customer_id", "platform", "models", "percent", "rates", "effective_from",
            "effective_to", "note", "created_at", "created_by", "backdated",
        )  # fmt: skip
        extra_kwargs = {"percent": {"normalize_output": True}}


class EndSerializer(InputSerializer):
    at = MomentField(required=False, help_text="When it ends, not in the past; default: now.")
    note = serializers.CharField(max_length=300, allow_blank=True, default="")


class Overrides(CreateResource):
    """A customer's discount, markup or fixed rates. Never edited: end one and make another."""

    queryset = PriceOverride.objects.select_related("customer", "created_by")
    serializer_class = OverrideSerializer
    newest_first = True
    action_permissions = {"end": "change_priceoverride"}
    not_offered = "Requests were charged by these terms. End them with POST …/end/ and make new ones."
    filterset_class = filterset(
        "OverrideFilters", {"customer": NamedFilter(Customer, field_name="customer"), **text_filters("platform")}
    )

    def create_row(self, values: dict[str, Any]) -> PriceOverride:
        return price_rules.create_override(actor=self.request.user, **values)

    @extend_schema(request=EndSerializer, responses={200: OverrideSerializer})
    @action(detail=True, methods=["post"], filter_backends=[], pagination_class=None)
    def end(self, request: Request, *args: Any, **kwargs: Any) -> Response:
        """End the terms; requests from then on pay the list price, or what else fits."""
        override: PriceOverride = self.get_object()
        price_rules.end_override(override=override, actor=request.user, **taken(EndSerializer, request))
        return Response(self.get_serializer(self.get_queryset().get(pk=override.pk)).data)


class AliasSerializer(RowSerializer):
    class Meta:
        model = ModelAlias
        fields = ("id", "platform", "alias", "model_id", "region", "note", "created_at")


class Aliases(WriteResource):
    """Ids that no price list knows, such as ARNs, each with the listed model that prices it."""

    of_the_installation = True
    queryset = ModelAlias.objects.all()
    serializer_class = AliasSerializer
    filterset_class = filterset(
        "AliasFilters", {**text_filters("platform"), **text_filters("alias"), **text_filters("model_id")}
    )

    def create_row(self, values: dict[str, Any]) -> ModelAlias:
        return price_rules.map_model(alias=ModelAlias(**values), actor=self.request.user)

    def change_row(self, row: ModelAlias, values: dict[str, Any]) -> ModelAlias:
        for name, value in values.items():
            setattr(row, name, value)
        return price_rules.map_model(alias=row, actor=self.request.user, fields=values)
