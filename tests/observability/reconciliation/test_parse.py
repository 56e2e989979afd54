"""Reports as Anthropic documents them: every digit kept, nothing dropped, the impossible refused in words."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from observability.reconciliation.compare import to_nano
from observability.reconciliation.parse import CLASSES, BadReport, digest, parse_page, read_file

REPORTS = Path(__file__).parents[2] / "golden" / "reports"
COST = (REPORTS / "cost_report.json").read_bytes()
USAGE = (REPORTS / "usage_report.json").read_bytes()
DAY = date(2026, 11, 18)
WORKSPACE = "wrkspc_01JwQvzr7rXLA5AGx3HKfFUJ"


def cost(change: Callable[[dict[str, Any]], None] | None = None) -> dict[str, Any]:
    document = json.loads(COST)
    if change:
        change(document)
    return document


def first(document: dict[str, Any]) -> dict[str, Any]:
    line: dict[str, Any] = document["data"][0]["results"][0]
    return line


def test_the_cost_report_line_by_line() -> None:
    report = read_file(COST)
    assert report.kind == "cost"
    assert list(report.days) == [DAY, date(2026, 11, 19)]
    assert report.days[date(2026, 11, 19)] == ()
    assert report.unknown == ()
    assert [(line.workspace_id, line.model, line.token_class, to_nano(line.usd)) for line in report.days[DAY]] == [
        (WORKSPACE, "claude-opus-5-5", "uncached_input", 1_234_567_800),
        ("", "claude-haiku-5-5", "cache_read", 1),
        ("", "claude-opus-5-5", "cache_write_5m", 125_000_000),
        ("", "claude-opus-5-5", "cache_write_1h", 800_000_000),
        ("", "", "web_search", 30_000_000_000),
        ("", "", "code_execution", 50_000_000),
    ]
    assert report.days[DAY][0].description == "Claude Opus 5.5 Usage - Input Tokens"
    assert report.days[DAY][3].service_tier == "batch"


def test_the_usage_report_line_by_line() -> None:
    report = read_file(USAGE)
    assert report.kind == "usage"
    assert report.unknown == ()
    assert {line.token_class: line.tokens for line in report.days[DAY]} == dict(
        zip(CLASSES, (1500, 200, 500, 1000, 500, 10), strict=True)
    )
    assert {(line.workspace_id, line.model, line.inference_geo) for line in report.days[DAY]} == {
        (WORKSPACE, "claude-opus-5-5", "not_available")
    }


@pytest.mark.parametrize(
    ("cents", "nano"),
    [
        ("123.45678", 1_234_567_800),
        ("123.45", 1_234_500_000),
        ("0.0000001", 1),
        ("0.00000005", 0),
        ("0.00000015", 2),
        ("-2.5", -25_000_000),
        ("1E+2", 1_000_000_000),
        ("99999999999.9999999", 999_999_999_999_999_999),
        ("0", 0),
    ],
)
def test_cents_to_nano_dollars(cents: str, nano: int) -> None:
    document = cost(lambda report: first(report).update(amount=cents))
    line = parse_page(document).days[DAY][0]
    assert (line.cents, to_nano(line.usd)) == (cents, nano)


@given(st.decimals(min_value=0, max_value=10**9, places=7, allow_nan=False))
def test_any_amount_of_seven_places_is_exact(cents: Decimal) -> None:
    report = copy.deepcopy(json.loads(COST))
    first(report)["amount"] = f"{cents:f}"
    line = parse_page(report).days[DAY][0]
    assert Decimal(to_nano(line.usd)) == cents * 10_000_000


def test_a_json_number_keeps_its_digits() -> None:
    written = COST.replace(b'"123.45678"', b"123.456780000000000000001")
    assert read_file(written).days[DAY][0].cents == "123.456780000000000000001"


def test_what_this_version_does_not_know_is_kept_and_named() -> None:
    def change(report: dict[str, Any]) -> None:
        first(report).update(margin="x", token_type="audio_tokens")
        report["data"][0]["results"][4]["cost_type"] = "moon_travel"
        report["data"][0]["note"] = 1

    page = parse_page(cost(change))
    assert set(page.unknown) == {
        "field margin of a cost line", "token type audio_tokens", "cost type moon_travel", "field note of a day",
    }  # fmt: skip
    line = page.days[DAY][0]
    assert (line.token_class, dict(line.extra)) == ("audio_tokens", {"margin": '"x"'})
    assert page.days[DAY][4].token_class == "moon_travel"
    usage = json.loads(USAGE)
    usage["data"][0]["results"][0]["server_tool_use"]["web_fetch_requests"] = 3
    usage["data"][0]["results"][0]["api_key_id"] = "apikey_1"
    page = parse_page(usage)
    assert page.unknown == ("field server_tool_use.web_fetch_requests of a usage line",)
    assert {line.token_class: line.tokens for line in page.days[DAY]}["server_tool_use.web_fetch_requests"] == 3
    assert dict(page.days[DAY][0].extra) == {"api_key_id": '"apikey_1"'}


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda r: first(r).update(currency="EUR"), "'EUR'. Only US dollars"),
        (lambda r: first(r).update(amount="NaN"), "not a number of cents"),
        (lambda r: first(r).update(amount=True), "not a number of cents"),
        (lambda r: first(r).update(amount="1" + "0" * 59), "not a number of cents"),
        (lambda r: first(r).update(cost_type=None), "names no cost_type"),
        (lambda r: first(r).update(model=7), "not a text"),
        (lambda r: first(r).pop("amount"), "neither an amount nor tokens"),
        (lambda r: r["data"][0].update(ending_at="2026-11-18T01:00:00Z"), "not one UTC day"),
        (lambda r: r["data"][0].update(starting_at="yesterday"), "not a moment"),
        (lambda r: r["data"][0].update(starting_at="2026-11-18T00:00:00"), "without a time zone"),
        (lambda r: r.update(data=None), "no list “data”"),
        (lambda r: r.update(has_more=True), "not where"),
        (lambda r: (r.clear(), r.update(type="error", error={"message": "no such key"})), "no such key"),
    ],
)
def test_what_cannot_be_is_refused_in_words(change: Callable[[dict[str, Any]], None], words: str) -> None:
    with pytest.raises(BadReport, match=words.replace("(", r"\(")):
        parse_page(cost(change))


def test_a_file_of_several_pages_and_one_that_ends_too_early() -> None:
    one, two = cost(), cost()
    del one["data"][1], two["data"][0]
    one.update(has_more=True, next_page="page_2")
    lines = f"{json.dumps(one)}\n{json.dumps(two)}\n".encode()
    assert read_file(lines).days == read_file(COST).days == read_file(json.dumps([one, two]).encode()).days
    with pytest.raises(BadReport, match="goes on after the last page"):
        read_file(json.dumps(one).encode())
    with pytest.raises(BadReport, match="mixes"):
        read_file(b"[" + COST + b"," + USAGE + b"]")
    with pytest.raises(BadReport, match="This is a usage report, not a cost report"):
        read_file(USAGE, "cost")


@pytest.mark.parametrize(
    "content", [b"", b"  ", b"<html>", COST[:-30], b"[]", b'{"data": []}', b"\xff\xfe", b"[" * 99999]
)
def test_broken_files_are_refused(content: bytes) -> None:
    with pytest.raises(BadReport):
        read_file(content)


def test_the_digest_does_not_depend_on_the_order() -> None:
    lines = read_file(COST).days[DAY]
    assert digest(lines) == digest(reversed(lines)) != digest(lines[1:])
