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
            return f"Answered by {served}{_whose(request)}{within} for {cost}{estimated}."
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


def _whose(request: Request) -> str:
    """By which provider, and after how many others."""
    before = list(dict.fromkeys(entry.get("provider") for entry in request.attempts[:-1]))
    others = [str(name) for name in before if name and name != request.provider]
    after = f", after {', '.join(others)}," if others else ""
    return f" of {request.provider}{after}" if request.provider else ""


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


@dataclass(frozen=True, slots=True)
class RoutingStep:
    """A rule on the way to the decision: what it did, or why it failed."""

    rule_id: int | None
    rule: str
    scope: str
    told: str
    failed: bool
    decided: bool


@dataclass(frozen=True, slots=True)
class RoutingTold:
    """What aliases and rules made of the request; `verdict` is a sentence."""

    verdict: str
    steps: tuple[RoutingStep, ...] = ()
    looked: int = 0
    quiet: int = 0
    """Rules that were looked at and did not match."""
    targets: tuple[str, ...] = ()
    left_out: tuple[str, ...] = ()
    passed_over: tuple[str, ...] = ()
    """Targets that were not to be asked at that moment, while another was."""
    score: int | None = None
    parts: tuple[tuple[str, int], ...] = ()
    facts: tuple[tuple[str, str], ...] = ()


_SCOPES = {"virtual_key": "key", "team": "team", "customer": "customer", "global": "everybody"}


def routing(request: Request) -> RoutingTold:
    told: dict[str, Any] = request.routing
    decided = told.get("rule") if told.get("targets") or not told.get("left_out") else None
    steps = tuple(
        RoutingStep(
            rule_id=step.get("id"),
            rule=str(step.get("rule", "")),
            scope=_SCOPES.get(str(step.get("scope", "")), str(step.get("scope", ""))),
            told=str(step.get("told", "")),
            failed=bool(step.get("failed")),
            decided=bool(decided) and step.get("rule") == decided and not step.get("failed"),
        )
        for step in told.get("steps", ())
    )
    looked = int(told.get("looked") or 0)
    complexity = told.get("complexity") or {}
    return RoutingTold(
        verdict=_routing_verdict(request, told, steps, looked),
        steps=steps,
        looked=looked,
        quiet=max(0, looked - len(steps)),
        targets=tuple(_target(target) for target in told.get("targets", ())),
        left_out=tuple(f"{_target(target)}: {target.get('why', '')}" for target in told.get("left_out", ())),
        passed_over=tuple(_passed_over(target) for target in told.get("passed_over", ())),
        score=complexity.get("score"),
        parts=tuple((str(part.get("told", "")), int(part.get("points") or 0)) for part in complexity.get("parts", ())),
        facts=tuple((name, str(value)) for name, value in told.get("facts", {}).items()),
    )


def _routing_verdict(request: Request, told: dict[str, Any], steps: tuple[RoutingStep, ...], looked: int) -> str:
    sentences = []
    if alias := told.get("alias"):
        sentences.append(
            f"An alias puts {alias.get('to')} in the place of {alias.get('from')} ({alias.get('pattern')})."
        )
    if told.get("left_out") and not told.get("targets"):
        sentences.append("None of the targets of the rules may be used: the request went on as if no rule decided.")
    elif rule := told.get("rule"):
        end = "refused it" if request.status == "refused" and not told.get("targets") else "decided"
        sentences.append(f"The rule “{rule}” {end}.")
    elif any(not step.failed for step in steps):
        sentences.append("No rule chose a target; those that matched are below.")
    elif looked:
        sentences.append(
            f"None of {looked:,} rule{'' if looked == 1 else 's'} matched: it went where it would go anyway."
        )
    if capped := told.get("max_tokens"):
        before = f"{capped['from']:,}" if capped.get("from") else "no limit of its own"
        sentences.append(f"Its output tokens were capped at {capped.get('to'):,}, from {before}.")
    return " ".join(sentences) or "No rule and no alias had a say: it went where the key's providers say."


def _passed_over(target: dict[str, Any]) -> str:
    return f"{target.get('provider', '')} ({target.get('credential', '')}) passed over: {target.get('why', '')}"


def _target(target: dict[str, Any]) -> str:
    place = f" at {target['provider']}" if target.get("provider") else ""
    tier = target.get("tier") or 0
    when = "" if not tier else f" (fallback {tier})"
    weight = f" × {target['weight']:g}" if "weight" in target else ""
    return f"{target.get('model', '')}{place}{weight}{when}"


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
