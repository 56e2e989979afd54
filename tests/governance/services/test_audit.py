"""The audit trail: chained, tamper-evident, whole under concurrent writers, and free of secrets."""

from __future__ import annotations

import threading
from datetime import UTC, datetime
from decimal import Decimal
from uuid import UUID

import pytest
from django.contrib.auth.models import User
from django.core.management import CommandError, call_command
from django.db import connection, transaction

from governance import triggers
from governance.domain.keys import make_secret
from governance.models import AuditEntry, Customer, Membership, Provider, Team, VirtualKey
from governance.services import audit

pytestmark = pytest.mark.django_db


@pytest.fixture
def acme() -> Customer:
    return Customer.objects.create(name="Acme")


def test_an_entry_says_who_did_what_where_and_when(acme: Customer) -> None:
    user = User.objects.create_user("ada")
    with audit.coming_from("203.0.113.7"):
        entry = audit.record(actor=user, action="customer.changed", target=acme, changes={"name": ["A", "Acme"]})
    entry.refresh_from_db()
    assert (entry.actor, entry.actor_name, entry.ip) == (user, "ada", "203.0.113.7")
    assert (entry.target_type, entry.target_id, entry.target_name) == ("customer", str(acme.pk), "Acme")
    assert entry.changes == {"name": ["A", "Acme"]}
    assert audit.record(actor=None, action="x", target=acme).actor_name == "system"
    assert audit.record(actor=None, actor_name="apply", action="x", target=acme).actor_name == "apply"


def test_tenancy_comes_from_the_target(acme: Customer) -> None:
    team = Team.objects.create(customer=acme, name="Core")
    key = VirtualKey.objects.create(team=team, name="laptop")
    user = User.objects.create_user("ada")
    provider = Provider.objects.create(name="p")
    access = key.accesses.create(provider=provider)
    membership = Membership.objects.create(user=user, customer=acme, team=team)
    assert audit.tenancy(acme) == (acme.pk, None)
    for row in (team, key, access, membership):
        assert audit.tenancy(row) == (acme.pk, team.pk), row
    for row in (user, provider):
        assert audit.tenancy(row) == (None, None)


def test_values_of_every_kind_read_back_as_they_were_hashed(acme: Customer) -> None:
    kinds = [
        1.0,
        1e22,
        1e-7,
        float("inf"),
        Decimal("0.10"),
        datetime(2026, 1, 2, tzinfo=UTC),
        UUID(int=7),
        ("a",),
        {1: "b"},
    ]
    audit.record(actor=None, action="x", target=acme, changes={"field": [None, kinds]})
    entry = AuditEntry.objects.get()
    assert entry.changes["field"][1] == [
        1, 10**22, 1e-7, "inf", "0.10", "2026-01-02T00:00:00.000000+00:00", str(UUID(int=7)), ["a"], {"1": "b"},
    ]  # fmt: skip
    assert audit.verify_chain() is None


def test_secrets_are_cut_out_wherever_they_stand(acme: Customer) -> None:
    secret = str(make_secret())
    entry = audit.record(
        actor=None, action="x", target=acme, note=f"lost {secret}",
        changes={"secret": [secret, [{"deep": f"key {secret}"}]], "other": [None, "sk-ant-api03-" + "a" * 40]},
    )  # fmt: skip
    entry.refresh_from_db()
    stored = f"{entry.note} {entry.changes}"
    assert secret not in stored
    assert secret[:15] in stored
    assert "a" * 16 not in stored


def test_the_chain_holds_and_every_kind_of_tampering_breaks_it(acme: Customer) -> None:
    assert audit.verify_chain() is None
    entries = [audit.record(actor=None, action=f"step.{n}", target=acme, changes={"n": [n, n + 1]}) for n in range(6)]
    assert audit.verify_chain() is None
    triggers.remove(triggers.history_guards(connection))
    try:
        edits = {"action": "innocent", "changes": {}, "actor_name": "bob", "customer_id": None, "target_id": "9"}
        for field, value in edits.items():
            with transaction.atomic():
                AuditEntry.objects.filter(pk=entries[2].pk).update(**{field: value})
                broken = audit.verify_chain()
                assert broken is not None, field
                assert broken.entry_id == entries[2].pk
                transaction.set_rollback(True)
        with transaction.atomic():
            AuditEntry.objects.filter(pk=entries[2].pk).delete()
            broken = audit.verify_chain()
            assert broken is not None
            assert broken.entry_id == entries[3].pk
            with pytest.raises(CommandError, match=f"entry {entries[3].pk}"):
                call_command("verify_audit")
            transaction.set_rollback(True)
    finally:
        triggers.install()
    call_command("verify_audit")


@pytest.mark.django_db(transaction=True)
def test_concurrent_appenders_make_one_chain() -> None:
    acme = Customer.objects.create(name="Acme")
    failures: list[BaseException] = []

    def append(writer: int) -> None:
        try:
            for number in range(10):
                with transaction.atomic():
                    audit.record(actor=None, action=f"writer{writer}.{number}", target=acme)
        except BaseException as error:
            failures.append(error)
        finally:
            connection.close()

    threads = [threading.Thread(target=append, args=(writer,)) for writer in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=60)
    assert failures == []
    assert AuditEntry.objects.count() == 40
    assert audit.verify_chain() is None


def test_an_entry_of_a_change_that_was_rolled_back_is_gone_with_it(acme: Customer) -> None:
    with transaction.atomic():
        audit.record(actor=None, action="x", target=acme)
        transaction.set_rollback(True)
    assert not AuditEntry.objects.exists()
