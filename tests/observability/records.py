"""Request records and charges as the data plane makes them."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from ulid import ULID

from governance.ledger import Posting
from observability.records import RequestRecord

MORNING = datetime(2026, 11, 20, 9, 30, 0, 123456, tzinfo=UTC)


def a_record(**values: Any) -> RequestRecord:
    defaults: dict[str, Any] = {
        "id": str(ULID()),
        "started_at": MORNING,
        "finished_at": MORNING,
        "status": "success",
        "http_status": 200,
        "customer": "Acme",
        "customer_id": 1,
        "team": "Core",
        "team_id": 2,
        "developer": "ada@acme.test",
        "developer_id": 3,
        "virtual_key": "ada-laptop",
        "virtual_key_id": 4,
        "session_id": "3f9c5f1e-0f0b-4f0e-9d6a-2f1e0b0c0d0e",
        "client": "claude-code/2.1.330",
        "client_ip": "10.0.0.1",
        "tags": {"env": "dev"},
        "endpoint": "/v1/messages",
        "provider": "anthropic",
        "provider_credential": "main",
        "model_requested": "claude-opus-5",
        "model": "claude-opus-5",
        "attempts": [{"provider": "anthropic", "credential": "main", "status": 200, "latency_ms": 12.5}],
        "stream": True,
        "input_tokens": 12,
        "output_tokens": 345,
        "cache_read_tokens": 50_000,
        "cost_nano_usd": 123_456_789,
        "price_id": 7,
        "latency_ms": 1234.5,
        "ttft_ms": 345.25,
        "gateway_overhead_us": 456,
        "stop_reason": "end_turn",
        "tool_calls": {"Edit": 1, "Bash": 2},
    }
    return RequestRecord(**{**defaults, **values})


def a_posting(record: RequestRecord, **values: Any) -> Posting:
    defaults: dict[str, Any] = {
        "id": record.id,
        "occurred_at": record.started_at,
        "customer_id": record.customer_id,
        "team_id": record.team_id,
        "project_id": record.project_id,
        "developer_id": record.developer_id,
        "virtual_key_id": record.virtual_key_id,
        "provider_access_id": None,
        "model": record.model,
        "amount_nano_usd": record.cost_nano_usd,
        "tokens": record.input_tokens + record.output_tokens,
        "price_id": record.price_id,
        "client": record.client,
    }
    return Posting(**{**defaults, **values})
