"""What a routing rule would have done to the last requests, over the API; nothing is saved."""

from __future__ import annotations

from typing import Any

from drf_spectacular.utils import extend_schema
from rest_framework import serializers
from rest_framework.permissions import IsAuthenticated
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from governance.api.errors import handle
from governance.api.fields import MomentField, NamedField, UsdField
from governance.api.permissions import demand
from governance.api.routes import RouteTargetsField
from governance.api.serializers import InputSerializer
from governance.domain.actions import target_problem
from governance.domain.cel import BadCondition
from governance.domain.money import usd_string
from governance.models import Customer, RoutingRule, Team, VirtualKey
from observability.dryrun import CHOICES, DryRun, dry_run


class DryRunSerializer(InputSerializer):
    condition = serializers.CharField(trim_whitespace=False, help_text="In CEL, as a rule's.")
    customer = NamedField(Customer, required=False, help_text="Whose requests; with team or key the narrowest counts.")
    team = NamedField(Team, required=False)
    virtual_key = NamedField(VirtualKey, required=False)
    targets = RouteTargetsField(required=False)
    deny = serializers.CharField(required=False, max_length=500)
    max_tokens = serializers.IntegerField(required=False, min_value=1)
    most = serializers.IntegerField(
        default=CHOICES[1], min_value=1, max_value=CHOICES[-1], help_text="How many of the last requests."
    )

    def validate_targets(self, value: list[dict[str, Any]]) -> list[dict[str, Any]]:
        if problem := target_problem(value):
            raise serializers.ValidationError(problem)
        return value


class DryRunLineSerializer(serializers.Serializer[Any]):
    model = serializers.CharField(help_text="Served then.")
    becomes = serializers.CharField(help_text="Where it would go: a model, perhaps with its provider, or `refused`.")
    requests = serializers.FloatField(help_text="Several targets share by weight.")
    cost_usd = UsdField(help_text="What they cost.")
    then_usd = UsdField(help_text="What they would have cost, with the prompt cache as it was.")
    cold_usd = UsdField(help_text="The same with what was read from the cache written anew.")
    unpriced = serializers.BooleanField(help_text="The price list does not know the model there.")


class DryRunResultSerializer(serializers.Serializer[Any]):
    looked = serializers.IntegerField()
    matched = serializers.IntegerField()
    unjudged = serializers.IntegerField(help_text="The condition hangs on a fact that the row does not tell.")
    failed = serializers.IntegerField(help_text="The condition could not be worked out.")
    denied = serializers.IntegerField()
    longer = serializers.IntegerField(help_text="Answers with more output tokens than the cap.")
    unknown = serializers.ListField(child=serializers.CharField(), help_text="The facts that rows do not tell.")
    reasons = serializers.ListField(child=serializers.CharField(), help_text="Why it failed, each once.")
    oldest = MomentField(allow_null=True)
    newest = MomentField(allow_null=True)
    cost_usd = UsdField()
    then_usd = UsdField()
    cold_usd = UsdField()
    lines = DryRunLineSerializer(many=True)


class RouteDryRun(APIView):
    """A rule by itself, over the last requests that the user may see."""

    permission_classes = [IsAuthenticated]

    def get_exception_handler(self) -> Any:
        return handle

    @extend_schema(request=DryRunSerializer, responses={200: DryRunResultSerializer})
    def post(self, request: Request) -> Response:
        """Say how many match, what they cost, and what they would have cost."""
        demand(request.user, "governance.view_routingrule")
        demand(request.user, "observability.view_request")
        serializer = DryRunSerializer(data=request.data, context={"request": request})
        serializer.is_valid(raise_exception=True)
        values: dict[str, Any] = dict(serializer.validated_data)
        most = values.pop("most")
        try:
            run = dry_run(_drafted(values), request.user, most=most)
        except BadCondition as error:
            raise serializers.ValidationError({"condition": [str(error)]}) from None
        return Response(_told(run))


def _drafted(values: dict[str, Any]) -> RoutingRule:
    targets = {name: values.pop(name, None) for name in ("virtual_key", "team", "customer")}
    draft = RoutingRule(**values)
    for name, target in targets.items():
        if target is not None:
            draft.scope = name
            setattr(draft, name, target)
            break
    draft.fill_tenancy()
    return draft


def _told(run: DryRun) -> dict[str, Any]:
    figures = ("looked", "matched", "unjudged", "failed", "denied", "longer", "unknown", "reasons")
    moment = MomentField()
    return {
        **{name: getattr(run, name) for name in figures},
        "oldest": run.oldest and moment.to_representation(run.oldest),
        "newest": run.newest and moment.to_representation(run.newest),
        "cost_usd": usd_string(run.now),
        "then_usd": usd_string(run.then),
        "cold_usd": usd_string(run.cold),
        "lines": [
            {
                "model": line.model,
                "becomes": line.becomes,
                "requests": line.requests,
                "cost_usd": usd_string(line.now),
                "then_usd": usd_string(round(line.then)),
                "cold_usd": usd_string(round(line.cold)),
                "unpriced": line.unpriced,
            }
            for line in run.lines
        ],
    }
