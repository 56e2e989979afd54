"""What a request costs: effective-dated rates and the exact arithmetic from usage to nano-dollars.

Amounts are Decimal USD without any rounding until the end of the request, where one half-even rounding makes
whole nano-dollars. `Cost.lines` is the proof: the sum of their amounts, rounded once, is `Cost.nano_usd`.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from decimal import (
    ROUND_CEILING,
    ROUND_HALF_EVEN,
    Context,
    Decimal,
    DivisionByZero,
    Inexact,
    InvalidOperation,
)
from typing import Literal

from governance.domain.iterations import split
from governance.domain.model_ids import ONE, candidates, normalise
from governance.domain.usage import Iteration, Usage

__all__ = ["Cost", "CostLine", "PriceBook", "PriceRow", "Quality", "Rates", "Tier", "normalise"]

Quality = Literal["exact", "estimated", "unpriced", "reconciled"]

ZERO = Decimal(0)
UNLISTED_FAST = Decimal(2)
"""Published factor of fast service, for a model that was served fast and whose price lists no factor.

`estimated`.
"""
UNLISTED_WEB_SEARCH = Decimal("0.01")
"""Published fee of a web search in USD, where searches were served and the price lists none: `estimated`."""

_MILLION = Decimal(1_000_000)
# Traps Inexact: a digit that does not fit raises instead of vanishing, whatever the thread's own context is.
_EXACT = Context(prec=80, traps=[Inexact, InvalidOperation, DivisionByZero])
_multiply, _add = _EXACT.multiply, _EXACT.add
_RESOLVED_LIMIT = 4096


@dataclass(frozen=True, slots=True)
class Rates:
    """USD per million tokens of each disjoint class."""

    input: Decimal
    output: Decimal
    cache_read: Decimal
    cache_write_5m: Decimal
    cache_write_1h: Decimal

    @property
    def dearest_prompt(self) -> Decimal:
        """The most that one prompt token can cost, whichever class it falls into."""
        return max(self.input, self.cache_read, self.cache_write_5m, self.cache_write_1h)


@dataclass(frozen=True, slots=True)
class Tier:
    """Rates of every token of a request whose prompt is strictly longer than the threshold (tokens)."""

    above_prompt_tokens: int
    rates: Rates


@dataclass(frozen=True, slots=True)
class PriceRow:
    """The price of one model on one platform from a moment on."""

    id: int
    platform: str
    model_id: str
    effective_from: datetime
    rates: Rates
    tiers: tuple[Tier, ...] = ()
    multipliers: Mapping[str, Decimal] = field(default_factory=dict)
    """Factors of every token class.

    `fast`, `us`, `batch`, `regional` (a regional instead of the global endpoint).
    """
    web_search: Decimal = ZERO
    """USD per search; no factor applies to it."""
    context_tokens: int | None = None
    max_output_tokens: int | None = None
    region: Decimal = ONE
    """Factor of a Bedrock region whose rates are derived from this row's."""

    def rates_for(self, prompt_tokens: int) -> Rates:
        """The rates of a request with so many prompt tokens: its highest tier that is strictly exceeded."""
        rates, highest = self.rates, -1
        for tier in self.tiers:
            if prompt_tokens > tier.above_prompt_tokens > highest:
                rates, highest = tier.rates, tier.above_prompt_tokens
        return rates


@dataclass(frozen=True, slots=True)
class CostLine:
    """One line of the cost proof: quantity × usd_per_mtok × multiplier ÷ 1,000,000 = amount, exactly."""

    label: str
    """Token class, preceded by the kind of iteration where it is not the request's own; or `web_search`."""
    model: str
    quantity: int
    """Tokens; searches for `web_search`."""
    usd_per_mtok: Decimal
    """USD per million of `quantity`, after the tier."""
    multiplier: Decimal
    amount: Decimal
    """USD, exact."""


@dataclass(frozen=True, slots=True)
class Cost:
    """What one request costs. `price_id` is None where the served model has no price."""

    nano_usd: int
    quality: Quality
    price_id: int | None
    lines: tuple[CostLine, ...] = ()


class PriceBook:
    """All prices, indexed for the request path: no I/O, look-ups cached, safe to share between threads."""

    __slots__ = ("_dearest", "_index", "_moments", "_resolved", "rows")

    def __init__(self, rows: Iterable[PriceRow]) -> None:
        # A rate of zero is a gap in the catalog, not a bargain: such a row prices nothing.
        priced = (row for row in rows if row.rates.input and row.rates.output)
        self.rows = tuple(sorted(priced, key=lambda row: row.effective_from))
        self._index: dict[tuple[str, str], list[PriceRow]] = {}
        for row in self.rows:
            self._index.setdefault((row.platform, normalise(row.model_id)), []).append(row)
        self._moments = sorted({row.effective_from for row in self.rows})
        self._resolved: dict[tuple[str, str], tuple[list[datetime], list[PriceRow]]] = {}
        self._dearest: dict[int, PriceRow] = {}

    def find(self, platform: str, model_id: str, at: datetime) -> PriceRow | None:
        """The price in force at a moment (aware), matched exactly after normalising.

        None where there is none.
        """
        resolved = self._resolved.get((platform, model_id))
        if resolved is None:
            resolved = self._resolve(platform, model_id)
        moments, rows = resolved
        position = bisect_right(moments, at)
        return rows[position - 1] if position else None

    def models(self, platform: str, at: datetime) -> tuple[str, ...]:
        """Ids with a price on a platform at a moment, in alphabetical order."""
        return tuple(sorted(row.model_id for row in self._in_force(at) if row.platform == platform))

    def charge(
        self,
        platform: str,
        model_id: str,
        usage: Usage,
        at: datetime,
        *,
        region: str = "",
        free: bool = False,
    ) -> Cost:
        """The cost of one attempt by the model that served it, at the price in force when the request started.

        `region` is the endpoint's where the platform has regional endpoints (empty or `global` otherwise). A
        model without a price is charged at the dearest known Claude rate and marked `unpriced`. `free` is for
        what is not charged whatever its usage shows: a refusal without content.
        """
        row = self.find(platform, model_id, at)
        if free:
            return Cost(0, "exact", row.id if row else None)
        return self._charge(platform, model_id, row, usage, at, region)

    def ceiling(
        self,
        platform: str,
        model_id: str,
        at: datetime,
        prompt_tokens: int,
        output_tokens: int,
        web_searches: int,
        *,
        fast: bool = True,
        us: bool = True,
        cache_1h: bool = True,
        region: str | None = None,
    ) -> int:
        """Nano-dollars that a request of at most these sizes cannot pass, rounded up.

        Every prompt token is taken at its dearest class, in whichever tier is dearest among those it can
        reach, times every factor that could apply. The keywords rule out what the request did not ask
        for; `region` None leaves the endpoint open. Batch discounts are never assumed. Server-side steps by
        other models (`advisor_message`, `fallback_message`, `compaction`) are not in it: their size is not
        known beforehand.
        """
        row = self.find(platform, model_id, at) or self._dearest_at(at)
        factor = row.region
        for name, possible, unlisted in (
            ("fast", fast, UNLISTED_FAST),
            ("us", us, ONE),
            ("regional", region not in ("", "global"), ONE),
        ):
            if possible:
                factor = _multiply(factor, max(ONE, row.multipliers.get(name, unlisted)))
        prompt = output = ZERO
        for rates in (row.rates, *(t.rates for t in row.tiers if prompt_tokens > t.above_prompt_tokens)):
            dearest = rates.dearest_prompt if cache_1h else max(rates.input, rates.cache_read, rates.cache_write_5m)
            prompt, output = max(prompt, dearest), max(output, rates.output)
        usd = _add(_multiply(prompt_tokens, prompt), _multiply(output_tokens, output))
        usd = _multiply(usd, factor).scaleb(-6, _EXACT)
        usd = _add(usd, _multiply(web_searches, row.web_search or UNLISTED_WEB_SEARCH))
        return int(usd.scaleb(9, _EXACT).to_integral_value(ROUND_CEILING))

    def _resolve(self, platform: str, model_id: str) -> tuple[list[datetime], list[PriceRow]]:
        """Rows of an id in order of time, and their moments; remembered. Ids come from clients.

        The memory is bounded.
        """
        rows: list[PriceRow] = []
        for name, factor in candidates(normalise(model_id)):
            rows = self._index.get((platform, name), [])
            if rows:
                rows = rows if factor == ONE else [replace(row, region=factor) for row in rows]
                break
        if len(self._resolved) >= _RESOLVED_LIMIT:
            self._resolved.clear()
        resolved = [row.effective_from for row in rows], rows
        self._resolved[platform, model_id] = resolved
        return resolved

    def _dearest_at(self, at: datetime) -> PriceRow:
        """A price no known Claude model exceeds in any class at a moment, over all platforms and tiers."""
        position = bisect_right(self._moments, at)
        row = self._dearest.get(position)
        if row is None:
            row = self._dearest[position] = _dearest(self._in_force(at) or self.rows, at)
        return row

    def _in_force(self, at: datetime) -> list[PriceRow]:
        latest = {(r.platform, r.model_id): r for r in self.rows if r.effective_from <= at}
        return list(latest.values())

    def _charge(
        self, platform: str, model_id: str, row: PriceRow | None, usage: Usage, at: datetime, region: str
    ) -> Cost:
        """Price the request's own tokens, then the steps of other models.

        See `iterations.split` for the reconciling.
        """
        lines: list[CostLine] = []
        own: Usage | Iteration = usage
        others: tuple[Iteration, ...] = ()
        agree = True
        if usage.iterations:
            own, others, agree = split(model_id, usage)
        price = row or self._dearest_at(at)
        multiplier, listed = _multiplier(price, usage, region)
        unpriced, estimated = row is None, not (listed and agree)
        _token_lines(lines, "", model_id, own, price.rates_for(own.prompt_tokens), multiplier)
        if usage.web_searches:
            fee = price.web_search or UNLISTED_WEB_SEARCH
            estimated |= not price.web_search
            lines.append(
                CostLine(
                    "web_search",
                    model_id,
                    usage.web_searches,
                    _multiply(fee, _MILLION),
                    ONE,
                    _multiply(usage.web_searches, fee),
                )
            )
        for step in others:
            step_model = step.model or model_id
            found = self.find(platform, step_model, at)
            unpriced |= found is None
            price = found or self._dearest_at(at)
            # A step whose model has no fast service ran at its own normal speed.
            multiplier, _ = _multiplier(price, usage, region, unlisted_fast=ONE)
            _token_lines(lines, f"{step.kind} ", step_model, step, price.rates_for(step.prompt_tokens), multiplier)
        total = ZERO
        for line in lines:
            total = _add(total, line.amount)
        quality: Quality = "unpriced" if unpriced else "estimated" if estimated else "exact"
        nano = int(total.scaleb(9, _EXACT).to_integral_value(ROUND_HALF_EVEN))
        return Cost(nano, quality, row.id if row else None, tuple(lines))


def _token_lines(
    lines: list[CostLine], kind: str, model: str, used: Usage | Iteration, rates: Rates, multiplier: Decimal
) -> None:
    """Append one line for each class that has tokens."""
    for label, quantity, rate in (
        ("input", used.input_tokens, rates.input),
        ("cache_read", used.cache_read_tokens, rates.cache_read),
        ("cache_write_5m", used.cache_write_5m_tokens, rates.cache_write_5m),
        ("cache_write_1h", used.cache_write_1h_tokens, rates.cache_write_1h),
        ("output", used.output_tokens, rates.output),
    ):
        if quantity:
            amount = _multiply(quantity, rate).scaleb(-6, _EXACT)
            if multiplier is not ONE:
                amount = _multiply(amount, multiplier)
            lines.append(CostLine(kind + label, model, quantity, rate, multiplier, amount))


def _multiplier(
    row: PriceRow, usage: Usage, region: str, *, unlisted_fast: Decimal = UNLISTED_FAST
) -> tuple[Decimal, bool]:
    """Factor of every token class, and whether the price lists all of it.

    By what was served, not asked for. Factors stack, but the batch discount does not stack with fast service.
    """
    factor, listed = row.region, True
    if usage.speed == "fast":
        fast = row.multipliers.get("fast")
        listed = fast is not None
        factor = _multiply(factor, unlisted_fast if fast is None else fast)
    elif usage.service_tier == "batch":
        factor = _multiply(factor, row.multipliers.get("batch", ONE))
    if usage.inference_geo == "us":
        factor = _multiply(factor, row.multipliers.get("us", ONE))
    if region and region != "global":
        factor = _multiply(factor, row.multipliers.get("regional", ONE))
    return factor, listed


def _dearest(rows: Iterable[PriceRow], at: datetime) -> PriceRow:
    """The class-by-class maximum of some prices; LAST_RESORT where there are none."""
    found = list(rows)
    if not found:
        return LAST_RESORT
    rates = [rates for row in found for rates in (row.rates, *(tier.rates for tier in row.tiers))]
    factors = {name: max((row.multipliers.get(name, ONE) for row in found), default=ONE) for name in ("fast", "us")}
    return PriceRow(
        id=0,
        platform="",
        model_id="",
        effective_from=at,
        rates=Rates(
            input=max(r.input for r in rates),
            output=max(r.output for r in rates),
            cache_read=max(r.cache_read for r in rates),
            cache_write_5m=max(r.cache_write_5m for r in rates),
            cache_write_1h=max(r.cache_write_1h for r in rates),
        ),
        multipliers=factors,
        web_search=max(row.web_search for row in found),
    )


LAST_RESORT = PriceRow(
    id=0,
    platform="",
    model_id="",
    effective_from=datetime.min,  # noqa: DTZ901 (never compared)
    rates=Rates(Decimal("27.5"), Decimal("137.5"), Decimal("2.75"), Decimal("34.375"), Decimal(55)),
    multipliers={"fast": Decimal(6), "us": Decimal("1.1")},
    web_search=UNLISTED_WEB_SEARCH,
)
"""The dearest rates of the shipped catalog, for a book that holds no price at all.

Even then nothing is free.
"""
