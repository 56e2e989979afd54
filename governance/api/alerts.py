"""Alert channels and alerts over the API. A webhook's address and signing secret go in or out once, never back."""

from __future__ import annotations

from typing import Any

import django_filters
from django.core.exceptions import ValidationError
from django.db import transaction
from drf_spectacular.utils import extend_schema
from rest_framework import serializers, status
from rest_framework.decorators import action
from rest_framework.request import Request
from rest_framework.response import Response

from governance.api.fields import MomentField, NamedField, UsdField
from governance.api.filters import BooleanFilter, NamedFilter, NumberFilter, filterset, range_filters, text_filters
from governance.api.permissions import demand_reach
from governance.api.serializers import InputSerializer, RowSerializer, taken
from governance.api.views import ReadResource, WriteResource
from governance.models import Alert, AlertChannel, AlertDelivery, Customer, Team
from governance.services import alerts


class ChannelSerializer(RowSerializer):
    customer = NamedField(
        Customer, required=False, allow_null=True, help_text="null hears of every customer; for superusers only."
    )
    customer_id = serializers.IntegerField(read_only=True, allow_null=True)
    url = serializers.CharField(
        write_only=True, required=False, max_length=2000,
        help_text="Where a webhook posts to. Stored encrypted, never shown again: see `host`.",
    )  # fmt: skip

    class Meta:
        model = AlertChannel
        fields = (
            "id", "name", "customer", "customer_id", "kind", "emails", "url", "host", "thresholds_from", "on_unpriced",
            "on_zero_cost", "on_raises", "on_providers", "on_routing", "is_active", "created_at",
        )  # fmt: skip
        read_only_fields = ("host",)

    def validate(self, values: dict[str, Any]) -> dict[str, Any]:
        if self.instance is not None:
            fixed = [name for name in ("customer", "kind") if name in values]
            if fixed:
                sentence = "A channel stays with its customer and kind. Make a new one, and switch this one off."
                raise serializers.ValidationError({name: [sentence] for name in fixed})
        return values


class MadeChannelSerializer(ChannelSerializer):
    """A channel with the secret that was made just now."""

    signing_secret = serializers.SerializerMethodField(help_text="Shown once; empty where the kind has none.")

    class Meta(ChannelSerializer.Meta):
        fields = (*ChannelSerializer.Meta.fields, "signing_secret")  # type: ignore[assignment]

    def get_signing_secret(self, channel: AlertChannel) -> str:
        return str(getattr(channel, "made_secret", ""))


class NoInputSerializer(InputSerializer):
    """Nothing."""


class TestAnswerSerializer(serializers.Serializer[Any]):
    delivered = serializers.BooleanField()
    detail = serializers.CharField(help_text="A sentence: what the receiver answered, or why it was not reached.")


class Channels(WriteResource):
    """Where alerts go besides the e-mail addresses of each budget."""

    queryset = AlertChannel.objects.select_related("customer")
    serializer_class = ChannelSerializer
    lookup_value_regex = r"[0-9a-f-]{36}"
    keyset = ("created_at", "pk")
    action_permissions = {"test": "change_alertchannel", "renew_secret": "change_alertchannel"}
    filterset_class = filterset(
        "ChannelFilters",
        {
            **text_filters("name"),
            **text_filters("kind"),
            "customer": NamedFilter(Customer, field_name="customer"),
            "is_active": BooleanFilter(field_name="is_active"),
        },
    )

    @extend_schema(responses={201: MadeChannelSerializer})
    def create(self, request: Request, *args: Any, **kwargs: Any) -> Response:
        serializer = self.get_serializer(data=request.data)
        serializer.is_valid(raise_exception=True)
        self.perform_create(serializer)
        channel: Any = serializer.instance
        channel.made_secret = self.made_secret
        answer = MadeChannelSerializer(channel, context=self.get_serializer_context())
        return Response(answer.data, status=status.HTTP_201_CREATED)

    def create_row(self, values: dict[str, Any]) -> AlertChannel:
        values = {"customer": None, "kind": AlertChannel.Kind.EMAIL, **values}
        if values["customer"] is None and not getattr(self.request.user, "is_superuser", False):
            raise ValidationError({"customer": "Name a customer of yours: who hears of all is set by a superuser."})
        channel, self.made_secret = alerts.create_channel(actor=self.request.user, **values)
        return channel

    def change_row(self, row: AlertChannel, values: dict[str, Any]) -> AlertChannel:
        return alerts.change_channel(channel=row, actor=self.request.user, **values)

    @extend_schema(request=NoInputSerializer, responses=TestAnswerSerializer)
    @action(detail=True, methods=["post"])
    def test(self, request: Request, pk: str | None = None) -> Response:
        """Send a test message now and say how it went."""
        taken(NoInputSerializer, request)
        channel = self.get_object()
        demand_reach(request.user, channel)
        arrived, said = alerts.try_channel(channel=channel, actor=request.user)
        return Response({"delivered": arrived, "detail": said})

    @extend_schema(request=NoInputSerializer, responses=MadeChannelSerializer)
    @action(detail=True, methods=["post"], url_path="renew-secret")
    def renew_secret(self, request: Request, pk: str | None = None) -> Response:
        """Make a new signing secret, shown once; the old one signs nothing any more."""
        taken(NoInputSerializer, request)
        with transaction.atomic():
            channel = self.get_object()
            demand_reach(request.user, channel)
            channel.made_secret = alerts.renew_secret(channel=channel, actor=request.user)
        return Response(MadeChannelSerializer(channel, context=self.get_serializer_context()).data)


class AlertSerializer(RowSerializer):
    customer = serializers.CharField(source="customer_name", read_only=True)
    team = serializers.CharField(source="team_name", read_only=True)
    budget = serializers.CharField(source="budget_name", read_only=True)
    target = serializers.CharField(source="target_name", read_only=True)
    spent_usd = UsdField(source="spent_nano_usd", read_only=True)
    limit_usd = UsdField(source="limit_nano_usd", read_only=True)
    forecast_usd = UsdField(source="forecast_nano_usd", read_only=True)
    amount_usd = UsdField(source="amount_nano_usd", read_only=True, help_text="Of a raise.")

    class Meta:
        model = Alert
        fields = (
            "id", "kind", "event", "created_at", "told", "customer", "customer_id", "team", "team_id", "budget",
            "budget_id", "scope", "target", "enforcement", "period", "period_start", "period_end", "timezone",
            "threshold", "spent_usd", "limit_usd", "forecast_usd", "runs_out_at", "contact", "model", "requests",
            "tokens", "amount_usd", "note",
        )  # fmt: skip
        read_only_fields = fields


class Alerts(ReadResource):
    """What was told, newest first. The figures are those of that moment; names stay when the things are gone."""

    queryset = Alert.objects.all()
    serializer_class = AlertSerializer
    keyset = ("created_at", "pk")
    newest_first = True
    lookup_value_regex = r"[0-9A-Z]{26}"
    not_offered = "Alerts are written by the product alone."
    filterset_class = filterset(
        "AlertFilters",
        {
            **text_filters("kind"),
            **text_filters("scope"),
            **text_filters("model"),
            **range_filters("created_at", django_filters.IsoDateTimeFilter),
            **range_filters("threshold", NumberFilter),
            "customer": NamedFilter(Customer, field_name="customer"),
            "team": NamedFilter(Team, field_name="team"),
            "budget_id": NumberFilter(field_name="budget_id"),
            "told": BooleanFilter(field_name="told"),
        },
    )


class DeliverySerializer(RowSerializer):
    alert_id = serializers.CharField(read_only=True)
    channel_id = serializers.UUIDField(read_only=True, allow_null=True)
    next_try_at = MomentField(read_only=True, allow_null=True)

    class Meta:
        model = AlertDelivery
        fields = (
            "id", "alert_id", "channel_id", "kind", "name", "status", "attempts", "next_try_at", "tried_at", "sent_at",
            "response_status", "last_error", "created_at",
        )  # fmt: skip
        read_only_fields = fields


class Deliveries(ReadResource):
    """Each message to each destination, newest first, and how it fared."""

    queryset = AlertDelivery.objects.all()
    serializer_class = DeliverySerializer
    newest_first = True
    not_offered = "Messages are written by the product alone; POST …/try-again/ sends a failed one again."
    action_permissions = {"try_again": "retry_alertdelivery"}
    filterset_class = filterset(
        "DeliveryFilters",
        {
            **text_filters("status"),
            **text_filters("kind"),
            **text_filters("alert_id"),
            **range_filters("created_at", django_filters.IsoDateTimeFilter),
        },
    )

    @extend_schema(request=NoInputSerializer, responses=DeliverySerializer)
    @action(detail=True, methods=["post"], url_path="try-again")
    def try_again(self, request: Request, pk: str | None = None) -> Response:
        """Send a failed message again within a minute; nothing happens to one that has not failed."""
        taken(NoInputSerializer, request)
        delivery = self.get_object()
        alerts.try_again(delivery=delivery, actor=request.user)
        delivery.refresh_from_db()
        return Response(self.get_serializer(delivery).data)
