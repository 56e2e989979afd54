"""Virtual keys over the API: list, issue, change, rotate, revoke. A secret is in one answer and nowhere else."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import django_filters
from django.db import transaction
from django.db.models import Prefetch, Q, QuerySet
from django.utils import timezone
from drf_spectacular.utils import extend_schema
from rest_framework import serializers, status
from rest_framework.decorators import action
from rest_framework.request import Request
from rest_framework.response import Response

from governance.api.errors import Conflict
from governance.api.fields import AliasesField, MomentField, NamedField
from governance.api.filters import BooleanFilter, NamedFilter, filterset, range_filters, text_filters
from governance.api.permissions import demand, demand_reach
from governance.api.references import public_id_of
from governance.api.serializers import InputSerializer, RowSerializer, taken
from governance.api.views import WriteResource
from governance.domain.keys import Secret
from governance.models import (
    Customer,
    Developer,
    KeySecret,
    Project,
    Provider,
    ProviderAccess,
    Team,
    VirtualKey,
)
from governance.services import keys, providers
from governance.services.records import delete_with_audit, save_with_audit

DEFAULT_OVERLAP = timedelta(hours=1)


class SecretSerializer(RowSerializer):
    public_id = serializers.SerializerMethodField(help_text="The start of the secret: sk-cmp-XXXXXXXX.")

    class Meta:
        model = KeySecret
        fields = ("public_id", "created_at", "valid_until")

    def get_public_id(self, secret: KeySecret) -> str:
        return f"sk-cmp-{secret.public_id}"


class AccessSerializer(RowSerializer):
    name = NamedField(Provider, source="provider")
    models = serializers.JSONField(
        source="model_patterns", required=False, help_text="Models it may be used for; [] means all."
    )

    class Meta:
        model = ProviderAccess
        fields = ("id", "name", "models", "weight")


class KeySerializer(RowSerializer):
    customer = NamedField(Customer, source="team.customer", read_only=True)
    team = NamedField(Team)
    team_id = serializers.IntegerField(read_only=True)
    developer = NamedField(Developer, required=False, allow_null=True)
    developer_id = serializers.IntegerField(read_only=True, allow_null=True)
    project = NamedField(Project, required=False, allow_null=True)
    project_id = serializers.IntegerField(read_only=True, allow_null=True)
    models = serializers.JSONField(
        source="model_patterns", required=False,
        help_text='Model ids or patterns such as ["claude-opus-*"]; [] allows every model.',
    )  # fmt: skip
    model_aliases = AliasesField(required=False)
    providers = AccessSerializer(
        source="accesses", many=True, required=False,
        help_text="Providers it may use; [] allows every active one. PATCH replaces the list.",
    )  # fmt: skip
    is_active = serializers.SerializerMethodField(help_text="Neither revoked nor expired.")
    secrets = SecretSerializer(many=True, read_only=True, help_text="Public ids; secrets are not stored.")
    last_used_at = MomentField(source="activity.last_used_at", default=None, read_only=True)
    last_client = serializers.CharField(source="activity.client", default=None, read_only=True)

    class Meta:
        model = VirtualKey
        fields: tuple[str, ...] = (
            "id", "name", "customer", "team", "team_id", "developer", "developer_id", "project", "project_id",
            "models", "model_aliases", "providers", "allowed_ips", "content_policy", "expires_at", "is_active",
            "revoked_at", "revoked_reason", "secrets", "last_used_at", "last_client", "created_at",
        )  # fmt: skip
        read_only_fields = ("revoked_at", "revoked_reason")

    def get_is_active(self, key: VirtualKey) -> bool:
        return key.revoked_at is None and (key.expires_at is None or key.expires_at > timezone.now())


class IssuedKeySerializer(KeySerializer):
    secret = serializers.CharField(read_only=True, help_text="The whole secret, in this answer only.")

    class Meta(KeySerializer.Meta):
        fields = (*KeySerializer.Meta.fields, "secret")


class RotateSerializer(InputSerializer):
    overlap_seconds = serializers.IntegerField(
        min_value=0, max_value=int(keys.MAX_OVERLAP.total_seconds()),
        default=int(DEFAULT_OVERLAP.total_seconds()), help_text="How long the old secrets go on working.",
    )  # fmt: skip


class RevokeSerializer(InputSerializer):
    reason = serializers.CharField(max_length=200, allow_blank=True, default="", help_text="Kept with the key.")


class PublicIdFilter(django_filters.CharFilter):
    """`sk-cmp-XXXXXXXX`, or the eight characters alone."""

    def filter(self, queryset: QuerySet[Any], value: str) -> QuerySet[Any]:
        if not value:
            return queryset
        return queryset.filter(secrets__public_id=public_id_of(value) or value).distinct()


class ActiveFilter(BooleanFilter):
    def filter(self, queryset: QuerySet[Any], value: Any) -> QuerySet[Any]:
        if value == "":
            return queryset
        ended = Q(revoked_at__isnull=False) | Q(expires_at__lte=timezone.now())
        return queryset.exclude(ended) if value else queryset.filter(ended)


class Keys(WriteResource):
    """Virtual keys. A key that is not wanted any more is revoked."""

    queryset = VirtualKey.objects.select_related("team__customer", "developer", "project", "activity").prefetch_related(
        "secrets", Prefetch("accesses", ProviderAccess.objects.select_related("provider").order_by("pk"))
    )
    serializer_class = KeySerializer
    action_permissions = {
        "create": "issue_virtualkey",
        "rotate": "issue_virtualkey",
        "revoke": "revoke_virtualkey",
    }
    not_offered = "A key is made with POST, changed with PATCH and ended with POST …/revoke/."
    filterset_class = filterset(
        "KeyFilters",
        {
            **text_filters("name"),
            "customer": NamedFilter(Customer, field_name="team__customer"),
            "team": NamedFilter(Team, field_name="team"),
            "developer": NamedFilter(Developer, field_name="developer"),
            "project": NamedFilter(Project, field_name="project"),
            "public_id": PublicIdFilter(),
            "is_active": ActiveFilter(),
            **range_filters("expires_at", django_filters.IsoDateTimeFilter),
        },
    )

    @extend_schema(responses={201: IssuedKeySerializer})
    def create(self, request: Request, *args: Any, **kwargs: Any) -> Response:
        serializer = self.get_serializer(data=request.data)
        serializer.is_valid(raise_exception=True)
        values = serializer.validated_data
        accesses = self._accesses(values)
        with transaction.atomic():
            key, secret = keys.issue_key(models=values.pop("model_patterns", ()), actor=request.user, **values)
            demand_reach(request.user, key)
            self._replace_accesses(key, accesses)
        return self._with_secret(key, secret, status.HTTP_201_CREATED)

    def change_row(self, row: VirtualKey, values: dict[str, Any]) -> VirtualKey:
        accesses = self._accesses(values)
        for name, value in values.items():
            setattr(row, name, value)
        row = save_with_audit(instance=row, actor=self.request.user, fields=list(values))
        self._replace_accesses(row, accesses)
        return row

    @extend_schema(request=RotateSerializer, responses={200: IssuedKeySerializer})
    @action(detail=True, methods=["post"], filter_backends=[], pagination_class=None)
    def rotate(self, request: Request, *args: Any, **kwargs: Any) -> Response:
        """Make a new secret; the old ones work until the overlap is over."""
        key = self.get_object()
        demand_reach(request.user, key)
        values = taken(RotateSerializer, request)
        if key.revoked_at is not None:
            raise Conflict(f"{key} was revoked; issue a new key instead of rotating it.")
        secret = keys.rotate_key(key=key, overlap=timedelta(seconds=values["overlap_seconds"]), actor=request.user)
        return self._with_secret(key, secret, status.HTTP_200_OK)

    @extend_schema(request=RevokeSerializer, responses={200: KeySerializer})
    @action(detail=True, methods=["post"], filter_backends=[], pagination_class=None)
    def revoke(self, request: Request, *args: Any, **kwargs: Any) -> Response:
        """Refuse the key from now on, for good. Doing it again changes nothing; the first reason stays."""
        key = self.get_object()
        demand_reach(request.user, key)
        keys.revoke_key(key=key, reason=taken(RevokeSerializer, request)["reason"], actor=request.user)
        return Response(self.get_serializer(self.get_queryset().get(pk=key.pk)).data)

    def _accesses(self, values: dict[str, Any]) -> list[dict[str, Any]] | None:
        """Take the list of providers out of the values; None where it is not to change."""
        accesses: list[dict[str, Any]] | None = values.pop("accesses", None)
        if accesses is not None:
            demand(self.request.user, "governance.change_provideraccess")
        return accesses

    def _replace_accesses(self, key: VirtualKey, accesses: list[dict[str, Any]] | None) -> None:
        if accesses is None:
            return
        actor = self.request.user
        present = {access.provider_id: access for access in key.accesses.select_related("provider")}
        for values in accesses:
            access = present.pop(values["provider"].pk, None)
            if access is None:
                providers.allow_provider(key=key, actor=actor, **values)
            else:
                providers.change(row=access, actor=actor, **{n: v for n, v in values.items() if n != "provider"})
        for access in present.values():
            # Its own limits would go with it unseen.
            for row in (*access.budgets.all(), *access.ratelimits.all(), access):
                delete_with_audit(instance=row, actor=actor)

    def _with_secret(self, key: VirtualKey, secret: Secret, code: int) -> Response:
        row = self.get_queryset().get(pk=key.pk)
        return Response({**self.get_serializer(row).data, "secret": str(secret)}, status=code)
