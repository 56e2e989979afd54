"""Raises: asked for, decided by another person, once; ended, withdrawn; all of it in the trail."""

from __future__ import annotations

import threading
from datetime import timedelta

import pytest
from django.contrib.auth.models import User
from django.core.exceptions import PermissionDenied, ValidationError
from django.db import connection
from django.utils import timezone

from governance.models import AuditEntry, Raise
from governance.raises import in_force, raised
from governance.services import raises
from tests.governance.raising import USD, Company, ask, company

pytestmark = pytest.mark.django_db


@pytest.fixture
def acme() -> Company:
    return company()


def raised_now(acme: Company) -> int:
    now = timezone.now()
    return raised(in_force(None, now).get(acme.core_month.pk, []), now)


def test_from_request_to_the_end(acme: Company) -> None:
    row = ask(acme.core_month, acme.lee)
    assert raised_now(acme) == 0
    raises.approve(row=row, actor=acme.fay, note="fine")
    assert raised_now(acme) == 10 * USD
    assert (row.status, row.decided_by, row.decided_by_name) == ("approved", acme.fay, "fay")
    raises.end_early(row=row, actor=acme.lee)
    assert raised_now(acme) == 0
    trail = AuditEntry.objects.filter(target_type="raise").order_by("pk")
    assert [(entry.action, entry.actor_name) for entry in trail] == [
        ("raise.requested", "lee"), ("raise.approved", "fay"), ("raise.ended_early", "lee"),
    ]  # fmt: skip
    assert trail[0].note == "month-end close"
    assert trail[0].changes["amount_nano_usd"] == [None, 10 * USD]
    assert trail[1].changes["status"] == ["requested", "approved"]
    assert {entry.team_id for entry in trail} == {acme.core.pk}


def test_less_than_asked_may_be_granted_and_never_more(acme: Company) -> None:
    row = ask(acme.core_month, acme.lee)
    for wrong in (0, -1, 10 * USD + 1):
        with pytest.raises(ValidationError, match="at most"):
            raises.approve(row=row, actor=acme.fay, amount_nano_usd=wrong)
    raises.approve(row=row, actor=acme.fay, amount_nano_usd=4 * USD)
    assert raised_now(acme) == 4 * USD
    assert AuditEntry.objects.get(action="raise.approved").changes["amount_nano_usd"] == [10 * USD, 4 * USD]


def test_nobody_decides_about_their_own(acme: Company) -> None:
    root = User.objects.create_superuser("root")
    for person in (acme.fay, root):
        row = ask(acme.core_month, person)
        for decide in (raises.approve, raises.decline):
            with pytest.raises(PermissionDenied, match="another person decides"):
                decide(row=row, actor=person, note="mine")
        assert raises.why_not(row, person, timezone.now()) == "You asked for it yourself: another person decides."
        raises.approve(row=row, actor=acme.frank)
    assert raised_now(acme) == 20 * USD


def test_the_approver_needs_the_permission_and_sight_of_the_budget(acme: Company) -> None:
    row = ask(acme.core_month, acme.fay)
    with pytest.raises(PermissionDenied, match="decide_raise"):
        raises.approve(row=row, actor=acme.lee)
    with pytest.raises(PermissionDenied, match="beyond"):
        raises.approve(row=row, actor=acme.charlie)
    with pytest.raises(PermissionDenied):
        raises.end_early(row=row, actor=acme.charlie)
    assert Raise.objects.get().status == "requested"


def test_a_decision_is_final(acme: Company) -> None:
    row = ask(acme.core_month, acme.lee)
    stale = Raise.objects.get(pk=row.pk)
    raises.decline(row=row, actor=acme.fay, note="use the project's budget")
    for late in (
        lambda: raises.approve(row=stale, actor=acme.frank),
        lambda: raises.decline(row=stale, actor=acme.frank, note="no"),
        lambda: raises.withdraw(row=stale, actor=acme.lee),
    ):
        with pytest.raises(ValidationError, match="already decided: declined by fay"):
            late()
    with pytest.raises(ValidationError, match="not in force"):
        raises.end_early(row=row, actor=acme.fay)
    assert AuditEntry.objects.filter(target_type="raise").count() == 2


def test_a_decline_says_why(acme: Company) -> None:
    with pytest.raises(ValidationError, match="Say why"):
        raises.decline(row=ask(acme.core_month, acme.lee), actor=acme.fay, note=" ")


def test_only_who_asked_withdraws(acme: Company) -> None:
    row = ask(acme.core_month, acme.lee)
    with pytest.raises(PermissionDenied):
        raises.withdraw(row=row, actor=acme.fay)
    raises.withdraw(row=row, actor=acme.lee)
    assert row.status == "withdrawn"
    with pytest.raises(ValidationError, match="already decided: withdrawn"):
        raises.approve(row=row, actor=acme.fay)


def test_what_would_be_over_cannot_be_approved(acme: Company) -> None:
    row = ask(acme.core_month, acme.lee)
    past = timezone.now() - timedelta(hours=1)
    Raise.objects.filter(pk=row.pk).update(starts_at=past - timedelta(hours=1), ends_at=past)
    row.refresh_from_db()
    with pytest.raises(ValidationError, match="over by now"):
        raises.approve(row=row, actor=acme.fay)
    assert raises.state_of(row, timezone.now()).startswith("Lapsed")
    assert not raises.pending(acme.fay).exists()


def test_a_request_is_checked(acme: Company) -> None:
    now = timezone.now()
    for values, field in (
        ({"ends_at": now - timedelta(hours=1)}, "ends_at"),
        ({"ends_at": now + timedelta(days=800)}, "ends_at"),
        ({"starts_at": now + timedelta(days=2)}, "__all__"),
        ({"usd": 0}, "__all__"),
        ({"usd": 9 * 10**9}, "amount_nano_usd"),
        ({"reason": "  "}, "reason"),
    ):
        with pytest.raises(ValidationError) as caught:
            ask(acme.core_month, acme.lee, **values)
        assert field in caught.value.message_dict, (values, caught.value.message_dict)
    acme.core_month.is_active = False
    with pytest.raises(ValidationError, match="switched off"):
        ask(acme.core_month, acme.lee)
    assert not Raise.objects.exists()


def test_what_waits_for_whom(acme: Company) -> None:
    mine, hers = ask(acme.core_month, acme.fay), ask(acme.core_month, acme.lee)
    assert set(raises.pending(acme.fay)) == {hers}
    assert set(raises.pending(acme.frank)) == {mine, hers}
    assert not raises.pending(acme.lee).exists()
    assert not raises.pending(acme.charlie).exists()


def test_a_limit_changes_with_its_reason(acme: Company) -> None:
    with pytest.raises(ValidationError, match="Say why"):
        raises.change_limit(budget=acme.core_month, limit_nano_usd=7 * USD, reason="", actor=acme.fay)
    acme.core_month.refresh_from_db()
    raises.change_limit(budget=acme.core_month, limit_nano_usd=7 * USD, reason="new contract", actor=acme.fay)
    entry = AuditEntry.objects.get(action="budget.limit_changed")
    assert (entry.note, entry.changes["limit_nano_usd"]) == ("new contract", [100 * USD, 7 * USD])


@pytest.mark.django_db(transaction=True)
def test_two_approvers_at_once() -> None:
    """On connections of their own, from one barrier: one wins, the other is told."""
    acme = company()
    for _ in range(8):
        row = ask(acme.core_month, acme.lee)
        together = threading.Barrier(2)
        told: list[str] = []

        def decide(person: User, pk: int = row.pk, together: threading.Barrier = together, told: list = told) -> None:
            try:
                mine = Raise.objects.get(pk=pk)
                together.wait(5)
                raises.approve(row=mine, actor=person)
                told.append("won")
            except ValidationError as error:
                told.append(error.messages[0])
            finally:
                connection.close()

        threads = [threading.Thread(target=decide, args=(person,)) for person in (acme.fay, acme.frank)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert sorted(told)[1] == "won"
        assert "already decided: approved by" in sorted(told)[0]
    assert AuditEntry.objects.filter(action="raise.approved").count() == 8
    assert raised_now(acme) == 80 * USD
