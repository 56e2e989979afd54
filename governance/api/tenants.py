"""Customers, teams, projects and developers over the API."""

from __future__ import annotations

from typing import Any

import django_filters
from rest_framework import serializers

from governance.api.fields import AliasesField, NamedField, UsdField
from governance.api.filters import BooleanFilter, NamedFilter, filterset, text_filters
from governance.api.serializers import RowSerializer
from governance.api.views import WriteResource
from governance.models import Customer, Developer, Project, Team
from governance.services import tenants


def _tenant_filters(**more: django_filters.Filter) -> dict[str, django_filters.Filter]:
    return {**text_filters("name"), "is_active": BooleanFilter(field_name="is_active"), **more}


class CustomerSerializer(RowSerializer):
    emergency_reserve_usd = UsdField(
        source="emergency_reserve_nano_usd", required=False,
        help_text="What may be raised in a calendar month without an approver; 0 allows none.",
    )  # fmt: skip

    class Meta:
        model = Customer
        fields = (
            "id", "name", "timezone", "currency_display", "content_policy", "unpriced_policy", "contact",
            "emergency_reserve_usd", "is_active", "created_at",
        )  # fmt: skip


class TeamSerializer(RowSerializer):
    customer = NamedField(Customer)
    customer_id = serializers.IntegerField(read_only=True)

    model_aliases = AliasesField(required=False)

    class Meta:
        model = Team
        fields: tuple[str, ...] = (
            "id", "name", "customer", "customer_id", "cost_center", "model_aliases", "is_active", "created_at",
        )  # fmt: skip


class _WithTeam(RowSerializer):
    customer = NamedField(Customer)
    customer_id = serializers.IntegerField(read_only=True)
    team = NamedField(Team, required=False, allow_null=True)
    team_id = serializers.IntegerField(read_only=True, allow_null=True)


class ProjectSerializer(_WithTeam):
    class Meta:
        model = Project
        fields = (
            "id", "name", "customer", "customer_id", "team", "team_id", "directories", "is_active", "created_at",
        )  # fmt: skip


class DeveloperSerializer(_WithTeam):
    user = serializers.SlugRelatedField[Any](
        slug_field="username", read_only=True, help_text="The login of this person, where there is one."
    )

    class Meta:
        model = Developer
        fields = (
            "id", "email", "name", "customer", "customer_id", "team", "team_id", "user", "is_active",
            "created_at",
        )  # fmt: skip


class _Tenants(WriteResource):
    def change_row(self, row: Any, values: dict[str, Any]) -> Any:
        return tenants.change(tenant=row, actor=self.request.user, **values)


class Customers(_Tenants):
    """Organisations whose spend is kept apart."""

    queryset = Customer.objects.all()
    serializer_class = CustomerSerializer
    filterset_class = filterset("CustomerFilters", _tenant_filters())

    def create_row(self, values: dict[str, Any]) -> Customer:
        user: Any = self.request.user
        customer = tenants.create_customer(actor=user, **values)
        if not user.is_superuser:
            # Whoever makes a customer works on with it; nobody else's rows come into sight by that.
            tenants.add_membership(user=user, customer=customer, actor=user)
        return customer


class Teams(_Tenants):
    """Teams of a customer, usually cost centres."""

    queryset = Team.objects.select_related("customer")
    serializer_class = TeamSerializer
    filterset_class = filterset(
        "TeamFilters",
        _tenant_filters(
            customer=NamedFilter(Customer, field_name="customer"),
            cost_center=django_filters.CharFilter(field_name="cost_center"),
        ),
    )

    def create_row(self, values: dict[str, Any]) -> Team:
        return tenants.create_team(actor=self.request.user, **values)


class Projects(_Tenants):
    """What the money is spent for. Without a team it belongs to all teams of its customer."""

    queryset = Project.objects.select_related("customer", "team")
    serializer_class = ProjectSerializer
    filterset_class = filterset(
        "ProjectFilters",
        _tenant_filters(
            customer=NamedFilter(Customer, field_name="customer"), team=NamedFilter(Team, field_name="team")
        ),
    )

    def create_row(self, values: dict[str, Any]) -> Project:
        return tenants.create_project(actor=self.request.user, **values)


class Developers(_Tenants):
    """People whose requests are counted."""

    queryset = Developer.objects.select_related("customer", "team", "user")
    serializer_class = DeveloperSerializer
    filterset_class = filterset(
        "DeveloperFilters",
        _tenant_filters(
            customer=NamedFilter(Customer, field_name="customer"),
            team=NamedFilter(Team, field_name="team"),
            email=django_filters.CharFilter(field_name="email", lookup_expr="iexact"),
        ),
    )

    def create_row(self, values: dict[str, Any]) -> Developer:
        return tenants.create_developer(actor=self.request.user, **values)
