"""Emergency raises, transfers and resets: only money that is there, at the moment it is granted."""

from __future__ import annotations

import re
import threading
from datetime import UTC, datetime, timedelta

import pytest
from django.core.exceptions import PermissionDenied, ValidationError
from django.db import connection
from django.utils import timezone

from governance.models import AllowanceWindow, AuditEntry, Budget, Customer, Raise
from governance.raises import in_force, raised
from governance.selectors import budget_status
from governance.services import budgets, moves, raises
from governance.services.raise_rows import MOST
from tests.governance.raising import USD, Company, ask, company, person, spend

pytestmark = pytest.mark.django_db


@pytest.fixture
def acme() -> Company:
    return company()


def reserve(acme: Company, usd: int) -> None:
    Customer.objects.filter(pk=acme.acme.pk).update(emergency_reserve_nano_usd=usd * USD)


def raised_now(budget: Budget) -> int:
    now = timezone.now()
    return raised(in_force(None, now).get(budget.pk, []), now)


def emergency(acme: Company, usd: int, **more: object) -> Raise:
    values = {"budget": acme.core_month, "actor": acme.lee, "reason": "release is blocked", **more}
    return moves.emergency(amount_nano_usd=usd * USD, **values)


# --- emergency ----------------------------------------------------------------------------------------------


def test_an_emergency_raise_needs_nobody_within_the_reserve(acme: Company) -> None:
    reserve(acme, 30)
    row = emergency(acme, 20)
    assert raised_now(acme.core_month) == 20 * USD
    assert (row.kind, row.status, row.decided_by, row.decided_by_name) == ("emergency", "approved", None, moves.RESERVE)
    assert row.ends_at == moves.window_of(acme.core_month, timezone.now()).ends_at
    entry = AuditEntry.objects.get(action="raise.emergency")
    assert (entry.actor_name, entry.note) == ("lee", "release is blocked")
    with pytest.raises(ValidationError, match=r"\$10.00 left this month \(\$20.00 of \$30.00 used\)"):
        emergency(acme, 11)
    emergency(acme, 10)


def test_what_was_ended_early_or_whose_budget_is_gone_stays_used(acme: Company) -> None:
    reserve(acme, 20)
    raises.end_early(row=emergency(acme, 10), actor=acme.lee)
    emergency(acme, 10)
    acme.core_month.delete()
    with pytest.raises(ValidationError, match=r"has \$0.00 left"):
        emergency(acme, 1, budget=acme.web_month, actor=acme.fay)


def test_a_reserve_of_nothing_allows_nothing(acme: Company) -> None:
    with pytest.raises(ValidationError, match="Ask for a raise instead"):
        emergency(acme, 1)
    assert not Raise.objects.exists()


def test_who_may_use_the_reserve(acme: Company) -> None:
    reserve(acme, 30)
    with pytest.raises(PermissionDenied, match="emergency_raise"):
        emergency(acme, 1, actor=person("dev", "Developer", acme.acme))
    for budget, actor in ((acme.web_month, acme.lee), (acme.core_month, acme.charlie)):
        with pytest.raises(PermissionDenied, match="beyond"):
            emergency(acme, 1, budget=budget, actor=actor)


def test_the_month_of_the_reserve_is_the_customers_own(acme: Company) -> None:
    """Berlin is an hour ahead of UTC: December begins there at 23:00 UTC."""
    reserve(acme, 10)
    row = emergency(acme, 10)
    for at, used in (
        (datetime(2026, 11, 30, 22, 59, tzinfo=UTC), 0),
        (datetime(2026, 11, 30, 23, 0, tzinfo=UTC), 10),
        (datetime(2026, 12, 31, 22, 59, tzinfo=UTC), 10),
        (datetime(2026, 12, 31, 23, 0, tzinfo=UTC), 0),
    ):
        Raise.objects.filter(pk=row.pk).update(starts_at=at, ends_at=at + timedelta(hours=1))
        assert moves.reserve_used(acme.acme, datetime(2026, 12, 15, tzinfo=UTC)) == used * USD


def test_an_emergency_raise_adds_its_amount_once(acme: Company) -> None:
    """On a daily budget it ends with the day: until the end of the month it would count on each of them."""
    reserve(acme, 100)
    day = budgets.create_budget(target=acme.core, limit_nano_usd=USD, period="day", actor=None)
    today = moves.window_of(day, timezone.now())
    with pytest.raises(ValidationError, match="at the latest"):
        emergency(acme, 1, budget=day, ends_at=today.ends_at + timedelta(seconds=1))
    assert emergency(acme, 1, budget=day).ends_at == today.ends_at
    lifetime = emergency(acme, 1, budget=acme.whole, actor=acme.fay)
    assert lifetime.ends_at == moves.month_of(acme.acme, timezone.now()).ends_at


@pytest.mark.django_db(transaction=True)
def test_eight_at_once_never_pass_the_reserve() -> None:
    acme = company()
    reserve(acme, 50)
    together = threading.Barrier(8)
    told: list[str] = []

    def take() -> None:
        try:
            together.wait(10)
            emergency(acme, 10)
            told.append("won")
        except ValidationError:
            told.append("refused")
        finally:
            connection.close()

    threads = [threading.Thread(target=take) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(told) == ["refused"] * 3 + ["won"] * 5
    assert raised_now(acme.core_month) == 50 * USD
    assert AuditEntry.objects.filter(action="raise.emergency").count() == 5


# --- transfers ----------------------------------------------------------------------------------------------


def transfer(acme: Company, usd: int, **more: object) -> Raise:
    values = {"source": acme.core_month, "target": acme.web_month, "requester": acme.fay, "reason": "web needs it"}
    return moves.transfer(amount_nano_usd=usd * USD, **{**values, **more})


def test_a_transfer_takes_here_what_it_gives_there(acme: Company) -> None:
    row = transfer(acme, 40)
    assert (raised_now(acme.core_month), raised_now(acme.web_month)) == (0, 0)
    with pytest.raises(PermissionDenied, match="another person"):
        raises.approve(row=row, actor=acme.fay)
    raises.approve(row=Raise.objects.get(amount_nano_usd__lt=0), actor=acme.frank)
    assert (raised_now(acme.core_month), raised_now(acme.web_month)) == (-40 * USD, 40 * USD)
    assert [half.counterpart_id for half in Raise.objects.order_by("pk")] == [row.pk, row.counterpart_id]
    assert AuditEntry.objects.filter(action="raise.approved").count() == 2
    with pytest.raises(ValidationError, match="transfer what is left"):
        raises.end_early(row=row, actor=acme.frank)


def test_only_what_is_neither_spent_nor_held_moves(acme: Company) -> None:
    spend(acme.key, 55 * USD)
    with pytest.raises(ValidationError, match=r"\$45.00 that is neither spent nor held"):
        transfer(acme, 46)
    first, second = transfer(acme, 30), transfer(acme, 30)
    raises.approve(row=first, actor=acme.frank)
    with pytest.raises(ValidationError, match=r"\$15.00 that is neither"):
        raises.approve(row=second, actor=acme.frank)
    second.refresh_from_db()
    assert (second.status, second.counterpart.status) == ("requested", "requested")
    assert raised_now(acme.core_month) == -30 * USD


def test_leases_of_running_processes_do_not_move(acme: Company) -> None:
    window = moves.window_of(acme.core_month, timezone.now())
    AllowanceWindow.objects.create(
        allowance=f"budget:{acme.core_month.pk}", budget=acme.core_month, definition="d",
        starts_at=window.starts_at, ends_at=window.ends_at, limit=100 * USD, held=70 * USD,
    )  # fmt: skip
    with pytest.raises(ValidationError, match=r"\$30.00 that is neither"):
        transfer(acme, 31)
    transfer(acme, 30)


def test_a_raise_can_be_moved_on_and_the_limit_never_falls_below_nothing(acme: Company) -> None:
    month = moves.window_of(acme.core_month, timezone.now())
    raises.approve(row=ask(acme.core_month, acme.lee, usd=50, ends_at=month.ends_at), actor=acme.fay)
    raises.approve(row=transfer(acme, 150), actor=acme.frank)
    with pytest.raises(ValidationError, match=r"\$0.00 that is neither"):
        transfer(acme, 1)


def test_where_a_transfer_is_refused(acme: Company) -> None:
    other = budgets.create_budget(target=Customer.objects.get(name="Globex"), limit_nano_usd=USD, actor=None)
    rolling = budgets.create_budget(target=acme.web, limit_nano_usd=USD, period="day", rolling=30, actor=None)
    with pytest.raises(PermissionDenied):
        transfer(acme, 1, target=other)
    with pytest.raises(PermissionDenied):
        transfer(acme, 1, requester=acme.lee)
    for values, sentence in (
        ({"target": acme.core_month}, "two different"),
        ({"target": acme.whole}, "never ends"),
        ({"target": rolling}, "last 30 days"),
    ):
        with pytest.raises(ValidationError, match=sentence):
            transfer(acme, 1, **values)
    with pytest.raises(ValidationError, match="above zero"):
        transfer(acme, -1)
    assert not Raise.objects.exists()


def test_a_transfer_is_declined_and_withdrawn_as_a_whole(acme: Company) -> None:
    raises.decline(row=transfer(acme, 1), actor=acme.frank, note="no")
    raises.withdraw(row=transfer(acme, 1), actor=acme.fay)
    assert sorted(Raise.objects.values_list("status", flat=True)) == ["declined"] * 2 + ["withdrawn"] * 2
    assert raises.pending(acme.frank).count() == 0
    transfer(acme, 1)
    assert raises.pending(acme.frank).count() == 1


@pytest.mark.django_db(transaction=True)
def test_two_transfers_approved_at_once_move_no_more_than_there_is() -> None:
    acme = company()
    rows = [transfer(acme, 60), transfer(acme, 60)]
    together = threading.Barrier(2)
    told: list[str] = []

    def decide(pk: int) -> None:
        try:
            row = Raise.objects.get(pk=pk)
            together.wait(10)
            raises.approve(row=row, actor=acme.frank)
            told.append("won")
        except ValidationError as error:
            told.append(error.messages[0])
        finally:
            connection.close()

    threads = [threading.Thread(target=decide, args=(row.pk,)) for row in rows]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(told)[1] == "won"
    assert "$40.00 that is neither spent nor held" in sorted(told)[0]
    assert raised_now(acme.core_month) == -60 * USD


# --- resets -------------------------------------------------------------------------------------------------


def test_a_reset_adds_what_is_spent_at_its_approval(acme: Company) -> None:
    with pytest.raises(ValidationError, match="Nothing was spent"):
        moves.reset(budget=acme.core_month, reason="r", requester=acme.lee)
    spend(acme.key, 80 * USD)
    row = moves.reset(budget=acme.core_month, reason="the runaway job is paid by IT", requester=acme.lee)
    spend(acme.key, 5 * USD)
    with pytest.raises(PermissionDenied):
        raises.approve(row=row, actor=acme.lee)
    raises.approve(row=row, actor=acme.fay)
    assert raised_now(acme.core_month) == 85 * USD
    assert AuditEntry.objects.get(action="raise.approved").changes["amount_nano_usd"] == [80 * USD, 85 * USD]
    assert row.ends_at == moves.window_of(acme.core_month, timezone.now()).ends_at


def test_a_second_reset_adds_only_what_came_since(acme: Company) -> None:
    for usd in (80, 15):
        spend(acme.key, usd * USD)
        raises.approve(row=moves.reset(budget=acme.core_month, reason="r", requester=acme.lee), actor=acme.fay)
    assert raised_now(acme.core_month) == 95 * USD


def test_what_has_no_period_that_ends_is_not_reset(acme: Company) -> None:
    rolling = budgets.create_budget(target=acme.core, limit_nano_usd=USD, period="day", rolling=30, actor=None)
    spend(acme.key, USD)
    for budget, sentence in ((acme.whole, "never ends"), (rolling, "last 30 days")):
        with pytest.raises(ValidationError, match=sentence):
            moves.reset(budget=budget, reason="r", requester=acme.fay)
        raises.approve(row=ask(budget, acme.fay), actor=acme.frank)
        assert raised_now(budget) == 10 * USD


# --- what a review found ------------------------------------------------------------------------------------


def limits(acme: Company) -> tuple[int, int]:
    now = timezone.now()
    return tuple(budget_status(budget, now).limit // USD for budget in (acme.core_month, acme.web_month))


def test_a_budget_that_looks_back_takes_no_emergency_raise(acme: Company) -> None:
    """In force for nine days it would give its amount on each of them."""
    reserve(acme, 10)
    rolling = budgets.create_budget(target=acme.core, limit_nano_usd=5 * USD, period="day", rolling=1, actor=None)
    with pytest.raises(ValidationError, match="looks back over the last 1 days") as refused:
        emergency(acme, 10, budget=rolling)
    assert list(refused.value.message_dict) == ["budget"]
    assert moves.reserve_used(acme.acme, timezone.now()) == 0


def test_a_raise_that_ends_before_the_transfer_is_not_moved_on(acme: Company) -> None:
    raises.approve(row=ask(acme.core_month, acme.lee, usd=100, hours=1), actor=acme.fay)
    with pytest.raises(ValidationError, match=r"has \$100.00 that is neither.*\$100.00 of that is for a shorter time"):
        transfer(acme, 101)
    row = transfer(acme, 100)
    raises.approve(row=row, actor=acme.frank)
    assert limits(acme) == (100, 200)


def test_a_raise_is_counted_for_as_long_as_either_half_lasts(acme: Company) -> None:
    """Money of a day that goes to a month: the raise of that day does not live on in the month."""
    day = budgets.create_budget(target=acme.core, limit_nano_usd=10 * USD, period="day", actor=None)
    today = moves.window_of(day, timezone.now())
    raises.approve(row=ask(day, acme.lee, usd=10, ends_at=today.ends_at), actor=acme.fay)
    with pytest.raises(ValidationError, match=r"has \$10.00 that is neither"):
        transfer(acme, 11, source=day)
    transfer(acme, 10, source=day)


def test_a_raise_does_not_end_while_moved_money_came_with_it(acme: Company) -> None:
    month = moves.window_of(acme.core_month, timezone.now())
    row = ask(acme.core_month, acme.lee, usd=100, ends_at=month.ends_at)
    raises.approve(row=row, actor=acme.fay)
    raises.approve(row=transfer(acme, 200), actor=acme.frank)
    for actor in (acme.lee, acme.frank):
        with pytest.raises(ValidationError, match=r"\$200.00 of .* was moved .* \$100.00 of that came with this raise"):
            raises.end_early(row=row, actor=actor)
    assert limits(acme) == (0, 300)
    back = transfer(acme, 100, source=acme.web_month, target=acme.core_month)
    raises.approve(row=back, actor=acme.frank)
    raises.end_early(row=row, actor=acme.lee)
    assert limits(acme) == (0, 200)


def test_a_budget_that_only_watches_gives_nothing_to_one_that_blocks(acme: Company) -> None:
    watched = budgets.create_budget(target=acme.core, limit_nano_usd=10**6 * USD, enforcement="observe", actor=None)
    with pytest.raises(ValidationError, match="only watches"):
        transfer(acme, 1, source=watched)
    row = transfer(acme, 1)
    Budget.objects.filter(pk=acme.core_month.pk).update(enforcement="observe")
    with pytest.raises(ValidationError, match="only watches"):
        raises.approve(row=Raise.objects.get(pk=row.pk), actor=acme.frank)
    other = budgets.create_budget(target=acme.web, limit_nano_usd=USD, enforcement="observe", actor=None)
    transfer(acme, 1, source=watched, target=other)


def test_a_transfer_lapses_with_either_half(acme: Company) -> None:
    row = transfer(acme, 1)
    Raise.objects.filter(pk=row.counterpart_id).update(
        starts_at=timezone.now() - timedelta(days=2), ends_at=timezone.now() - timedelta(days=1)
    )
    row = Raise.objects.get(pk=row.pk)
    now = timezone.now()
    assert raises.state_of(row, now).startswith("Lapsed")
    assert "over by now" in raises.why_not(row, acme.frank, now)
    assert not raises.pending(acme.frank).exists()
    with pytest.raises(ValidationError, match="over by now"):
        raises.approve(row=row, actor=acme.frank)
    row.refresh_from_db()
    assert (row.status, row.decided_by_name) == ("requested", "")
    raises.decline(row=row, actor=acme.frank, note="too late")
    assert set(Raise.objects.values_list("status", flat=True)) == {"declined"}


def test_half_a_decision_is_told_as_it_stood(acme: Company) -> None:
    """The other half is decided already: nobody is told that their own attempt did it."""
    row = transfer(acme, 1)
    Raise.objects.filter(pk=row.counterpart_id).update(status="declined", decided_by_name="fay")
    for attempt in (
        lambda: raises.decline(row=Raise.objects.get(pk=row.pk), actor=acme.frank, note="no"),
        lambda: raises.withdraw(row=Raise.objects.get(pk=row.pk), actor=acme.fay),
    ):
        with pytest.raises(ValidationError) as refused:
            attempt()
        assert not re.search("by frank|withdrawn", refused.value.messages[0])
        assert Raise.objects.get(pk=row.pk).status == "requested"


def test_a_reset_stays_a_number_that_the_database_can_hold(acme: Company) -> None:
    spend(acme.key, 80 * USD)
    row = moves.reset(budget=acme.core_month, reason="r", requester=acme.lee)
    Budget.objects.filter(pk=acme.core_month.pk).update(limit_nano_usd=MOST)
    with pytest.raises(ValidationError, match="cannot pass"):
        raises.approve(row=Raise.objects.get(pk=row.pk), actor=acme.fay)
