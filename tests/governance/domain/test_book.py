"""The book: admission, holds, charges and slices, as decisions over values."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from governance.domain.allowance import Allowance, Answer, Enforcement, Exhausted, Order, Unit, WindowState, grant
from governance.domain.book import DRY, IDLE, MOST_RESTING, Book, Hold, Short
from governance.domain.windows import Period
from tests.fakes.bank import Bank

NOW = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)
MONTH = datetime(2026, 11, 1, tzinfo=UTC)
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
        period=Period(period),
        definition="d1",
        terms=str(limit),
    )


def rate(limit: int, unit: Unit, seconds: int = 60, enforcement: Enforcement = Enforcement.STOP) -> Allowance:
    return Allowance(
        "rate:1", 1, unit, limit, "virtual_key", "ada", "ada", enforcement, seconds=seconds, definition="r1"
    )


def admitted(outcome: Hold | Short | Exhausted) -> Hold:
    assert isinstance(outcome, Hold)
    return outcome


def charge(
    book: Book, allowance: Allowance, nano_usd: int, *, tokens: int = 0, at: datetime = NOW, id: str = "r"
) -> None:
    book.charge(id, [allowance], at, at, nano_usd, tokens)


class TestAdmission:
    def test_without_a_lease_it_says_what_is_missing(self) -> None:
        book, allowance = Book(), budget(10 * USD, enforcement=Enforcement.HARD)
        short = book.admit([allowance], NOW, 6 * USD)
        assert isinstance(short, Short)
        assert [(state.allowance.key, need) for state, need in short.missing] == [("budget:1", 6 * USD)]
        assert book.reserved_total() == 0

    def test_stop_admits_until_spend_reaches_the_limit(self) -> None:
        book, bank, allowance = Book(), Bank(), budget(USD)
        first = admitted(bank.admit(book, [allowance], NOW))
        second = admitted(bank.admit(book, [allowance], NOW))  # in flight together: both may finish
        charge(book, allowance, USD - 1, id="first")
        book.release(first)
        admitted(bank.admit(book, [allowance], NOW))
        charge(book, allowance, 1, id="second")
        book.release(second)
        refused = bank.admit(book, [allowance], NOW)
        assert isinstance(refused, Exhausted)
        assert (refused.used, refused.limit) == (USD, USD)
        assert refused.resets_at == datetime(2026, 12, 1, tzinfo=UTC)
        assert refused.retry_after == 8.5 * 86400

    def test_hard_refuses_what_could_pass_the_limit(self) -> None:
        book, bank, allowance = Book(), Bank(), budget(10 * USD, enforcement=Enforcement.HARD)
        hold = admitted(bank.admit(book, [allowance], NOW, 6 * USD))
        assert isinstance(bank.admit(book, [allowance], NOW, 5 * USD), Exhausted)
        charge(book, allowance, 1 * USD)
        book.release(hold)
        book.release(hold)  # a second release changes nothing
        admitted(bank.admit(book, [allowance], NOW + DRY, 9 * USD))
        assert book.reserved_total() == 9 * USD

    @given(st.lists(st.tuples(st.integers(0, 5 * USD), st.floats(0, 1)), max_size=40))
    def test_hard_is_never_passed(self, requests: list[tuple[int, float]]) -> None:
        book, bank, allowance = Book(), Bank(), budget(10 * USD, enforcement=Enforcement.HARD)
        spent = 0
        for number, (worst, share) in enumerate(requests):
            outcome = bank.admit(book, [allowance], NOW, worst)
            if isinstance(outcome, Hold):
                cost = int(worst * share)
                charge(book, allowance, cost, id=str(number))
                book.release(outcome)
                spent += cost
            assert spent <= 10 * USD
        assert book.reserved_total() == 0
        assert book.figures(allowance, NOW)[0] == spent

    def test_observe_never_refuses_and_needs_no_lease(self) -> None:
        book, allowance = Book(), budget(0, enforcement=Enforcement.OBSERVE)
        charge(book, allowance, 5 * USD)
        admitted(book.admit([allowance], NOW, 9 * USD))

    def test_a_refusal_takes_nothing_from_the_others(self) -> None:
        book, bank = Book(), Bank()
        roomy, empty = budget(USD, number=1), budget(0, number=2)
        limit = rate(1, Unit.REQUESTS)
        assert isinstance(bank.admit(book, [roomy, limit, empty], NOW), Exhausted)
        admitted(bank.admit(book, [roomy, limit], NOW))

    def test_without_the_database_only_hard_limits_hold_up(self) -> None:
        book, soft, hard = Book(), budget(USD), budget(USD, number=2, enforcement=Enforcement.HARD)
        admitted(book.admit([soft, rate(1, Unit.CONCURRENT, 0)], NOW, 5, lenient=True))
        outcome = book.admit([soft, hard], NOW, 5, lenient=True)
        assert isinstance(outcome, Short)
        assert [state.allowance.key for state, _ in outcome.missing] == ["budget:2"]


class TestLimits:
    @pytest.mark.parametrize("limit", [1, 3])
    def test_requests_per_minute(self, limit: int) -> None:
        book, bank, allowance = Book(), Bank(), rate(limit, Unit.REQUESTS)
        at = NOW + timedelta(seconds=20)
        for _ in range(limit):
            book.release(admitted(bank.admit(book, [allowance], at)))
        refused = bank.admit(book, [allowance], at)
        assert isinstance(refused, Exhausted)
        assert refused.retry_after == 40
        admitted(bank.admit(book, [allowance], NOW + timedelta(seconds=60)))

    def test_tokens_per_minute_count_what_was_used(self) -> None:
        book, bank, allowance = Book(), Bank(), rate(1000, Unit.TOKENS)
        admitted(bank.admit(book, [allowance], NOW))
        charge(book, allowance, 0, tokens=1500)
        assert isinstance(bank.admit(book, [allowance], NOW), Exhausted)
        admitted(bank.admit(book, [allowance], NOW + timedelta(minutes=1)))

    def test_tokens_of_a_request_that_outlives_its_window_count_where_it_ends(self) -> None:
        book, bank, allowance = Book(), Bank(), rate(1000, Unit.TOKENS)
        admitted(bank.admit(book, [allowance], NOW))
        later = NOW + timedelta(seconds=70)
        book.charge("r", [allowance], NOW, later, 0, 1500)
        assert isinstance(bank.admit(book, [allowance], later), Exhausted)

    def test_a_hard_token_limit_holds_the_most_a_request_can_use(self) -> None:
        book, bank, allowance = Book(), Bank(), rate(1000, Unit.TOKENS, enforcement=Enforcement.HARD)
        hold = admitted(bank.admit(book, [allowance], NOW, 0, 800))
        assert isinstance(bank.admit(book, [allowance], NOW, 0, 300), Exhausted)
        charge(book, allowance, 0, tokens=100)
        book.release(hold)
        admitted(bank.admit(book, [allowance], NOW + DRY, 0, 900))

    def test_requests_at_once(self) -> None:
        book, bank, allowance = Book(), Bank(), rate(2, Unit.CONCURRENT, seconds=0)
        first = admitted(bank.admit(book, [allowance], NOW))
        admitted(bank.admit(book, [allowance], NOW))
        refused = bank.admit(book, [allowance], NOW)
        assert isinstance(refused, Exhausted)
        assert refused.retry_after == 1
        book.release(first)
        admitted(bank.admit(book, [allowance], NOW))


class TestWindows:
    def test_a_new_window_starts_from_nothing_and_late_charges_stay_in_theirs(self) -> None:
        book, bank, allowance = Book(), Bank(), budget(USD, period="day")
        late = admitted(bank.admit(book, [allowance], NOW))
        charge(book, allowance, USD, id="one")
        assert isinstance(bank.admit(book, [allowance], NOW), Exhausted)
        tomorrow = NOW + timedelta(days=1)
        admitted(bank.admit(book, [allowance], tomorrow))
        charge(book, allowance, 5 * USD, id="two")  # started yesterday, ends today
        book.release(late)
        assert book.figures(allowance, tomorrow)[0] == 0

    def test_the_clock_may_go_back(self) -> None:
        book, bank, allowance = Book(), Bank(), budget(USD, period="day")
        charge(book, allowance, USD)
        tomorrow = NOW + timedelta(days=1)
        admitted(bank.admit(book, [allowance], tomorrow))
        assert isinstance(bank.admit(book, [allowance], NOW), Exhausted)
        admitted(bank.admit(book, [allowance], tomorrow))

    def test_the_next_window_of_what_is_in_use_is_leased_before_it_begins(self) -> None:
        book, bank, allowance = Book(), Bank(), rate(600, Unit.REQUESTS)
        before = NOW + timedelta(seconds=59)
        admitted(bank.admit(book, [allowance], before))
        book.answered(bank.exchange("p", book.orders(before)), before)
        assert isinstance(book.admit([allowance], NOW + timedelta(seconds=60), 0), Hold)


class TestSettlement:
    def test_what_the_ledger_wrote_shrinks_the_lease_and_is_not_counted_twice(self) -> None:
        book, bank, allowance = Book(), Bank(), budget(10 * USD, enforcement=Enforcement.HARD)
        hold = admitted(bank.admit(book, [allowance], NOW, 6 * USD))
        charge(book, allowance, 2 * USD, id="a")
        book.release(hold)
        assert book.figures(allowance, NOW)[0] == 2 * USD
        state = book._current["budget:1"]
        free = state.free
        book.posted([WindowState(1, "d1", MONTH, 2 * USD, 2 * USD, state.leased - 2 * USD, state.version + 1)])
        assert state.free <= free  # in between it admits too little, never too much
        book.written(["a"])
        assert state.free == free
        assert book.figures(allowance, NOW)[0] == 2 * USD

    def test_an_older_answer_does_not_undo_a_newer_one(self) -> None:
        book, bank, allowance = Book(), Bank(), budget(10 * USD)
        admitted(bank.admit(book, [allowance], NOW))
        state = book._current["budget:1"]
        book.posted([WindowState(1, "d1", MONTH, USD, USD, 5, state.version + 3)])
        book.answered([Answer("budget:1", MONTH, "d1", 10 * USD, 0, 9, 9, state.version - 1)], NOW)
        assert (state.leased, state.settled) == (5, USD)

    def test_other_processes_spend_counts(self) -> None:
        book, allowance = Book(), budget(10 * USD)
        charge(book, allowance, 3 * USD)
        book.looked([Answer("budget:1", MONTH, "d1", 10 * USD, 4 * USD, USD, 0, 0)])
        assert book.figures(allowance, NOW) == (7 * USD, USD, 10 * USD)

    def test_a_request_written_twice_settles_once(self) -> None:
        book, allowance = Book(), budget(10 * USD)
        charge(book, allowance, 3 * USD, id="a")
        book.written(["a"])
        book.written(["a", "of another process"])
        assert book.figures(allowance, NOW)[0] == 0


class TestConfiguration:
    def test_a_changed_limit_keeps_what_was_counted(self) -> None:
        book, bank, allowance = Book(), Bank(), budget(USD)
        charge(book, allowance, USD)
        assert isinstance(bank.admit(book, [allowance], NOW), Exhausted)
        raised = budget(2 * USD)
        book.configure({raised.key: raised})
        admitted(bank.admit(book, [raised], NOW))
        assert book.figures(raised, NOW)[0] == USD

    def test_what_counts_something_else_starts_anew_and_the_old_lease_goes_back(self) -> None:
        book, bank, opus = Book(), Bank(), budget(USD)
        sonnet = replace(opus, models=("claude-sonnet-*",), definition="d2")
        hold = admitted(bank.admit(book, [opus], NOW))
        book.configure({sonnet.key: sonnet})
        book.release(hold)
        assert book.figures(sonnet, NOW)[0] == 0
        book.answered(bank.exchange("p", book.orders(NOW)), NOW)
        assert bank.windows["budget:1", MONTH, "d1"].held == 0

    def test_off_and_on_again_is_as_before(self) -> None:
        book, bank, allowance = Book(), Bank(), budget(100 * USD)
        book.release(admitted(bank.admit(book, [allowance], NOW)))
        book.configure({})
        book.configure({allowance.key: allowance})
        admitted(bank.admit(book, [allowance], NOW))
        book.answered(bank.exchange("p", book.orders(NOW)), NOW)
        assert isinstance(book.admit([allowance], NOW, 0), Hold)

    def test_a_lowered_limit_calls_what_is_free_back(self) -> None:
        book, bank, allowance = Book(), Bank(), budget(100 * USD)
        book.release(admitted(bank.admit(book, [allowance], NOW)))
        assert bank.windows["budget:1", MONTH, "d1"].held > 0
        lower = budget(USD)
        book.configure({lower.key: lower})
        book.answered(bank.exchange("p", book.orders(NOW)), NOW)
        assert bank.windows["budget:1", MONTH, "d1"].held == 0

    def test_what_is_leased_when_a_raise_ends_is_asked_for_anew(self) -> None:
        book, bank = Book(), Bank()
        end = NOW + timedelta(hours=1)
        raised = replace(budget(100 * USD), turns=(end,))
        book.release(admitted(bank.admit(book, [raised], end - timedelta(seconds=1))))
        book.release(admitted(book.admit([raised], end - timedelta(microseconds=1), 0)))
        assert isinstance(book.admit([raised], end, 0), Short)
        bank.windows["budget:1", MONTH, "d1"].settled = 100 * USD  # the limit of now is reached
        assert isinstance(bank.admit(book, [raised], end), Exhausted)
        assert bank.windows["budget:1", MONTH, "d1"].held == 0


class TestSlices:
    def settle_in(self, book: Book, bank: Bank, now: datetime) -> None:
        book.answered(bank.exchange("p", book.orders(now)), now)

    def test_a_busy_process_has_its_slice_before_it_runs_dry(self) -> None:
        book, bank, allowance = Book(), Bank(), budget(10_000 * USD, enforcement=Enforcement.HARD)
        asked = 0
        now = NOW
        for tick in range(200):
            now += timedelta(milliseconds=250)
            for number in range(5):
                outcome = book.admit([allowance], now, USD // 2)
                if isinstance(outcome, Short):
                    asked += 1
                    outcome = bank.admit(book, [allowance], now, USD // 2)
                hold = admitted(outcome)
                id = f"{tick}/{number}"
                charge(book, allowance, USD // 10, at=now, id=id)
                book.release(hold)
                window = bank.windows["budget:1", MONTH, "d1"]
                window.settled += USD // 10
                window.leases["p"] -= USD // 10
                window.versions["p"] += 1
                leased, version = window.leases["p"], window.versions["p"]
                book.posted([WindowState(1, "d1", MONTH, window.settled, USD // 10, leased, version)])
                book.written([id])
            self.settle_in(book, bank, now)
        assert asked <= 1  # the very first

    def test_an_idle_lease_goes_back(self) -> None:
        book, bank, allowance = Book(), Bank(), budget(100 * USD)
        book.release(admitted(bank.admit(book, [allowance], NOW)))
        self.settle_in(book, bank, NOW + IDLE + timedelta(seconds=1))
        assert bank.windows["budget:1", MONTH, "d1"].held == 0

    def test_what_another_process_wants_goes_back(self) -> None:
        book, bank, allowance = Book(), Bank(), budget(100 * USD, enforcement=Enforcement.HARD)
        running = admitted(bank.admit(book, [allowance], NOW, USD))
        state = book._current["budget:1"]
        book.looked(
            [Answer("budget:1", MONTH, "d1", 100 * USD, 0, state.leased, state.leased, state.version, wanted=True)]
        )
        self.settle_in(book, bank, NOW)
        assert bank.windows["budget:1", MONTH, "d1"].held == USD  # what runs keeps its part
        book.release(running)

    def test_a_lost_answer_admits_nothing_twice(self) -> None:
        book, bank, allowance = Book(), Bank(), budget(100 * USD, enforcement=Enforcement.HARD)
        book.release(admitted(bank.admit(book, [allowance], NOW, USD)))
        later = NOW + IDLE + timedelta(seconds=1)
        orders = book.orders(later)
        bank.exchange("p", orders)  # committed, but nobody heard
        book.failed(orders)
        assert book._current["budget:1"].free <= 0
        self.settle_in(book, bank, later)
        assert book._current["budget:1"].leased == 0

    def test_no_room_is_believed_for_a_moment_and_not_longer(self) -> None:
        book, bank, allowance = Book(), Bank(), budget(USD, enforcement=Enforcement.HARD)
        assert isinstance(bank.admit(book, [allowance], NOW, 2 * USD), Exhausted)
        assert isinstance(book.admit([allowance], NOW + DRY / 2, 2 * USD), Exhausted)
        assert isinstance(book.admit([allowance], NOW + DRY, 2 * USD), Short)

    def test_a_request_that_waited_long_is_judged_by_the_clock_and_counted_where_it_began(self) -> None:
        book, bank, allowance = Book(), Bank(), budget(USD, enforcement=Enforcement.HARD, period="day")
        began, now = NOW, NOW + timedelta(seconds=30)
        assert isinstance(bank.admit(book, [allowance], began, 2 * USD), Exhausted)
        assert isinstance(book.admit([allowance], began, 2 * USD, now=now), Short)
        midnight = datetime(2026, 11, 23, tzinfo=UTC)
        late = midnight + timedelta(seconds=5)
        short = book.admit([allowance], midnight - timedelta(seconds=1), USD, now=late)
        assert isinstance(short, Short)
        (order,) = book.orders(late, [short])
        assert order.window.ends_at == midnight

    def test_room_that_is_only_held_comes_back(self) -> None:
        book, bank, allowance = Book(), Bank(), budget(10 * USD, enforcement=Enforcement.HARD)
        hold = admitted(bank.admit(book, [allowance], NOW, 9 * USD))
        waits = bank.admit(book, [allowance], NOW, 2 * USD)
        assert isinstance(waits, Exhausted)
        assert waits.passing
        charge(book, allowance, 9 * USD)
        book.release(hold)
        gone = bank.admit(book, [allowance], NOW + DRY, 2 * USD)
        assert isinstance(gone, Exhausted)
        assert not gone.passing

    def test_what_nothing_was_heard_of_is_asked_about_first(self) -> None:
        book, bank, allowance = Book(), Bank(), budget(10 * USD)
        bank.exchange("other", [Order(allowance, allowance.window(NOW), used=9 * USD)])
        unheard = book.unheard([allowance], NOW)
        assert isinstance(unheard, Short)
        book.answered(bank.exchange("p", book.orders(NOW, [unheard])), NOW)
        assert book.unheard([allowance], NOW) is None
        assert book.figures(allowance, NOW)[0] == 9 * USD

    def test_thousands_at_rest_take_turns(self) -> None:
        book, bank = Book(), Bank()
        many = [budget(1000, number=number) for number in range(2000)]
        for one in many:
            book.release(admitted(bank.admit(book, [one], NOW)))
        later = NOW + IDLE + timedelta(seconds=1)
        for _ in range(8):
            orders = book.orders(later)
            assert len(orders) <= 2 * MOST_RESTING
            book.answered(bank.exchange("p", orders), later)
        assert sum(window.held for window in bank.windows.values()) == 0

    def test_of_many_who_wait_those_beyond_the_free_part_are_asked_for_at_once(self) -> None:
        """A burst of requests: one round serves them all, whatever came back in the meantime."""
        book, bank, limit = Book(), Bank(), rate(100, Unit.CONCURRENT)
        held = [admitted(bank.admit(book, [limit], NOW)) for _ in range(5)]
        waiting = [book.admit([limit], NOW, 0) for _ in range(20)]
        short = [each for each in waiting if isinstance(each, Short)]
        for hold in held:
            book.release(hold)
        ready = {id(state): state for each in short for state, _ in each.missing}
        (state,) = ready.values()
        free = state.free
        assert 0 < free < len(short)
        (order,) = book.orders(NOW, short)
        assert (order.least, order.need) == (1, len(short) - free)

    def test_room_that_others_were_served_from_first_is_told_from_none(self) -> None:
        """Who waits for a turn is not at the limit: only where nobody has room left is a request refused for it."""
        ours, theirs, bank, limit = Book(), Book(), Bank(), rate(2, Unit.CONCURRENT)
        waiting = [ours.admit([limit], NOW, 0) for _ in range(2)]
        short = [each for each in waiting if isinstance(each, Short)]
        assert len(short) == 2
        ours.answered(bank.exchange("ours", ours.orders(NOW, short[:1])), NOW)
        admitted(ours.admit([limit], NOW, 0))
        assert ours.has_room(short[1])
        admitted(bank.admit(theirs, [limit], NOW, owner="theirs"))
        ours.answered(bank.exchange("ours", ours.orders(NOW, short[1:])), NOW)
        assert not ours.has_room(short[1])

    def test_what_others_hold_unused_is_waited_for(self) -> None:
        ours, theirs, bank = Book(), Book(), Bank()
        allowance = budget(USD, enforcement=Enforcement.HARD)
        theirs_hold = admitted(bank.admit(theirs, [allowance], NOW, USD, owner="theirs"))
        theirs.release(theirs_hold)
        short = ours.admit([allowance], NOW, USD)
        assert isinstance(short, Short)
        ours.answered(bank.exchange("ours", ours.orders(NOW, [short])), NOW)
        assert isinstance(ours.admit([allowance], NOW, USD), Short)  # not refused: it may come back
        ours.futile(short, NOW)
        assert isinstance(ours.admit([allowance], NOW, USD), Exhausted)


@given(
    room=st.integers(-10, 1000),
    least=st.integers(0, 50),
    more=st.integers(0, 500),
    want=st.integers(0, 2000),
    processes=st.integers(0, 9),
)
def test_a_grant_never_exceeds_the_room(room: int, least: int, more: int, want: int, processes: int) -> None:
    given = grant(room, least, least + more if least else 0, want, processes)
    assert 0 <= given <= max(0, room)
    if least and room >= least:
        assert given >= least
    if processes and not least:
        assert given <= max(0, room) // (2 * processes)
