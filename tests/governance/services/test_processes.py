"""Release of what a silent process holds, and the sweep of old rows."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from django.contrib.auth.models import Group, User
from django.core.exceptions import PermissionDenied, ValidationError
from django.utils import timezone
from ulid import ULID

from governance import leases, ledger, tasks
from governance.models import AllowanceWindow, AuditEntry, Budget, Customer, GatewayProcess, Lease, RateLimit, Team
from governance.selectors_processes import ENDED_IN_ORDER, process_statuses
from governance.services import processes, tenants

pytestmark = pytest.mark.django_db
USD = 10**9


def a_process(*, silent: timedelta, **values: Any) -> GatewayProcess:
    now = timezone.now()
    row: GatewayProcess = GatewayProcess.objects.create(
        id=str(ULID()), host="gw-1", pid=7, started_at=now - timedelta(days=1), seen_at=now - silent, **values
    )
    return row


def a_lease(process: GatewayProcess, row: Budget | RateLimit, amount: int, settled: int = 0) -> AllowanceWindow:
    money = isinstance(row, Budget)
    window, _ = AllowanceWindow.objects.get_or_create(
        allowance=f"{'budget' if money else 'rate'}:{row.pk}", definition=ledger.definition(row),
        starts_at=timezone.now().replace(minute=0, second=0, microsecond=0),
        defaults={
            "budget": row if money else None, "rate_limit": None if money else row, "limit": 100 * USD,
            "settled": settled,
        },
    )  # fmt: skip
    window.held += amount
    window.save()
    Lease.objects.create(window=window, owner=process.pk, amount=amount)
    return window


@pytest.fixture
def core() -> Team:
    return Team.objects.create(customer=Customer.objects.create(name="Acme"), name="Core")


@pytest.fixture
def budget(core: Team) -> Budget:
    return Budget.objects.create(scope="team", team=core, limit_nano_usd=100 * USD)


@pytest.fixture
def root() -> User:
    return User.objects.create_superuser("root")


def test_states(root: User) -> None:
    rows = {
        "running": a_process(silent=timedelta(seconds=3)),
        "silent": a_process(silent=timedelta(minutes=3)),
        "ended": a_process(silent=timedelta(hours=3), ended_at=timezone.now(), note=ENDED_IN_ORDER),
        "recovered": a_process(silent=timedelta(hours=3), ended_at=timezone.now(), note="died; its spool was replayed"),
    }
    found = process_statuses(rows.values(), root)
    assert {state: found[row.pk].state for state, row in rows.items()} == {state: state for state in rows}
    # The database's clock has milliseconds.
    assert (
        timedelta(minutes=3) - timedelta(milliseconds=2) <= found[rows["silent"].pk].silent_for < timedelta(minutes=4)
    )
    assert not any(status.may_be_released for status in found.values())


def test_the_note_of_an_orderly_end_is_what_the_gateway_writes() -> None:
    import inspect

    from gateway.leasing import Leasing

    assert f'note="{ENDED_IN_ORDER}"' in inspect.getsource(Leasing._close)


def test_release_gives_money_back_counts_limits_as_used_and_is_audited(root: User, budget: Budget, core: Team) -> None:
    dead, other = a_process(silent=timedelta(minutes=11)), a_process(silent=timedelta(seconds=1))
    money = a_lease(dead, budget, 3 * USD, settled=USD)
    Lease.objects.create(window=money, owner=other.pk, amount=2 * USD)
    AllowanceWindow.objects.filter(pk=money.pk).update(held=5 * USD)
    requests = a_lease(dead, RateLimit.objects.create(scope="team", team=core, unit="requests", limit=9, per="hour"), 4)
    at_once = a_lease(dead, RateLimit.objects.create(scope="team", team=core, unit="concurrent", limit=9), 2)

    before = processes.release(process=dead, reason="disk burnt", actor=root)

    assert before.held == {"usd": 3 * USD, "requests": 4, "concurrent": 2}
    rows = [AllowanceWindow.objects.get(pk=row.pk) for row in (money, requests, at_once)]
    assert [(row.settled, row.held) for row in rows] == [(USD, 2 * USD), (4, 0), (0, 0)]
    dead.refresh_from_db()
    assert dead.ended_at is not None
    assert dead.note == "released by root: disk burnt"
    entry = AuditEntry.objects.get(action="gateway_process.released")
    assert (entry.actor_name, entry.note, entry.target_name) == ("root", "disk burnt", "gw-1 process 7")
    assert entry.changes == {
        "leases": [3, 0], "held_nano_usd": [3 * USD, 0], "held_requests": [4, 0], "held_concurrent": [2, 0],
    }  # fmt: skip
    with pytest.raises(ValidationError, match="It ended at"):
        processes.release(process=dead, reason="again", actor=root)
    assert AuditEntry.objects.filter(action="gateway_process.released").count() == 1


def test_a_process_that_may_be_alive_keeps_what_it_holds(root: User, budget: Budget) -> None:
    quiet = a_process(silent=timedelta(minutes=9, seconds=50))
    window = a_lease(quiet, budget, 3 * USD)
    with pytest.raises(ValidationError, match="release it after 10 minutes of silence"):
        processes.release(process=quiet, reason="impatient", actor=root)
    GatewayProcess.objects.filter(pk=quiet.pk).update(seen_at=timezone.now() - timedelta(minutes=11))
    with pytest.raises(ValidationError, match="Say why"):
        processes.release(process=quiet, reason=" ", actor=root)
    window.refresh_from_db()
    assert window.held == 3 * USD
    assert not AuditEntry.objects.exists()


def test_one_that_comes_back_while_its_leases_are_released_undoes_it(
    root: User, budget: Budget, monkeypatch: pytest.MonkeyPatch
) -> None:
    dead = a_process(silent=timedelta(minutes=11))
    window = a_lease(dead, budget, 3 * USD)
    recover = leases.recover

    def beaten(owner: str, *, note: str) -> int:
        leases.beat(owner)  # at the moment between the check and the locks
        return recover(owner, note=note)

    monkeypatch.setattr(leases, "recover", beaten)
    with pytest.raises(ValidationError, match="sign of life just now"):
        processes.release(process=dead, reason="disk burnt", actor=root)
    window.refresh_from_db()
    dead.refresh_from_db()
    assert (window.held, dead.ended_at) == (3 * USD, None)
    assert not AuditEntry.objects.exists()


def test_only_who_sees_every_customer_and_has_the_permission(budget: Budget, core: Team) -> None:
    dead = a_process(silent=timedelta(minutes=11))
    a_lease(dead, budget, 3 * USD)
    for role, whole in (("Finance", True), ("Auditor", True), ("Team lead", True), ("Platform admin", False)):
        user = User.objects.create_user(f"{role}-{whole}")
        user.groups.add(Group.objects.get(name=role))
        tenants.add_membership(user=user, customer=core.customer, team=None if whole else core, actor=None)
        with pytest.raises(PermissionDenied):
            processes.release(process=dead, reason="mine", actor=user)
    with pytest.raises(PermissionDenied):
        processes.release(process=dead, reason="nobody", actor=None)
    admin = User.objects.create_user("pam")
    admin.groups.add(Group.objects.get(name="Platform admin"))
    tenants.add_membership(user=admin, customer=core.customer, actor=None)
    assert processes.release(process=dead, reason="disk burnt", actor=User.objects.get(pk=admin.pk)).held_nano_usd


def test_what_a_user_does_not_see_is_not_summed(budget: Budget, core: Team) -> None:
    globex = Customer.objects.create(name="Globex")
    theirs = Budget.objects.create(scope="customer", customer=globex, limit_nano_usd=USD)
    process = a_process(silent=timedelta(seconds=1))
    a_lease(process, budget, 3 * USD)
    a_lease(process, theirs, 5 * USD)
    for customer, held in ((core.customer, 3 * USD), (globex, 5 * USD)):
        user = User.objects.create_user(customer.name)
        tenants.add_membership(user=user, customer=customer, actor=None)
        assert process_statuses([process], user)[process.pk].held == {"usd": held}


def test_the_sweep_returns_limits_of_the_silent_and_forgets_what_is_old(core: Team, budget: Budget) -> None:
    limit = RateLimit.objects.create(scope="team", team=core, unit="concurrent", limit=9)
    silent, running = a_process(silent=timedelta(minutes=3)), a_process(silent=timedelta(seconds=90))
    held = a_lease(silent, limit, 2)
    Lease.objects.create(window=held, owner=running.pk, amount=1)
    AllowanceWindow.objects.filter(pk=held.pk).update(held=3)
    money = a_lease(silent, budget, 3 * USD)
    past = timezone.now() - timedelta(days=31)
    long_ago = [
        a_process(silent=timedelta(days=40), ended_at=past),
        a_process(silent=timedelta(days=40)),
    ]
    Lease.objects.create(window=money, owner=long_ago[0].pk, amount=0)
    kept = [
        a_process(silent=timedelta(days=40), ended_at=past + timedelta(days=2)),
        a_process(silent=timedelta(days=40)),
    ]
    Lease.objects.create(window=money, owner=kept[1].pk, amount=USD)
    old_limit = AllowanceWindow.objects.create(
        allowance="rate:99", rate_limit=limit, definition="x", starts_at=past, ends_at=past + timedelta(minutes=1)
    )

    assert tasks.tend_allowances() == {
        "released": 1,
        "windows": 1,
        "processes": 2,
        "provider_states": 0,
    }

    held.refresh_from_db()
    money.refresh_from_db()
    assert (held.held, money.held) == (1, 3 * USD), "money waits for the spool or a person"
    assert set(GatewayProcess.objects.values_list("pk", flat=True)) == {row.pk for row in (silent, running, *kept)}
    assert not AllowanceWindow.objects.filter(pk=old_limit.pk).exists()
    assert tasks.tend_allowances() == {"released": 0, "windows": 0, "processes": 0, "provider_states": 0}
