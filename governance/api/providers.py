"""Providers and their credentials over the API. A secret goes in and never comes out."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from django.db.models import QuerySet
from django.shortcuts import get_object_or_404
from drf_spectacular.utils import extend_schema_field
from rest_framework import serializers

from governance.api.fields import MomentField
from governance.api.filters import BooleanFilter, filterset, text_filters
from governance.api.serializers import RowSerializer
from governance.api.views import WriteResource
from governance.models import Provider, ProviderCredential
from governance.selectors_providers import ProviderStatus, provider_statuses
from governance.services import providers
from governance.services.records import save_with_audit


class CredentialHealthSerializer(serializers.Serializer[Any]):
    name = serializers.CharField()
    state = serializers.CharField(
        help_text="ready, limit, resting, cooling, dead or problem: the worst of all processes."
    )
    why = serializers.CharField()
    since = MomentField(allow_null=True)
    until = MomentField(allow_null=True, help_text="When it is asked again.")
    processes = serializers.IntegerField(help_text="Gateway processes that say so.")
    last_error = serializers.CharField()
    last_error_at = MomentField(allow_null=True)


class HealthSerializer(serializers.Serializer[Any]):
    """How the gateway's processes find a provider. Figures are of the last five minutes."""

    state = serializers.CharField(help_text="up, degraded, down, or unknown where no running process tells of it.")
    why = serializers.CharField()
    since = MomentField(allow_null=True)
    requests = serializers.IntegerField()
    failures = serializers.IntegerField()
    latency_ms = serializers.IntegerField(allow_null=True, help_text="Median.")
    ttft_ms = serializers.IntegerField(allow_null=True, help_text="Median time to the first token.")
    last_error = serializers.CharField()
    last_error_at = MomentField(allow_null=True)
    credentials = CredentialHealthSerializer(many=True)


class ProviderSerializer(RowSerializer):
    health = serializers.SerializerMethodField()

    class Meta:
        model = Provider
        fields = (
            "id", "name", "kind", "base_url", "region", "project", "model_map", "options", "rank", "is_active",
            "health", "created_at",
        )  # fmt: skip

    @extend_schema_field(HealthSerializer)
    def get_health(self, provider: Provider) -> dict[str, Any]:
        status: ProviderStatus = self.context["view"].status_of(provider)
        values: dict[str, Any] = HealthSerializer(status).data
        return values


class CredentialSerializer(RowSerializer):
    secret = serializers.CharField(
        write_only=True, required=False, allow_blank=True, max_length=8000, style={"input_type": "password"},
        help_text="Stored encrypted, never shown again; empty removes it.",
    )  # fmt: skip
    has_secret = serializers.SerializerMethodField(help_text="Whether a secret is stored here.")

    class Meta:
        model = ProviderCredential
        fields = (
            "id", "name", "method", "identifier", "secret", "secret_env", "has_secret", "weight", "requests_per_minute",
            "tokens_per_minute", "concurrent", "is_active", "created_at",
        )  # fmt: skip

    def get_has_secret(self, credential: ProviderCredential) -> bool:
        return bool(credential.secret)


class Providers(WriteResource):
    """Addresses that serve models. Their credentials are at `providers/<id>/credentials/`."""

    of_the_installation = True
    queryset = Provider.objects.all()
    serializer_class = ProviderSerializer
    filterset_class = filterset(
        "ProviderFilters",
        {
            **text_filters("name"),
            **text_filters("kind"),
            "is_active": BooleanFilter(field_name="is_active"),
        },
    )

    def paginate_queryset(self, queryset: QuerySet[Any] | Sequence[Any]) -> list[Any] | None:
        page = super().paginate_queryset(queryset)
        self._statuses = provider_statuses(page or [])
        return page

    def status_of(self, row: Provider) -> ProviderStatus:
        """How the provider is: read with its page, or now."""
        statuses: dict[int, ProviderStatus] = getattr(self, "_statuses", {})
        if row.pk not in statuses:
            self._statuses = statuses = statuses | provider_statuses([row])
        return statuses[row.pk]

    def create_row(self, values: dict[str, Any]) -> Provider:
        return providers.create_provider(actor=self.request.user, **{"kind": Provider.Kind.ANTHROPIC, **values})

    def change_row(self, row: Provider, values: dict[str, Any]) -> Provider:
        providers.change(row=row, actor=self.request.user, **values)
        return row


class Credentials(WriteResource):
    """What a provider is called with."""

    of_the_installation = True
    queryset = ProviderCredential.objects.select_related("provider")
    serializer_class = CredentialSerializer

    def get_queryset(self) -> QuerySet[ProviderCredential]:
        return super().get_queryset().filter(provider_id=self.kwargs.get("provider_id"))

    def list(self, request: Any, *args: Any, **kwargs: Any) -> Any:
        self._provider()
        return super().list(request, *args, **kwargs)

    def create_row(self, values: dict[str, Any]) -> ProviderCredential:
        return providers.create_credential(provider=self._provider(), actor=self.request.user, **values)

    def change_row(self, row: ProviderCredential, values: dict[str, Any]) -> ProviderCredential:
        fields = list(values)
        secret = values.pop("secret", None)
        for name, value in values.items():
            setattr(row, name, value)
        if secret is not None:
            providers.seal_secret(row, secret)
        return save_with_audit(instance=row, actor=self.request.user, fields=fields)

    def _provider(self) -> Provider:
        return get_object_or_404(Provider, pk=self.kwargs["provider_id"])
