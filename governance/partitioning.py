"""Turn a table of PostgreSQL into one that is partitioned by month, and back: for migrations.

Every row is copied inside the migration's transaction, counted, and only then is the old table dropped: it takes room
for both, and nobody reads or writes the table meanwhile (gateways keep what they cannot write, and write it after).
Measured with 600,000 rows on two cores: the ledger 13 s, the log 24 s.
"""

from __future__ import annotations

from datetime import UTC, datetime

from django.db import DatabaseError
from django.db.backends.base.schema import BaseDatabaseSchemaEditor
from django.db.backends.utils import CursorWrapper
from django.db.models import Model

from governance import partitions
from governance.partitions import Partitioned


def partition(table: Partitioned, editor: BaseDatabaseSchemaEditor) -> None:
    """Partition the table by month. The primary key becomes (id, time stamp); nothing on another database."""
    if editor.connection.vendor != "postgresql":
        return
    with editor.connection.cursor() as cursor:
        months = _set_aside(table, cursor, f"PARTITION BY RANGE ({table.column})")
        for month in months:
            _add(cursor, table.name, month)
        _add(cursor, table.name, None)
        _fill(table, cursor, f"PRIMARY KEY (id, {table.column})")


def unpartition(table: Partitioned, editor: BaseDatabaseSchemaEditor, model: type[Model]) -> None:
    """One plain table again, with every row of every partition; an id that lies in two months is refused."""
    if editor.connection.vendor != "postgresql":
        return
    with editor.connection.cursor() as cursor:
        _set_aside(table, cursor, "")
        _fill(table, cursor, "PRIMARY KEY (id)")
    editor.execute(editor._create_like_index_sql(model, model._meta.get_field("id")))  # type: ignore[attr-defined]


def _set_aside(table: Partitioned, cursor: CursorWrapper, kind: str) -> list[datetime]:
    """Rename the table and make an empty one of its name; gives the months that the new one must have."""
    name, old = table.name, f"{table.name}_before"
    cursor.execute(f"LOCK TABLE {name} IN ACCESS EXCLUSIVE MODE")
    cursor.execute(f"SELECT DISTINCT date_trunc('month', {table.column}, 'UTC') FROM {name}")  # noqa: S608
    months = {month.astimezone(UTC) for (month,) in cursor.fetchall()}
    month = partitions.month_of(datetime.now(UTC))
    for _ in range(partitions.MONTHS_AHEAD + 1):
        months.add(month)
        month = partitions.next_month(month)
    cursor.execute(f"ALTER TABLE {name} RENAME TO {old}")
    cursor.execute(f"CREATE TABLE {name} (LIKE {old} INCLUDING ALL EXCLUDING INDEXES) {kind}")
    return sorted(months)


def _add(cursor: CursorWrapper, table: str, month: datetime | None) -> None:
    partitions.create(cursor, table, part := partitions.name_of(table, month))
    partitions.attach(cursor, table, part, month)


def _fill(table: Partitioned, cursor: CursorWrapper, primary_key: str) -> None:
    """Copy the rows, drop the old table, and make again under the same names what hung on it."""
    name, old = table.name, f"{table.name}_before"
    cursor.execute(f"INSERT INTO {name} SELECT * FROM {old}")  # noqa: S608
    copied = cursor.rowcount
    cursor.execute(f"SELECT count(*) FROM {old}")  # noqa: S608
    if copied != (there := cursor.fetchone()[0]):
        raise DatabaseError(f"{there} rows in {name}, but {copied} were copied: nothing was changed.")
    again = [*_indexes(cursor, name, old), *_triggers(cursor, name, old), *_grants(cursor, name, old)]
    cursor.execute("SELECT conname FROM pg_constraint WHERE conrelid = %s::regclass AND contype = 'p'", [old])
    [(constraint,)] = cursor.fetchall()
    cursor.execute(f"DROP TABLE {old}")
    cursor.execute(f"ALTER TABLE {name} ADD CONSTRAINT {constraint} {primary_key}")
    for statement in again:
        cursor.execute(statement)
    cursor.execute(f"ANALYZE {name}")


def _indexes(cursor: CursorWrapper, name: str, old: str) -> list[str]:
    """Django's index for LIKE on the id is not made again: no query uses it, and the unique one costs as much."""
    cursor.execute(
        "SELECT pg_get_indexdef(indexrelid) FROM pg_index JOIN pg_class ON pg_class.oid = indexrelid "
        "WHERE indrelid = %s::regclass AND NOT indisprimary AND relname !~ '_like$'",
        [old],
    )
    # "… ON ONLY schema.table USING …": what is read of a partitioned index is its own part, without its partitions'.
    return [statement.replace(" ON ONLY ", " ON ", 1).replace(f".{old} ", f".{name} ", 1) for (statement,) in cursor]


def _triggers(cursor: CursorWrapper, name: str, old: str) -> list[str]:
    """The guards of history. Partitions got theirs against TRUNCATE when they were made, if the table had one then."""
    cursor.execute(
        "SELECT pg_get_triggerdef(oid, true) FROM pg_trigger WHERE tgrelid = %s::regclass AND NOT tgisinternal", [old]
    )
    own = [statement for (statement,) in cursor]
    tables = {name: own}
    for part in partitions.listed(name):
        tables[part.name] = [statement for statement in own if " FOR EACH STATEMENT " in statement]
    return [
        statement.replace(f" ON {old} ", f" ON {table} ", 1)
        for table, statements in tables.items()
        for statement in statements
    ]


def _grants(cursor: CursorWrapper, name: str, old: str) -> list[str]:
    """What others may do with the table, a reporting login for example."""
    cursor.execute(
        "SELECT format('GRANT %%s ON %%I TO %%s', privilege_type, %s::text, "
        "CASE grantee WHEN 0 THEN 'PUBLIC' ELSE quote_ident(pg_get_userbyid(grantee)) END) "
        "FROM pg_class, aclexplode(relacl) WHERE pg_class.oid = %s::regclass AND grantee <> relowner",
        [name, old],
    )
    return [statement for (statement,) in cursor]
