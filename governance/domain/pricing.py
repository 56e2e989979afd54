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
from typing import Any, Literal

from governance.domain.iterations import split
from governance.domain.model_ids import ONE, candidates, family_name, normalise
from governance.domain.overrides import Override, Overrides
from governance.domain.usage import Iteration, Usage

__all__ = ["Cost", "CostLine", "Override", "PriceBook", "PriceRow", "Quality", "Rates", "Tier", "normalise"]

Quality = Literal["exact", "estimated", "unpriced", "reconciled"]

OTHER_PLATFORMS = frozenset({"openai", "gemini"})
"""Where models are served that are not Claude's."""

ZERO = Decimal(0)
UNLISTED_FAST = Decimal(2)
"""Published factor of fast service, for a model that was served fast and whose price lists no factor.

`estimated`.
"""
UNLISTED_WEB_SEARCH = Decimal("0.01")
"""Published fee of a web search in USD, where searches were served and the price lists none: `estimated`."""

_MILLION = Decimal(1_000_000)
_BILLION = 10**9
_HALF = _BILLION // 2
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

    nanos: tuple[int, int, int, int, int] | None = field(init=False, repr=False, compare=False)
    """The same in nano-dollars per billion tokens, in the order of the fields; None where one is no whole number."""

    def __post_init__(self) -> None:
        scaled = [
            rate.scaleb(12)
            for rate in (self.input, self.output, self.cache_read, self.cache_write_5m, self.cache_write_1h)
        ]
        whole = all(rate == int(rate) for rate in scaled)
        nanos = tuple(int(rate) for rate in scaled) if whole else None
        object.__setattr__(self, "nanos", nanos)

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
    adjustment: Decimal = ONE
    """Factor of a customer's discount or markup, on tokens and searches."""
    override_id: int | None = None
    """The customer's override that made this row of the list's."""

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
    override_id: int | None = None
    """The customer's override that its rate or its multiplier holds."""


@dataclass(frozen=True, slots=True)
class Cost:
    """What one request costs. `price_id` is None where the served model has no price."""

    nano_usd: int
    quality: Quality
    price_id: int | None
    lines: tuple[CostLine, ...] = ()

    applied: tuple[int, ...] = ()
    """The overrides of a cost that was worked out without its lines."""

    @property
    def overrides(self) -> tuple[int, ...]:
        """Ids of the customer's overrides that were applied, ascending."""
        if not self.lines:
            return self.applied
        return tuple(sorted({line.override_id for line in self.lines if line.override_id is not None}))


class PriceBook:
    """All prices, indexed for the request path: no I/O, look-ups cached, safe to share between threads.

    `overrides` are what single customers pay instead. `aliases` say which catalog id prices an id that is none, such
    as the ARN of a Bedrock inference profile: (platform, id) → catalog id. An id with a price of its own needs none.
    """

    __slots__ = ("_agreed", "_aliases", "_dearest", "_index", "_moments", "_overrides", "_resolved", "rows")

    def __init__(
        self,
        rows: Iterable[PriceRow],
        overrides: Iterable[Override] = (),
        aliases: Mapping[tuple[str, str], str] | None = None,
    ) -> None:
        # A rate of zero is a gap in the catalog, not a bargain: such a row prices nothing.
        priced = (row for row in rows if row.rates.input and row.rates.output)
        self.rows = tuple(sorted(priced, key=lambda row: row.effective_from))
        self._index: dict[tuple[str, str], list[PriceRow]] = {}
        for row in self.rows:
            self._index.setdefault((row.platform, normalise(row.model_id)), []).append(row)
        self._moments = sorted({row.effective_from for row in self.rows})
        self._resolved: dict[tuple[str, str], tuple[list[datetime], list[PriceRow]]] = {}
        self._dearest: dict[int, PriceRow] = {}
        self._overrides = Overrides(overrides)
        self._agreed: dict[tuple[int, str, str, datetime, Decimal], PriceRow] = {}
        self._aliases = {(platform, normalise(name)): target for (platform, name), target in (aliases or {}).items()}

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
        customer_id: int | None = None,
    ) -> Cost:
        """The cost of one attempt by the model that served it, at the price in force when the request started.

        `region` is the endpoint's where the platform has regional endpoints (empty or `global` otherwise). A
        model without a price is charged at the dearest known Claude rate and marked `unpriced`. `free` is for
        what is not charged whatever its usage shows: a refusal without content. `customer_id` chooses among the
        overrides; without it the list price applies.
        """
        if free:
            row = self.find(platform, model_id, at)
            return Cost(0, "exact", row.id if row else None)
        return self._charge(platform, model_id, usage, at, region, customer_id)

    def cost(
        self,
        platform: str,
        model_id: str,
        usage: Usage,
        at: datetime,
        *,
        region: str = "",
        free: bool = False,
        customer_id: int | None = None,
    ) -> Cost:
        """What `charge` says, without the lines of its proof: the plain request in whole numbers, in a quarter of
        the time; whatever has a factor, a search, steps or no price goes the long way.
        """
        if not free and not usage.iterations and not usage.web_searches and region in ("", "global"):
            row = self._price(platform, model_id, at, customer_id)
            if row.id and row.region is ONE and row.adjustment is ONE and not _has_factor(usage):
                rates = row.rates_for(usage.prompt_tokens) if row.tiers else row.rates
                if rates.nanos is not None:
                    applied = () if row.override_id is None or not usage.total_tokens else (row.override_id,)
                    return Cost(_rounded(usage, rates.nanos), "exact", row.id, (), applied)
        return self.charge(platform, model_id, usage, at, region=region, free=free, customer_id=customer_id)

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
        customer_id: int | None = None,
    ) -> int:
        """Nano-dollars that a request of at most these sizes cannot pass, rounded up.

        Every prompt token is taken at its dearest class, in whichever tier is dearest among those it can
        reach, times every factor that could apply. The keywords rule out what the request did not ask
        for; `region` None leaves the endpoint open. Batch discounts are never assumed. Server-side steps by
        other models (`advisor_message`, `fallback_message`, `compaction`) are not in it: their size is not
        known beforehand.
        """
        row = self._price(platform, model_id, at, customer_id)
        factor = row.region if row.adjustment is ONE else _multiply(row.region, row.adjustment)
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
        fee = _multiply(row.web_search or UNLISTED_WEB_SEARCH, row.adjustment)
        usd = _add(usd, _multiply(web_searches, fee))
        return int(usd.scaleb(9, _EXACT).to_integral_value(ROUND_CEILING))

    def _resolve(self, platform: str, model_id: str) -> tuple[list[datetime], list[PriceRow]]:
        """Rows of an id in order of time, and their moments; remembered. Ids come from clients.

        The memory is bounded.
        """
        name = normalise(model_id)
        rows = self._rows_of(platform, name)
        if not rows and (target := self._aliases.get((platform, name))):
            rows = self._rows_of(platform, normalise(target))
        if len(self._resolved) >= _RESOLVED_LIMIT:
            self._resolved.clear()
        resolved = [row.effective_from for row in rows], rows
        self._resolved[platform, model_id] = resolved
        return resolved

    def _rows_of(self, platform: str, name: str) -> list[PriceRow]:
        for candidate, factor in candidates(name):
            if rows := self._index.get((platform, candidate)):
                return rows if factor == ONE else [replace(row, region=factor) for row in rows]
        return []

    def _price(self, platform: str, model_id: str, at: datetime, customer_id: int | None) -> PriceRow:
        """What a customer is charged by: the row in force, or the dearest (id 0) for a model without a price.

        With the customer's override in it. A model without a price takes a percentage, but no fixed rates: they would
        hide that nobody knows what it costs.
        """
        row = self.find(platform, model_id, at) or self._dearest_at(at)
        if not self._overrides.concern(customer_id):
            return row
        name = normalise(model_id)
        names = (name, family_name(name), row.model_id, family_name(row.model_id)) if row.id else (name,)
        override = self._overrides.find(customer_id, platform, names, at)
        if override is None or (override.percent is None and not row.id):
            return row
        key = override.id, row.platform, row.model_id, row.effective_from, row.region
        agreed = self._agreed.get(key)
        if agreed is None:
            agreed = self._agreed[key] = _agreed(row, override)
        return agreed

    def _dearest_at(self, at: datetime) -> PriceRow:
        """A price no known Claude model exceeds in any class at a moment, over all platforms and tiers."""
        position = bisect_right(self._moments, at)
        row = self._dearest.get(position)
        if row is None:
            claude = [row for row in self._in_force(at) or self.rows if row.platform not in OTHER_PLATFORMS]
            row = self._dearest[position] = _dearest(claude, at)
        return row

    def _in_force(self, at: datetime) -> list[PriceRow]:
        latest = {(r.platform, r.model_id): r for r in self.rows if r.effective_from <= at}
        return list(latest.values())

    def _charge(
        self, platform: str, model_id: str, usage: Usage, at: datetime, region: str, customer_id: int | None
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
        price = served = self._price(platform, model_id, at, customer_id)
        multiplier, listed = _multiplier(price, usage, region)
        unpriced, estimated = not price.id, not (listed and agree)
        _token_lines(lines, "", model_id, own, price, multiplier)
        if usage.web_searches:
            fee = price.web_search or UNLISTED_WEB_SEARCH
            estimated |= not price.web_search
            lines.append(
                CostLine(
                    "web_search",
                    model_id,
                    usage.web_searches,
                    _multiply(fee, _MILLION),
                    price.adjustment,
                    _multiply(usage.web_searches, _multiply(fee, price.adjustment)),
                    price.override_id,
                )
            )
        for step in others:
            step_model = step.model or model_id
            price = self._price(platform, step_model, at, customer_id)
            unpriced |= not price.id
            # A step whose model has no fast service ran at its own normal speed.
            multiplier, _ = _multiplier(price, usage, region, unlisted_fast=ONE)
            _token_lines(lines, f"{step.kind} ", step_model, step, price, multiplier)
        total = ZERO
        for line in lines:
            total = _add(total, line.amount)
        quality: Quality = "unpriced" if unpriced else "estimated" if estimated else "exact"
        nano = int(total.scaleb(9, _EXACT).to_integral_value(ROUND_HALF_EVEN))
        return Cost(nano, quality, served.id or None, tuple(lines))


def _has_factor(usage: Usage) -> bool:
    return usage.speed == "fast" or usage.service_tier == "batch" or usage.inference_geo == "us"


def _rounded(usage: Usage, nanos: tuple[int, int, int, int, int]) -> int:
    """Whole nano-dollars, rounded half-even once."""
    p_in, p_out, p_read, p_5m, p_1h = nanos
    total = usage.input_tokens * p_in + usage.output_tokens * p_out + usage.cache_read_tokens * p_read
    total += usage.cache_write_5m_tokens * p_5m + usage.cache_write_1h_tokens * p_1h
    whole, rest = divmod(total, _BILLION)
    return whole + (rest > _HALF or (rest == _HALF and whole & 1))


def _token_lines(
    lines: list[CostLine], kind: str, model: str, used: Usage | Iteration, price: PriceRow, multiplier: Decimal
) -> None:
    """Append one line for each class that has tokens, at the rates of their tier."""
    rates = price.rates_for(used.prompt_tokens)
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
            lines.append(CostLine(kind + label, model, quantity, rate, multiplier, amount, price.override_id))


def _multiplier(
    row: PriceRow, usage: Usage, region: str, *, unlisted_fast: Decimal = UNLISTED_FAST
) -> tuple[Decimal, bool]:
    """Factor of every token class, and whether the price lists all of it.

    By what was served, not asked for. Factors stack, but the batch discount does not stack with fast service.
    """
    factor, listed = row.region, True
    if row.adjustment is not ONE:
        factor = _multiply(factor, row.adjustment)
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


def _agreed(row: PriceRow, override: Override) -> PriceRow:
    """A row of the list with a customer's override in it."""
    if override.percent is not None:
        factor = _add(ONE, override.percent.scaleb(-2, _EXACT))
        return replace(row, adjustment=factor, override_id=override.id)
    return replace(
        row,
        rates=_with(row.rates, override),
        tiers=tuple(replace(tier, rates=_with(tier.rates, override)) for tier in row.tiers),
        override_id=override.id,
    )


def _with(rates: Rates, override: Override) -> Rates:
    fixed: dict[str, Any] = dict(override.rates)
    return replace(rates, **fixed)


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
