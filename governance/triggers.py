"""Database triggers on SQLite and PostgreSQL: history nobody can edit, and a version that no change escapes.

- The audit trail and the ledger refuse UPDATE and DELETE (PostgreSQL: TRUNCATE; SQLite: INSERT OR REPLACE).
- A write to a configuration table, by whatever program, raises ConfigurationVersion in its own transaction; of a
  key, its secrets and its providers it also notes whose they are, so that a gateway reads those alone.

Each migration makes those again that are missing: SQLite loses a table's triggers when a migration rebuilds
it. No setting lifts them. Who must erase history drops them by hand, as the database's owner; `check` and
`readyz` say so until the next migration. (The test suite does that between tests: `tests/conftest.py`.)

A partition of the ledger can be addressed by its own name: PostgreSQL copies the parent's row trigger to it, the
one against TRUNCATE is made on each.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

from django.db import DEFAULT_DB_ALIAS, connections, models, transaction
from django.db.backends.base.base import BaseDatabaseWrapper

from governance import partitions
from governance.models import (
    AllowanceWindow,
    AuditEntry,
    Budget,
    ConfigurationVersion,
    Customer,
    Developer,
    KeyChange,
    KeySecret,
    LedgerEntry,
    ModelAlias,
    MonthLock,
    Price,
    PriceOverride,
    Project,
    Provider,
    ProviderAccess,
    ProviderCredential,
    Raise,
    RateLimit,
    RoutingRule,
    RoutingSettings,
    Team,
    VirtualKey,
)
from governance.watched import PIN

APPEND_ONLY: tuple[type[models.Model], ...] = (AuditEntry, LedgerEntry)
CONFIGURATION: tuple[type[models.Model], ...] = (
    Customer,
    Team,
    Project,
    Developer,
    VirtualKey,
    KeySecret,
    Provider,
    ProviderCredential,
    ProviderAccess,
    Budget,
    RateLimit,
    RoutingRule,
    RoutingSettings,
    Raise,
    Price,
    PriceOverride,
    ModelAlias,
    MonthLock,  # no gateway reads it: with the version's lock, totals and batches under way wait for each other
)
OF_A_KEY: dict[type[models.Model], str] = {
    VirtualKey: "id",
    KeySecret: "virtual_key_id",
    ProviderAccess: "virtual_key_id",
}
"""Tables whose rows concern one key each, and the column that says which."""
BY_ROW: tuple[type[models.Model], ...] = (RoutingRule,)
"""Tables from which Django deletes unseen with every key: a statement that finds no row is no change of everything."""
_VERSION = ConfigurationVersion._meta.db_table
_KEY_CHANGES = KeyChange._meta.db_table
_WINDOWS = AllowanceWindow._meta.db_table
_SUMMED_ANEW = {
    Budget._meta.db_table: "comptroller_sum_budget_anew",
    Customer._meta.db_table: "comptroller_sum_customer_anew",
}
_NO_EDIT = ("BEFORE DELETE OR UPDATE", "ROW", "comptroller_refuse")
_NO_TRUNCATE = ("BEFORE TRUNCATE", "STATEMENT", "comptroller_refuse")


@dataclass(frozen=True, slots=True)
class Trigger:
    """One trigger: its name, its table and the statement that makes it, as the database spells it."""

    name: str
    table: str
    sql: str
    parent: str = ""
    """The table whose row trigger this one is PostgreSQL's copy of, on a partition; it comes and goes with that."""

    @property
    def label(self) -> str:
        """Its name; with the partition where there is one of this name on each."""
        return self.name if self.name.startswith(f"{self.table}_") else f"{self.name} on {self.table}"


def install(using: str = DEFAULT_DB_ALIAS) -> None:
    """Make every trigger that is missing or altered, and the row that counts the configuration's versions."""
    connection = connections[using]
    with transaction.atomic(using=using), connection.cursor() as cursor:
        if connection.vendor == "postgresql":
            for name, body in _FUNCTIONS.items():
                cursor.execute(f"CREATE OR REPLACE FUNCTION {name}() RETURNS trigger LANGUAGE plpgsql AS $${body}$$")
        wanted = expected(connection)
        absent = {trigger.label for trigger in _absent(connection, wanted)}
        # A copy that is switched off comes back with its parent's trigger.
        broken = {(trigger.name, trigger.parent) for trigger in wanted if trigger.parent and trigger.label in absent}
        for trigger in wanted:
            if not trigger.parent and (trigger.label in absent or (trigger.name, trigger.table) in broken):
                cursor.execute(_drop(connection, trigger))
                cursor.execute(trigger.sql)
    ConfigurationVersion.objects.using(using).get_or_create(id=1)


def remove(triggers: Iterable[Trigger], using: str = DEFAULT_DB_ALIAS) -> None:
    """Drop triggers; `install` makes them again."""
    connection = connections[using]
    with connection.cursor() as cursor:
        for trigger in triggers:
            cursor.execute(_drop(connection, trigger))


def missing_triggers(using: str = DEFAULT_DB_ALIAS) -> list[str]:
    """Names of the triggers that are absent, switched off or altered; sorted, empty when all is well."""
    connection = connections[using]
    altered: set[str] = set()
    if connection.vendor == "postgresql":
        with connection.cursor() as cursor:
            cursor.execute("SELECT proname, prosrc FROM pg_proc WHERE proname = ANY(%s)", [list(_FUNCTIONS)])
            altered = set(_FUNCTIONS) - {name for name, body in cursor.fetchall() if _FUNCTIONS[name] == body}
    return sorted(altered | {trigger.label for trigger in _absent(connection, expected(connection))})


def _absent(connection: BaseDatabaseWrapper, wanted: Iterable[Trigger]) -> list[Trigger]:
    """Those that are not there as they should be; a partition's copies are not named beside their parent's trigger."""
    with connection.cursor() as cursor:
        if connection.vendor == "postgresql":
            # Before PostgreSQL 15 a partition's copy of a trigger counts as internal.
            cursor.execute(
                "SELECT t.tgname, pg_get_triggerdef(t.oid, true) FROM pg_trigger t "
                "JOIN pg_class c ON c.oid = t.tgrelid WHERE (NOT t.tgisinternal OR t.tgparentid <> 0) "
                "AND t.tgenabled IN ('O', 'A') AND c.relnamespace = current_schema()::regnamespace"
            )
        else:
            cursor.execute("SELECT name, sql FROM sqlite_master WHERE type = 'trigger'")
        present = set(cursor.fetchall())
    absent = [trigger for trigger in wanted if (trigger.name, trigger.sql) not in present]
    own = {(trigger.name, trigger.table) for trigger in absent}
    return [trigger for trigger in absent if (trigger.name, trigger.parent) not in own]


def expected(connection: BaseDatabaseWrapper) -> list[Trigger]:
    """Every trigger that must exist on this database."""
    guards = [*history_guards(connection), *_copied_guards(connection)]
    return [*guards, *_version_counters(connection), *_window_markers(connection)]


def history_guards(connection: BaseDatabaseWrapper) -> list[Trigger]:
    """The triggers that refuse to change or delete history."""
    if connection.vendor != "postgresql":
        return [trigger for model in APPEND_ONLY for trigger in _sqlite_guards(model)]
    guards: list[Trigger] = []
    for table in (model._meta.db_table for model in APPEND_ONLY):
        guards.append(_postgres(f"{table}_no_edit", table, *_NO_EDIT))
        names = [table, *(part.name for part in partitions.listed(table, connection))]
        guards += [_postgres(f"{table}_no_truncate", name, *_NO_TRUNCATE) for name in names]
    return guards


def _copied_guards(connection: BaseDatabaseWrapper) -> list[Trigger]:
    """What PostgreSQL itself makes of the row triggers, one on each partition."""
    return [
        replace(_postgres(f"{table}_no_edit", part.name, *_NO_EDIT), parent=table)
        for table in (model._meta.db_table for model in APPEND_ONLY)
        for part in partitions.listed(table, connection)
    ]


def _version_counters(connection: BaseDatabaseWrapper) -> list[Trigger]:
    wide = [model._meta.db_table for model in CONFIGURATION if model not in OF_A_KEY]
    keyed = {model._meta.db_table: column for model, column in OF_A_KEY.items()}
    by_row = [model._meta.db_table for model in BY_ROW]
    if connection.vendor == "postgresql":
        events, function = "AFTER INSERT OR DELETE OR UPDATE OR TRUNCATE", "comptroller_raise_version"
        counters = [
            _postgres(f"{table}_version", table, events, "STATEMENT", function) for table in wide if table not in by_row
        ]
        by_events = "AFTER INSERT OR DELETE OR UPDATE"
        counters += [_postgres(f"{table}_version_row", table, by_events, "ROW", function) for table in by_row]
        counters += [_postgres(f"{table}_version", table, "AFTER TRUNCATE", "STATEMENT", function) for table in by_row]
        counters += [_postgres(f"{table}_version", table, "AFTER TRUNCATE", "STATEMENT", function) for table in keyed]
        return counters + [
            Trigger(
                name := f"{table}_version_{event.lower()}",
                table,
                f"CREATE TRIGGER {name} AFTER {event} ON {table} REFERENCING {rows} "
                f"FOR EACH STATEMENT EXECUTE FUNCTION {_noting(column, event)}()",
            )
            for table, column in keyed.items()
            for event, rows in _CHANGED.items()
        ]
    return [
        Trigger(
            name := f"{table}_version_{event.lower()}",
            table,
            f'CREATE TRIGGER "{name}" AFTER {event} ON "{table}" BEGIN {body} END',
        )
        for event in ("INSERT", "UPDATE", "DELETE")
        for table, body in [
            *((table, f"{_raise_version('wide')};") for table in wide),
            *((table, _sqlite_note(column, event)) for table, column in keyed.items()),
        ]
    ]


_CHANGED = {
    "INSERT": "NEW TABLE AS changed",
    "UPDATE": "OLD TABLE AS former NEW TABLE AS changed",
    "DELETE": "OLD TABLE AS changed",
}
"""By event: the rows of the statement, as PostgreSQL hands them to its trigger."""


def _raise_version(*also: str) -> str:
    columns = ", ".join(f"{name} = version + 1" for name in ("version", *also))
    return f"UPDATE {_VERSION} SET {columns} WHERE id = 1"  # noqa: S608


def _noting(column: str, event: str) -> str:
    return f"comptroller_note_{column.removesuffix('_id')}{'_moved' if event == 'UPDATE' else ''}"


def _postgres_note(column: str, event: str) -> str:
    """Every key that the statement changed, at the version that it raised; of a row that moved, both keys."""
    keys = f"SELECT {column} AS key FROM changed"  # noqa: S608
    if event == "UPDATE":
        keys += f" UNION SELECT {column} FROM former"  # noqa: S608
    return f"""
    DECLARE raised bigint;
    BEGIN
        PERFORM pg_advisory_xact_lock({PIN});
        {_raise_version()} RETURNING version INTO raised;
        INSERT INTO {_KEY_CHANGES} (key_id, version) SELECT DISTINCT key, raised FROM ({keys}) AS keys
            ON CONFLICT (key_id) DO UPDATE SET version = excluded.version;
        RETURN NULL;
    END """  # noqa: S608


def _sqlite_note(column: str, event: str) -> str:
    """The same for one row. Not an upsert: a conflict clause of the statement outside would take its place."""
    rows = {"INSERT": ("NEW",), "UPDATE": ("OLD", "NEW"), "DELETE": ("OLD",)}[event]
    notes = [
        f"DELETE FROM {_KEY_CHANGES} WHERE key_id = {row}.{column}; "  # noqa: S608
        f"INSERT INTO {_KEY_CHANGES} (key_id, version) SELECT {row}.{column}, version FROM {_VERSION} WHERE id = 1;"
        for row in rows
    ]
    return " ".join([f"{_raise_version()};", *notes])


def _window_markers(connection: BaseDatabaseWrapper) -> list[Trigger]:
    """A changed budget may have missed charges meanwhile (it was off, or counted something else): sum its windows anew.

    The names sort after those that raise the version, and so does their firing: first the pin, then the windows.
    """
    if connection.vendor == "postgresql":
        return [
            Trigger(
                name := f"{table}_windows",
                table,
                f"CREATE TRIGGER {name} AFTER UPDATE ON {table} REFERENCING NEW TABLE AS changed "
                f"FOR EACH STATEMENT EXECUTE FUNCTION {function}()",
            )
            for table, function in _SUMMED_ANEW.items()
        ]
    recent = "(ends_at IS NULL OR ends_at > datetime('now', '-3 days'))"
    owned = {
        Budget._meta.db_table: "budget_id = NEW.id",
        Customer._meta.db_table: f"budget_id IN (SELECT id FROM {Budget._meta.db_table} WHERE customer_id = NEW.id)",  # noqa: S608
    }
    return [
        Trigger(
            name := f"{table}_windows",
            table,
            f'CREATE TRIGGER "{name}" AFTER UPDATE ON "{table}" BEGIN '  # noqa: S608
            f"UPDATE {_WINDOWS} SET summed_at = NULL WHERE {condition} AND {recent}; END",
        )
        for table, condition in owned.items()
    ]


def _sqlite_guards(model: type[models.Model]) -> list[Trigger]:
    table = model._meta.db_table
    # INSERT OR REPLACE deletes the row in its way without firing a DELETE trigger, so the insert itself is
    # checked, on every unique column. (A key that the database still has to choose reads -1 here: no row.)
    unique = [field.column for field in model._meta.concrete_fields if field.unique]
    met = " OR ".join(f'NEW."{column}" IN (SELECT "{column}" FROM "{table}")' for column in unique)  # noqa: S608
    body = f"BEGIN SELECT RAISE(ABORT, '{table} is append-only: write a new entry instead'); END"
    rules = {"update": "", "delete": "", "insert": f"WHEN {met} "}
    return [
        Trigger(
            name := f"{table}_no_{event}",
            table,
            f'CREATE TRIGGER "{name}" BEFORE {event.upper()} ON "{table}" {condition}{body}',
        )
        for event, condition in rules.items()
    ]


def _postgres(name: str, table: str, event: str, level: str, function: str) -> Trigger:
    sql = f"CREATE TRIGGER {name} {event} ON {table} FOR EACH {level} EXECUTE FUNCTION {function}()"
    return Trigger(name, table, sql)


def _drop(connection: BaseDatabaseWrapper, trigger: Trigger) -> str:
    on_table = f' ON "{trigger.table}"' if connection.vendor == "postgresql" else ""
    return f'DROP TRIGGER IF EXISTS "{trigger.name}"{on_table}'


_FUNCTIONS = {
    "comptroller_refuse": """
    BEGIN
        RAISE EXCEPTION '% is append-only: write a new entry instead', TG_TABLE_NAME
            USING ERRCODE = 'integrity_constraint_violation';
    END """,
    "comptroller_raise_version": f"""
    BEGIN
        PERFORM pg_advisory_xact_lock({PIN});
        {_raise_version("wide")};
        RETURN NULL;
    END """,
    **{
        _noting(column, event): _postgres_note(column, event)
        for column in dict.fromkeys(OF_A_KEY.values())
        for event in ("INSERT", "UPDATE")
    },
    "comptroller_sum_budget_anew": f"""
    BEGIN
        UPDATE {_WINDOWS} SET summed_at = NULL
        WHERE budget_id IN (SELECT id FROM changed) AND (ends_at IS NULL OR ends_at > now() - interval '3 days');
        RETURN NULL;
    END """,  # noqa: S608
    "comptroller_sum_customer_anew": f"""
    BEGIN
        UPDATE {_WINDOWS} SET summed_at = NULL
        WHERE budget_id IN (SELECT b.id FROM {Budget._meta.db_table} b JOIN changed c ON b.customer_id = c.id)
            AND (ends_at IS NULL OR ends_at > now() - interval '3 days');
        RETURN NULL;
    END """,  # noqa: S608
}
