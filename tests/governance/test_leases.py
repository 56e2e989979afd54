"""Leases on the real database: grants, limits in force, dead and silent processes, real concurrency."""

from __future__ import annotations

import threading
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from django.contrib.auth import get_user_model
from django.db import IntegrityError, connection, transaction

from governance import leases, ledger, snapshot
from governance.domain.allowance import Allowance, Answer, Order
from governance.domain.ids import new_ulid
from governance.effective import limits_in_force
from governance.ledger import Posting
from governance.models import (
    AllowanceWindow,
    Budget,
    Customer,
    GatewayProcess,
    Lease,
    Raise,
    RateLimit,
    Team,
    VirtualKey,
)

pytestmark = pytest.mark.django_db(transaction=True)
USD = 1_000_000_000
NOW = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)
A, B = "A" * 26, "B" * 26


@pytest.fixture
def key() -> VirtualKey:
    team = Team.objects.create(customer=Customer.objects.create(name="Acme"), name="Core")
    return VirtualKey.objects.create(team=team, name="ada")


def budget(key: VirtualKey, limit: int, enforcement: str = "hard", **values: object) -> Budget:
    made: Budget = Budget.objects.create(
        scope="team", team=key.team, limit_nano_usd=limit, enforcement=enforcement, **values
    )
    return made


def allowance(row: Budget | RateLimit) -> Allowance:
    made: Allowance = snapshot.load(NOW).allowances[f"{'budget' if isinstance(row, Budget) else 'rate'}:{row.pk}"]
    return made


def ask(
    row: Budget | RateLimit, owner: str = A, *, now: datetime = NOW, processes: int = 1, need: int = 0, **amounts: int
) -> Answer:
    """One order and its answer; `need` is what one waiting request needs."""
    wanted = allowance(row)
    order = Order(wanted, wanted.window(now), least=need, need=need, **amounts)
    answers, gone = leases.exchange(owner, [order], processes=processes, now=now)
    assert not gone
    return answers[0]


def spend(key: VirtualKey, amount: int, owner: str = A, at: datetime = NOW, id: str = "") -> None:
    charge = Posting(
        id=id or new_ulid(),
        occurred_at=at,
        customer_id=key.team.customer_id,
        team_id=key.team_id,
        project_id=None,
        developer_id=None,
        virtual_key_id=key.pk,
        provider_access_id=None,
        model="claude-opus-5-5",
        amount_nano_usd=amount,
        tokens=0,
        price_id=None,
    )
    with transaction.atomic():
        ledger.post([charge], owner=owner)


def window(row: Budget | RateLimit) -> AllowanceWindow:
    found: AllowanceWindow = row.windows.get()
    return found


class TestGrants:
    def test_a_lease_is_held_and_comes_out_of_what_is_free(self, key: VirtualKey) -> None:
        row = budget(key, 10 * USD)
        first = ask(row, need=4 * USD)
        assert (first.leased, first.held, first.room) == (4 * USD, 4 * USD, 6 * USD)
        second = ask(row, B, need=7 * USD)
        assert (second.leased, second.room) == (0, 6 * USD)
        assert ask(row, B, need=6 * USD).leased == 6 * USD
        assert window(row).held == 10 * USD

    def test_what_is_only_wished_for_leaves_half_to_the_others(self, key: VirtualKey) -> None:
        assert ask(budget(key, 8 * USD), want=100 * USD, processes=4).leased == USD

    def test_what_goes_back_is_free_again(self, key: VirtualKey) -> None:
        row = budget(key, 10 * USD)
        ask(row, need=10 * USD)
        assert ask(row, give=9 * USD).leased == USD
        assert ask(row, B, need=9 * USD).leased == 9 * USD

    def test_a_wish_that_cannot_be_met_is_heard_by_who_holds(self, key: VirtualKey) -> None:
        row = budget(key, 10 * USD)
        ask(row, need=10 * USD)
        assert leases.wanted(A) == []
        ask(row, B, need=USD)
        assert [place[0] for place in leases.wanted(A)] == [f"budget:{row.pk}"]
        assert leases.wanted(B) == []
        assert leases.look(A, leases.wanted(A))[0].wanted

    def test_the_ledger_moves_held_to_settled(self, key: VirtualKey) -> None:
        row = budget(key, 10 * USD)
        ask(row, need=4 * USD)
        spend(key, 3 * USD)
        found = window(row)
        assert (found.settled, found.held, found.beyond) == (3 * USD, USD, 0)

    def test_a_charge_without_a_hold_is_written_and_shown(self, key: VirtualKey) -> None:
        row = budget(key, 10 * USD)
        ask(row, need=10 * USD)
        spend(key, 2 * USD, owner=B)
        found = window(row)
        assert (found.settled, found.held, found.beyond) == (2 * USD, 10 * USD, 2 * USD)
        assert ask(row, give=10 * USD).room == 8 * USD
        assert window(row).beyond == 0

    def test_the_database_refuses_to_pass_a_hard_limit(self, key: VirtualKey) -> None:
        row = budget(key, 10 * USD)
        ask(row, need=10 * USD)
        with pytest.raises(IntegrityError), transaction.atomic():
            AllowanceWindow.objects.filter(budget=row).update(held=10 * USD + 1)

    def test_a_window_of_a_former_definition_is_not_granted_from(self, key: VirtualKey) -> None:
        row = budget(key, 10 * USD)
        old = allowance(row)
        leases.exchange(A, [Order(old, old.window(NOW), need=USD, least=USD)], processes=1, now=NOW)
        row.model_patterns = ["claude-haiku-*"]
        row.save()
        again = Order(old, old.window(NOW), need=USD, least=USD)
        answers, gone = leases.exchange(A, [again], processes=1, now=NOW)
        assert answers[0].leased == USD  # what it has it keeps until it gives it back
        row.delete()
        answers, gone = leases.exchange(A, [again], processes=1, now=NOW)
        assert (answers, gone) == ([], [again])


class TestLimitInForce:
    def test_a_raise_counts_from_and_to_the_moment(self, key: VirtualKey) -> None:
        row = budget(key, 10 * USD, period="lifetime")
        today = datetime.now(UTC)  # what has ended by the clock is not read any more
        start, end = today + timedelta(hours=1), today + timedelta(hours=2)
        people = get_user_model().objects
        asked, decided = people.create(username="alice"), people.create(username="finance")
        Raise.objects.create(
            budget=row,
            budget_name=str(row),
            customer=row.customer,
            team=row.team,
            kind="raise",
            amount_nano_usd=5 * USD,
            reason="launch",
            requester=asked,
            requester_name="alice",
            starts_at=start,
            ends_at=end,
            status="approved",
            decided_by=decided,
            decided_by_name="finance",
            decided_at=NOW,
        )
        tick = timedelta(microseconds=1)
        limits = [ask(row, now=moment).limit for moment in (today, start - tick, start, end - tick, end)]
        assert limits == [10 * USD, 10 * USD, 15 * USD, 15 * USD, 10 * USD]

    def test_what_a_period_left_over_is_carried_once(self, key: VirtualKey) -> None:
        row = budget(key, 10 * USD, carry_over=True)
        Budget.objects.filter(pk=row.pk).update(created_at=datetime(2026, 1, 1, tzinfo=UTC))
        row.refresh_from_db()
        october = datetime(2026, 10, 5, tzinfo=UTC)
        spend(key, 3 * USD, at=october)
        assert ask(row).limit == 17 * USD
        assert limits_in_force([row], NOW)[row.pk].carried == 7 * USD
        # November is not touched: of its 17 only its own 10 can be left over.
        assert ask(row, now=datetime(2026, 12, 3, tzinfo=UTC)).limit == 20 * USD

    def test_what_is_held_in_the_last_period_counts_as_spent(self, key: VirtualKey) -> None:
        row = budget(key, 10 * USD, carry_over=True)
        Budget.objects.filter(pk=row.pk).update(created_at=datetime(2026, 1, 1, tzinfo=UTC))
        ask(row, now=datetime(2026, 10, 31, 23, 59, tzinfo=UTC), need=4 * USD)
        assert ask(row, now=datetime(2026, 11, 1, tzinfo=UTC)).limit == 16 * USD

    def test_a_budget_carries_nothing_from_before_it_was_made(self, key: VirtualKey) -> None:
        row = budget(key, 10 * USD, carry_over=True)
        Budget.objects.filter(pk=row.pk).update(created_at=datetime(2026, 11, 3, tzinfo=UTC))
        assert ask(row).limit == 10 * USD

    def test_a_limit_lowered_below_what_is_out_grants_nothing_until_there_is_room(self, key: VirtualKey) -> None:
        row = budget(key, 10 * USD)
        ask(row, need=6 * USD)
        row.limit_nano_usd = 4 * USD
        row.save()
        answer = ask(row, B, need=1)
        assert (answer.leased, answer.room, window(row).beyond) == (0, -2 * USD, 2 * USD)
        spend(key, USD)
        ask(row, give=5 * USD)
        assert window(row).beyond == 0
        assert ask(row, B, need=3 * USD).leased == 3 * USD

    def test_a_rolling_budget_has_room_again_as_charges_grow_old(self, key: VirtualKey) -> None:
        week, fortnight = (budget(key, 10 * USD, period="day", rolling=days) for days in (7, 14))
        today = datetime.now(UTC)  # what has grown old is told by the database's clock
        spend(key, 9 * USD, at=today - timedelta(days=8))
        assert ask(fortnight, need=2 * USD, now=today).leased == 0
        assert ask(week, need=2 * USD, now=today).leased == 2 * USD

    def test_a_window_that_ended_has_the_limit_of_its_last_moment(self, key: VirtualKey) -> None:
        row = budget(key, 10 * USD, period="day", carry_over=True)
        Budget.objects.filter(pk=row.pk).update(created_at=datetime(2026, 1, 1, tzinfo=UTC))
        midnight = datetime(2026, 11, 22, tzinfo=UTC)
        spend(key, 10 * USD, at=midnight - timedelta(days=1, hours=3))  # two days ago: nothing is left over of it
        yesterday = allowance(row)
        order = Order(yesterday, yesterday.window(midnight - timedelta(seconds=1)), least=11 * USD, need=11 * USD)
        (answer,), _ = leases.exchange(A, [order], processes=1, now=midnight + timedelta(seconds=1))
        assert (answer.limit, answer.leased) == (10 * USD, 0)

    @pytest.mark.parametrize("change", ["off and on", "other models and back", "other zone and back"])
    def test_what_was_charged_while_a_budget_did_not_count_is_counted_afterwards(
        self, key: VirtualKey, change: str
    ) -> None:
        row = budget(key, 10 * USD)
        spend(key, 2 * USD)

        def become(**values: object) -> None:
            if zone := values.pop("zone", None):
                Customer.objects.filter(pk=row.customer_id).update(timezone=zone)
            Budget.objects.filter(pk=row.pk).update(**values or {"is_active": True})

        there, back = {
            "off and on": ({"is_active": False}, {"is_active": True}),
            "other models and back": ({"model_patterns": ["claude-haiku-*"]}, {"model_patterns": []}),
            "other zone and back": ({"zone": "Asia/Tokyo"}, {"zone": "UTC"}),
        }[change]
        become(**there)
        spend(key, 7 * USD)
        become(**back)
        row = Budget.objects.select_related("customer").get(pk=row.pk)
        assert ask(row, need=8 * USD).leased == 0
        assert ask(row, need=USD).leased == USD
        spend(key, USD)
        now_counted = row.windows.get(definition=allowance(row).definition)
        assert (now_counted.settled, now_counted.beyond) == (10 * USD, 0)


class TestLimits:
    def test_requests_and_tokens_are_settled_by_orders(self, key: VirtualKey) -> None:
        row = RateLimit.objects.create(scope="team", team=key.team, unit="tokens", limit=1000, per="minute")
        ask(row, need=300)
        answer = ask(row, used=200)
        assert (answer.settled, answer.leased, answer.room) == (200, 100, 700)
        # More than was leased: counted all the same.
        answer = ask(row, used=500)
        assert (answer.settled, answer.leased, answer.room) == (700, 0, 300)

    def test_windows_that_ended_long_ago_are_forgotten(self, key: VirtualKey) -> None:
        row = RateLimit.objects.create(scope="team", team=key.team, unit="requests", limit=10, per="minute")
        ask(row, need=1)
        ask(row, used=1)
        assert leases.forget_old(NOW + timedelta(minutes=30)) == 0
        assert leases.forget_old(NOW + timedelta(hours=2)) == 1
        assert not AllowanceWindow.objects.filter(rate_limit=row).exists()


class TestProcesses:
    @pytest.fixture(autouse=True)
    def registered(self, key: VirtualKey) -> None:
        for owner in (A, B):
            leases.register(owner, NOW)

    def silence(self, owner: str, minutes: int) -> None:
        GatewayProcess.objects.filter(pk=owner).update(seen_at=datetime.now(UTC) - timedelta(minutes=minutes))

    def test_the_living_are_counted(self) -> None:
        assert leases.beat(A) == 2
        self.silence(B, 1)
        assert leases.beat(A) == 1

    def test_one_that_was_taken_for_dead_is_seen_again(self, key: VirtualKey) -> None:
        row = budget(key, 10 * USD)
        leases.recover(A, note="released by hand")
        leases.beat(A)
        ask(row, need=3 * USD)
        self.silence(A, 5)
        assert leases.stranded(timedelta(minutes=2)) == {A: 3 * USD}

    def test_what_a_dead_process_held_is_free_once(self, key: VirtualKey) -> None:
        row = budget(key, 10 * USD)
        ask(row, need=4 * USD)
        ask(row, B, need=USD)
        spend(key, USD)
        assert leases.recover(A, note="died") == 1
        assert leases.recover(A, note="died again") == 0
        found = window(row)
        assert (found.settled, found.held) == (USD, USD)
        assert GatewayProcess.objects.get(pk=A).note == "died"

    def test_requests_that_a_dead_process_may_have_used_count_as_used(self, key: VirtualKey) -> None:
        requests = RateLimit.objects.create(scope="team", team=key.team, unit="requests", limit=10, per="day")
        at_once = RateLimit.objects.create(scope="team", team=key.team, unit="concurrent", limit=10)
        ask(requests, need=4)
        ask(at_once, need=3)
        leases.recover(A, note="died")
        assert (window(requests).settled, window(requests).held) == (4, 0)
        assert (window(at_once).settled, window(at_once).held) == (0, 0)

    def test_a_silent_process_keeps_money_and_loses_limits(self, key: VirtualKey) -> None:
        money = budget(key, 10 * USD)
        at_once = RateLimit.objects.create(scope="team", team=key.team, unit="concurrent", limit=10)
        ask(money, need=4 * USD)
        ask(at_once, need=3)
        self.silence(A, 5)
        assert leases.stranded(timedelta(minutes=2)) == {A: 4 * USD}
        assert leases.release_silent_limits(timedelta(minutes=2)) == 1
        assert window(at_once).held == 0
        assert window(money).held == 4 * USD
        assert leases.stranded(timedelta(minutes=10)) == {}


@pytest.mark.parametrize("strict", ["hard", "stop"])
def test_many_threads_never_lease_more_than_there_is(key: VirtualKey, strict: str) -> None:
    """Eight connections at once on two budgets, in both orders, beside charges: nothing is oversold, nobody hangs."""
    first, second = budget(key, 1000, strict), budget(key, 700, strict, period="day")
    wanted = [allowance(first), allowance(second)]
    errors: list[BaseException] = []

    def work(number: int) -> None:
        owner = f"{number:026d}"
        try:
            for turn in range(12):
                orders = [Order(one, one.window(NOW), least=7, need=7) for one in wanted]
                answers, _ = leases.exchange(owner, orders[:: 1 if number % 2 else -1], processes=8, now=NOW)
                if turn % 3 == 0 and all(answer.leased for answer in answers):
                    spend(key, 5, owner)
                if turn % 4 == 0:
                    back = [Order(one, one.window(NOW), give=3) for one in wanted]
                    leases.exchange(owner, back, processes=8, now=NOW)
        except BaseException as error:
            errors.append(error)
        finally:
            connection.close()

    threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not errors, errors
    for row in (first, second):
        found = window(row)
        assert found.held == sum(Lease.objects.filter(window=found).values_list("amount", flat=True))
        assert found.settled + found.held <= row.limit_nano_usd
        assert found.beyond == 0


def test_the_answer_of_an_order_names_its_window(key: VirtualKey) -> None:
    row = budget(key, USD)
    wanted = allowance(row)
    order = Order(wanted, wanted.window(NOW), need=5, least=5)
    (answer,), _ = leases.exchange(A, [order], processes=1, now=NOW)
    assert (answer.allowance, answer.starts_at, answer.definition) == order.place
    assert replace(order, need=0).place == order.place
