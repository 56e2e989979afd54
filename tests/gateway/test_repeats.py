"""Which refusals are told apart from repeats."""

from __future__ import annotations

from gateway import repeats
from gateway.repeats import Floods, Repeats


def test_repeats_within_a_minute_are_one_event() -> None:
    now = 0.0
    seen = Repeats(lambda: now)
    assert seen.first(("key", "session", "message"))
    now = 30.0
    assert not seen.first(("key", "session", "message"))
    assert seen.first(("key", "other session", "message"))
    now = 89.0
    assert not seen.first(("key", "session", "message"))
    now = 150.0
    assert seen.first(("key", "session", "message"))


def test_memory_is_bounded() -> None:
    seen = Repeats(lambda: 0.0)
    for number in range(repeats.KEPT + 5):
        seen.first(number)
    assert len(seen._seen) == repeats.KEPT
    assert seen.first(0)


def test_of_a_flood_one_refusal_a_second_is_a_row_and_tells_how_many_were_not() -> None:
    now = 0.0
    floods = Floods(lambda: now)
    assert floods.left_out(1) == 0
    assert [floods.left_out(1) for _ in range(3)] == [None] * 3
    assert floods.left_out(2) == 0
    now = 1.0
    assert floods.left_out(1) == 3
    assert floods.left_out(1) is None
    now = 5.0
    assert (floods.left_out(1), floods.left_out(2)) == (1, 0)


def test_floods_of_many_keys_take_bounded_memory() -> None:
    floods = Floods(lambda: 0.0)
    for number in range(repeats.KEPT + 5):
        floods.left_out(number)
    assert len(floods._rows) == repeats.KEPT
