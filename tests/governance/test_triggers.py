"""The database itself keeps history whole and counts every change of the configuration."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from django.core.management import CommandError, call_command
from django.db import IntegrityError, connection, transaction
from django.db.models import CharField

from governance import triggers
from governance.checks import triggers_are_installed
from governance.models import (
    AuditEntry,
    Budget,
    ConfigurationVersion,
    Customer,
    KeyActivity,
    LedgerEntry,
    Team,
    VirtualKey,
)
from governance.services import audit

pytestmark = pytest.mark.django_db
NOW = datetime(2026, 11, 22, 12, tzinfo=UTC)


def version() -> int:
    return ConfigurationVersion.objects.get().version


@pytest.fixture
def acme() -> Customer:
    return Customer.objects.create(name="Acme")


@pytest.fixture
def history(acme: Customer) -> tuple[AuditEntry, LedgerEntry]:
    entry = audit.record(actor=None, action="customer.created", target=acme)
    charge = LedgerEntry.objects.create(
        id="01JDXYZ0000000000000000000", request_id="01JDXYZ0000000000000000000", occurred_at=NOW,
        customer_id=acme.pk, team_id=1, virtual_key_id=1, model="claude-opus-5", amount_nano_usd=5,
    )  # fmt: skip
    return entry, charge


@pytest.mark.parametrize("model", triggers.APPEND_ONLY)
def test_history_refuses_update_and_delete(history: tuple[AuditEntry, LedgerEntry], model: type) -> None:
    for write in (
        lambda: model.objects.update(customer_id=99),
        lambda: model.objects.all().delete(),
        lambda: model.objects.get().delete(),
    ):
        with pytest.raises(IntegrityError, match="append-only"), transaction.atomic():
            write()
    assert model.objects.get().customer_id != 99


@pytest.mark.parametrize("model", triggers.APPEND_ONLY)
def test_history_refuses_to_be_replaced_by_any_unique_column(
    history: tuple[AuditEntry, LedgerEntry], model: type
) -> None:
    row = model.objects.values().get()
    columns = list(row)
    unique = [field.attname for field in model._meta.concrete_fields if field.unique]
    verb = "INSERT OR REPLACE" if connection.vendor == "sqlite" else "INSERT"
    for kept in unique:
        forged = {**row, "customer_id": 99, **{name: f"x{name}"[:26] for name in unique if name != kept}}
        if model is AuditEntry:
            forged["id"] = row["id"] if kept == "id" else 999
        values = [model._meta.get_field(name).get_db_prep_save(forged[name], connection) for name in columns]
        sql = f"{verb} INTO {model._meta.db_table} ({', '.join(columns)}) VALUES ({', '.join(['%s'] * len(row))})"
        with pytest.raises(IntegrityError), transaction.atomic(), connection.cursor() as cursor:
            cursor.execute(sql, values)
    assert model.objects.get().customer_id != 99


@pytest.mark.parametrize("model", triggers.APPEND_ONLY)
def test_history_refuses_truncate(history: tuple[AuditEntry, LedgerEntry], model: type) -> None:
    if connection.vendor != "postgresql":
        pytest.skip("SQLite has no TRUNCATE")
    with pytest.raises(IntegrityError, match="append-only"), transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(f"TRUNCATE {model._meta.db_table}")


def test_every_kind_of_write_to_the_configuration_raises_the_version(acme: Customer) -> None:
    seen = [version()]
    team = Team.objects.create(customer=acme, name="Core")
    seen.append(version())
    Team.objects.filter(pk=team.pk).update(cost_center="CC-1")
    seen.append(version())
    Team.objects.bulk_create([Team(customer=acme, name="A"), Team(customer=acme, name="B")])
    seen.append(version())
    with connection.cursor() as cursor:
        cursor.execute("UPDATE governance_team SET name = 'C' WHERE name = 'B'")
    seen.append(version())
    team.delete()
    seen.append(version())
    assert seen == sorted(set(seen))


def test_no_configuration_table_is_left_out() -> None:
    free = {
        "KeyActivity",
        "KeyChange",
        "AllowanceWindow",
        "Lease",
        "GatewayProcess",
        "LedgerEntry",
        "AuditEntry",
        "ConfigurationVersion",
        "PriceProposal",
        "ProviderState",
        "Repricing",
        "RepricingLine",
    }
    free |= {
        "Workspace", "ReportImport", "ReportDay", "ReportLine", "ReconciliationDay", "ReconciliationLine",
        "ReconciliationException",
        "Alert", "AlertChannel", "AlertDelivery",
    }  # fmt: skip
    from django.apps import apps

    models = set(apps.get_app_config("governance").get_models())
    # A membership decides what people see, not what a key may do: the data plane never reads it.
    assert {model.__name__ for model in models - set(triggers.CONFIGURATION)} == free | {"Membership"}


def test_traffic_does_not_look_like_a_change_of_configuration(
    acme: Customer, history: tuple[AuditEntry, LedgerEntry]
) -> None:
    key = VirtualKey.objects.create(team=Team.objects.create(customer=acme, name="Core"), name="ada")
    budget = Budget.objects.create(scope="customer", customer=acme, limit_nano_usd=1)
    before = version()
    KeyActivity.objects.create(virtual_key=key, last_used_at=NOW)
    budget.windows.create(allowance=f"budget:{budget.pk}", starts_at=NOW, settled=1)
    budget.windows.update(settled=2)
    audit.record(actor=None, action="noted", target=acme)
    assert version() == before


def test_a_rolled_back_change_leaves_the_version(acme: Customer) -> None:
    before = version()
    with transaction.atomic():
        Team.objects.create(customer=acme, name="Core")
        transaction.set_rollback(True)
    assert version() == before


def test_missing_and_altered_triggers_are_named_and_made_again() -> None:
    assert triggers.missing_triggers() == []
    guards = triggers.history_guards(connection)
    triggers.remove(guards)
    assert triggers.missing_triggers() == sorted(guard.label for guard in guards)
    [problem] = triggers_are_installed(databases=["default"])
    assert guards[0].name in problem.msg
    triggers.install()
    assert triggers.missing_triggers() == triggers_are_installed(databases=["default"]) == []


@pytest.mark.django_db(transaction=True)
def test_a_migration_that_rebuilds_a_table_is_followed_by_its_triggers() -> None:
    if connection.vendor != "sqlite":
        pytest.skip("only SQLite rebuilds tables")
    old = LedgerEntry._meta.get_field("model")
    new = CharField(max_length=201)
    new.set_attributes_from_name("model")
    new.model = LedgerEntry
    with connection.schema_editor() as editor:
        editor.alter_field(LedgerEntry, old, new, strict=False)
    assert "governance_ledgerentry_no_update" in triggers.missing_triggers()
    call_command("migrate", verbosity=0)
    assert triggers.missing_triggers() == []


@pytest.mark.django_db(transaction=True)
def test_flush_refuses_to_erase_history_and_leaves_version_and_triggers(
    history: tuple[AuditEntry, LedgerEntry],
) -> None:
    with pytest.raises(CommandError, match="couldn't be flushed"):
        call_command("flush", interactive=False, verbosity=0)
    assert LedgerEntry.objects.count() == AuditEntry.objects.count() == 1
    triggers.remove(triggers.history_guards(connection))
    call_command("flush", interactive=False, verbosity=0)
    assert version() >= 1
    assert triggers.missing_triggers() == []
