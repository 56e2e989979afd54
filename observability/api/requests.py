"""The request log over the API: the rows of the log under the names that exports and the live log use too."""

from __future__ import annotations

from typing import Any

from django.http import Http404

from governance.api.serializers import RowSerializer
from governance.api.views import ReadResource
from observability.api.filters import RequestFilters
from observability.models import Request

FIELDS = (
    "id", "started_at", "finished_at", "status", "http_status", "error_type", "error_message",
    "customer", "customer_id", "team", "team_id", "project", "project_id", "developer", "developer_id",
    "virtual_key", "virtual_key_id", "session_id", "agent_id", "parent_agent_id", "prompt_id",
    "request_class", "client", "device_id", "working_directory", "client_ip", "tags",
    "endpoint", "provider", "provider_credential", "region", "model_requested", "model", "route_rule",
    "attempts", "stream",
    "input_tokens", "output_tokens", "thinking_tokens", "cache_read_tokens", "cache_write_5m_tokens",
    "cache_write_1h_tokens", "web_searches", "speed", "inference_geo", "service_tier", "iterations",
    "cost_nano_usd", "cost_quality", "price_id",
    "latency_ms", "ttft_ms", "gateway_overhead_us", "cache", "stop_reason", "tool_calls", "lines_added",
    "lines_removed", "provider_request_id", "request_bytes", "routing", "budget_decision",
)  # fmt: skip


class RequestSerializer(RowSerializer):
    class Meta:
        model = Request
        fields = FIELDS
        read_only_fields = FIELDS


class Requests(ReadResource):
    """Requests, newest first. Amounts are whole nano-dollars (10⁻⁹ USD); moments are ISO 8601 in UTC."""

    queryset = Request.objects.all()
    serializer_class = RequestSerializer
    filterset_class = RequestFilters
    keyset = ("started_at", "id")
    newest_first = True
    lookup_value_regex = r"[0-9A-Za-z]{1,26}"

    def get_object(self) -> Any:
        visible: Any = self.filter_queryset(self.get_queryset())
        row = visible.find(self.kwargs["pk"])
        if row is None:
            raise Http404("No request of this id, or it belongs to a customer that is not yours.")
        self.check_object_permissions(self.request, row)
        return row
