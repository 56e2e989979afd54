"""The price catalog and the changes proposed to it, over the API."""

from __future__ import annotations

from typing import Any

import django_filters
from django.utils import timezone
from drf_spectacular.utils import extend_schema
from rest_framework import serializers
from rest_framework.decorators import action
from rest_framework.request import Request
from rest_framework.response import Response

from governance.api.errors import Conflict
from governance.api.fields import MomentField
from governance.api.filters import filterset, range_filters, text_filters
from governance.api.serializers import InputSerializer, RowSerializer, taken
from governance.api.views import CreateResource, ReadResource
from governance.models import Price, PriceProposal
from governance.services import prices

BACKDATED = (
    "Allows a beginning in the past. Requests since then keep what they were charged until the period is re-priced."
)
RATES = ("input", "output", "cache_read", "cache_write_5m", "cache_write_1h", "web_search")


class PriceSerializer(RowSerializer):
    effective_from = MomentField(required=False, help_text="Requests that start from then on take it; default: now.")

    backdated = serializers.BooleanField(write_only=True, default=False, help_text=BACKDATED)

    class Meta:
        model = Price
        fields = (
            "id", "platform", "model_id", "effective_from", *RATES, "tiers", "multipliers", "context_tokens",
            "max_output_tokens", "source", "version", "created_at", "backdated",
        )  # fmt: skip
        extra_kwargs = {rate: {"normalize_output": True} for rate in RATES}


class ProposalSerializer(RowSerializer):
    current_id = serializers.IntegerField(read_only=True, allow_null=True, help_text="The price that it replaces.")
    price_id = serializers.IntegerField(read_only=True, allow_null=True, help_text="The price that approval made.")
    decided_by = serializers.SlugRelatedField[Any](slug_field="username", read_only=True)

    class Meta:
        model = PriceProposal
        fields = (
            "id", "platform", "model_id", "current_id", "effective_from", "proposed", "changes", "source", "version",
            "status", "created_at", "decided_at", "decided_by", "decision_note", "price_id",
        )  # fmt: skip
        read_only_fields = fields


class RejectSerializer(InputSerializer):
    note = serializers.CharField(max_length=300, allow_blank=True, default="", help_text="Why; kept in the trail.")


class ApproveSerializer(RejectSerializer):
    effective_from = MomentField(required=False, help_text="When the new price begins; default: now.")
    backdated = serializers.BooleanField(default=False, help_text=BACKDATED)


class Prices(CreateResource):
    """Rates in USD per million tokens. A row is never edited: a change is a new row with a later date."""

    of_the_installation = True
    queryset = Price.objects.all()
    serializer_class = PriceSerializer
    not_offered = "Requests were charged by this price. Make a new one with a later effective_from instead."
    filterset_class = filterset(
        "PriceFilters",
        {
            **text_filters("platform"),
            **text_filters("model_id"),
            **range_filters("effective_from", django_filters.IsoDateTimeFilter),
        },
    )

    def create_row(self, values: dict[str, Any]) -> Price:
        return prices.create_price(
            actor=self.request.user,
            **{"platform": Price.Platform.ANTHROPIC, "effective_from": timezone.now(), **values},
        )


class Proposals(ReadResource):
    """Differences between the catalog and a source, to approve or reject."""

    of_the_installation = True
    queryset = PriceProposal.objects.select_related("decided_by")
    serializer_class = ProposalSerializer
    newest_first = True
    action_permissions = {"approve": "decide_priceproposal", "reject": "decide_priceproposal"}
    not_offered = "A proposal is approved or rejected with POST …/approve/ or …/reject/."
    filterset_class = filterset(
        "ProposalFilters", {**text_filters("platform"), **text_filters("model_id"), **text_filters("status")}
    )

    @extend_schema(request=ApproveSerializer, responses={200: ProposalSerializer})
    @action(detail=True, methods=["post"], filter_backends=[], pagination_class=None)
    def approve(self, request: Request, *args: Any, **kwargs: Any) -> Response:
        """Make the proposed price row; the answer names it in `price_id`."""
        proposal = self._pending()
        prices.approve_proposal(proposal=proposal, actor=request.user, **taken(ApproveSerializer, request))
        return self._as_it_is_now(proposal)

    @extend_schema(request=RejectSerializer, responses={200: ProposalSerializer})
    @action(detail=True, methods=["post"], filter_backends=[], pagination_class=None)
    def reject(self, request: Request, *args: Any, **kwargs: Any) -> Response:
        """Refuse the change; the same one is not proposed again."""
        proposal = self._pending()
        prices.reject_proposal(proposal=proposal, actor=request.user, **taken(RejectSerializer, request))
        return self._as_it_is_now(proposal)

    def _pending(self) -> PriceProposal:
        proposal: PriceProposal = self.get_object()
        if proposal.status != PriceProposal.Status.PENDING:
            decided = proposal.get_status_display().lower()
            raise Conflict(f"The proposal for {proposal} is already decided ({decided}).")
        return proposal

    def _as_it_is_now(self, proposal: PriceProposal) -> Response:
        return Response(self.get_serializer(self.get_queryset().get(pk=proposal.pk)).data)
