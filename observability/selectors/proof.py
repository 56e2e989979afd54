"""The cost proof of one request: its stored usage, priced again by the stored price row, beside what was charged."""

from __future__ import annotations

from dataclasses import dataclass

from django.db.models import Sum

from governance.catalog import price_book
from governance.domain.pricing import CostLine, PriceBook, normalise
from governance.domain.usage import Iteration, Usage
from governance.models import LedgerEntry, Price
from observability.models import Request


@dataclass(frozen=True, slots=True)
class Proof:
    """Amounts in nano-dollars; `lines` are exact, their sum is rounded once."""

    lines: tuple[CostLine, ...]
    computed: int
    charged: int
    """What the request's row says."""
    ledger: int | None
    """What the ledger charged; None where it has no entry, as for a request that used nothing."""
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
    charges = LedgerEntry.objects.filter(request_id=request.pk, kind=LedgerEntry.Kind.CHARGE)
    ledger = charges.aggregate(total=Sum("amount_nano_usd"))["total"]
    lines, computed, note = _compute(request, price)
    return Proof(lines, computed, request.cost_nano_usd, ledger, price, note)


def _compute(request: Request, price: Price | None) -> tuple[tuple[CostLine, ...], int, str]:
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
    platform = price.platform if price is not None else Price.Platform.ANTHROPIC
    cost = PriceBook(rows).charge(platform, request.model, usage, request.started_at)
    note = "" if price is not None else "No price was known: charged at the dearest known Claude rate, and marked."
    charged = [attempt for attempt in request.attempts if attempt.get("cost_nano_usd")]
    if len(charged) > 1:
        note = f"{len(charged)} attempts were charged, each priced by itself; the lines show their tokens together."
    return cost.lines, cost.nano_usd, note


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
