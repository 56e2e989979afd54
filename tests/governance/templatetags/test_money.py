"""How figures look: digits a finance person can trust at a glance."""

from __future__ import annotations

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from governance.domain.money import NANO
from governance.templatetags import money


@pytest.mark.parametrize(
    ("nano", "shown"),
    [
        (0, "—"),
        (1, "<0.01"),
        (-1, "(<0.01)"),
        (NANO // 100, "0.01"),
        (1_204_500_000_000, "1,204.50"),
        (-12 * NANO, "(12.00)"),
        (None, ""),
    ],
)
def test_usd(nano: int | None, shown: str) -> None:
    assert money.usd(nano) == shown


@pytest.mark.parametrize(
    ("nano", "shown"),
    [
        (0, "—"),
        (999, "<0.000001"),
        (4_200_000, "0.004200"),
        (123_000_000, "0.123000"),
        (12_345_678, "0.012346"),
        (1_500_000_000, "1.500000"),
        (1_204 * NANO, "1,204.000000"),
    ],
)
def test_usd_exact(nano: int, shown: str) -> None:
    assert money.usd_exact(nano) == shown


@given(st.integers(-(10**18), 10**18))
def test_no_figure_has_three_decimals_or_an_exponent_or_a_false_zero(nano: int) -> None:
    for shown in (money.usd(nano), money.usd_exact(nano)):
        digits = shown.strip("()<")
        assert "e" not in digits.lower()
        assert len(digits.partition(".")[2]) != 3
        assert nano == 0 or digits.strip("0.,") != ""


@pytest.mark.parametrize(
    ("rate", "shown"),
    [(Decimal("5"), "5.00"), (Decimal("0.0375"), "0.0375"), (Decimal("0.125"), "0.1250"), (Decimal(0), "—")],
)
def test_rate(rate: Decimal, shown: str) -> None:
    assert money.rate(rate) == shown


@pytest.mark.parametrize(
    ("share", "shown"), [(0, "0%"), (0.0001, "<1%"), (0.9999, "99%"), (1.0, "100%"), (1.25, "125%")]
)
def test_percent(share: float, shown: str) -> None:
    assert money.percent(share) == shown


def test_caption_says_spent_held_limit_and_share() -> None:
    assert (
        money.caption(spent=412_100_000_000, held=18 * NANO, limit=500 * NANO) == "412.10 + 18.00 held of 500.00 · 86%"
    )
    assert money.caption(spent=0, held=0, limit=500 * NANO) == "0 of 500.00 · 0%"
    assert money.caption(spent=1, held=0, limit=0) == "<0.01 of 0 · —"


def test_a_bar_over_its_limit_is_drawn_otherwise_than_a_full_one() -> None:
    full = money.bar(spent=100, held=0, limit=100)
    over = money.bar(spent=125, held=0, limit=100)
    assert not full.is_over
    assert full.limit_at == "100.000%"
    assert over.is_over
    assert float(over.limit_at.rstrip("%")) < 80
    assert float(over.over.rstrip("%")) > 15


amounts = st.integers(0, 10**13)


@given(amounts, amounts, amounts, st.none() | amounts)
def test_a_bar_stays_inside_its_track(spent: int, held: int, limit: int, forecast: int | None) -> None:
    bar = money.bar(spent=spent, held=held, limit=limit, forecast=forecast, thresholds=(50, 80, 100))
    used = [float(part.rstrip("%")) for part in (bar.spent, bar.over, bar.held)]
    assert all(0 <= part <= 100 for part in used)
    assert sum(used) <= 100.01
    assert bar.is_over == (spent + held > limit)
