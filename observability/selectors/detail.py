"""What the page of one request says: its outcome in a sentence, its attempts over time, the budgets it met."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from governance.templatetags.money import usd_exact
from observability.durations import duration
from observability.models import Request
from observability.replay import DIED


@dataclass(frozen=True, slots=True)
class AttemptBar:
    """One attempt on the common time line; positions are CSS percentages of the request's latency."""

    number: int
    provider: str
    credential: str
    status: int | None
    error: str
    provider_request_id: str
    latency_ms: float
    tokens: int
    cost_nano_usd: int
    left: str
    width: str
    failed: bool


@dataclass(frozen=True, slots=True)
class Decision:
    """A budget that was asked at admission, amounts in nano-dollars as they were then."""

    budget_id: int | None
    budget: str
    scope: str
    spent: int
    held: int
    limit: int
    enforcement: str
    refused: bool


def sentence(request: Request) -> str:
    """The outcome in one sentence, for somebody who asks what happened to it."""
    served = request.model or request.model_requested or "a model"
    took = "" if request.latency_ms is None else duration(request.latency_ms)
    within = f" in {took}" if took else ""
    cost = f"{usd_exact(request.cost_nano_usd)} USD" if request.cost_nano_usd else "nothing"
    estimated = ", estimated" if request.cost_quality == "estimated" else ""
    match request.status:
        case "success":
            return f"Answered by {served}{within} for {cost}{estimated}."
        case "refused":
            return "The gateway refused it before it reached a provider; nothing was charged."
        case "cancelled":
            return f"The client left before the answer ended, after {took or 'a while'}; charged {cost}{estimated}."
    if request.error_type == DIED:
        charged = f"charged {cost}{estimated}" if request.cost_nano_usd else "nothing was charged"
        return f"The gateway ended before the answer was complete; {charged}."
    if request.attempts:
        tries = "the provider" if len(request.attempts) == 1 else f"{len(request.attempts)} attempts"
        return f"Failed at {tries}{within}; charged {cost}."
    return "Failed before it reached a provider; nothing was charged."


def attempts(request: Request) -> list[AttemptBar]:
    """The attempts in order; one that does not say when it began follows the one before."""
    whole = max(
        [request.latency_ms or 0.0]
        + [(entry.get("started_ms") or 0.0) + (entry.get("latency_ms") or 0.0) for entry in request.attempts]
        + [1.0]
    )
    bars, clock = [], 0.0
    for number, entry in enumerate(request.attempts, 1):
        latency = float(entry.get("latency_ms") or 0.0)
        start = float(entry.get("started_ms", clock))
        status = entry.get("status")
        bars.append(
            AttemptBar(
                number=number,
                provider=str(entry.get("provider", "")),
                credential=str(entry.get("credential", "")),
                status=status,
                error=str(entry.get("error", "")),
                provider_request_id=str(entry.get("provider_request_id", "")),
                latency_ms=latency,
                tokens=int(entry.get("tokens") or 0),
                cost_nano_usd=int(entry.get("cost_nano_usd") or 0),
                left=f"{100 * start / whole:.2f}%",
                width=f"{100 * latency / whole:.2f}%",
                failed=status is None or status >= 400,
            )
        )
        clock = start + latency
    return bars


def decisions(request: Request) -> list[Decision]:
    return [
        Decision(
            budget_id=entry.get("budget_id"),
            budget=str(entry.get("budget", "")),
            scope=str(entry.get("scope", "")).replace("_", " "),
            spent=int(entry.get("spent_nano_usd") or 0),
            held=int(entry.get("held_nano_usd") or 0),
            limit=int(entry.get("limit_nano_usd") or 0),
            enforcement=str(entry.get("enforcement", "")),
            refused=bool(entry.get("refused")),
        )
        for entry in request.budget_decision
    ]


RAW_GROUPS: tuple[tuple[str, tuple[str, ...]], ...] = (
    ("Who and what", (
        "customer", "team", "project", "developer", "virtual_key", "session_id", "agent_id", "parent_agent_id",
        "prompt_id", "request_class", "client", "device_id", "working_directory", "client_ip", "tags",
    )),
    ("Where it went", (
        "endpoint", "provider", "provider_credential", "region", "model_requested", "model", "route_rule",
        "provider_request_id", "stream", "cache", "speed", "inference_geo", "service_tier", "http_status",
        "error_type", "stop_reason",
    )),
    ("What it did", (
        "input_tokens", "output_tokens", "thinking_tokens", "cache_read_tokens", "cache_write_5m_tokens",
        "cache_write_1h_tokens", "web_searches", "cost_nano_usd", "cost_quality", "price_id", "latency_ms", "ttft_ms",
        "gateway_overhead_us", "request_bytes", "tool_calls", "lines_added", "lines_removed", "iterations",
    )),
)  # fmt: skip
"""The row as it is stored, by the names that exports and the API use."""


def raw(request: Request) -> list[tuple[str, list[tuple[str, Any]]]]:
    return [(title, [(name, _plain(getattr(request, name))) for name in names]) for title, names in RAW_GROUPS]


def _plain(value: Any) -> str:
    match value:
        case None | "":
            return ""
        case dict() | list() if not value:  # `{}` as a pattern would fit every dict
            return ""
        case bool():
            return "yes" if value else "no"
        case dict():
            return ", ".join(f"{key}: {inner}" for key, inner in value.items())
    return str(value)
