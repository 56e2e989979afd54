"""The circuit breaker: when it opens, whom it lets through, and that it is never stuck."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from gateway.availability import breaker as module
from gateway.availability.breaker import LEAST_FAILURES, MOST_OPEN_SECONDS, OPEN_SECONDS, PROBE_SECONDS, Breaker


def opened(at: float = 0.0) -> Breaker:
    breaker = Breaker()
    for _ in range(LEAST_FAILURES):
        breaker.ended(at, at, failed=True)
    assert breaker.opened_at == at
    return breaker


def test_few_failures_leave_it_closed() -> None:
    breaker = Breaker()
    for moment in range(LEAST_FAILURES - 1):
        breaker.ended(moment, moment, failed=True)
    assert breaker.lets(LEAST_FAILURES)
    breaker.ended(4, 4, failed=True)
    assert not breaker.lets(4)


def test_a_provider_that_answers_most_requests_is_still_asked() -> None:
    breaker = Breaker()
    for moment in range(100):
        breaker.ended(moment / 10, moment / 10, failed=moment % 5 == 0)
    assert breaker.opened_at is None
    assert breaker.window.since(0) == (100, 20)


def test_failures_of_long_ago_do_not_count() -> None:
    breaker = Breaker()
    for moment in range(LEAST_FAILURES * 2):
        breaker.ended(moment * 10, moment * 10, failed=True)
    assert breaker.opened_at is None


def test_open_it_lets_one_probe_through_at_a_time() -> None:
    breaker = opened()
    assert not breaker.lets(OPEN_SECONDS - 0.1)
    assert breaker.lets(OPEN_SECONDS)
    breaker.began(OPEN_SECONDS)
    assert not breaker.lets(OPEN_SECONDS + 0.1)
    assert breaker.lets(OPEN_SECONDS + PROBE_SECONDS), "a probe of which nothing is heard gives way"


def test_a_probe_that_says_nothing_gives_way_at_once() -> None:
    breaker = opened()
    breaker.began(OPEN_SECONDS)
    breaker.unheard()
    assert breaker.lets(OPEN_SECONDS)


def test_an_answer_to_the_probe_closes_it() -> None:
    breaker = opened()
    breaker.began(OPEN_SECONDS)
    breaker.answered(OPEN_SECONDS, OPEN_SECONDS + 1)
    assert breaker.lets(OPEN_SECONDS + 1)
    breaker.ended(OPEN_SECONDS + 2, OPEN_SECONDS + 2, failed=True)
    assert breaker.opened_at is None, "what failed before it was closed is judged already"


def test_each_failed_probe_doubles_the_time_up_to_the_most() -> None:
    breaker, waits = opened(), []
    for _ in range(7):
        waits.append(breaker.until)
        began = breaker.until
        breaker.began(began)
        breaker.ended(began, began, failed=True)
        waits[-1] = breaker.until - began
    assert waits == [10, 20, 40, 60, 60, 60, 60]
    assert breaker.opened_at == 0, "it has been open since it first opened"


def test_requests_from_before_it_opened_decide_nothing() -> None:
    breaker = opened(at=10)
    until = breaker.until
    breaker.ended(5, 30, failed=True)
    assert breaker.until == until
    breaker.ended(5, 31, failed=False)
    assert breaker.opened_at == 10
    breaker.answered(32, 33)
    for _ in range(LEAST_FAILURES * 2):
        breaker.ended(9, 34, failed=True)
    assert breaker.opened_at is None, "failures of requests from before it was closed are late news"


def test_after_a_calm_time_the_next_opening_is_short_again() -> None:
    breaker = opened()
    breaker.ended(5, 5, failed=True)
    assert breaker.until == 15
    breaker.answered(15, 15)
    for at in (20.0, 200.0):
        for _ in range(LEAST_FAILURES):
            breaker.ended(at, at, failed=True)
        length = breaker.until - at
        assert length == (20 if at == 20 else OPEN_SECONDS)
        breaker.answered(breaker.until, breaker.until)


EVENTS = st.lists(
    st.tuples(
        st.floats(0, 20, allow_nan=False),
        st.floats(0, 300, allow_nan=False),
        st.sampled_from(["ok", "failed", "answered", "unheard", "began"]),
    ),
    max_size=80,
)


@given(EVENTS)
def test_it_is_never_stuck_open_and_an_answer_always_closes_it(events: list[tuple[float, float, str]]) -> None:
    breaker, now = Breaker(), 1000.0
    for step, ago, what in events:
        now += step
        began = now - ago
        match what:
            case "began":
                breaker.began(now)
            case "unheard":
                breaker.unheard()
            case "answered":
                breaker.answered(began, now)
            case _:
                breaker.ended(began, now, failed=what == "failed")
        if breaker.opened_at is not None:
            assert breaker.opened_at <= now
            assert breaker.asks_at <= now + max(MOST_OPEN_SECONDS, PROBE_SECONDS)
    later = now + max(MOST_OPEN_SECONDS, PROBE_SECONDS)
    assert breaker.lets(later)
    breaker.began(later)
    breaker.answered(later, later)
    assert breaker.lets(later)
    assert breaker.opened_at is None


@given(st.lists(st.booleans(), max_size=200))
def test_it_opens_only_where_half_of_enough_requests_failed(fails: list[bool]) -> None:
    breaker = Breaker()
    for count, failed in enumerate(fails, 1):
        breaker.ended(100.0, 100.0, failed=failed)
        if breaker.opened_at is not None:
            assert sum(fails[:count]) >= max(LEAST_FAILURES, module.SHARE * count)
            return
