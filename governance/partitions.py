"""Month partitions of the tables that grow with traffic, on PostgreSQL: made ahead, listed, dropped whole.

A table is partitioned by a time stamp, one partition for each month (UTC), and one for what no month was made for
(DEFAULT): a row is never refused for its date. SQLite has no partitions: there everything here does nothing.

- The primary key is (id, time stamp), for PostgreSQL can make nothing unique that lacks the time stamp. An id is also
  unique in each partition. Across months nothing in the database forbids the same id twice: it cannot happen as long as
  an id comes with one moment only, and both are set together when a request begins (`Exchange.open`), go through the
  spool together and are never changed.
- Traffic waits for none of this longer than `LOCK_TIMEOUT_MS` at a time: a lock that is not free by then is given up,
  and asked for again a little later.
- DETACH CONCURRENTLY is no help: PostgreSQL refuses it for a table with a DEFAULT partition.
"""

from __future__ import annotations

import logging
import random
import re
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TypeVar

from django.db import DatabaseError, IntegrityError, OperationalError, connection, transaction
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.backends.utils import CursorWrapper

logger = logging.getLogger(__name__)
LOCK_TIMEOUT_MS = 250
TRIES = 20
MONTHS_AHEAD = 3
Result = TypeVar("Result")

_TRY_AGAIN = {"55P03", "40P01", "40001", "23514"}
"""Lock not free, deadlock, serialization, and: a row of the new month came into DEFAULT at the same moment."""
_BOUNDS = re.compile(r"FROM \('([^']+)'\) TO \('([^']+)'\)")
_LEAVES = (
    "SELECT child.relname, pg_get_expr(child.relpartbound, child.oid) FROM pg_inherits "
    "JOIN pg_class child ON child.oid = inhrelid JOIN pg_class parent ON parent.oid = inhparent "
    "WHERE parent.relname = %s AND parent.relkind = 'p' AND parent.relnamespace = current_schema()::regnamespace"
)


@dataclass(frozen=True, slots=True)
class Partitioned:
    """A table, and the column whose month decides where a row lies."""

    name: str
    column: str
    history: bool = False
    """Append-only: no partition is ever dropped by this program."""


LEDGER = Partitioned("governance_ledgerentry", "occurred_at", history=True)


@dataclass(frozen=True, slots=True)
class Partition:
    """From `starts_at` to before `ends_at`; DEFAULT has neither."""

    name: str
    starts_at: datetime | None = None
    ends_at: datetime | None = None

    def covers(self, moment: datetime) -> bool:
        return self.starts_at is not None and self.ends_at is not None and self.starts_at <= moment < self.ends_at


@dataclass(frozen=True, slots=True)
class Dropped:
    name: str
    rows: int


def listed(table: str, using: BaseDatabaseWrapper | None = None) -> list[Partition]:
    """The table's partitions, oldest first and DEFAULT last; none where the table is not partitioned."""
    chosen = using or connection
    if chosen.vendor != "postgresql":
        return []
    with chosen.cursor() as cursor:
        cursor.execute(_LEAVES, [table])
        found = [_partition(name, bounds) for name, bounds in cursor.fetchall()]
    return sorted(found, key=lambda part: (part.starts_at is None, part.starts_at, part.name))


def ensure(table: Partitioned, *, now: datetime, months_ahead: int = MONTHS_AHEAD) -> list[str]:
    """Make the partitions of this month and the coming ones, and of every month that has rows in DEFAULT.

    Gives the names of those that were made. Raises OperationalError where traffic left no moment for it, or another
    program holds a lock: nothing is lost by that, rows go to DEFAULT until the next call moves them.
    """
    present = listed(table.name)
    if not present:
        return []
    months = {month_of(now)}
    for _ in range(months_ahead):
        months.add(next_month(max(months)))
    with connection.cursor() as cursor:
        for part in present:
            if part.starts_at is None:
                cursor.execute(f"SELECT DISTINCT date_trunc('month', {table.column}, 'UTC') FROM {part.name}")  # noqa: S608
                months |= {month.astimezone(UTC) for (month,) in cursor.fetchall()}
    missing = sorted(month for month in months if not any(part.covers(month) for part in present))
    return [name for month in missing if (name := _patiently(lambda month=month: _make(table, month)))]  # type: ignore[misc]


def drop_older_than(table: Partitioned, limit: Callable[[], datetime]) -> list[Dropped]:
    """Drop the months that ended before `limit()`, which is asked again once nobody can write any more.

    Whoever must part with old months of the ledger detaches them by hand, as the database's owner.
    """
    if table.history:
        raise ValueError(f"{table.name} is history: none of it is dropped.")
    before = limit()
    old = [part for part in listed(table.name) if part.ends_at is not None and part.ends_at <= before]
    dropped = []
    for part in old:
        with connection.cursor() as cursor:
            cursor.execute(f"SELECT count(*) FROM {part.name}")  # noqa: S608
            rows = cursor.fetchone()[0]
        if _patiently(lambda part=part: _drop(table, part, limit)):  # type: ignore[misc]
            logger.info("Dropped %s with %s rows: older than the retention.", part.name, f"{rows:,}")
            dropped.append(Dropped(part.name, rows))
    return dropped


def month_of(moment: datetime) -> datetime:
    """Start of the moment's month, UTC."""
    return moment.astimezone(UTC).replace(day=1, hour=0, minute=0, second=0, microsecond=0)


def next_month(month: datetime) -> datetime:
    return month.replace(year=month.year + month.month // 12, month=month.month % 12 + 1)


def name_of(table: str, month: datetime | None) -> str:
    """The partition's name; of DEFAULT where there is no month."""
    return f"{table}_{month:%Y_%m}" if month else f"{table}_default"


def create(cursor: CursorWrapper, table: str, name: str) -> None:
    """Make an empty table that can become a partition: the columns, an id only once, and the guard against TRUNCATE.

    What works on rows (indexes, row triggers) comes with attaching; a trigger against TRUNCATE does not.
    """
    cursor.execute(f"CREATE TABLE {name} (LIKE {table} INCLUDING ALL EXCLUDING INDEXES)")
    cursor.execute(f"CREATE UNIQUE INDEX {name}_once ON {name} (id)")
    cursor.execute(
        "SELECT pg_get_triggerdef(oid, true) FROM pg_trigger "
        "WHERE tgrelid = %s::regclass AND NOT tgisinternal AND (tgtype & 1) = 0 AND (tgtype & 32) = 32",
        [table],
    )
    for (definition,) in cursor.fetchall():
        cursor.execute(definition.replace(f" ON {table} ", f" ON {name} ", 1))


def attach(cursor: CursorWrapper, table: str, name: str, month: datetime | None) -> None:
    bounds = f"FOR VALUES FROM ('{month}') TO ('{next_month(month)}')" if month else "DEFAULT"
    cursor.execute(f"ALTER TABLE {table} ATTACH PARTITION {name} {bounds}")


def _make(table: Partitioned, month: datetime) -> str:
    name, rest = name_of(table.name, month), name_of(table.name, None)
    inside = f"{table.column} >= '{month}' AND {table.column} < '{next_month(month)}'"
    with _brief_locks(table) as cursor:
        if any(part.covers(month) for part in listed(table.name)):
            return ""  # another process was first
        cursor.execute(f"SELECT EXISTS (SELECT FROM {rest} WHERE {inside})")  # noqa: S608
        if not cursor.fetchone()[0]:
            create(cursor, table.name, name)
            attach(cursor, table.name, name, month)
            return name
        # Rows move without a DELETE, which the ledger refuses: into two new tables that take the old DEFAULT's place.
        # Whoever writes waits for as long as the copy takes, whoever reads only for the switch.
        cursor.execute(f"LOCK TABLE ONLY {table.name}, {rest} IN SHARE ROW EXCLUSIVE MODE")
        create(cursor, table.name, name)
        create(cursor, table.name, fresh := f"{rest}_new")
        cursor.execute(f"INSERT INTO {name} SELECT * FROM {rest} WHERE {inside}")  # noqa: S608
        copied = cursor.rowcount
        cursor.execute(f"INSERT INTO {fresh} SELECT * FROM {rest} WHERE NOT ({inside})")  # noqa: S608
        copied += cursor.rowcount
        cursor.execute(f"SELECT count(*) FROM {rest}")  # noqa: S608
        if copied != (there := cursor.fetchone()[0]):
            raise DatabaseError(f"{there} rows in {rest}, but {copied} were copied: nothing was changed.")
        cursor.execute(f"ALTER TABLE {table.name} DETACH PARTITION {rest}")
        cursor.execute(f"DROP TABLE {rest}")
        cursor.execute(f"ALTER TABLE {fresh} RENAME TO {rest}")
        cursor.execute(f"ALTER INDEX {fresh}_once RENAME TO {rest}_once")
        attach(cursor, table.name, name, month)
        attach(cursor, table.name, rest, None)
    logger.info("Moved rows out of %s: %s was made late.", rest, name)
    return name


def _drop(table: Partitioned, part: Partition, limit: Callable[[], datetime]) -> bool:
    with _brief_locks(table) as cursor:
        cursor.execute(f"LOCK TABLE ONLY {table.name}, {part.name} IN ACCESS EXCLUSIVE MODE")
        # The race: a late row came into the month since `limit` was asked, and has not been summed. No more can now.
        if part.ends_at is None or part.ends_at > limit():
            return False
        cursor.execute(f"DROP TABLE IF EXISTS {part.name}")
    return True


@contextmanager
def _brief_locks(table: Partitioned) -> Iterator[CursorWrapper]:
    """A transaction that waits briefly for each lock; one at a time for each table, over all processes."""
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute("SELECT set_config('lock_timeout', %s, true)", [f"{LOCK_TIMEOUT_MS}ms"])
        cursor.execute("SELECT pg_advisory_xact_lock(hashtext(%s))", [f"partitions of {table.name}"])
        yield cursor
        cursor.execute("SELECT set_config('lock_timeout', '0', true)")  # an outer transaction goes on without it


def _patiently(work: Callable[[], Result]) -> Result:
    for tried in range(TRIES):
        try:
            return work()
        except (OperationalError, IntegrityError) as error:
            if getattr(error.__cause__, "sqlstate", "") not in _TRY_AGAIN or tried == TRIES - 1:
                raise
        time.sleep(random.uniform(0.1, 0.5))  # noqa: S311  (nothing secret: two replicas shall not go in step)
    raise AssertionError("unreachable")


def _partition(name: str, bounds: str) -> Partition:
    found = _BOUNDS.search(bounds)
    if found is None:
        return Partition(name)
    first, last = (datetime.fromisoformat(text).astimezone(UTC) for text in found.groups())
    return Partition(name, first, last)
