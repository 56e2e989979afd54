"""Providers and their credentials over the API. A secret goes in and never comes out."""

from __future__ import annotations

from typing import Any

from django.db.models import QuerySet
from django.shortcuts import get_object_or_404
from rest_framework import serializers

from governance.api.filters import BooleanFilter, filterset, text_filters
from governance.api.serializers import RowSerializer
from governance.api.views import WriteResource
from governance.models import Provider, ProviderCredential
from governance.services import providers
from governance.services.records import save_with_audit


class ProviderSerializer(RowSerializer):
    class Meta:
        model = Provider
        fields = ("id", "name", "kind", "base_url", "rank", "is_active", "created_at")


class CredentialSerializer(RowSerializer):
    secret = serializers.CharField(
        write_only=True, required=False, allow_blank=True, max_length=4000, style={"input_type": "password"},
        help_text="Stored encrypted, never shown again; empty removes it.",
    )  # fmt: skip
    has_secret = serializers.SerializerMethodField(help_text="Whether a secret is stored here.")

    class Meta:
        model = ProviderCredential
        fields = ("id", "name", "secret", "secret_env", "has_secret", "weight", "is_active", "created_at")

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
        if "secret" in values:
            providers.seal_secret(row, values.pop("secret"))
        for name, value in values.items():
            setattr(row, name, value)
        return save_with_audit(instance=row, actor=self.request.user, fields=fields)

    def _provider(self) -> Provider:
        return get_object_or_404(Provider, pk=self.kwargs["provider_id"])
