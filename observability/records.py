"""The request row as the data plane carries it: plain values, one attribute for each column of `Request`."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import msgspec
from msgspec import field


class RequestRecord(msgspec.Struct, kw_only=True, omit_defaults=True, gc=False):
    """Filled step by step while a request runs, handed to the recorder once when it ends. Units as in `Request`.

    One is made for every request: a Struct is made in a third of a dataclass's time. The collector need not know of it
    (`gc=False`): its lists and dictionaries hold plain values, so it is never part of a cycle. Encoded, a field that
    has its default is left out: less to write, and other releases read it all the same.
    """

    id: str
    started_at: datetime
    finished_at: datetime | None = None
    status: str = "error"
    http_status: int | None = None
    error_type: str = ""
    error_message: str = ""
    customer: str = ""
    customer_id: int | None = None
    team: str = ""
    team_id: int | None = None
    project: str = ""
    project_id: int | None = None
    developer: str = ""
    developer_id: int | None = None
    virtual_key: str = ""
    virtual_key_id: int | None = None
    session_id: str = ""
    agent_id: str = ""
    parent_agent_id: str = ""
    prompt_id: str = ""
    request_class: str = ""
    client: str = ""
    device_id: str = ""
    working_directory: str = ""
    client_ip: str | None = None
    tags: dict[str, str] = field(default_factory=dict)
    endpoint: str = ""
    provider: str = ""
    provider_credential: str = ""
    region: str = ""
    model_requested: str = ""
    model: str = ""
    route_rule: str = ""
    attempts: list[dict[str, Any]] = field(default_factory=list)
    stream: bool = False
    input_tokens: int = 0
    output_tokens: int = 0
    thinking_tokens: int = 0
    cache_read_tokens: int = 0
    cache_write_5m_tokens: int = 0
    cache_write_1h_tokens: int = 0
    web_searches: int = 0
    speed: str = ""
    inference_geo: str = ""
    service_tier: str = ""
    iterations: list[dict[str, Any]] = field(default_factory=list)
    cost_nano_usd: int = 0
    cost_quality: str = "exact"
    price_id: int | None = None
    latency_ms: float | None = None
    ttft_ms: float | None = None
    gateway_overhead_us: int | None = None
    cache: str = "none"
    stop_reason: str = ""
    tool_calls: dict[str, int] = field(default_factory=dict)
    lines_added: int = 0
    lines_removed: int = 0
    provider_request_id: str = ""
    request_bytes: int = 0
    routing: dict[str, Any] = field(default_factory=dict)
    budget_decision: list[dict[str, Any]] = field(default_factory=list)
