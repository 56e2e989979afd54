"""The columns of an export, in the order and with the names of the log's contract, and their Parquet types."""

from __future__ import annotations

from typing import Any

import pyarrow as pa
from django.db import models

from observability.models import Request

COLUMNS: tuple[str, ...] = (
    "id", "started_at", "status", "http_status", "error_type", "error_message",
    "customer", "team", "project", "developer", "virtual_key",
    "session_id", "agent_id", "parent_agent_id", "prompt_id", "request_class", "client", "tags",
    "provider", "provider_credential", "region", "model_requested", "model", "route_rule", "attempts", "stream",
    "input_tokens", "output_tokens", "thinking_tokens", "cache_read_tokens", "cache_write_5m_tokens",
    "cache_write_1h_tokens", "web_searches", "cost_nano_usd", "cost_quality", "price_id",
    "latency_ms", "ttft_ms", "gateway_overhead_us", "cache", "stop_reason", "tool_calls",
    "lines_added", "lines_removed", "provider_request_id",
)  # fmt: skip

_FIELDS: list[Any] = [Request._meta.get_field(name) for name in COLUMNS]
JSON_COLUMNS = frozenset(field.name for field in _FIELDS if isinstance(field, models.JSONField))
"""Objects in JSON lines; JSON text in Parquet, which every reader understands."""


def _arrow_type(field: models.Field[Any, Any]) -> pa.DataType:
    match field:
        case models.DateTimeField():
            return pa.timestamp("us", tz="UTC")
        case models.BooleanField():
            return pa.bool_()
        case models.FloatField():
            return pa.float64()
        case models.IntegerField():
            return pa.int64()
    return pa.string()


SCHEMA = pa.schema([pa.field(field.name, _arrow_type(field), nullable=field.null) for field in _FIELDS])
