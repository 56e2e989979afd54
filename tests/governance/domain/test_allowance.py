"""The book of allowances: admission, holds, settlement and the ledger's figures, without a database."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from governance.domain.allowance import Allowance, Book, Enforcement, Exhausted, Hold, Unit, WindowState
from governance.domain.windows import Period

NOW = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)
USD = 1_000_000_000


def budget(
    limit: int, *, enforcement: Enforcement = Enforcement.STOP, number: int = 1, period: str = "month"
) -> Allowance:
    return Allowance(
        key=f"budget:{number}",
        id=number,
        unit=Unit.USD,
        limit=limit,
        scope="team",
        target="Core",
        name="Core per month",
        enforcement=enforcement,
        period=Period(period, "UTC", 0, 0, 1),
        definition="d1",
    )


def rate(limit: int, unit: Unit, seconds: int = 60) -> Allowance:
    return Allowance("rate:1", 1, unit, limit, "virtual_key", "ada", "ada", seconds=seconds, definition="r1")


def admitted(outcome: Hold | Exhausted) -> Hold:
    assert isinstance(outcome, Hold)
    return outcome


def test_stop_admits_until_settled_spend_reaches_the_limit() -> None:
    book, allowance = Book(), budget(USD)
    first = admitted(book.admit([allowance], NOW, 0))
    second = admitted(book.admit([allowance], NOW, 0))  # in flight together: both may finish
    book.charge([allowance], NOW, NOW, USD - 1, 0)
    book.release(first)
    admitted(book.admit([allowance], NOW, 0))
    book.charge([allowance], NOW, NOW, 1, 0)
    book.release(second)
    refused = book.admit([allowance], NOW, 0)
    assert isinstance(refused, Exhausted)
    assert (refused.used, refused.allowance.limit) == (USD, USD)
    assert refused.resets_at == datetime(2026, 12, 1, tzinfo=UTC)
    assert refused.retry_after == 8.5 * 86400


def test_hard_refuses_what_could_pass_the_limit() -> None:
    book, allowance = Book(), budget(10 * USD, enforcement=Enforcement.HARD)
    hold = admitted(book.admit([allowance], NOW, 6 * USD))
    assert isinstance(book.admit([allowance], NOW, 5 * USD), Exhausted)
    book.charge([allowance], NOW, NOW, 1 * USD, 0)
    book.release(hold)
    book.release(hold)  # a second release changes nothing
    admitted(book.admit([allowance], NOW, 9 * USD))
    assert book.held_total() == 9 * USD


@given(st.lists(st.tuples(st.integers(0, 5 * USD), st.floats(0, 1)), max_size=40))
def test_hard_is_never_passed(requests: list[tuple[int, float]]) -> None:
    book, allowance = Book(), budget(10 * USD, enforcement=Enforcement.HARD)
    spent = 0
    for worst, share in requests:
        outcome = book.admit([allowance], NOW, worst)
        if isinstance(outcome, Hold):
            cost = int(worst * share)
            book.charge([allowance], NOW, NOW, cost, 0)
            book.release(outcome)
            spent += cost
        assert spent <= 10 * USD
    assert book.held_total() == 0
    assert book.figures(allowance, NOW) == (spent, 0)


def test_a_new_window_starts_from_nothing_and_late_charges_stay_in_theirs() -> None:
    book, allowance = Book(), budget(USD, period="day")
    late = admitted(book.admit([allowance], NOW, 0))
    book.charge([allowance], NOW, NOW, USD, 0)
    assert isinstance(book.admit([allowance], NOW, 0), Exhausted)
    tomorrow = NOW + timedelta(days=1)
    admitted(book.admit([allowance], tomorrow, 0))
    book.charge([allowance], NOW, NOW, 5 * USD, 0)  # started yesterday, ended today
    book.release(late)
    assert book.figures(allowance, tomorrow) == (0, 0)


def test_posted_figures_replace_ours_once() -> None:
    book, allowance = Book(), budget(100 * USD)
    book.configure([allowance], {1: WindowState(1, "d1", datetime(2026, 11, 1, tzinfo=UTC), 7 * USD)}, NOW)
    book.charge([allowance], NOW, NOW, 3 * USD, 0)
    assert book.figures(allowance, NOW) == (10 * USD, 0)
    read_before = book.posts
    # Another process spent 2 USD meanwhile: the ledger says 12.
    book.posted([WindowState(1, "d1", datetime(2026, 11, 1, tzinfo=UTC), 12 * USD, posted=3 * USD)])
    assert book.figures(allowance, NOW) == (12 * USD, 0)
    stale = {1: WindowState(1, "d1", datetime(2026, 11, 1, tzinfo=UTC), 7 * USD)}
    assert not book.load(stale, posts=read_before)
    assert book.figures(allowance, NOW) == (12 * USD, 0)
    assert book.load({1: WindowState(1, "d1", datetime(2026, 11, 1, tzinfo=UTC), 13 * USD)}, posts=book.posts)
    assert book.figures(allowance, NOW) == (13 * USD, 0)


def test_figures_of_another_definition_are_not_ours() -> None:
    book, allowance = Book(), budget(USD)
    book.configure([allowance], {}, NOW)
    assert book.load({1: WindowState(1, "old", datetime(2026, 11, 1, tzinfo=UTC), USD)}, posts=0)
    assert book.figures(allowance, NOW) == (0, 0)


def test_a_changed_limit_keeps_what_was_counted() -> None:
    book, allowance = Book(), budget(USD)
    book.charge([allowance], NOW, NOW, USD, 0)
    assert isinstance(book.admit([allowance], NOW, 0), Exhausted)
    raised = budget(2 * USD)
    book.configure([raised], {}, NOW)
    admitted(book.admit([raised], NOW, 0))
    assert book.figures(raised, NOW) == (USD, 0)


def test_a_charge_of_a_former_definition_does_not_stay_unposted() -> None:
    book, opus = Book(), budget(USD)
    sonnet = replace(opus, models=("claude-sonnet-*",), definition="d2")
    hold = admitted(book.admit([opus], NOW, 0))
    book.configure([sonnet], {}, NOW)  # changed while a request runs that counts no longer
    book.charge([opus], NOW, NOW, USD, 0)
    book.release(hold)
    assert book.figures(sonnet, NOW) == (0, 0)


def test_observe_never_refuses() -> None:
    book, allowance = Book(), budget(0, enforcement=Enforcement.OBSERVE)
    book.charge([allowance], NOW, NOW, 5 * USD, 0)
    admitted(book.admit([allowance], NOW, 9 * USD))


@pytest.mark.parametrize("limit", [1, 3])
def test_requests_per_minute(limit: int) -> None:
    book, allowance = Book(), rate(limit, Unit.REQUESTS)
    for _ in range(limit):
        book.release(admitted(book.admit([allowance], NOW + timedelta(seconds=20), 0)))
    refused = book.admit([allowance], NOW + timedelta(seconds=20), 0)
    assert isinstance(refused, Exhausted)
    assert refused.retry_after == 40
    admitted(book.admit([allowance], NOW + timedelta(seconds=60), 0))


def test_tokens_per_minute_count_what_was_used() -> None:
    book, allowance = Book(), rate(1000, Unit.TOKENS)
    admitted(book.admit([allowance], NOW, 0))
    book.charge([allowance], NOW, NOW, 0, 1500)
    assert isinstance(book.admit([allowance], NOW, 0), Exhausted)
    admitted(book.admit([allowance], NOW + timedelta(minutes=1), 0))


def test_tokens_of_a_request_that_outlives_its_window_count_where_it_ends() -> None:
    book, allowance = Book(), rate(1000, Unit.TOKENS)
    admitted(book.admit([allowance], NOW, 0))
    later = NOW + timedelta(seconds=70)
    book.charge([allowance], NOW, later, 0, 1500)
    assert isinstance(book.admit([allowance], later, 0), Exhausted)


def test_requests_at_once() -> None:
    book, allowance = Book(), rate(2, Unit.CONCURRENT, seconds=0)
    first = admitted(book.admit([allowance], NOW, 0))
    admitted(book.admit([allowance], NOW, 0))
    refused = book.admit([allowance], NOW, 0)
    assert isinstance(refused, Exhausted)
    assert refused.retry_after == 1
    book.release(first)
    admitted(book.admit([allowance], NOW, 0))


def test_a_refusal_takes_nothing_from_the_others() -> None:
    book = Book()
    roomy, empty = budget(USD, number=1), budget(0, number=2)
    limit = rate(1, Unit.REQUESTS)
    assert isinstance(book.admit([roomy, limit, empty], NOW, 10), Exhausted)
    assert book.held_total() == 0
    admitted(book.admit([roomy, limit], NOW, 10))
