"""Cost by hand-computed vectors for every rule of MONEY.md §3, and by properties."""

from __future__ import annotations

import dataclasses
import decimal
from dataclasses import fields
from datetime import UTC, datetime, timedelta
from decimal import ROUND_HALF_EVEN, Decimal
from types import NoneType
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from governance.domain.pricing import LAST_RESORT, Cost, CostLine, PriceBook, PriceRow, Rates, Tier, normalise
from governance.domain.usage import Iteration, Usage

START = datetime(2023, 1, 1, tzinfo=UTC)
CUT = datetime(2026, 10, 7, tzinfo=UTC)
NOW = datetime(2026, 11, 22, 12, tzinfo=UTC)


def rates(*usd: str) -> Rates:
    return Rates(*(Decimal(value) for value in usd))


OPUS = rates("4", "20", "0.2", "5", "8")
SONNET = rates("2", "10", "0.1", "2.5", "4")
HAIKU = rates("0.1", "0.5", "0.01", "0.125", "0.2")
HAIKU_LONG = rates("0.5", "2.5", "0.05", "0.625", "1")
OLD = rates("15", "75", "1.5", "18.75", "30")
US = {"us": Decimal("1.1"), "batch": Decimal("0.5")}
FAST = {**US, "fast": Decimal(2)}


def row(number: int, model: str, prices: Rates, **values: Any) -> PriceRow:
    values = {"platform": "anthropic", "effective_from": START, "web_search": Decimal("0.01"), **values}
    return PriceRow(id=number, model_id=model, rates=prices, **values)


BOOK = PriceBook(
    [
        row(1, "claude-opus-5-5", OPUS, multipliers=FAST),
        row(2, "claude-sonnet-5-5", dataclasses.replace(SONNET, cache_read=Decimal("0.2")), multipliers=US),
        row(3, "claude-sonnet-5-5", SONNET, multipliers=US, effective_from=CUT),
        row(4, "claude-haiku-5-5", HAIKU, multipliers=US, tiers=(Tier(100_000, HAIKU_LONG),)),
        row(5, "claude-opus-5", rates("5", "25", "0.5", "6.25", "10"), multipliers=FAST),
        row(6, "claude-opus-4-20250514", OLD),
        row(7, "anthropic.claude-opus-5-5", OPUS, platform="bedrock"),
        row(8, "us.anthropic.claude-opus-5-5", rates("4.4", "22", "0.22", "5.5", "8.8"), platform="bedrock"),
        row(9, "anthropic.claude-opus-4-20250514-v1:0", OLD, platform="bedrock"),
        row(10, "claude-haiku-4-5@20251001", rates("1", "5", "0.1", "1.25", "2"), platform="vertex"),
        row(
            11, "claude-haiku-4-5", rates("1", "5", "0.1", "1.25", "2"),
            platform="vertex", multipliers={"regional": Decimal("1.1")},
        ),
        row(12, "claude-opus-4-6", rates("5", "25", "0.5", "6.25", "10"), multipliers={**US, "fast": Decimal(6)}),
    ]
)  # fmt: skip


def charge(model: str, at: datetime = NOW, platform: str = "anthropic", **values: Any) -> Cost:
    options = {name: values.pop(name) for name in ("region", "free") if name in values}
    return BOOK.charge(platform, model, Usage(**values), at, **options)


def total(cost: Cost) -> int:
    usd = sum((line.amount for line in cost.lines), Decimal(0))
    return int((usd * 10**9).to_integral_value(ROUND_HALF_EVEN))


def test_every_class_at_its_own_rate() -> None:
    cost = charge(
        "claude-opus-5-5",
        input_tokens=1_000,
        cache_read_tokens=200_000,
        cache_write_5m_tokens=3_000,
        cache_write_1h_tokens=500,
        output_tokens=700,
        web_searches=2,
    )
    # 1,000×4 + 200,000×0.2 + 3,000×5 + 500×8 + 700×20 = 4,000 + 40,000 + 15,000 + 4,000 + 14,000 = 77,000 USD/M
    # = 0.077 USD, and 2 searches at 0.01 = 0.02: 0.097 USD
    assert (cost.nano_usd, cost.quality, cost.price_id) == (97_000_000, "exact", 1)
    assert [(line.label, line.quantity, str(line.usd_per_mtok), line.multiplier) for line in cost.lines] == [
        ("input", 1_000, "4", 1),
        ("cache_read", 200_000, "0.2", 1),
        ("cache_write_5m", 3_000, "5", 1),
        ("cache_write_1h", 500, "8", 1),
        ("output", 700, "20", 1),
        ("web_search", 2, "10000.00", 1),
    ]


def test_thinking_is_part_of_output() -> None:
    # 700 output tokens of which 600 are thinking: 700 × 20 / 1M = 0.014
    assert charge("claude-opus-5-5", output_tokens=700, thinking_tokens=600).nano_usd == 14_000_000


@pytest.mark.parametrize(
    ("model", "price_id"),
    [
        ("claude-opus-5", 5),
        ("claude-opus-5-5", 1),
        ("claude-opus-5-5[1m]", 1),
        ("claude-opus-5-5[1M]", 1),
        ("claude-opus-5-5-20260922", None),
        ("claude-opus", None),
        ("claude-opus-5-", None),
        ("CLAUDE-OPUS-5-5", None),
        ("", None),
    ],
)
def test_ids_match_exactly_never_by_prefix(model: str, price_id: int | None) -> None:
    found = BOOK.find("anthropic", model, NOW)
    assert (found.id if found else None) == price_id


def test_a_price_is_in_force_from_its_moment_on() -> None:
    # 1,000,000 cache reads: 0.20 USD before 2026-10-07, 0.10 USD since.
    before = charge("claude-sonnet-5-5", CUT - timedelta(microseconds=1), cache_read_tokens=1_000_000)
    since = charge("claude-sonnet-5-5", CUT, cache_read_tokens=1_000_000)
    assert (before.nano_usd, before.price_id) == (200_000_000, 2)
    assert (since.nano_usd, since.price_id) == (100_000_000, 3)
    assert BOOK.find("anthropic", "claude-sonnet-5-5", START - timedelta(seconds=1)) is None


def test_the_tier_begins_strictly_above_its_threshold() -> None:
    at_edge = charge("claude-haiku-5-5", input_tokens=40_000, cache_read_tokens=60_000, output_tokens=1_000)
    # 40,000×0.1 + 60,000×0.01 + 1,000×0.5 = 4,000 + 600 + 500 = 5,100 USD/M
    assert at_edge.nano_usd == 5_100_000
    above = charge("claude-haiku-5-5", input_tokens=40_001, cache_read_tokens=60_000, output_tokens=1_000)
    # Every token at five times: 40,001×0.5 + 60,000×0.05 + 1,000×2.5 = 20,000.5 + 3,000 + 2,500 = 25,500.5 USD/M
    assert above.nano_usd == 25_500_500


@pytest.mark.parametrize("part", ["cache_read_tokens", "cache_write_5m_tokens", "cache_write_1h_tokens"])
def test_cached_tokens_count_for_the_tier_and_output_does_not(part: str) -> None:
    above = charge("claude-haiku-5-5", input_tokens=1, **{part: 100_000})
    assert above.lines[0].usd_per_mtok == HAIKU_LONG.input
    below = charge("claude-haiku-5-5", input_tokens=1, **{part: 99_999}, output_tokens=500_000)
    assert below.lines[0].usd_per_mtok == HAIKU.input


def test_fast_multiplies_every_token_class_but_not_searches() -> None:
    used = {"input_tokens": 1_000, "cache_read_tokens": 10_000, "output_tokens": 100, "web_searches": 1}
    # (1,000×4 + 10,000×0.2 + 100×20) = 8,000 USD/M = 0.008 USD; ×2 = 0.016; + 0.01
    assert charge("claude-opus-5-5", speed="fast", **used).nano_usd == 26_000_000
    assert charge("claude-opus-5-5", speed="standard", **used).nano_usd == 18_000_000


def test_us_inference_multiplies_and_stacks_with_fast() -> None:
    # 1,000,000 × 4 USD/M = 4 USD; ×1.1 = 4.4; ×2×1.1 = 8.8
    assert charge("claude-opus-5-5", inference_geo="us", input_tokens=1_000_000).nano_usd == 4_400_000_000
    both = charge("claude-opus-5-5", inference_geo="us", speed="fast", input_tokens=1_000_000)
    assert both.nano_usd == 8_800_000_000
    assert charge("claude-opus-5-5", inference_geo="global", input_tokens=1_000_000).nano_usd == 4_000_000_000
    # 15 USD: the price of this old model knows no US factor.
    old = charge("claude-opus-4-20250514", inference_geo="us", input_tokens=1_000_000)
    assert old.nano_usd == 15_000_000_000


def test_fast_costs_six_times_on_the_models_where_it_did() -> None:
    # 1,000 × 25 USD/M × 6 = 0.15 USD
    assert charge("claude-opus-4-6", speed="fast", output_tokens=1_000).nano_usd == 150_000_000


def test_fast_on_a_model_that_lists_no_factor_is_doubled_and_said_to_be_estimated() -> None:
    cost = charge("claude-sonnet-5-5", speed="fast", output_tokens=1_000)
    assert (cost.nano_usd, cost.quality) == (20_000_000, "estimated")


def test_batch_halves_tokens_but_not_with_fast_and_not_searches() -> None:
    # 1,000,000 × 4 = 4 USD; ×0.5 = 2; + one search 0.01
    batch = charge("claude-opus-5-5", service_tier="batch", input_tokens=1_000_000, web_searches=1)
    assert batch.nano_usd == 2_010_000_000
    fast = charge("claude-opus-5-5", service_tier="batch", speed="fast", input_tokens=1_000_000)
    assert fast.nano_usd == 8_000_000_000
    us = charge("claude-opus-5-5", service_tier="batch", inference_geo="us", input_tokens=1_000_000)
    assert us.nano_usd == 2_200_000_000


def test_rounding_happens_once_half_even() -> None:
    # Cache reads of Haiku in batch and US: 0.01 × 0.5 × 1.1 = 0.0055 USD/M = 5.5 nano-dollars a token.
    def tokens(count: int) -> int:
        return charge("claude-haiku-5-5", service_tier="batch", inference_geo="us", cache_read_tokens=count).nano_usd

    assert tokens(1) == 6  # 5.5 → 6
    assert tokens(3) == 16  # 16.5 → 16
    # Two classes of x.5 each: 5.5 + 0.1×0.5×1.1 = 55 → 60.5 → 60, not 6 + 55.
    cost = charge("claude-haiku-5-5", service_tier="batch", inference_geo="us", cache_read_tokens=1, input_tokens=1)
    assert cost.nano_usd == 60


def test_a_refusal_without_content_is_free() -> None:
    cost = charge("claude-opus-5-5", input_tokens=5_000, output_tokens=3, free=True)
    assert cost == Cost(0, "exact", 1, ())


def test_nothing_used_costs_nothing() -> None:
    assert charge("claude-opus-5-5") == Cost(0, "exact", 1, ())


def test_a_model_without_a_price_takes_the_dearest_known_rate_and_says_so() -> None:
    cost = charge("claude-opus-9", input_tokens=1_000, output_tokens=1_000)
    # The dearest of the book in each class: 15 and 75. (15 + 75) × 1,000 / 1M = 0.09 USD
    assert (cost.nano_usd, cost.quality, cost.price_id) == (90_000_000, "unpriced", None)
    assert cost.lines[0].model == "claude-opus-9"


def test_the_dearest_rate_is_that_of_the_moment() -> None:
    later = dataclasses.replace(row(99, "claude-mythos-9", rates("30", "150", "3", "37.5", "60")), effective_from=CUT)
    book = PriceBook([*BOOK.rows, later])
    usage = Usage(output_tokens=1_000_000)
    assert book.charge("anthropic", "x", usage, CUT - timedelta(seconds=1)).nano_usd == 75_000_000_000
    assert book.charge("anthropic", "x", usage, CUT).nano_usd == 150_000_000_000


def test_an_empty_book_still_charges() -> None:
    cost = PriceBook([]).charge("anthropic", "claude-opus-5-5", Usage(output_tokens=1_000_000), NOW)
    assert cost.nano_usd == int(LAST_RESORT.rates.output * 10**9)
    assert cost.quality == "unpriced"


def test_a_price_of_zero_is_a_gap_not_a_bargain() -> None:
    book = PriceBook([*BOOK.rows, row(50, "claude-free", rates("0", "0", "0", "0", "0"))])
    cost = book.charge("anthropic", "claude-free", Usage(input_tokens=10), NOW)
    assert cost.nano_usd > 0
    assert cost.quality == "unpriced"


def test_searches_on_a_price_without_a_fee_take_the_published_one() -> None:
    book = PriceBook([row(1, "claude-x", OPUS, web_search=Decimal(0))])
    cost = book.charge("anthropic", "claude-x", Usage(web_searches=3), NOW)
    assert (cost.nano_usd, cost.quality) == (30_000_000, "estimated")


# --- regions --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("model", "price_id", "factor"),
    [
        ("us.anthropic.claude-opus-5-5", 8, "1"),  # listed
        ("eu.anthropic.claude-opus-5-5", 7, "1.1"),
        ("jp.anthropic.claude-opus-5-5[1m]", 7, "1.1"),
        ("global.anthropic.claude-opus-5-5", 7, "1"),
        ("us-gov.anthropic.claude-opus-5-5", 7, "1.2"),
        ("eu.anthropic.claude-opus-4-20250514-v1:0", 9, "1"),  # before generation 4.5
        ("us-gov.anthropic.claude-opus-4-20250514-v1:0", 9, "1.2"),
        ("bedrock/us.anthropic.claude-opus-5-5", 8, "1"),
    ],
)
def test_bedrock_prefixes_choose_the_regional_rate(model: str, price_id: int, factor: str) -> None:
    found = BOOK.find("bedrock", model, NOW)
    assert found is not None
    assert (found.id, found.region) == (price_id, Decimal(factor))
    cost = charge(model, platform="bedrock", input_tokens=1_000_000)
    assert cost.nano_usd == int(found.rates.input * Decimal(factor) * 10**9)


def test_a_prefix_that_is_no_region_matches_nothing() -> None:
    assert BOOK.find("bedrock", "mars.anthropic.claude-opus-5-5", NOW) is None
    assert BOOK.find("anthropic", "us.claude-opus-5-5", NOW) is None


@pytest.mark.parametrize(
    ("model", "price_id"),
    [
        ("claude-haiku-4-5@20251001", 10),
        ("claude-haiku-4-5@20990101", 11),
        ("claude-haiku-4-5@default", 11),
        ("vertex_ai/claude-haiku-4-5", 11),
        ("claude-haiku-4-5-20251001", None),
    ],
)
def test_vertex_dates(model: str, price_id: int | None) -> None:
    found = BOOK.find("vertex", model, NOW)
    assert (found.id if found else None) == price_id


@pytest.mark.parametrize(("region", "nano"), [("", 1), ("global", 1), ("europe-west1", Decimal("1.1"))])
def test_a_regional_endpoint_costs_its_factor(region: str, nano: Decimal) -> None:
    cost = charge("claude-haiku-4-5", platform="vertex", region=region, input_tokens=1_000_000)
    assert cost.nano_usd == nano * 10**9


def test_normalising() -> None:
    assert normalise(" azure_ai/claude-opus-5-5 ") == "claude-opus-5-5"
    assert normalise("bedrock/us-east-1/anthropic.claude-v1") == "us-east-1/anthropic.claude-v1"
    assert normalise("us.anthropic.claude-opus-5-5") == "us.anthropic.claude-opus-5-5"


def test_ids_from_clients_do_not_fill_the_memory() -> None:
    book = PriceBook(BOOK.rows)
    for number in range(10_000):
        book.find("anthropic", f"claude-{number}", NOW)
    assert len(book._resolved) <= 4096


def test_models_of_a_platform() -> None:
    assert BOOK.models("vertex", NOW) == ("claude-haiku-4-5", "claude-haiku-4-5@20251001")
    assert BOOK.models("vertex", START - timedelta(days=1)) == ()


# --- iterations ------------------------------------------------------------------------------------------------


def test_compaction_and_advisor_come_on_top_at_their_own_price() -> None:
    usage = Usage(
        input_tokens=1_000,
        output_tokens=100,
        iterations=(
            Iteration("compaction", "", input_tokens=50_000, output_tokens=1_000),
            Iteration("message", "claude-opus-5-5", input_tokens=1_000, output_tokens=100),
            Iteration("advisor_message", "claude-sonnet-5-5", input_tokens=2_000, output_tokens=300),
        ),
    )
    cost = BOOK.charge("anthropic", "claude-opus-5-5", usage, NOW)
    # own: 1,000×4 + 100×20 = 6,000; compaction: 50,000×4 + 1,000×20 = 220,000; advisor: 2,000×2 + 300×10 = 7,000
    assert (cost.nano_usd, cost.quality) == (233_000_000, "exact")
    assert [line.label for line in cost.lines] == [
        "input", "output", "compaction input", "compaction output", "advisor_message input", "advisor_message output",
    ]  # fmt: skip
    assert cost.lines[-1].model == "claude-sonnet-5-5"


def test_a_fallback_is_taken_out_of_the_totals_and_priced_by_its_model() -> None:
    usage = Usage(
        input_tokens=3_000,
        output_tokens=500,
        iterations=(
            Iteration("message", "claude-opus-5-5", input_tokens=1_000, output_tokens=100),
            Iteration("fallback_message", "claude-sonnet-5-5", input_tokens=2_000, output_tokens=400),
        ),
    )
    cost = BOOK.charge("anthropic", "claude-opus-5-5", usage, NOW)
    # 1,000×4 + 100×20 = 6,000; 2,000×2 + 400×10 = 8,000
    assert (cost.nano_usd, cost.quality) == (14_000_000, "exact")


def test_steps_that_exceed_the_totals_are_charged_and_marked() -> None:
    usage = Usage(
        input_tokens=1_000,
        output_tokens=100,
        iterations=(
            Iteration("message", "claude-opus-5-5", input_tokens=1_000, output_tokens=100),
            Iteration("fallback_message", "claude-sonnet-5-5", input_tokens=2_000, output_tokens=400),
        ),
    )
    cost = BOOK.charge("anthropic", "claude-opus-5-5", usage, NOW)
    # The totals leave nothing for the own step, which shows 6,000: that stands, and 8,000 for the other.
    assert (cost.nano_usd, cost.quality) == (14_000_000, "estimated")


def test_totals_that_exceed_the_steps_are_charged_and_marked() -> None:
    usage = Usage(input_tokens=5_000, iterations=(Iteration("message", "claude-opus-5-5", input_tokens=1_000),))
    cost = BOOK.charge("anthropic", "claude-opus-5-5", usage, NOW)
    assert (cost.nano_usd, cost.quality) == (20_000_000, "estimated")


def test_a_step_without_the_ttl_split_does_not_double_cache_writes() -> None:
    usage = Usage(
        cache_write_1h_tokens=1_000,
        iterations=(Iteration("message", "claude-opus-5-5", cache_write_5m_tokens=1_000),),
    )
    cost = BOOK.charge("anthropic", "claude-opus-5-5", usage, NOW)
    # 1,000 × 8 USD/M
    assert (cost.nano_usd, cost.quality) == (8_000_000, "exact")


def test_a_tool_loop_of_one_model_is_priced_as_one_request() -> None:
    steps = (Iteration("message", "", input_tokens=60_000), Iteration("message", "", input_tokens=60_000))
    cost = BOOK.charge("anthropic", "claude-haiku-5-5", Usage(input_tokens=120_000, iterations=steps), NOW)
    # The request's prompt is 120,000 tokens: above the threshold, 120,000 × 0.5 USD/M
    assert (cost.nano_usd, cost.quality) == (60_000_000, "exact")


def test_a_step_by_an_unknown_model_makes_the_request_unpriced() -> None:
    usage = Usage(input_tokens=10, iterations=(Iteration("advisor_message", "claude-new", output_tokens=1_000),))
    cost = BOOK.charge("anthropic", "claude-opus-5-5", usage, NOW)
    assert (cost.quality, cost.price_id) == ("unpriced", 1)
    assert cost.nano_usd == 40_000 + 75_000_000


def test_fast_service_does_not_raise_a_step_whose_model_has_none() -> None:
    usage = Usage(
        output_tokens=10,
        speed="fast",
        iterations=(Iteration("advisor_message", "claude-sonnet-5-5", output_tokens=1_000),),
    )
    cost = BOOK.charge("anthropic", "claude-opus-5-5", usage, NOW)
    # 10 × 20 × 2 = 400; 1,000 × 10 = 10,000
    assert (cost.nano_usd, cost.quality) == (10_400_000, "exact")


# --- the worst case ----------------------------------------------------------------------------------------------


def test_the_ceiling_by_hand() -> None:
    # Dearest prompt class 8, output 20, ×2 fast ×1.1 US: (10,000×8 + 1,000×20) × 2.2 = 220,000 USD/M; + 3 searches
    assert BOOK.ceiling("anthropic", "claude-opus-5-5", NOW, 10_000, 1_000, 3) == 250_000_000
    # Without fast, US and 1-hour caching: (10,000×5 + 1,000×20) = 70,000 USD/M
    narrow = BOOK.ceiling("anthropic", "claude-opus-5-5", NOW, 10_000, 1_000, 0, fast=False, us=False, cache_1h=False)
    assert narrow == 70_000_000


def test_the_ceiling_takes_the_tier_only_where_it_can_be_reached() -> None:
    def bound(prompt: int) -> int:
        return BOOK.ceiling("anthropic", "claude-haiku-5-5", NOW, prompt, 0, 0, fast=False)

    # ×1.1 US: 100,000 × 0.2 × 1.1 = 22,000; 100,001 × 1 × 1.1 = 110,001.1
    assert bound(100_000) == 22_000_000
    assert bound(100_001) == 110_001_100


def test_the_ceiling_is_rounded_up() -> None:
    book = PriceBook([row(1, "anthropic.claude-x-5-5", rates("0.001", "1", "0.0001", "0.001", "0.002"))])
    # 1 token × 0.002 USD/M × 1.1 = 2.2 nano-dollars → 3
    assert book.ceiling("anthropic", "eu.anthropic.claude-x-5-5", NOW, 1, 0, 0, fast=False) == 3


tokens = st.integers(0, 2_000_000)
usages = st.builds(
    Usage,
    input_tokens=tokens,
    output_tokens=tokens,
    cache_read_tokens=tokens,
    cache_write_5m_tokens=tokens,
    cache_write_1h_tokens=tokens,
    web_searches=st.integers(0, 50),
    speed=st.sampled_from(["", "standard", "fast"]),
    inference_geo=st.sampled_from(["", "us", "global"]),
    service_tier=st.sampled_from(["", "standard", "batch", "priority"]),
)
priced = st.sampled_from([(r.platform, r.model_id) for r in BOOK.rows])
steps = st.lists(
    st.builds(
        Iteration,
        kind=st.sampled_from(["message", "compaction", "advisor_message", "fallback_message", "novelty"]),
        model=st.sampled_from(["", "claude-opus-5-5", "claude-haiku-5-5", "claude-unknown"]),
        input_tokens=tokens,
        output_tokens=tokens,
        cache_read_tokens=tokens,
        cache_write_5m_tokens=tokens,
        cache_write_1h_tokens=tokens,
    ),
    max_size=4,
).map(tuple)


@given(model=priced, usage=usages, parts=steps)
def test_the_lines_prove_the_cost(model: tuple[str, str], usage: Usage, parts: tuple[Iteration, ...]) -> None:
    cost = BOOK.charge(*model, replace(usage, iterations=parts), NOW)
    assert total(cost) == cost.nano_usd
    for line in cost.lines:
        assert line.quantity * line.usd_per_mtok * line.multiplier / 1_000_000 == line.amount


@given(model=priced, usage=usages, parts=steps, free=st.booleans())
def test_without_its_lines_a_cost_is_the_same(
    model: tuple[str, str], usage: Usage, parts: tuple[Iteration, ...], free: bool
) -> None:
    for used in (usage, replace(usage, iterations=parts), replace(usage, web_searches=0, iterations=())):
        quick, proven = BOOK.cost(*model, used, NOW, free=free), BOOK.charge(*model, used, NOW, free=free)
        assert (quick.nano_usd, quick.quality, quick.price_id) == (proven.nano_usd, proven.quality, proven.price_id)


@given(
    usage=st.builds(Usage, input_tokens=st.integers(0, 10**7), output_tokens=st.integers(0, 10**6)),
    odd=st.decimals("0.000001", "99", places=6),
)
def test_fractions_of_a_nano_dollar_are_rounded_half_even_once(usage: Usage, odd: Decimal) -> None:
    book = PriceBook([PriceRow(1, "anthropic", "claude-odd", START, Rates(odd, odd / 8, odd, odd, odd))])
    exact = (usage.input_tokens * odd + usage.output_tokens * odd / 8) * 1000
    expected = int(exact.quantize(Decimal(1), ROUND_HALF_EVEN))
    assert book.cost("anthropic", "claude-odd", usage, NOW).nano_usd == expected
    assert book.charge("anthropic", "claude-odd", usage, NOW).nano_usd == expected


@given(model=priced, usage=usages)
def test_no_float_anywhere(model: tuple[str, str], usage: Usage) -> None:
    cost = BOOK.charge(*model, usage, NOW)
    assert type(cost.nano_usd) is int
    for line in cost.lines:
        assert {type(getattr(line, f.name)) for f in fields(CostLine)} <= {str, int, Decimal, NoneType}


@given(model=priced, usage=usages, part=st.sampled_from(["input", "output", "cache_read", "cache_write_5m"]))
def test_more_tokens_never_cost_less(model: tuple[str, str], usage: Usage, part: str) -> None:
    more = replace(usage, **{f"{part}_tokens": getattr(usage, f"{part}_tokens") + 1})
    assert BOOK.charge(*model, more, NOW).nano_usd >= BOOK.charge(*model, usage, NOW).nano_usd


@given(usage=usages)
def test_no_known_model_is_dearer_than_an_unknown_one(usage: Usage) -> None:
    plain = replace(usage, speed="", service_tier="")
    unknown = BOOK.charge("anthropic", "claude-unknown", plain, NOW).nano_usd
    assert all(BOOK.charge(r.platform, r.model_id, plain, NOW).nano_usd <= unknown for r in BOOK.rows)


@given(model=priced, usage=usages, spare=st.integers(0, 1000))
@settings(max_examples=300)
def test_no_charge_passes_the_ceiling(model: tuple[str, str], usage: Usage, spare: int) -> None:
    bound = BOOK.ceiling(*model, NOW, usage.prompt_tokens + spare, usage.output_tokens, usage.web_searches)
    assert BOOK.charge(*model, usage, NOW).nano_usd <= bound


def test_the_threads_decimal_context_does_not_matter() -> None:
    expected = charge("claude-opus-5-5", input_tokens=123_457, output_tokens=98_765, inference_geo="us")
    with decimal.localcontext() as context:
        context.prec = 3
        assert charge("claude-opus-5-5", input_tokens=123_457, output_tokens=98_765, inference_geo="us") == expected
