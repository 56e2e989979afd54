"""Raises over the API: ask for more, decide about it, end it. Emergency raises, transfers and resets too."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import django_filters
from django.core.exceptions import ValidationError as DjangoValidationError
from django.db.models import Model
from django.utils import timezone
from drf_spectacular.utils import extend_schema
from rest_framework import serializers
from rest_framework.decorators import action
from rest_framework.request import Request
from rest_framework.response import Response

from governance.api.errors import Conflict
from governance.api.fields import MomentField, OneOfField, UsdField
from governance.api.filters import NamedFilter, NumberFilter, filterset, range_filters, text_filters
from governance.api.serializers import InputSerializer, RowSerializer, taken
from governance.api.views import CreateResource
from governance.models import Budget, Customer, Raise, Team
from governance.services import moves, raises

Kind = Raise.Kind


class RaiseSerializer(RowSerializer):
    kind = OneOfField(
        choices=Kind.choices, default=Kind.RAISE,
        help_text="raise, transfer and reset wait for another person; emergency is in force at once, out of the "
        "customer's reserve. A transfer moves the amount from the budget `from_budget`; a reset adds what is spent "
        "when it is approved.",
    )  # fmt: skip
    budget = serializers.IntegerField(source="budget_id", help_text="Id of the budget; null once it is deleted.")
    from_budget = serializers.IntegerField(
        write_only=True, required=False, help_text="transfer: id of the budget that gives."
    )
    customer = serializers.CharField(source="customer.name", read_only=True)
    amount_usd = UsdField(
        source="amount_nano_usd", required=False, help_text="Not for a reset. Below zero where a transfer takes away."
    )
    starts_at = MomentField(required=False, help_text="raise: from when on; default: now.")
    ends_at = MomentField(
        required=False, help_text="raise, emergency: until when; default: the end of the budget's current period."
    )
    state = serializers.SerializerMethodField(help_text="Where it stands at this moment, in words.")
    requester = serializers.CharField(source="requester_name", read_only=True)
    decided_by = serializers.CharField(source="decided_by_name", read_only=True)
    ended_by = serializers.CharField(source="ended_by_name", read_only=True)
    counterpart_id = serializers.IntegerField(
        read_only=True, allow_null=True, help_text="The other half of a transfer."
    )

    class Meta:
        model = Raise
        fields = (
            "id", "kind", "budget", "budget_name", "from_budget", "customer", "amount_usd", "reason", "starts_at",
            "ends_at", "status", "state", "requester", "created_at", "decided_by", "decided_at", "decision_note",
            "ended_at", "ended_by", "counterpart_id",
        )  # fmt: skip
        read_only_fields = ("budget_name", "status", "decided_at", "decision_note", "ended_at")

    def get_state(self, row: Raise) -> str:
        return raises.state_of(row, timezone.now())

    def validate(self, values: dict[str, Any]) -> dict[str, Any]:
        kind = values["kind"]
        values["budget"] = self._budget("budget", values.pop("budget_id"))
        if "from_budget" in values:
            values["source"] = self._budget("from_budget", values.pop("from_budget"))
        taken_by = {
            Kind.RAISE: {"amount_nano_usd", "ends_at"},
            Kind.EMERGENCY: {"amount_nano_usd"},
            Kind.TRANSFER: {"amount_nano_usd", "source"},
            Kind.RESET: set[str](),
        }[kind]
        names = {"amount_nano_usd": "amount_usd", "source": "from_budget"}
        optional = {Kind.RAISE: {"starts_at"}, Kind.EMERGENCY: {"ends_at"}}.get(kind, set())
        if kind == Kind.RAISE and "ends_at" not in values:
            offered = raises.offered_end(values["budget"], timezone.now())
            if offered is not None:
                values["ends_at"] = offered
        absent = taken_by - set(values)
        beside = set(values) - taken_by - optional - {"kind", "budget", "reason"}
        wrong = {names.get(name, name): [f"A {kind} needs it."] for name in absent}
        wrong |= {names.get(name, name): [f"A {kind} does not take it."] for name in beside}
        if wrong:
            raise serializers.ValidationError(wrong)
        return values

    def _budget(self, name: str, pk: int) -> Budget:
        rows = Budget.objects.visible_to(self.context["request"].user).select_related("customer")
        budget: Budget | None = rows.filter(pk=pk).first()
        if budget is None:
            raise serializers.ValidationError({name: [f"There is no budget {pk} that you can see."]})
        return budget


class RaiseApproveSerializer(InputSerializer):
    note = serializers.CharField(max_length=300, allow_blank=True, default="", help_text="Kept with the decision.")
    amount_usd = UsdField(
        required=False, source="amount_nano_usd", help_text="raise: grant less than was asked for; default: all of it."
    )


class RaiseDeclineSerializer(InputSerializer):
    note = serializers.CharField(max_length=300, help_text="Why: who asked reads it.")


class EmptySerializer(InputSerializer):
    pass


class Raises(CreateResource):
    """More money for a time. Another person than who asked decides; a raise ends by itself at `ends_at`."""

    queryset = Raise.objects.select_related("budget__customer", "customer", "counterpart__budget__customer")
    serializer_class = RaiseSerializer
    newest_first = True
    action_permissions = {
        "approve": "decide_raise", "decline": "decide_raise", "withdraw": "add_raise", "end": "add_raise",
    }  # fmt: skip
    not_offered = "A raise is asked for with POST and decided with POST …/approve/ or …/decline/."
    filterset_class = filterset(
        "RaiseFilters",
        {
            **text_filters("status"),
            **text_filters("kind"),
            "budget": NumberFilter(field_name="budget_id"),
            "customer": NamedFilter(Customer, field_name="customer"),
            "team": NamedFilter(Team, field_name="team"),
            **range_filters("ends_at", django_filters.IsoDateTimeFilter),
        },
    )

    def create_row(self, values: dict[str, Any]) -> Model:
        user, amount = self.request.user, values.pop("amount_nano_usd", 0)
        match values.pop("kind"):
            case Kind.EMERGENCY:
                return moves.emergency(amount_nano_usd=amount, actor=user, **values)
            case Kind.TRANSFER:
                target = values.pop("budget")
                return moves.transfer(target=target, amount_nano_usd=amount, requester=user, **values)
            case Kind.RESET:
                return moves.reset(requester=user, **values)
        return raises.request(amount_nano_usd=amount, requester=user, **values)

    @extend_schema(request=RaiseApproveSerializer, responses={200: RaiseSerializer})
    @action(detail=True, methods=["post"], filter_backends=[], pagination_class=None)
    def approve(self, request: Request, *args: Any, **kwargs: Any) -> Response:
        """Put it in force. Not for who asked for it."""
        return self._decided(raises.approve, RaiseApproveSerializer)

    @extend_schema(request=RaiseDeclineSerializer, responses={200: RaiseSerializer})
    @action(detail=True, methods=["post"], filter_backends=[], pagination_class=None)
    def decline(self, request: Request, *args: Any, **kwargs: Any) -> Response:
        """Refuse it, with the reason. Not for who asked for it: they withdraw it."""
        return self._decided(raises.decline, RaiseDeclineSerializer)

    @extend_schema(request=EmptySerializer, responses={200: RaiseSerializer})
    @action(detail=True, methods=["post"], filter_backends=[], pagination_class=None)
    def withdraw(self, request: Request, *args: Any, **kwargs: Any) -> Response:
        """Take one's own request back while it waits."""
        return self._decided(raises.withdraw, EmptySerializer)

    @extend_schema(request=EmptySerializer, responses={200: RaiseSerializer})
    @action(detail=True, methods=["post"], filter_backends=[], pagination_class=None)
    def end(self, request: Request, *args: Any, **kwargs: Any) -> Response:
        """Let the limit fall back now, before the end."""
        return self._decided(raises.end_early, EmptySerializer)

    def _decided(self, decide: Callable[..., Raise], takes: type[InputSerializer]) -> Response:
        row: Raise = self.get_object()
        values = taken(takes, self.request)
        before = row.status
        try:
            decide(row=row, actor=self.request.user, **values)
        except DjangoValidationError as error:
            row.refresh_from_db(fields=["status"])
            waited = decide != raises.end_early and (before != Raise.Status.REQUESTED or before != row.status)
            if waited or (decide == raises.end_early and row.status != Raise.Status.APPROVED):
                raise Conflict(" ".join(error.messages)) from None
            raise
        return Response(self.get_serializer(self.get_queryset().get(pk=row.pk)).data)
