"""Discounts, markups and fixed rates of customers, and mapped ids: by hand-computed vectors and by properties."""

from __future__ import annotations

from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from governance.domain.overrides import Overrides, specificity
from governance.domain.pricing import Override, PriceBook
from governance.domain.usage import Iteration, Usage
from tests.governance.domain.test_pricing import BOOK, CUT, NOW, START, priced, total, usages

ACME, GLOBEX = 1, 2
ARN = "arn:aws:bedrock:us-east-1:123456789012:application-inference-profile/abc"


def override(number: int = 1, **values: Any) -> Override:
    if isinstance(values.get("percent"), str):
        values["percent"] = Decimal(values["percent"])
    values["rates"] = {name: Decimal(rate) for name, rate in values.get("rates", {}).items()}
    return Override(**{"id": number, "customer_id": ACME, "effective_from": START, **values})


def book(*overrides: Override, aliases: dict[tuple[str, str], str] | None = None) -> PriceBook:
    return PriceBook(BOOK.rows, overrides, aliases)


def charge(prices: PriceBook, model: str = "claude-opus-5-5", customer: int | None = ACME, **used: Any) -> int:
    at, platform = used.pop("at", NOW), used.pop("platform", "anthropic")
    return prices.charge(platform, model, Usage(**used), at, customer_id=customer).nano_usd


# --- percentages ------------------------------------------------------------------------------------------------


def test_a_discount_is_taken_off_every_class_and_off_searches() -> None:
    prices = book(override(7, percent="-12.5"))
    cost = prices.charge(
        "anthropic",
        "claude-opus-5-5",
        Usage(input_tokens=1_000, output_tokens=700, cache_read_tokens=200_000, web_searches=2),
        NOW,
        customer_id=ACME,
    )
    # (1,000×4 + 200,000×0.2 + 700×20) / 1M = 0.058; + 2×0.01 = 0.078; × 0.875 = 0.06825
    assert (cost.nano_usd, cost.quality, cost.price_id) == (68_250_000, "exact", 1)
    assert cost.overrides == (7,)
    assert {line.override_id for line in cost.lines} == {7}
    assert {str(line.multiplier) for line in cost.lines} == {"0.875"}


def test_a_markup_stacks_with_fast_and_us() -> None:
    # 1,000,000 × 4 = 4 USD; × 2 × 1.1 × 1.08 = 9.504
    prices = book(override(percent="8"))
    assert charge(prices, speed="fast", inference_geo="us", input_tokens=1_000_000) == 9_504_000_000


def test_a_percentage_is_exact_before_the_one_rounding() -> None:
    # Haiku cache reads 0.01 USD/M = 10 nano-dollars a token; 3 tokens × 0.95 = 28.5 → 28 (half to even); 1 → 9.5 → 10.
    prices = book(override(percent="-5"))
    assert charge(prices, "claude-haiku-5-5", cache_read_tokens=3) == 28
    assert charge(prices, "claude-haiku-5-5", cache_read_tokens=1) == 10
    # Not 9.5 rounded + 95: input 100 × 0.95 = 95; 104.5 → 104
    assert charge(prices, "claude-haiku-5-5", cache_read_tokens=1, input_tokens=1) == 104


def test_a_discount_applies_in_the_tier_and_with_batch() -> None:
    prices = book(override(percent="-10"))
    # 100,001 × 0.5 × 0.9 = 45,000.45 USD/M
    assert charge(prices, "claude-haiku-5-5", input_tokens=100_001) == 45_000_450
    # 1,000,000 × 4 × 0.5 × 0.9 = 1.8; with fast no batch discount: × 2 × 0.9 = 7.2
    assert charge(prices, service_tier="batch", input_tokens=1_000_000) == 1_800_000_000
    assert charge(prices, service_tier="batch", speed="fast", input_tokens=1_000_000) == 7_200_000_000


def test_nobody_else_has_the_terms() -> None:
    prices = book(override(percent="-50"))
    assert charge(prices, customer=GLOBEX, input_tokens=1_000_000) == 4_000_000_000
    assert charge(prices, customer=None, input_tokens=1_000_000) == 4_000_000_000


def test_free_stays_free_and_names_the_price() -> None:
    cost = book(override(percent="8")).charge(
        "anthropic", "claude-opus-5-5", Usage(input_tokens=9), NOW, free=True, customer_id=ACME
    )
    assert (cost.nano_usd, cost.price_id, cost.overrides) == (0, 1, ())


def test_a_step_of_another_model_takes_its_own_terms() -> None:
    prices = book(override(1, percent="-50", models=("claude-sonnet-*",)), override(2, percent="10"))
    usage = Usage(
        input_tokens=1_000, iterations=(Iteration("advisor_message", "claude-sonnet-5-5", output_tokens=1_000),)
    )
    cost = prices.charge("anthropic", "claude-opus-5-5", usage, NOW, customer_id=ACME)
    # 1,000×4×1.1 = 4,400; 1,000×10×0.5 = 5,000 USD/M
    assert (cost.nano_usd, cost.overrides) == (9_400_000, (1, 2))


def test_a_model_without_a_price_takes_a_percentage_but_no_fixed_rates() -> None:
    # The dearest of the book: 75 USD/M of output
    cheaper = book(override(percent="-20"))
    assert charge(cheaper, "claude-new", output_tokens=1_000_000) == 60_000_000_000
    fixed = book(override(rates={"output": "1"}))
    cost = fixed.charge("anthropic", "claude-new", Usage(output_tokens=1_000_000), NOW, customer_id=ACME)
    assert (cost.nano_usd, cost.quality, cost.price_id) == (75_000_000_000, "unpriced", None)


# --- fixed rates ------------------------------------------------------------------------------------------------


def test_fixed_rates_replace_their_classes_in_every_tier_and_factors_still_apply() -> None:
    prices = book(override(rates={"input": "0.3", "output": "1"}))
    used = {"input_tokens": 100_001, "cache_read_tokens": 1_000, "output_tokens": 10}
    # In the tier: 100,001×0.3 + 1,000×0.05 (the list's) + 10×1 = 30,000.3 + 50 + 10 = 30,060.3 USD/M
    assert charge(prices, "claude-haiku-5-5", **used) == 30_060_300
    # × 1.1 for US
    assert charge(prices, "claude-haiku-5-5", inference_geo="us", **used) == 33_066_330


def test_a_region_raises_fixed_rates_too() -> None:
    prices = book(override(rates={"input": "1"}))
    assert charge(prices, "eu.anthropic.claude-opus-5-5", platform="bedrock", input_tokens=1_000_000) == 1_100_000_000


# --- the choice ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("patterns", "expected"),
    [
        ((), 0),
        (("*",), 1),
        (("claude-*",), 8),
        (("claude-opus-*", "claude-*"), 13),
        (("claude-opus-5-5",), 1_000_000),
        (("claude-opus-5-5[1m]",), 1_000_000),
        (("claude-opus-[45]-5",), 15),
        (("claude-sonnet-*",), None),
    ],
)
def test_specificity(patterns: tuple[str, ...], expected: int | None) -> None:
    assert specificity(patterns, ["claude-opus-5-5"]) == expected


def test_the_most_specific_wins_then_the_platform_then_the_latest_then_the_highest_id() -> None:
    terms = [
        override(1, percent="1", effective_from=CUT),
        override(2, percent="2", models=("claude-*",)),
        override(3, percent="3", models=("claude-opus-*",)),
        override(4, percent="4", models=("claude-opus-*",), platform="anthropic"),
        override(5, percent="5", models=("claude-opus-*",), platform="anthropic", effective_from=CUT),
        override(6, percent="6", models=("claude-opus-*",), platform="anthropic", effective_from=CUT),
        override(7, percent="7", models=("claude-opus-5-5",)),
        override(8, percent="8", models=("claude-opus-5-5",), platform="bedrock"),
        override(9, percent="9", models=("claude-opus-5-5",), customer_id=GLOBEX),
    ]
    for expected in (7, 6, 5, 4, 3, 2, 1):
        found = Overrides(terms).find(ACME, "anthropic", ("claude-opus-5-5",), NOW)
        assert found is not None
        assert found.id == expected
        terms = [one for one in terms if one.id != expected]
    assert Overrides(terms).find(ACME, "anthropic", ("claude-opus-5-5",), NOW) is None


@given(st.permutations([1, 2, 3, 4, 5]))
def test_the_choice_does_not_depend_on_the_order_of_rows(order: list[int]) -> None:
    models = {1: (), 2: ("claude-*",), 3: ("claude-o*",), 4: ("*5-5",), 5: ("claude-*",)}
    found = Overrides(override(n, percent="1", models=models[n]) for n in order).find(
        ACME, "anthropic", ("claude-opus-5-5",), NOW
    )
    assert found is not None
    assert found.id == 3  # 8 literal characters


def test_terms_are_in_force_from_their_start_to_before_their_end() -> None:
    end = CUT + timedelta(days=1)
    prices = book(override(percent="-10", effective_from=CUT, effective_to=end))
    moment = timedelta(microseconds=1)
    costs = [charge(prices, input_tokens=1_000_000, at=at) for at in (CUT - moment, CUT, end - moment, end)]
    assert costs == [4_000_000_000, 3_600_000_000, 3_600_000_000, 4_000_000_000]


def test_a_change_of_the_list_shows_through_the_discount() -> None:
    # Sonnet 5.5 cache reads: 0.20 before 2026-10-07, 0.10 since; minus 10 %
    prices = book(override(percent="-10"))
    before, since = (
        charge(prices, "claude-sonnet-5-5", cache_read_tokens=1_000_000, at=at) for at in (CUT - timedelta(1), CUT)
    )
    assert (before, since) == (180_000_000, 90_000_000)


@pytest.mark.parametrize("served", ["anthropic.claude-opus-5-5", "us.anthropic.claude-opus-5-5"])
@pytest.mark.parametrize("pattern", ["claude-opus-*", "*claude-opus*", "claude-opus-5-5"])
def test_patterns_are_written_as_anthropic_spells_ids_whatever_bedrock_puts_before(served: str, pattern: str) -> None:
    prices = book(override(percent="-50", models=(pattern,)))
    full = BOOK.charge("bedrock", served, Usage(output_tokens=1_000), NOW).nano_usd
    assert charge(prices, served, platform="bedrock", output_tokens=1_000) * 2 == full


# --- mapped ids -----------------------------------------------------------------------------------------------------


def test_an_arn_is_unpriced_until_it_is_mapped() -> None:
    assert BOOK.find("bedrock", ARN, NOW) is None
    mapped = book(aliases={("bedrock", ARN): "anthropic.claude-opus-5-5"})
    # 1,000,000 × 4 USD/M
    assert charge(mapped, ARN, platform="bedrock", input_tokens=1_000_000) == 4_000_000_000
    assert charge(mapped, f"{ARN}[1m]", platform="bedrock", input_tokens=1_000_000) == 4_000_000_000
    assert mapped.find("anthropic", ARN, NOW) is None
    assert mapped.find("bedrock", ARN + "d", NOW) is None


@pytest.mark.parametrize(
    ("region", "usd"), [("us", "4.4"), ("eu", "4.4"), ("us-gov", "4.8"), ("global", "4")]
)  # listed; 4 × 1.1; 4 × 1.2; 4
def test_an_arn_takes_the_rates_of_its_region(region: str, usd: str) -> None:
    mapped = book(aliases={("bedrock", ARN): f"{region}.anthropic.claude-opus-5-5"})
    assert charge(mapped, ARN, platform="bedrock", input_tokens=1_000_000) == int(Decimal(usd) * 10**9)


def test_a_mapped_id_takes_the_terms_of_its_model_and_of_itself() -> None:
    aliases = {("bedrock", ARN): "anthropic.claude-opus-5-5"}
    by_model = book(override(percent="-50", models=("claude-opus-*",)), aliases=aliases)
    assert charge(by_model, ARN, platform="bedrock", input_tokens=1_000_000) == 2_000_000_000
    own = book(override(1, percent="-50"), override(2, percent="-75", models=(ARN,)), aliases=aliases)
    assert charge(own, ARN, platform="bedrock", input_tokens=1_000_000) == 1_000_000_000


def test_a_price_of_its_own_goes_before_a_mapping() -> None:
    mapped = book(aliases={("anthropic", "claude-opus-5"): "claude-haiku-5-5"})
    assert charge(mapped, "claude-opus-5", customer=None, input_tokens=1_000_000) == 5_000_000_000


def test_a_mapping_to_nothing_or_in_a_circle_prices_nothing() -> None:
    circle = book(aliases={("bedrock", "a"): "b", ("bedrock", "b"): "a"})
    assert circle.find("bedrock", "a", NOW) is None


# --- the worst case ---------------------------------------------------------------------------------------------------


def test_the_ceiling_holds_the_customers_terms() -> None:
    def bound(*terms: Override, customer: int | None = ACME) -> int:
        return book(*terms).ceiling("anthropic", "claude-opus-5-5", NOW, 10_000, 1_000, 3, customer_id=customer)

    # (10,000×8 + 1,000×20) × 2.2 = 0.22 USD + 0.03 for searches = 0.25
    assert bound() == 250_000_000
    assert bound(override(percent="20")) == 300_000_000
    assert bound(override(percent="-20")) == 200_000_000
    assert bound(override(percent="20"), customer=GLOBEX) == 250_000_000
    # (10,000×9 + 1,000×20) × 2.2 + 0.03
    assert bound(override(rates={"input": "9"})) == 272_000_000


rates = st.decimals(Decimal("0.001"), Decimal(500), places=3)
percents = st.decimals(Decimal("-99.9999"), Decimal(1000), places=4)
patterns = st.sampled_from(
    [(), ("*",), ("claude-*",), ("claude-opus-*",), ("claude-haiku-5-5",), ("anthropic.*", "claude-sonnet-5-5")]
)
agreements = st.lists(
    st.builds(
        Override,
        id=st.integers(1, 99),
        customer_id=st.sampled_from([ACME, GLOBEX]),
        effective_from=st.sampled_from([START, CUT, NOW, NOW + timedelta(1)]),
        effective_to=st.sampled_from([None, NOW, NOW + timedelta(days=2)]),
        platform=st.sampled_from(["", "anthropic", "bedrock"]),
        models=patterns,
        percent=percents,
    )
    | st.builds(
        Override,
        id=st.integers(1, 99),
        customer_id=st.sampled_from([ACME, GLOBEX]),
        effective_from=st.sampled_from([START, CUT, NOW]),
        models=patterns,
        rates=st.dictionaries(
            st.sampled_from(["input", "output", "cache_read", "cache_write_5m", "cache_write_1h"]), rates, min_size=1
        ),
    ),
    max_size=6,
)


@given(
    terms=agreements,
    model=priced | st.just(("anthropic", "claude-unknown")) | st.just(("bedrock", ARN)),
    usage=usages,
    spare=st.integers(0, 1000),
)
@settings(max_examples=500)
def test_no_charge_passes_the_ceiling_whatever_the_terms(
    terms: list[Override], model: tuple[str, str], usage: Usage, spare: int
) -> None:
    prices = book(*terms, aliases={("bedrock", ARN): "eu.anthropic.claude-opus-5-5"})
    bound = prices.ceiling(
        *model, NOW, usage.prompt_tokens + spare, usage.output_tokens, usage.web_searches, customer_id=ACME
    )
    cost = prices.charge(*model, usage, NOW, customer_id=ACME)
    assert cost.nano_usd <= bound
    assert total(cost) == cost.nano_usd
    narrow = prices.ceiling(
        *model, NOW, usage.prompt_tokens, usage.output_tokens, usage.web_searches, customer_id=ACME,
        fast=usage.speed == "fast", us=usage.inference_geo == "us", cache_1h=bool(usage.cache_write_1h_tokens),
    )  # fmt: skip
    assert cost.nano_usd <= narrow <= bound


@given(terms=agreements, model=priced, usage=usages)
def test_the_lines_prove_the_cost_with_any_terms(terms: list[Override], model: tuple[str, str], usage: Usage) -> None:
    cost = book(*terms).charge(*model, replace(usage, thinking_tokens=0), NOW, customer_id=ACME)
    quick = book(*terms).cost(*model, replace(usage, thinking_tokens=0), NOW, customer_id=ACME)
    assert (quick.nano_usd, quick.overrides) == (cost.nano_usd, cost.overrides)
    for line in cost.lines:
        assert line.quantity * line.usd_per_mtok * line.multiplier / 1_000_000 == line.amount
