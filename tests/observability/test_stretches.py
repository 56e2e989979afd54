"""Stretches cover a range without gap or overlap, and none is larger than the time that is left lets expect."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from observability.selectors.stretches import FIRST, stretches

START = datetime(2026, 8, 1, tzinfo=UTC)


class Clock:
    """Time that passes only as the test says."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


@given(st.floats(0.01, 2400), st.booleans())
def test_where_time_does_not_run_out_the_whole_range_is_covered_once(hours: float, newest_first: bool) -> None:
    end = START + timedelta(hours=hours)
    pieces = list(stretches(START, end, newest_first=newest_first, clock=Clock()))
    if newest_first:
        pieces.reverse()
    assert (pieces[0][0], pieces[-1][1]) == (START, end)
    assert all(before[1] == after[0] for before, after in pairwise(pieces))
    assert len(pieces) < 9  # they grow: ninety days are few queries


def test_it_ends_when_the_time_is_up() -> None:
    clock = Clock()
    pieces = []
    for piece in stretches(START, START + timedelta(days=90), seconds=0.1, clock=clock):
        pieces.append(piece)
        clock.now += 0.04
    assert len(pieces) == 3
    assert pieces[-1][0] > START


def test_a_slow_stretch_is_followed_by_one_that_fits_the_rest() -> None:
    clock = Clock()
    found = stretches(START, START + timedelta(days=90), seconds=0.1, clock=clock)
    next(found)
    clock.now += 0.08
    first, last = next(found)
    assert last - first <= FIRST / 3
