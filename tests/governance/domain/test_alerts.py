"""Which thresholds are passed, when a message is tried again, and what a signature is."""

from __future__ import annotations

import subprocess
from datetime import timedelta
from fractions import Fraction

from hypothesis import given
from hypothesis import strategies as st

from governance.domain.alerts import RETRIES, passed, signature, wait_after, whole_percent

AMOUNTS = st.integers(0, 10**18)


@given(AMOUNTS, st.integers(1, 10**18), st.lists(st.integers(1, 1000)))
def test_a_threshold_is_passed_from_its_exact_share_on(spent: int, limit: int, thresholds: list[int]) -> None:
    expected = {percent for percent in thresholds if spent and Fraction(spent, limit) >= Fraction(percent, 100)}
    assert passed(spent=spent, limit=limit, thresholds=thresholds) == tuple(sorted(expected))


def test_one_nano_dollar_decides() -> None:
    limit = 3 * 10**9
    assert passed(spent=limit * 80 // 100 - 1, limit=limit, thresholds=[50, 80]) == (50,)
    assert passed(spent=limit * 80 // 100, limit=limit, thresholds=[80, 50, 80]) == (50, 80)


def test_a_limit_of_zero_is_passed_by_the_first_amount_not_by_nothing() -> None:
    assert passed(spent=0, limit=0, thresholds=[50, 100]) == ()
    assert passed(spent=1, limit=0, thresholds=[100, 50]) == (50, 100)


def test_nearly_all_never_reads_as_all() -> None:
    assert whole_percent(spent=999_999_999, limit=10**9) == 99
    assert whole_percent(spent=10**9, limit=10**9) == 100
    assert whole_percent(spent=1, limit=0) is None


def test_there_are_five_retries_and_then_none() -> None:
    assert [wait_after(attempts) for attempts in range(1, 6)] == list(RETRIES)
    assert wait_after(6) is None
    assert sum(RETRIES, timedelta()) == timedelta(hours=8, minutes=36)


def test_the_signature_is_what_openssl_computes() -> None:
    body = '{"text":"Größe"}'.encode()
    signed = signature("whsec_abc", body, sent_at=1_795_000_000)
    digest = subprocess.run(
        ["openssl", "dgst", "-sha256", "-hmac", "whsec_abc", "-hex"],
        input=b"1795000000." + body, capture_output=True, check=True,
    ).stdout.decode().split()[-1]  # fmt: skip
    assert signed == f"t=1795000000,v1={digest}"
