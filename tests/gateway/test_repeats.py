"""Which refusals are told apart from repeats."""

from __future__ import annotations

from gateway import repeats
from gateway.repeats import Repeats


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
