"""The cost proof of one request: its stored usage, priced again by what its charge named, beside what was charged."""

from __future__ import annotations

from dataclasses import dataclass

from governance.catalog import price_book, price_override
from governance.domain.pricing import CostLine, PriceBook, normalise
from governance.domain.usage import Iteration, Usage
from governance.models import ModelAlias, Price, PriceOverride, RepricingLine
from observability.models import Request
from observability.querysets import NEAR
from observability.selectors.costs import ledger_costs


@dataclass(frozen=True, slots=True)
class Proof:
    """Amounts in nano-dollars; `lines` are exact, their sum is rounded once."""

    lines: tuple[CostLine, ...]
    computed: int
    charged: int
    """What the request's row says."""
    ledger: int | None
    """Its charge with the adjustments of re-pricing; None where there is none, as for a request that used nothing."""
    price: Price | None
    note: str
    """Why there is nothing to compute, or a remark on how it was computed; empty for the plain case."""

    @property
    def ties(self) -> bool:
        """Computed, row and ledger agree to the last nano-dollar."""
        return self.computed == self.charged == (self.ledger or 0)


def prove(request: Request) -> Proof:
    """Price the stored usage with the stored price row. Steps by other models take the rows in force at the time."""
    price = Price.objects.filter(pk=request.price_id).first() if request.price_id else None
    repriced = RepricingLine.objects.filter(request_id=request.pk, posted_at__isnull=False).order_by("posted_at")
    adjusted = repriced.last()
    ledger = ledger_costs([request.pk], request.started_at - NEAR, request.started_at + NEAR).get(request.pk)
    overrides = list(PriceOverride.objects.filter(pk__in=_override_ids(request, adjusted)))
    lines, computed, note = _compute(request, price, overrides)
    remarks = [note, f"The customer's terms apply: {'; '.join(o.terms for o in overrides)}." if overrides else ""]
    if adjusted is not None:
        remarks.append(
            f"Re-priced on {adjusted.posted_at:%Y-%m-%d}: the charge stands in the ledger beside an adjustment "
            f"(re-pricing {adjusted.repricing_id})."
        )
    note = " ".join(remark for remark in remarks if remark)
    return Proof(lines, computed, request.cost_nano_usd, ledger, price, note)


def _override_ids(request: Request, adjusted: RepricingLine | None) -> set[int]:
    """The customer's overrides that the cost names: those of its last re-pricing, else those of its charge."""
    if adjusted is not None:
        return set(adjusted.overrides)
    return {pk for attempt in request.attempts for pk in attempt.get("price_overrides", ())}


def _compute(
    request: Request, price: Price | None, overrides: list[PriceOverride]
) -> tuple[tuple[CostLine, ...], int, str]:
    usage = usage_of(request)
    if not usage.total_tokens and not usage.web_searches:
        return (), 0, "Nothing was used, so nothing was charged."
    if request.stop_reason == "refusal" and request.cost_nano_usd == 0:
        note = "The model refused before it wrote anything: that is not charged, whatever the usage shows."
        return (), 0, note
    if request.price_id and price is None:
        note = f"Price row {request.price_id} is gone from the catalog; the charge stands as it was written."
        return (), request.cost_nano_usd, note
    rows = price_book().rows
    if price is not None:
        # Only the row that the charge named: a row for the same model that came later must not change the proof.
        own = normalise(price.model_id)
        rows = tuple(
            row
            for row in rows
            if row.id == price.pk or row.platform != price.platform or normalise(row.model_id) != own
        )
    platform = price.platform if price is not None else _platform(request)
    book = PriceBook(rows, [price_override(row) for row in overrides], _aliases(request, platform, price))
    cost = book.charge(
        platform, _priced_as(request), usage, request.started_at, region=request.region, customer_id=request.customer_id
    )
    note = "" if price is not None else "No price was known: charged at the dearest known Claude rate, and marked."
    charged = [attempt for attempt in request.attempts if attempt.get("cost_nano_usd")]
    if len(charged) > 1:
        note = f"{len(charged)} attempts were charged, each priced by itself; the lines show their tokens together."
    return cost.lines, cost.nano_usd, note


def _platform(request: Request) -> str:
    named = [attempt["platform"] for attempt in request.attempts if attempt.get("platform")]
    return named[-1] if named else Price.Platform.ANTHROPIC


def _aliases(request: Request, platform: str, price: Price | None) -> dict[tuple[str, str], str]:
    """Mapped ids as they are now; the request's own leads to the price that was charged, whatever became of it."""
    aliases = {(row.platform, row.alias): row.target for row in ModelAlias.objects.filter(platform=platform)}
    model = _priced_as(request)
    if price is None:
        aliases.pop((platform, model), None)
    elif (target := aliases.get((platform, model))) is None or not target.endswith(price.model_id):
        aliases[platform, model] = price.model_id
    return aliases


def _priced_as(request: Request) -> str:
    """What the price list called the model that was charged, where that is not what the log does."""
    named = [attempt["priced_as"] for attempt in request.attempts if attempt.get("priced_as")]
    return str(named[-1]) if named else request.model


def usage_of(request: Request) -> Usage:
    """The stored usage as the pricing rules take it."""
    return Usage(
        input_tokens=request.input_tokens,
        output_tokens=request.output_tokens,
        thinking_tokens=request.thinking_tokens,
        cache_read_tokens=request.cache_read_tokens,
        cache_write_5m_tokens=request.cache_write_5m_tokens,
        cache_write_1h_tokens=request.cache_write_1h_tokens,
        web_searches=request.web_searches,
        speed=request.speed,
        inference_geo=request.inference_geo,
        service_tier=request.service_tier,
        iterations=tuple(Iteration(**step) for step in request.iterations),
    )
