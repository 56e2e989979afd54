"""Amounts: exact both ways, and shown with as many digits as they need."""

from __future__ import annotations

import decimal
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from governance.domain.money import nano_to_usd, show_usd, usd_string, usd_to_nano

amounts = st.integers(-9_000_000_000 * 10**9, 9_000_000_000 * 10**9)


@given(nano=amounts)
def test_there_and_back(nano: int) -> None:
    assert usd_to_nano(nano_to_usd(nano)) == nano
    assert usd_to_nano(usd_string(nano)) == nano
    with decimal.localcontext() as context:
        context.prec = 5
        assert usd_to_nano(nano_to_usd(nano)) == nano


@given(nano=amounts)
def test_the_string_is_plain(nano: int) -> None:
    text = usd_string(nano)
    assert "e" not in text.lower()
    assert "." not in text or text[-1] not in "0."


@pytest.mark.parametrize(
    ("wrong", "reason"),
    [
        ("0.0000000001", "finer"),
        ("1.00000000000000000000000000000001", "finer"),
        ("9000000000.000000001", "out of range"),
        ("1e400", "out of range"),
        ("NaN", "out of range"),
        ("-Infinity", "out of range"),
        ("ten", "not an amount"),
        ("", "not an amount"),
    ],
)
def test_what_is_no_amount_is_refused(wrong: str, reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        usd_to_nano(wrong)


@pytest.mark.parametrize(
    ("usd", "shown"),
    [
        ("0", "$0.00"),
        ("0.0042", "$0.0042"),
        ("0.5", "$0.50"),
        ("0.0776788", "$0.0777"),
        ("0.99999999", "$1.00"),
        ("-0.0776788", "-$0.0777"),
        ("0.000000001", "$0.000000001"),
        ("1204.5", "$1,204.50"),
        ("999.999999999", "$1,000.00"),
        ("-3.25", "-$3.25"),
    ],
)
def test_amounts_in_a_sentence(usd: str, shown: str) -> None:
    assert show_usd(usd_to_nano(Decimal(usd))) == shown
