"""What routing rules may know of a request: only what the rules that apply to it read is worked out."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final
from zoneinfo import ZoneInfo

from gateway.exchange import Exchange
from gateway.wire.headers import Headers
from gateway.wire.look import Look, look
from gateway.wire.peek import Peek
from gateway.worst import prompt_estimate
from governance.domain.access import Grant
from governance.domain.allowance import Allowance, Unit
from governance.domain.complexity import Features, score
from governance.domain.facts import WEEKDAYS, Facts
from governance.snapshot import applicable
from observability.records import RequestRecord

LOOKED_AT: Final = frozenset({"turns", "images", "effort", "tool_names", "complexity"})
_MEASURED: Final = frozenset({"prompt_tokens", "complexity"})
_CREDENTIALS: Final = frozenset({"authorization", "cookie", "proxy-authorization", "x-api-key", "x-comptroller-key"})
_MAX_HEADER: Final = 1_000
"""Characters kept of a header's value."""


def facts_of(exchange: Exchange, grant: Grant, model: str, names: frozenset[str], used_percent: int) -> Facts:
    """The facts; what is not among `names` may be left at its default."""
    return build(
        names,
        record=exchange.record,
        peek=exchange.peek,
        body=exchange.body,
        headers=exchange.headers,
        grant=grant,
        model=model,
        prompt_tokens=prompt_estimate(exchange) if names & _MEASURED else 0,
        used_percent=used_percent,
        zone=exchange.snapshot.zones.get(grant.customer_id, "UTC"),
        weights=exchange.snapshot.rules.weights,
    )


def build(
    names: frozenset[str],
    *,
    record: RequestRecord,
    peek: Peek | None,
    body: bytes,
    headers: Headers,
    grant: Grant,
    model: str,
    prompt_tokens: int,
    used_percent: int,
    zone: str,
    weights: Mapping[str, float],
) -> Facts:
    """The same out of its parts: the test bench has no exchange."""
    seen = look(body) if names & LOOKED_AT else Look()
    local = record.started_at.astimezone(ZoneInfo(zone)) if names & {"hour", "weekday"} else record.started_at
    client, _, version = record.client.partition("/")
    request_class = _class(record)
    thinking = peek.thinking if peek else ""
    thinking_budget = (peek.thinking_budget_tokens or 0) if peek else 0
    tool_count = peek.tool_count if peek else 0
    made = None
    if "complexity" in names:
        features = Features(
            prompt_tokens, seen.turns, tool_count, seen.images, thinking, thinking_budget, seen.effort, request_class
        )
        made = score(features, weights)
    return Facts(
        model=model,
        request_class=request_class,
        prompt_tokens=prompt_tokens,
        complexity=made.value if made else 0,
        turns=seen.turns,
        tool_count=tool_count,
        tool_names=list(seen.tool_names),
        images=seen.images,
        thinking=thinking,
        thinking_budget=thinking_budget,
        effort=seen.effort,
        max_tokens=(peek.max_tokens or 0) if peek else 0,
        stream=peek.stream if peek else False,
        budget_used_percent=used_percent,
        hour=local.hour,
        weekday=WEEKDAYS[local.weekday()],
        client=client,
        client_version=version,
        customer=grant.customer_name,
        team=grant.team_name,
        project=record.project,
        developer=grant.developer_name,
        key=grant.key_name,
        session=record.session_id,
        tags=record.tags,
        headers=told_headers(headers) if "headers" in names else {},
        score=made,
    )


def told_headers(headers: Headers) -> dict[str, str]:
    """The first value of each header that carries no credential, by lower-case name."""
    told: dict[str, str] = {}
    for raw_name, raw_value in headers.raw:
        name, value = raw_name.decode("latin-1").lower(), raw_value.decode("latin-1").strip()
        if name not in _CREDENTIALS and "sk-" not in value:
            told.setdefault(name, value[:_MAX_HEADER])
    return told


def counted_budgets(exchange: Exchange, grant: Grant, model: str) -> list[Allowance]:
    """The budgets that count this request, so far as they do not hang on the provider."""
    project = exchange.project
    own = (*grant.allowances, *(project.allowances if project else ()))
    return [allowance for allowance in applicable(own, model) if allowance.unit is Unit.USD]


def used_percent(exchange: Exchange, budgets: list[Allowance]) -> int:
    """Of the fullest of them: whole percent of its limit that is spent; 0 without one."""
    book, now = exchange.gateway.book, exchange.record.started_at
    most = 0
    for allowance in budgets:
        used, _, limit = book.figures(allowance, now)
        most = max(most, 100 * used // limit if limit > 0 else 100)
    return most


def _class(record: RequestRecord) -> str:
    """As the client says; a subagent tells itself by its id, too."""
    if record.request_class and record.request_class != "count_tokens":
        return record.request_class
    return "subagent" if record.agent_id else "main"
