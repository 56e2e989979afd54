"""Routing rules over the API: providers by name, the condition checked with the place of a mistake."""

from __future__ import annotations

from typing import Any

from django.core.exceptions import ValidationError
from drf_spectacular.utils import extend_schema_field
from rest_framework import serializers

from governance.api.fields import NamedField, OneOfField
from governance.api.filters import BooleanFilter, NamedFilter, filterset, text_filters
from governance.api.limits import TargetField
from governance.api.references import find, name_of
from governance.api.serializers import RowSerializer
from governance.api.views import WriteResource
from governance.models import Customer, RoutingRule, Team, VirtualKey
from governance.services import routing

_SCOPES: dict[str, Any] = {"customer": Customer, "team": Team, "virtual_key": VirtualKey}


@extend_schema_field({
    "type": "array",
    "items": {
        "type": "object",
        "properties": {
            "provider": {"type": "string"}, "model": {"type": "string"}, "weight": {"type": "number"},
        },
    },
    "example": [{"provider": "vertex", "model": "claude-haiku-5-5", "weight": 1}],
})  # fmt: skip
class RouteTargetsField(serializers.Field[Any, Any, Any, Any]):
    """Where requests go: each with a provider (by name), a model, or both."""

    def to_internal_value(self, data: Any) -> list[dict[str, Any]]:
        if not isinstance(data, list) or not all(isinstance(target, dict) for target in data):
            raise serializers.ValidationError('Give a list such as [{"model": "claude-haiku-5-5"}].')
        for target in data:
            if unknown := sorted(set(target) - {"provider", "model", "weight"}):
                raise serializers.ValidationError(f"There is no field {unknown[0]!r}: provider, model and weight.")
        try:
            return routing.stored(data)
        except ValidationError as error:
            raise serializers.ValidationError(error.messages) from None

    def to_representation(self, value: Any) -> Any:
        context: Any = self.context
        if "provider_names" not in context:
            context["provider_names"] = routing.provider_names()
        return routing.named(value, context["provider_names"])


class RuleTargetField(TargetField):
    """Whom it is for: shown as its name, null for everybody."""

    def to_representation(self, value: Any) -> str:
        return name_of(value.target) if value.target else ""


class RouteSerializer(RowSerializer):
    scope = OneOfField(choices=RoutingRule.Scope.choices, default=RoutingRule.Scope.GLOBAL)
    target = RuleTargetField(required=False, help_text="Customer, team or key by name, path or id; none for everybody.")
    customer = NamedField(Customer, required=False, help_text="Narrows down where to look for the target.")
    customer_id = serializers.IntegerField(read_only=True, allow_null=True)
    targets = RouteTargetsField(required=False)
    fallbacks = RouteTargetsField(required=False)
    set_headers = serializers.DictField(child=serializers.CharField(max_length=500), required=False)

    class Meta:
        model = RoutingRule
        fields = (
            "id", "name", "description", "scope", "target", "customer", "customer_id", "position", "condition",
            "targets", "fallbacks", "deny", "set_headers", "max_tokens", "on_rate_limit", "hedge_ms", "is_active",
            "created_at",
        )  # fmt: skip

    def validate(self, values: dict[str, Any]) -> dict[str, Any]:
        if self.instance is not None:
            fixed = [name for name in ("scope", "target", "customer") if name in self.initial_data]
            if fixed:
                sentence = "A rule stays with whom it is for. Make a new one, and switch this one off."
                raise serializers.ValidationError({name: [sentence] for name in fixed})
            return values
        customer, given = values.pop("customer", None), values.pop("target", None)
        model = _SCOPES.get(values.pop("scope", RoutingRule.Scope.GLOBAL))
        if model is None:
            if given or customer:
                raise serializers.ValidationError(
                    {"scope": ["Say customer, team or virtual_key; global names nobody."]}
                )
            return values
        if model is Customer and given is None and customer is not None:
            return {**values, "target": customer}
        if given is None:
            raise serializers.ValidationError({"target": ["Say whom it is for."]})
        try:
            values["target"] = find(model, given, self.context["request"].user, within=customer)
        except serializers.ValidationError as error:
            raise serializers.ValidationError({"target": error.detail}) from None
        return values


class Routes(WriteResource):
    """Routing rules, those of keys, teams, customers and everybody. The first that matches and decides counts."""

    queryset = RoutingRule.objects.select_related("customer", "team__customer", "virtual_key__team__customer")
    serializer_class = RouteSerializer
    filterset_class = filterset(
        "RouteFilters",
        {
            **text_filters("name"),
            **text_filters("scope"),
            "customer": NamedFilter(Customer, field_name="customer"),
            "team": NamedFilter(Team, field_name="team"),
            "virtual_key": NamedFilter(VirtualKey, field_name="virtual_key"),
            "is_active": BooleanFilter(field_name="is_active"),
        },
    )

    def create_row(self, values: dict[str, Any]) -> RoutingRule:
        return routing.create_rule(actor=self.request.user, **values)

    def change_row(self, row: RoutingRule, values: dict[str, Any]) -> RoutingRule:
        return routing.change(rule=row, actor=self.request.user, **values)
