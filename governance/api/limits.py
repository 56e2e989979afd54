"""Budgets and rate limits over the API."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import django_filters
from django.db.models import Model, QuerySet
from django.utils import timezone
from drf_spectacular.utils import extend_schema_field
from rest_framework import serializers

from governance.api.fields import MomentField, NamedField, OneOfField, UsdField
from governance.api.filters import BooleanFilter, NamedFilter, filterset, text_filters
from governance.api.references import find, name_of
from governance.api.serializers import RowSerializer
from governance.api.views import WriteResource
from governance.models import (
    Budget,
    Customer,
    Developer,
    Project,
    ProviderAccess,
    RateLimit,
    ScopedLimit,
    Team,
    VirtualKey,
)
from governance.selectors import BudgetStatus, budget_statuses
from governance.services import budgets, raises

SCOPES: dict[str, type[Model]] = {
    "customer": Customer,
    "team": Team,
    "project": Project,
    "developer": Developer,
    "virtual_key": VirtualKey,
    "provider_access": ProviderAccess,
}
_TARGETS = (
    "customer", "team__customer", "project__customer", "developer", "virtual_key",
    "provider_access__virtual_key", "provider_access__provider",
)  # fmt: skip


@extend_schema_field(
    {"oneOf": [{"type": "string"}, {"type": "integer"}], "description": "Name, path of names or id.", "example": "Core"}
)
class TargetField(serializers.Field[Any, Any, str, Any]):
    """What is limited: shown as its name; the scope says what kind of thing it is."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**{**kwargs, "source": "*"})

    def to_internal_value(self, data: Any) -> dict[str, Any]:
        return {"target": data}

    def to_representation(self, value: ScopedLimit) -> str:
        return name_of(value.target)


class ScopedSerializer(RowSerializer):
    """The common part: a scope and a target that stay, and the models that count."""

    scope = OneOfField(choices=ScopedLimit.Scope.choices)
    target = TargetField()
    target_id = serializers.IntegerField(source="target.pk", read_only=True)
    customer = NamedField(Customer, required=False, help_text="Narrows down where to look for the target.")
    customer_id = serializers.IntegerField(read_only=True)
    models = serializers.JSONField(
        source="model_patterns", required=False,
        help_text='Counts only these models, for example ["claude-opus-*"]; [] counts all.',
    )  # fmt: skip

    def validate(self, values: dict[str, Any]) -> dict[str, Any]:
        if self.instance is not None:
            fixed = [name for name in ("scope", "target", "customer") if name in values]
            if fixed:
                sentence = "A limit stays with its target. Make a new one, and switch this one off."
                raise serializers.ValidationError({name: [sentence] for name in fixed})
            return values
        customer = values.pop("customer", None)
        user = self.context["request"].user
        try:
            values["target"] = find(SCOPES[values.pop("scope")], values["target"], user, within=customer)
        except serializers.ValidationError as error:
            raise serializers.ValidationError({"target": error.detail}) from None
        return values


NO_REASON = "over the API, no reason given"
HELD = "Held by gateway processes for running and coming requests; returned within seconds when idle."


class BudgetSerializer(ScopedSerializer):
    limit_usd = UsdField(source="limit_nano_usd", help_text="The base, as it was set.")
    carried_usd = serializers.SerializerMethodField(help_text="What the last period left over, with `carry_over`.")
    raised_usd = serializers.SerializerMethodField(
        help_text="Raises and transfers in force now; below zero where more was moved away."
    )
    limit_in_force_usd = serializers.SerializerMethodField(
        help_text="What counts now: limit_usd + carried_usd + raised_usd, never below zero."
    )
    spent_usd = serializers.SerializerMethodField(help_text="Settled in the current period.")
    held_usd = serializers.SerializerMethodField(help_text=HELD)
    remaining_usd = serializers.SerializerMethodField(
        help_text="The limit in force less spent and held; never below zero."
    )
    downgrade = serializers.DictField(
        child=serializers.CharField(max_length=200), required=False,
        help_text='Which model takes the place of which from `downgrade_at` percent on: '
        '{"claude-opus-*": "claude-sonnet-5-5"}.',
    )  # fmt: skip
    change_reason = serializers.CharField(
        write_only=True, required=False, allow_blank=True, max_length=300,
        help_text="PATCH with `limit_usd`: why the limit changes; the audit trail keeps it.",
    )  # fmt: skip
    period_start = serializers.SerializerMethodField()
    period_end = serializers.SerializerMethodField(help_text="null where the period never ends.")
    state = serializers.SerializerMethodField(help_text="ok, at_risk, blocked, over or off.")

    class Meta:
        model = Budget
        fields = (
            "id", "name", "scope", "target", "target_id", "customer", "customer_id", "limit_usd", "carried_usd",
            "raised_usd", "limit_in_force_usd", "spent_usd", "held_usd", "remaining_usd", "state", "period",
            "rolling", "timezone", "week_start", "fiscal_start_month", "carry_over", "period_start", "period_end",
            "enforcement", "models", "alerts", "owner_email", "approver_email", "downgrade_at", "downgrade",
            "throttle_at", "throttle_concurrent", "is_active", "created_at", "change_reason",
        )  # fmt: skip

    def validate(self, values: dict[str, Any]) -> dict[str, Any]:
        if "change_reason" in values and (self.instance is None or "limit_nano_usd" not in values):
            raise serializers.ValidationError({"change_reason": ["It goes with a change of limit_usd."]})
        return super().validate(values)

    def to_representation(self, instance: Budget) -> dict[str, Any]:
        return {**super().to_representation(instance), "name": str(instance)}

    def get_carried_usd(self, budget: Budget) -> str:
        return UsdField().to_representation(self._status(budget).in_force.carried)

    def get_raised_usd(self, budget: Budget) -> str:
        return UsdField().to_representation(self._status(budget).in_force.raised)

    def get_limit_in_force_usd(self, budget: Budget) -> str:
        return UsdField().to_representation(self._status(budget).limit)

    def get_spent_usd(self, budget: Budget) -> str:
        return UsdField().to_representation(self._status(budget).spent)

    def get_held_usd(self, budget: Budget) -> str:
        return UsdField().to_representation(self._status(budget).held)

    def get_remaining_usd(self, budget: Budget) -> str:
        return UsdField().to_representation(self._status(budget).remaining)

    def get_state(self, budget: Budget) -> str:
        return self._status(budget).state

    @extend_schema_field(MomentField())
    def get_period_start(self, budget: Budget) -> Any:
        return MomentField().to_representation(self._status(budget).window.starts_at)

    @extend_schema_field(MomentField(allow_null=True))
    def get_period_end(self, budget: Budget) -> Any:
        ends = self._status(budget).window.ends_at
        return ends and MomentField().to_representation(ends)

    def _status(self, budget: Budget) -> BudgetStatus:
        view: Budgets = self.context["view"]
        return view.status_of(budget)


class RateLimitSerializer(ScopedSerializer):
    class Meta:
        model = RateLimit
        fields = (
            "id", "scope", "target", "target_id", "customer", "customer_id", "unit", "limit", "per",
            "enforcement", "models", "is_active", "created_at",
        )  # fmt: skip


def _limit_filters(**more: django_filters.Filter) -> dict[str, django_filters.Filter]:
    return {
        **text_filters("scope"),
        "customer": NamedFilter(Customer, field_name="customer"),
        "team": NamedFilter(Team, field_name="team"),
        "project": NamedFilter(Project, field_name="project"),
        "developer": NamedFilter(Developer, field_name="developer"),
        "virtual_key": NamedFilter(VirtualKey, field_name="virtual_key"),
        "is_active": BooleanFilter(field_name="is_active"),
        **more,
    }


class _Limits(WriteResource):
    def change_row(self, row: Any, values: dict[str, Any]) -> Any:
        return budgets.change(row=row, actor=self.request.user, **values)


class Budgets(_Limits):
    """Amounts of USD for a period. USD as decimal strings; spent and held are of the current period."""

    queryset = Budget.objects.select_related(*_TARGETS)
    serializer_class = BudgetSerializer
    filterset_class = filterset(
        "BudgetFilters",
        _limit_filters(
            name=django_filters.CharFilter(field_name="name"),
            **text_filters("period"),
            **text_filters("enforcement"),
        ),
    )

    def create_row(self, values: dict[str, Any]) -> Budget:
        return budgets.create_budget(actor=self.request.user, **values)

    def change_row(self, row: Any, values: dict[str, Any]) -> Any:
        """A limit that changes is an entry of its own, with its reason: as in the admin."""
        rest = dict(values)
        limit, reason = rest.pop("limit_nano_usd", row.limit_nano_usd), rest.pop("change_reason", "").strip()
        if limit != row.limit_nano_usd:
            raises.change_limit(budget=row, limit_nano_usd=limit, reason=reason or NO_REASON, actor=self.request.user)
        return super().change_row(row, rest) if rest else row

    def paginate_queryset(self, queryset: QuerySet[Any] | Sequence[Any]) -> list[Any] | None:
        page = super().paginate_queryset(queryset)
        # One reading for the whole page, not one for each budget.
        self._statuses = budget_statuses(page or [], timezone.now())
        return page

    def status_of(self, budget: Budget) -> BudgetStatus:
        """How the budget stands: read with its page, or now."""
        statuses: dict[int, BudgetStatus] = getattr(self, "_statuses", {})
        if budget.pk not in statuses:
            self._statuses = statuses | budget_statuses([budget], timezone.now())
        return self._statuses[budget.pk]


class RateLimits(_Limits):
    """Limits of requests or tokens for a time, or of requests at once."""

    queryset = RateLimit.objects.select_related(*_TARGETS)
    serializer_class = RateLimitSerializer
    filterset_class = filterset(
        "RateLimitFilters", _limit_filters(**text_filters("unit"), **text_filters("enforcement"))
    )

    def create_row(self, values: dict[str, Any]) -> RateLimit:
        return budgets.create_rate_limit(actor=self.request.user, **values)
