"""One credential: cooling down, resting, dead, and that each ends."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from gateway.availability.credentials import (
    COOL_SECONDS,
    DEAD_SECONDS,
    MOST_COOL_SECONDS,
    UNCALLABLE_IN_A_ROW,
    Credential,
)
from gateway.availability.limits import Limits
from gateway.availability.outcomes import Reason


def credential(requests: int | None = None, tokens: int | None = None, concurrent: int | None = None) -> Credential:
    return Credential("main", Limits(requests, tokens, concurrent))


def reason(one: Credential, now: float) -> Reason | None:
    unusable = one.unusable(now)
    return unusable.reason if unusable is not None else None


def test_it_cools_down_for_as_long_as_it_was_told() -> None:
    one = credential()
    one.cool(0, 17, "was refused")
    told = one.unusable(16.9)
    assert told is not None
    assert (told.reason, told.until, told.why, told.last_resort) == (Reason.COOLING, 17, "was refused", True)
    assert reason(one, 17) is None
    assert one.at_ease


def test_without_being_told_it_cools_down_for_a_growing_time() -> None:
    one, now, times = credential(), 0.0, []
    for _ in range(6):
        one.cool(now, None, "was refused")
        one.cool(now, None, "was refused")  # another that was under way: the same refusal
        times.append(one.cooling_until - now)
        now = one.cooling_until
        assert reason(one, now) is None
    assert times == [5, 10, 20, 40, MOST_COOL_SECONDS, MOST_COOL_SECONDS]
    one.accepted(now)
    one.cool(now, None, "was refused")
    assert one.cooling_until - now == COOL_SECONDS


def test_a_rejected_one_is_asked_again_by_one_request_after_a_while() -> None:
    one = credential()
    assert one.rejected(0, "rejected with 401")
    assert reason(one, DEAD_SECONDS - 1) == Reason.DEAD
    assert one.unusable(1).last_resort, "where nothing else is left"  # type: ignore[union-attr]
    assert reason(one, DEAD_SECONDS) is None
    one.began(DEAD_SECONDS, 0)
    assert reason(one, DEAD_SECONDS + 1) == Reason.DEAD, "the others wait for what it tells"
    assert not one.rejected(DEAD_SECONDS + 2, "rejected with 401"), "no news"
    assert one.probe_at == DEAD_SECONDS + 2 + DEAD_SECONDS
    one.began(one.probe_at, 0)
    one.accepted(200)
    assert reason(one, 200) is None
    assert one.at_ease


def test_a_success_from_before_does_not_bring_it_back() -> None:
    one = credential()
    one.rejected(100, "rejected with 401")
    one.accepted(99)
    assert one.dead


def test_it_rests_before_it_is_refused() -> None:
    one = credential()
    one.rest(0, 30, "has no tokens left")
    assert reason(one, 29) == Reason.RESTING
    assert reason(one, 30) is None


def test_one_request_that_cannot_be_sent_says_little_three_in_a_row_more() -> None:
    one = credential()
    for _ in range(UNCALLABLE_IN_A_ROW - 1):
        one.uncallable(0, "no token")
    assert reason(one, 0) is None
    one.uncallable(0, "no token")
    assert reason(one, 0) == Reason.COOLING


def test_its_own_limits() -> None:
    one = credential(requests=2, concurrent=3)
    for _ in range(2):
        assert reason(one, 0) is None
        one.began(0, 10)
    told = one.unusable(1)
    assert told is not None
    assert (told.reason, told.until, told.why) == (Reason.LIMIT, 60, "is at its limit of 2 requests a minute")
    assert not told.last_resort
    one.limit(None, None, 2)
    assert one.unusable(1).why == "is at its limit of 2 requests at once"  # type: ignore[union-attr]
    one.ended(2, 0)
    assert reason(one, 2) is None


def test_anew_nothing_is_held_against_it() -> None:
    one = credential()
    one.began(0, 0)
    one.rejected(0, "rejected with 401")
    one.cool(0, 600, "was refused")
    one.renew()
    assert reason(one, 0) is None
    assert one.running == 1


LONGEST = 300

EVENTS = st.lists(
    st.tuples(
        st.floats(0, 30, allow_nan=False),
        st.sampled_from(["cool", "cool for", "reject", "accept", "accept old", "rest", "began", "uncallable"]),
        st.floats(0, 300, allow_nan=False),
    ),
    max_size=60,
)


@given(EVENTS)
def test_whatever_happened_it_is_asked_again_and_an_answer_puts_it_right(
    events: list[tuple[float, str, float]],
) -> None:
    one, now = credential(), 1000.0
    for step, what, amount in events:
        now += step
        match what:
            case "cool":
                one.cool(now, None, "x")
            case "cool for":
                one.cool(now, amount, "x")
            case "reject":
                one.rejected(now, "x")
            case "accept":
                one.accepted(now)
            case "accept old":
                one.accepted(now - amount)
            case "rest":
                one.rest(now, amount, "x")
            case "uncallable":
                one.uncallable(now, "x")
            case _:
                one.began(now, 0)
        told = one.unusable(now)
        assert told is None or now < told.until <= now + LONGEST
    later = now + LONGEST
    assert one.unusable(later) is None
    one.began(later, 0)
    one.accepted(later)
    assert one.unusable(later) is None
    assert one.at_ease
