"""A credential's own limits: at no moment more than the limit within the last minute."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from gateway.availability.limits import Limits, Sliding


@given(st.integers(0, 20), st.lists(st.floats(0, 20, allow_nan=False), max_size=100))
def test_no_minute_has_more_requests_than_the_limit(limit: int, steps: list[float]) -> None:
    sliding, now, sent = Sliding(limit), 0.0, []
    for step in steps:
        now += step
        free_at = sliding.free_at(now)
        if free_at <= now:
            sliding.add(now, 1)
            sent.append(now)
        else:
            assert now < free_at <= now + 61
    for moment in sent:
        # To the second: what a slot of a second holds is forgotten with its first moment.
        assert sum(moment - 59 < other <= moment for other in sent) <= limit


@given(st.integers(1, 1000), st.lists(st.tuples(st.floats(0, 5), st.integers(-500, 500)), max_size=60))
def test_a_minute_later_all_is_free_again(limit: int, amounts: list[tuple[float, int]]) -> None:
    sliding, now = Sliding(limit), 0.0
    for step, amount in amounts:
        now += step
        sliding.add(now, amount)
    assert sliding.free_at(now + 61) == now + 61
    assert sliding.total == 0


def test_what_was_not_used_is_given_back() -> None:
    limits = Limits(None, 1000, None)
    limits.take(0, 1000)
    assert limits.full(1, 0) == (60, "1,000 tokens a minute")
    limits.correct(2, -400)
    assert limits.full(2, 0) is None
    limits.correct(3, 400)
    assert limits.full(3, 0) == (60, "1,000 tokens a minute")


def test_other_limits_keep_what_went_out() -> None:
    limits = Limits(5, None, None)
    for _ in range(5):
        limits.take(0, 0)
    limits.set(6, 10, None)
    assert limits.full(1, 0) is None
    limits.take(1, 10)
    assert limits.full(1, 0) == (60, "6 requests a minute")
    limits.set(None, None, None)
    assert not limits
    assert limits.full(1, 10_000) is None
