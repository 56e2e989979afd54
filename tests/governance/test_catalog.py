"""The shipped catalog: facts it must hold, its way into the database, and what it makes of a broken row."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from django.core.management import CommandError, call_command

from governance.catalog import SHIPPED, price_book, price_row, seed_prices, shipped, stored_fields
from governance.corrections import CORRECTIONS
from governance.domain.pricing import LAST_RESORT, PriceBook
from governance.domain.usage import Usage
from governance.models import Price
from governance.pricing_source import CLASSES

NOW = datetime(2026, 11, 22, 12, tzinfo=UTC)

pytestmark = pytest.mark.django_db


@pytest.fixture
def book() -> PriceBook:
    seed_prices()
    return price_book()


FACTS = [
    # platform, id, input, output, cache read, write 5 min, write 1 h: USD per million tokens
    ("anthropic", "claude-opus-5-5", "4 20 0.2 5 8"),
    ("anthropic", "claude-sonnet-5-5", "2 10 0.1 2.5 4"),
    ("anthropic", "claude-haiku-5-5", "0.1 0.5 0.01 0.125 0.2"),
    ("anthropic", "claude-fable-5-2", "8 40 0.2 10 16"),
    ("anthropic", "claude-mythos-5-2", "8 40 0.2 10 16"),
    ("anthropic", "claude-fable-5-1", "10 50 0.25 12.5 20"),
    ("anthropic", "claude-fable-5", "10 50 1 12.5 20"),
    ("anthropic", "claude-opus-5", "5 25 0.5 6.25 10"),
    ("anthropic", "claude-opus-4-8", "5 25 0.5 6.25 10"),
    ("anthropic", "claude-sonnet-5", "2 10 0.2 2.5 4"),
    ("anthropic", "claude-sonnet-4-6", "3 15 0.3 3.75 6"),
    ("anthropic", "claude-haiku-4-5-20251001", "1 5 0.1 1.25 2"),
    ("anthropic", "claude-haiku-4-5", "1 5 0.1 1.25 2"),
    ("anthropic", "claude-opus-4-1-20250805", "15 75 1.5 18.75 30"),
    ("anthropic", "claude-opus-4-1", "15 75 1.5 18.75 30"),
    ("anthropic", "claude-sonnet-4-20250514", "3 15 0.3 3.75 6"),
    ("anthropic", "claude-3-7-sonnet-20250219", "3 15 0.3 3.75 6"),
    ("anthropic", "claude-3-5-sonnet-20241022", "3 15 0.3 3.75 6"),
    ("anthropic", "claude-3-5-haiku-20241022", "0.8 4 0.08 1 1.6"),
    ("anthropic", "claude-3-opus-20240229", "15 75 1.5 18.75 30"),
    ("anthropic", "claude-3-haiku-20240307", "0.25 1.25 0.03 0.3 0.5"),
    ("bedrock", "anthropic.claude-opus-5-5", "4 20 0.2 5 8"),
    ("bedrock", "us.anthropic.claude-opus-5-5", "4.4 22 0.22 5.5 8.8"),
    ("bedrock", "us-gov.anthropic.claude-opus-5-5", "4.8 24 0.24 6 9.6"),
    ("bedrock", "bedrock_mantle/anthropic.claude-opus-5-5", "4.4 22 0.22 5.5 8.8"),
    ("bedrock", "apac.anthropic.claude-haiku-4-5-20251001-v1:0", "1.1 5.5 0.11 1.375 2.2"),
    ("bedrock", "anthropic.claude-sonnet-4-20250514-v1:0", "3 15 0.3 3.75 6"),
    ("vertex", "claude-opus-5-5@default", "4 20 0.2 5 8"),
    ("vertex", "claude-3-5-haiku@20241022", "0.8 4 0.08 1 1.6"),
    ("vertex", "claude-opus-4-1@20250805", "15 75 1.5 18.75 30"),
    ("foundry", "claude-opus-5-5", "4 20 0.2 5 8"),
    ("foundry", "azure_ai/claude-opus-5-5-fast", "8 40 0.4 10 16"),
]


def test_known_prices(book: PriceBook) -> None:
    for platform, model, usd in FACTS:
        row = book.find(platform, model, NOW)
        assert row is not None, model
        listed = [getattr(row.rates, kind) for kind in CLASSES]
        assert listed == [Decimal(value) for value in usd.split()], model
        assert row.web_search == Decimal("0.01"), model


def test_the_cut_of_sonnet_and_the_constant_rate_of_opus(book: PriceBook) -> None:
    cut = datetime(2026, 10, 7, tzinfo=UTC)
    reads = Usage(cache_read_tokens=1_000_000)

    def nano(model: str, at: datetime) -> int:
        return book.charge("anthropic", model, reads, at).nano_usd

    assert nano("claude-sonnet-5-5", cut - timedelta(seconds=1)) == 200_000_000
    assert nano("claude-sonnet-5-5", cut) == 100_000_000
    assert nano("claude-opus-5-5", cut - timedelta(seconds=1)) == 200_000_000
    assert nano("claude-opus-5-5", cut) == 200_000_000


def test_tiers_and_factors(book: PriceBook) -> None:
    def row(model: str, platform: str = "anthropic") -> Any:
        return book.find(platform, model, NOW)

    [tier] = row("claude-haiku-5-5").tiers
    assert (tier.above_prompt_tokens, tier.rates.input, tier.rates.output) == (100_000, Decimal("0.5"), Decimal("2.5"))
    [tier] = row("claude-sonnet-4-5-20250929").tiers
    assert (tier.above_prompt_tokens, tier.rates.output) == (200_000, Decimal("22.5"))
    assert row("claude-sonnet-4-6").tiers == ()
    assert row("claude-opus-5-5").multipliers == {"fast": 2, "us": Decimal("1.1"), "batch": Decimal("0.5")}
    assert row("claude-fable-5-2").multipliers == {"fast": 2, "us": Decimal("1.1"), "batch": Decimal("0.5")}
    assert row("claude-opus-4-7").multipliers["fast"] == 6
    assert row("claude-haiku-4-5").multipliers == {"batch": Decimal("0.5")}
    assert row("claude-opus-5-5", "vertex").multipliers == {"regional": Decimal("1.1"), "batch": Decimal("0.5")}


def test_ids_that_only_share_a_beginning_are_other_models(book: PriceBook) -> None:
    assert book.find("anthropic", "claude-opus-5-5-20990101", NOW) is None
    assert book.find("anthropic", "claude-fable-5-9", NOW) is None
    assert book.find("bedrock", "anthropic.claude-3-7-sonnet-20240620-v1:0", NOW) is None


def test_the_catalog_says_what_it_left_out_and_which_correction_touched_what() -> None:
    catalog = shipped()
    assert catalog["left_out"]["no price per token (provisioned throughput)"] == 24
    assert [entry["reason"] for entry in catalog["corrections"]] == [c.reason for c in CORRECTIONS]
    assert all(entry["listings"] for entry in catalog["corrections"])


def test_nothing_shipped_is_dearer_than_the_last_resort(book: PriceBook) -> None:
    for row in book.rows:
        for rates in (row.rates, *(tier.rates for tier in row.tiers)):
            assert all(getattr(rates, kind) <= getattr(LAST_RESORT.rates, kind) for kind in CLASSES)
        assert all(row.multipliers.get(name, 1) <= LAST_RESORT.multipliers[name] for name in ("fast", "us"))


def test_seeding_twice_adds_nothing_and_edits_nothing() -> None:
    assert seed_prices() == len(shipped()["prices"]) == Price.objects.count()
    Price.objects.filter(model_id="claude-opus-5-5", platform="anthropic").update(input=Decimal(3))
    Price.objects.filter(model_id="claude-fable-5", platform="vertex").delete()
    assert seed_prices() == 1
    assert Price.objects.get(model_id="claude-opus-5-5", platform="anthropic").input == 3
    assert seed_prices() == 0


def test_seeding_and_reading_ask_few_questions(django_assert_max_num_queries: Any) -> None:
    # Bulk inserts go in parts on SQLite, whose statements take a limited number of values.
    with django_assert_max_num_queries(10):
        seed_prices()
    with django_assert_max_num_queries(3):  # prices, overrides, mappings
        price_book()


def test_a_stored_price_reads_back_as_it_was_shipped() -> None:
    seed_prices()
    for row in shipped()["prices"]:
        price = Price.objects.get(
            platform=row["platform"], model_id=row["model_id"], effective_from=row["effective_from"]
        )
        assert {**row, **stored_fields(price)} == row


@pytest.mark.parametrize(
    "broken",
    [
        {"multipliers": {"fast": "much"}},
        {"multipliers": {"fast": 0}},
        {"multipliers": ["fast"]},
        {"tiers": "none"},
        {"tiers": [7]},
        {"tiers": [{"above_prompt_tokens": "many"}]},
        {"tiers": [{"above_prompt_tokens": 1000, "input": "-1"}]},
    ],
)
def test_a_row_that_cannot_be_read_is_left_out_and_logged(broken: dict[str, Any], caplog: Any) -> None:
    seed_prices()
    Price.objects.filter(platform="anthropic", model_id="claude-opus-5-5").update(**broken)
    book = price_book()
    assert "claude-opus-5-5" in caplog.text
    cost = book.charge("anthropic", "claude-opus-5-5", Usage(output_tokens=1), NOW)
    assert cost.quality == "unpriced"
    assert book.find("anthropic", "claude-opus-5", NOW) is not None


def test_a_tier_typed_by_hand_may_name_only_what_differs() -> None:
    price = Price(
        platform="anthropic",
        model_id="x",
        effective_from=NOW,
        **{kind: Decimal(2) for kind in CLASSES},
        tiers=[{"above_prompt_tokens": 500, "output": 9.5}, {"above_prompt_tokens": 100, "input": "3"}],
    )
    low, high = price_row(price).tiers
    assert (low.above_prompt_tokens, low.rates.input, low.rates.output) == (100, 3, 2)
    assert (high.rates.input, high.rates.output) == (2, Decimal("9.5"))


def test_building_the_catalog(tmp_path: Path) -> None:
    rates = {"input": 4.0, "output": 20.0, "cache_read": 0.2, "cache_write_5m": 5.0, "cache_write_1h": None}
    listing = {"id": "claude-opus-5-5", "platform": "anthropic", "per_mtok": rates}
    known = [
        {"id": name, "platform": "anthropic", "per_mtok": rates}
        for name in sorted({*json.loads(SHIPPED.read_text(encoding="utf-8"))["added"].values()})
    ]
    origin = {"package": "litellm", "version": "1", "sha256": "0" * 64, "extracted": "2026-11-22"}
    source, output = tmp_path / "source.json", tmp_path / "catalog.json"
    source.write_text(json.dumps({"source": origin, "models": [listing, *known]}))
    call_command("build_price_catalog", source, "--output", output, verbosity=0)
    [built] = [p for p in json.loads(output.read_text())["prices"] if p["model_id"] == "claude-opus-5-5"]
    # The source lacks the 1-hour write: 2 × input.
    assert (built["cache_write_1h"], built["web_search"], built["effective_from"][:10]) == ("8", "0.01", "2023-01-01")

    source.write_text("{")
    with pytest.raises(CommandError, match="not JSON"):
        call_command("build_price_catalog", source, "--output", output)
