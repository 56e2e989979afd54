"""The allowance engine on the real database: any interleaving of what processes do keeps a hard limit and the ledger.

Each process is a real `Book` over real rows; what a gateway does in threads happens here in steps that hypothesis
orders: admit, settle, write, look after slices, lose an answer, crash, set the clock, change the limit.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from itertools import count

import pytest
from django.db import transaction
from django.db.models import Sum
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from governance import leases, ledger, snapshot
from governance.domain.allowance import Allowance, Exhausted
from governance.domain.book import Book, Hold, Short
from governance.domain.ids import new_ulid
from governance.ledger import Posting
from governance.models import AllowanceWindow, Budget, Customer, Lease, LedgerEntry, Team, VirtualKey

pytestmark = pytest.mark.django_db
NOW = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)
_names = count()


@dataclass(eq=False)
class Process:
    """A gateway process: its book, the requests that run in it, and what it has not written yet (its spool)."""

    owner: str = field(default_factory=new_ulid)
    book: Book = field(default_factory=Book)
    running: list[tuple[str, Hold, int, datetime]] = field(default_factory=list)
    finished: list[Posting] = field(default_factory=list)


class Installation:
    """Several processes on one budget."""

    def __init__(self, limit: int, enforcement: str, period: str = "month", rolling: int = 0) -> None:
        self.now = NOW
        self.customer = Customer.objects.create(name=f"Customer {next(_names)}")
        team = Team.objects.create(customer=self.customer, name="Core")
        self.key = VirtualKey.objects.create(team=team, name="ada")
        self.budget = Budget.objects.create(
            scope="customer",
            customer=self.customer,
            limit_nano_usd=limit,
            enforcement=enforcement,
            period=period,
            rolling=rolling,
        )
        self.processes = [Process() for _ in range(3)]
        self.configure()

    def configure(self) -> None:
        """As a new snapshot does, of which only this one allowance matters here."""
        self.allowance: Allowance = snapshot._budget_allowance(self.budget, ())
        for process in self.processes:
            process.book.configure({self.allowance.key: self.allowance})

    def admit(self, process: Process, worst: int) -> Hold | Exhausted | None:
        """Admit as the gateway does: from memory, and once more after a round with the database; None: still short."""
        outcome = process.book.admit([self.allowance], self.now, worst)
        if isinstance(outcome, Short):
            self.round(process, [outcome])
            outcome = process.book.admit([self.allowance], self.now, worst)
        if isinstance(outcome, Hold):
            process.running.append((new_ulid(), outcome, worst, self.now))
        return None if isinstance(outcome, Short) else outcome

    def round(self, process: Process, waiting: list[Short] | None = None, *, lost: bool = False) -> None:
        orders = process.book.orders(self.now, waiting or ())
        if not orders:
            return
        answers, gone = leases.exchange(process.owner, orders, processes=len(self.processes), now=self.now)
        if lost:
            process.book.failed(orders)
            return
        process.book.answered(answers, self.now)
        process.book.void(gone)

    def settle(self, process: Process, index: int, cost: int) -> None:
        request_id, hold, worst, started_at = process.running.pop(index % len(process.running))
        cost = min(cost, worst)
        process.book.release(hold)
        process.book.charge(request_id, [self.allowance], started_at, self.now, cost, 0)
        process.finished.append(self.posting(request_id, cost, started_at))

    def write(self, process: Process, *, lost: bool = False) -> None:
        batch = list(process.finished)
        with transaction.atomic():
            windows = ledger.post(batch, owner=process.owner)
        if lost:
            return  # the answer did not arrive: the same batch comes again
        process.finished.clear()
        process.book.posted(windows)
        process.book.written([posting.id for posting in batch])

    def crash(self, process: Process) -> None:
        """kill -9: its spool is replayed, what ran is settled to a floor, then its leases are given back."""
        orphans = [self.posting(request_id, worst // 3, at) for request_id, _, worst, at in process.running]
        with transaction.atomic():
            ledger.post([*process.finished, *orphans], owner=process.owner)
        leases.recover(process.owner, note="died")
        self.processes[self.processes.index(process)] = Process()
        self.configure()

    def posting(self, request_id: str, cost: int, at: datetime) -> Posting:
        return Posting(
            id=request_id,
            occurred_at=at,
            customer_id=self.customer.pk,
            team_id=self.key.team_id,
            project_id=None,
            developer_id=None,
            virtual_key_id=self.key.pk,
            provider_access_id=None,
            model="claude-opus-5-5",
            amount_nano_usd=cost,
            tokens=0,
            price_id=None,
        )

    def windows(self) -> list[AllowanceWindow]:
        return list(AllowanceWindow.objects.filter(budget=self.budget))

    def charged(self) -> int:
        sums = LedgerEntry.objects.filter(customer_id=self.customer.pk).aggregate(total=Sum("amount_nano_usd"))
        return sums["total"] or 0


def check(installation: Installation, *, lowered: bool = False) -> None:
    """What holds at every moment."""
    settled = 0
    for window in installation.windows():
        leased = Lease.objects.filter(window=window).aggregate(total=Sum("amount"))["total"] or 0
        assert window.held == leased
        settled += window.settled
        if window.strict:
            assert window.settled + window.held <= window.limit + window.beyond
            if not lowered:
                assert window.beyond == 0
    assert settled == installation.charged()
    for process in installation.processes:
        for place, state in process.book._all.items():
            lease = Lease.objects.filter(owner=process.owner, window__allowance=place[0], window__starts_at=place[1])
            in_database = sum(lease.values_list("amount", flat=True))
            # Everything that may still be spent here is held there: nothing is admitted twice.
            if state.allowance.enforcement == "hard":
                assert state.reserved + state.used <= in_database + sum(p.amount_nano_usd for p in process.finished)
            assert max(0, state.free) <= in_database


class Machine(RuleBasedStateMachine):
    """A budget of at most 1,000, mostly hard: small numbers meet the limit often."""

    def __init__(self) -> None:
        super().__init__()
        self.lowered = False

    @initialize(limit=st.integers(1, 1000), enforcement=st.sampled_from(["hard", "hard", "stop"]))
    def begin(self, limit: int, enforcement: str) -> None:
        self.installation = Installation(limit, enforcement, "day")

    @rule(who=st.integers(0, 2), worst=st.integers(1, 400))
    def admit(self, who: int, worst: int) -> None:
        self.installation.admit(self.installation.processes[who], worst)

    @rule(who=st.integers(0, 2), worsts=st.lists(st.integers(1, 60), min_size=1, max_size=5))
    def admit_several(self, who: int, worsts: list[int]) -> None:
        for worst in worsts:
            self.installation.admit(self.installation.processes[who], worst)

    @rule(who=st.integers(0, 2), costs=st.lists(st.integers(0, 60), min_size=1, max_size=5))
    def work(self, who: int, costs: list[int]) -> None:
        """Requests that come, end and are written, one after the other."""
        process = self.installation.processes[who]
        for cost in costs:
            if isinstance(self.installation.admit(process, cost + 7), Hold):
                self.installation.settle(process, -1, cost)
        if process.finished:
            self.installation.write(process)

    @rule(who=st.integers(0, 2), lost=st.booleans())
    def come_to_rest(self, who: int, lost: bool) -> None:
        """Nothing happens for a while: what is free goes back, and the answer to that may be lost."""
        self.installation.now += timedelta(seconds=7)
        self.installation.round(self.installation.processes[who], lost=lost)

    @rule(who=st.integers(0, 2), index=st.integers(0, 5), cost=st.integers(0, 400))
    def settle(self, who: int, index: int, cost: int) -> None:
        process = self.installation.processes[who]
        if process.running:
            self.installation.settle(process, index, cost)

    @rule(who=st.integers(0, 2), lost=st.booleans())
    def write(self, who: int, lost: bool) -> None:
        process = self.installation.processes[who]
        if process.finished:
            self.installation.write(process, lost=lost)

    @rule(who=st.integers(0, 2), lost=st.booleans())
    def look_after_slices(self, who: int, lost: bool) -> None:
        self.installation.round(self.installation.processes[who], lost=lost)

    @rule(who=st.integers(0, 2))
    def crash(self, who: int) -> None:
        self.installation.crash(self.installation.processes[who])

    @rule(seconds=st.sampled_from([0.3, 2, 7, 3600, 86_400, -0.5, -30, -86_400]))
    def set_the_clock(self, seconds: float) -> None:
        self.installation.now += timedelta(seconds=seconds)

    @rule(limit=st.integers(1, 1000), told=st.booleans())
    def change_the_limit(self, limit: int, told: bool) -> None:
        budget = self.installation.budget
        self.lowered = self.lowered or limit < budget.limit_nano_usd
        budget.limit_nano_usd = limit
        budget.save()
        if told:
            self.installation.configure()

    @precondition(lambda self: hasattr(self, "installation"))
    @invariant()
    def holds(self) -> None:
        check(self.installation, lowered=self.lowered)

    def teardown(self) -> None:
        """When all is done and written, nothing is held, and the sum is what was charged."""
        if not hasattr(self, "installation"):
            return
        installation = self.installation
        for process in installation.processes:
            while process.running:
                installation.settle(process, 0, 10)
            if process.finished:
                installation.write(process)
        installation.now += timedelta(days=2)
        for process in installation.processes:
            installation.round(process)
            installation.round(process)
        check(installation, lowered=self.lowered)
        assert sum(window.held for window in installation.windows()) == 0


def test_any_interleaving_keeps_a_hard_limit_and_the_ledger() -> None:
    run_state_machine_as_test(
        Machine,
        settings=settings(
            max_examples=60,
            stateful_step_count=30,
            deadline=None,
            suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
        ),
    )
