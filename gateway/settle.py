"""Step 7: price what was used, give the holds back, complete the record: exactly once, on every way out."""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from datetime import UTC, datetime

import msgspec
from msgspec.structs import asdict, replace

from gateway import ladder
from gateway.admit import counted
from gateway.exchange import Attempt, Exchange
from gateway.providers import PROVIDERS
from gateway.wire import tokens
from gateway.worst import prompt_estimate
from governance.domain.access import Access, Grant
from governance.domain.allowance import Allowance
from governance.domain.money import usd_string
from governance.domain.pricing import OTHER_PLATFORMS, Cost
from governance.domain.usage import Usage
from governance.ledger import Posting
from governance.snapshot import applicable

log = logging.getLogger(__name__)

_QUALITY_ORDER = ("exact", "reconciled", "estimated", "unpriced")
"""A request is as certain as the least certain of its attempts."""


def finish(exchange: Exchange, status: str, http_status: int | None) -> None:
    """Complete the record and hand it over. Later calls do nothing: the first way out wins."""
    if exchange.finished:
        return
    exchange.finished = True
    record = exchange.record
    now = time.monotonic()
    record.finished_at = datetime.now(UTC)
    record.status = "cancelled" if exchange.client_gone and status != "refused" else status
    record.http_status = http_status
    record.latency_ms = round((now - exchange.started) * 1000, 3)
    if exchange.first_content is not None:
        record.ttft_ms = round((exchange.first_content - exchange.started) * 1000, 3)
    record.gateway_overhead_us = max(0, round((now - exchange.started - exchange.waited_seconds) * 1_000_000))
    try:
        qualities = [_account(exchange, attempt) for attempt in exchange.attempts]
        if qualities != ["exact"]:
            record.cost_quality = max(["exact", *qualities], key=_QUALITY_ORDER.index)
    except Exception:
        # The row must be written and the holds given back whatever the price says: marked, for a person to look at.
        log.exception("The cost of request %s could not be worked out", record.id)
        record.cost_quality = "estimated"
    used = _tokens_used(exchange)
    _release(exchange, used)
    if not exchange.recorded:
        return
    exchange.gateway.recorder.put(record, _posting(exchange, used))


def cost_headers(exchange: Exchange) -> list[tuple[bytes, bytes]]:
    """What the finished request cost, for an answer whose headers are not sent yet."""
    if not exchange.billable:
        return []
    record = exchange.record
    return [
        (b"x-comptroller-cost-usd", usd_string(record.cost_nano_usd).encode()),
        (b"x-comptroller-model", record.model.encode("ascii", "replace")),
    ]


def _tokens_used(exchange: Exchange) -> int:
    """Every token of the request: what token limits count."""
    record = exchange.record
    return (
        record.input_tokens
        + record.output_tokens
        + record.cache_read_tokens
        + record.cache_write_5m_tokens
        + record.cache_write_1h_tokens
    )


class _Error(msgspec.Struct):
    type: str = ""


class _Envelope(msgspec.Struct):
    error: _Error


def error_type(body: bytes) -> str:
    """The type inside an Anthropic error body, or `api_error` where it has none."""
    try:
        return msgspec.json.decode(body, type=_Envelope).error.type[:64] or "api_error"
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return "api_error"


def _account(exchange: Exchange, attempt: Attempt) -> str:
    """Add one attempt's usage and cost to the record; returns how certain its cost is."""
    record = exchange.record
    target = attempt.target
    record.provider, record.provider_credential = target.provider.name, target.credential.name
    record.provider_request_id, record.region = attempt.provider_request_id, target.provider.region
    usage, quality = _usage(exchange, attempt)
    metered = attempt.metered
    entry: dict[str, object] = {
        "provider": target.provider.name,
        "credential": target.credential.name,
        "status": attempt.status,
        "started_ms": round((attempt.started - exchange.started) * 1000, 3),
        "latency_ms": round((attempt.ended - attempt.started) * 1000, 3),
        "tokens": usage.total_tokens if usage else 0,
        "cost_nano_usd": 0,
    }
    if target.model != record.model_requested:
        entry["asked_for"] = target.model
    if attempt.hedge:
        entry["hedge"] = True
    if attempt.error:
        entry["error"] = attempt.error
    if attempt.failed:
        entry["reason"] = attempt.failed
    if attempt.provider_request_id:
        entry["provider_request_id"] = attempt.provider_request_id
    record.attempts.append(entry)
    if usage is None:
        return "exact"
    served = metered.model if metered else ""
    model = served or target.model
    cost = _cost(exchange, attempt, served, usage)
    name, _ = _priced_as(exchange, attempt, served)
    if name != model:
        # What the price list calls it, for whoever prices the row again.
        entry["priced_as"] = name[:200]
    entry["cost_nano_usd"] = cost.nano_usd
    entry["platform"] = attempt.platform
    if cost.overrides:
        entry["price_overrides"] = list(cost.overrides)
    if len(exchange.attempts) > 1:
        # The row adds the attempts up; each by itself can be priced again only with this.
        entry["model"], entry["usage"] = model[:200], asdict(usage)
    record.model = model[:200]
    record.cost_nano_usd += cost.nano_usd
    record.price_id = cost.price_id
    record.input_tokens += usage.input_tokens
    record.output_tokens += usage.output_tokens
    record.thinking_tokens += usage.thinking_tokens
    record.cache_read_tokens += usage.cache_read_tokens
    record.cache_write_5m_tokens += usage.cache_write_5m_tokens
    record.cache_write_1h_tokens += usage.cache_write_1h_tokens
    record.web_searches += usage.web_searches
    record.speed, record.inference_geo, record.service_tier = (
        usage.speed,
        usage.inference_geo,
        usage.service_tier,
    )
    if usage.iterations:
        record.iterations = [asdict(step) for step in usage.iterations]
    if metered is not None:
        record.stop_reason = metered.stop_reason[:32]
        record.tool_calls = dict(metered.tool_calls)
        record.lines_added, record.lines_removed = metered.lines_added, metered.lines_removed
    return quality if cost.quality == "exact" else cost.quality


def _usage(exchange: Exchange, attempt: Attempt) -> tuple[Usage | None, str]:
    """What the attempt used, and whether the provider said so (`exact`) or it is worked out here (`estimated`)."""
    metered = attempt.metered
    if not exchange.billable or metered is None or (attempt.status or 200) >= 300:
        return None, "exact"
    known = metered.usage
    if known is not None and not metered.input_told:
        known = replace(known, input_tokens=prompt_estimate(exchange))
    if known is not None and metered.output_final:
        return known, "exact" if metered.input_told else "estimated"
    if metered.error_type and metered.usage is None and not metered.has_content:
        return None, "exact"
    output = tokens.estimate_output(metered.content_bytes)
    if known is not None:
        # The stream broke off, or never told: its start said the input, the output is what had come so far.
        return replace(known, output_tokens=max(known.output_tokens, output)), "estimated"
    return Usage(input_tokens=prompt_estimate(exchange), output_tokens=output), "estimated"


def _cost(exchange: Exchange, attempt: Attempt, served: str, usage: Usage) -> Cost:
    metered = attempt.metered
    refused = metered is not None and metered.stop_reason == "refusal" and not metered.has_content
    # Other models' answers are charged although a filter stopped them.
    free = refused and attempt.platform not in OTHER_PLATFORMS
    customer_id = exchange.grant.customer_id if exchange.grant else None
    name, region = _priced_as(exchange, attempt, served)
    if usage.iterations:
        # The steps name their models as Anthropic does; the price list as the provider is asked for them.
        steps = (
            replace(step, model=_priced_as(exchange, attempt, step.model)[0]) if step.model else step
            for step in usage.iterations
        )
        usage = replace(usage, iterations=tuple(steps))
    prices, at = exchange.snapshot.prices, exchange.record.started_at
    return prices.cost(attempt.platform, name, usage, at, region=region, free=free, customer_id=customer_id)


def _priced_as(exchange: Exchange, attempt: Attempt, served: str) -> tuple[str, str]:
    """(model id, region) by which the price list knows what answered."""
    target = attempt.target
    provider = PROVIDERS[target.provider.kind]
    return provider.priced_as(target.provider, exchange.called(provider, target.model), served)


def _access(exchange: Exchange) -> Access | None:
    """Through which of the key's providers the charge came: the last try that may have used something."""
    attempts = exchange.attempts
    if len(attempts) > 1:
        attempts = [attempt for attempt in attempts if attempt.metered is not None] or attempts
    return attempts[-1].target.access if attempts else None


def _release(exchange: Exchange, used: int) -> None:
    """Give every hold back and count the charge against what the served model falls under."""
    book, record, grant = exchange.gateway.book, exchange.record, exchange.grant
    for hold in exchange.holds:
        book.release(hold)
    ladder.leave(exchange)
    if grant is None or not record.model or not exchange.billable:
        return
    ended = record.finished_at or record.started_at
    book.charge(record.id, _counting(exchange, grant), record.started_at, ended, record.cost_nano_usd, used)


def _counting(exchange: Exchange, grant: Grant) -> Sequence[Allowance]:
    """The allowances that count a charge for the model that served it."""
    access, model = _access(exchange), exchange.record.model
    own = counted(exchange, grant, model)
    return own if access is None or not access.allowances else (*own, *applicable(access.allowances, model))


def _posting(exchange: Exchange, used: int) -> Posting | None:
    """The ledger's row; None where nothing was used."""
    record, grant, access = exchange.record, exchange.grant, _access(exchange)
    if grant is None or not record.model or not exchange.billable:
        return None
    return Posting(
        id=record.id,
        occurred_at=record.started_at,
        customer_id=grant.customer_id,
        team_id=grant.team_id,
        project_id=record.project_id,
        developer_id=grant.developer_id,
        virtual_key_id=grant.key_id,
        provider_access_id=access.id if access else None,
        model=record.model,
        amount_nano_usd=record.cost_nano_usd,
        tokens=used,
        price_id=record.price_id,
        client=record.client,
    )
