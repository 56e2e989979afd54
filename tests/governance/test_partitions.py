"""The ledger and the log in months, on real PostgreSQL: made ahead, guarded, moved out of DEFAULT, made and unmade."""

from __future__ import annotations

import re
import threading
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg
import pytest
from django.core.management import call_command
from django.db import DatabaseError, IntegrityError, OperationalError, connection, transaction
from django.db.migrations.executor import MigrationExecutor
from django.db.models import Sum

from governance import ledger, partitions, triggers
from governance.models import LedgerEntry
from governance.partitions import LEDGER
from observability import rows, tasks
from observability.filters import LogFilter
from observability.models import Request
from observability.months import LOG, TABLES, ensure_months
from observability.selectors.log import LogQuery, page
from observability.selectors.proof import prove
from tests.observability.records import a_posting, a_record

NOW = datetime.now(UTC)
LONG_AGO = datetime(2021, 3, 31, 23, 59, 59, 999_999, tzinfo=UTC)
BEFORE = [("governance", "0006_reconciliation"), ("observability", "0001_initial")]


@pytest.fixture(autouse=True)
def _only_postgres(request: pytest.FixtureRequest) -> None:
    if connection.vendor != "postgresql":
        pytest.skip("SQLite has no partitions")


@pytest.fixture
def _months_as_before(transactional_db: None) -> Iterator[None]:
    """For tests whose partitions are committed: those that they made are gone after them."""
    before = {part.name for table in TABLES for part in partitions.listed(table.name)}
    yield
    for table in TABLES:
        for part in partitions.listed(table.name):
            if part.name not in before:
                _sql(f"DROP TABLE {part.name}")


def _sql(statement: str, *values: Any) -> list[Any]:
    with connection.cursor() as cursor:
        cursor.execute(statement, values or None)
        return cursor.fetchall() if cursor.description else []


def _where(entry: str) -> str:
    """The partition in which a ledger entry lies."""
    [(name,)] = _sql("SELECT tableoid::regclass::text FROM governance_ledgerentry WHERE id = %s", entry)
    return str(name)


def _charge(moment: datetime, **values: Any) -> str:
    posting = a_posting(a_record(started_at=moment, finished_at=moment, **values))
    with transaction.atomic():
        ledger._insert([posting])
    return posting.id


@pytest.mark.django_db
@pytest.mark.parametrize("table", TABLES, ids=lambda table: table.name)
def test_this_month_and_the_coming_ones_are_there_and_the_next_are_made(table: partitions.Partitioned) -> None:
    month = partitions.month_of(NOW)
    present = partitions.listed(table.name)
    for _ in range(partitions.MONTHS_AHEAD + 1):
        [part] = [part for part in present if part.starts_at == month]
        assert part.ends_at == partitions.next_month(month)
        month = partitions.next_month(month)
    assert (present[-1].name, present[-1].starts_at) == (f"{table.name}_default", None)
    assert partitions.ensure(table, now=NOW) == []
    assert partitions.ensure(table, now=NOW + timedelta(days=31)) == [f"{table.name}_{month:%Y_%m}"]


@pytest.mark.django_db
def test_months_across_a_year() -> None:
    december = partitions.month_of(datetime(2026, 12, 31, 23, 59, tzinfo=UTC))
    assert december == datetime(2026, 12, 1, tzinfo=UTC)
    assert partitions.next_month(december) == datetime(2027, 1, 1, tzinfo=UTC)


@pytest.mark.django_db
def test_a_row_of_an_unforeseen_month_is_kept_and_moves_when_its_month_is_made() -> None:
    last = _charge(LONG_AGO)
    first = _charge(LONG_AGO + timedelta(microseconds=1))
    rows.insert([record := a_record(started_at=LONG_AGO)])
    assert _where(last) == _where(first) == "governance_ledgerentry_default"
    before = LedgerEntry.objects.values().get(pk=last)

    assert tasks.make_partitions() == 3
    assert _where(last) == "governance_ledgerentry_2021_03"
    assert _where(first) == "governance_ledgerentry_2021_04"
    assert LedgerEntry.objects.values().get(pk=last) == before
    assert Request.objects.get(pk=record.id).started_at == LONG_AGO
    assert _sql("SELECT count(*) FROM governance_ledgerentry_default") == [(0,)]
    assert triggers.missing_triggers() == []
    _charge(LONG_AGO.replace(year=2011))  # the DEFAULT that took the old one's place works and is guarded
    with pytest.raises(IntegrityError, match="append-only"), transaction.atomic():
        _sql("DELETE FROM governance_ledgerentry_default")
    assert ensure_months(now=NOW) == ["governance_ledgerentry_2011_03"]


@pytest.mark.django_db
@pytest.mark.parametrize("made_late", [False, True])
def test_history_is_guarded_on_a_partition_by_its_own_name(made_late: bool) -> None:
    entry = _charge(LONG_AGO if made_late else NOW)
    ensure_months(now=NOW)
    part = _where(entry)
    assert part == ("governance_ledgerentry_2021_03" if made_late else f"governance_ledgerentry_{NOW:%Y_%m}")
    for statement in (
        f"UPDATE {part} SET amount_nano_usd = 0",
        f"DELETE FROM {part}",
        f"TRUNCATE {part}",
        "TRUNCATE governance_ledgerentry",
        "UPDATE governance_ledgerentry SET occurred_at = occurred_at + interval '1 year'",
    ):
        with pytest.raises(IntegrityError, match="append-only"), transaction.atomic():
            _sql(statement)
    assert LedgerEntry.objects.get().pk == entry


@pytest.mark.django_db
@pytest.mark.parametrize(
    "harm",
    [
        "DROP TRIGGER governance_ledgerentry_no_truncate ON {part}",
        "ALTER TABLE {part} DISABLE TRIGGER governance_ledgerentry_no_truncate",
        "ALTER TABLE {part} DISABLE TRIGGER governance_ledgerentry_no_edit",
    ],
)
def test_a_guard_that_is_gone_from_one_partition_is_named_and_made_again(harm: str) -> None:
    part = f"governance_ledgerentry_{NOW:%Y_%m}"
    guard = "governance_ledgerentry_no_edit" if harm.endswith("no_edit") else "governance_ledgerentry_no_truncate"
    _sql(harm.format(part=part))
    assert triggers.missing_triggers() == [f"{guard} on {part}"]
    triggers.install()
    assert triggers.missing_triggers() == []
    _charge(NOW)
    for statement in (f"DELETE FROM {part}", f"TRUNCATE {part}"):
        with pytest.raises(IntegrityError, match="append-only"), transaction.atomic():
            _sql(statement)


@pytest.mark.django_db
def test_a_replay_is_harmless_and_an_id_comes_once_in_a_month() -> None:
    record = a_record(started_at=NOW, finished_at=NOW)
    for _ in range(2):
        rows.insert([record])
        ledger.post([a_posting(record)])
    assert (Request.objects.count(), LedgerEntry.objects.count()) == (1, 1)
    # The same id with another moment of the same month, which nothing makes: neither twice nor an error.
    inside = partitions.month_of(NOW) + (timedelta(hours=1) if NOW.day > 1 else timedelta(days=2))
    moved = a_record(id=record.id, started_at=inside, finished_at=inside)
    rows.insert([moved])
    ledger.post([a_posting(moved)])
    assert Request.objects.get().started_at == LedgerEntry.objects.get().occurred_at == NOW


@pytest.mark.django_db
def test_history_is_never_dropped() -> None:
    with pytest.raises(ValueError, match="history"):
        partitions.drop_older_than(LEDGER, lambda: NOW + timedelta(days=9999))


@pytest.mark.django_db(transaction=True)
@pytest.mark.usefixtures("_months_as_before")
def test_who_holds_the_table_makes_it_wait_briefly_and_a_freed_one_is_done(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(partitions, "LOCK_TIMEOUT_MS", 50)
    later = NOW + timedelta(days=31)
    with _other_login() as other:
        other.execute(
            "INSERT INTO governance_ledgerentry (id, kind, request_id, occurred_at, customer_id, team_id, "
            "virtual_key_id, model, amount_nano_usd, tokens) VALUES ('A', 'charge', 'A', %s, 1, 1, 1, '', 0, 0)",
            [NOW],
        )
        other.execute("SELECT count(*) FROM governance_ledgerentry WHERE occurred_at BETWEEN %s AND %s", [NOW, NOW])
        assert len(partitions.ensure(LEDGER, now=later)) == 1, "a batch that is being written is in nobody's way"
        other.rollback()
    with _other_login() as other:
        other.execute("LOCK TABLE governance_ledgerentry IN ACCESS EXCLUSIVE MODE")
        monkeypatch.setattr(partitions, "TRIES", 2)
        with pytest.raises(OperationalError, match="lock timeout"):
            partitions._patiently(lambda: partitions._make(LEDGER, partitions.month_of(LONG_AGO)))
        monkeypatch.setattr(partitions, "TRIES", 100)
        timer = threading.Timer(0.3, other.rollback)
        timer.start()
        assert partitions._patiently(lambda: partitions._make(LEDGER, partitions.month_of(LONG_AGO)))
        timer.join()


def _other_login() -> psycopg.Connection[Any]:
    known = connection.get_connection_params()
    wanted = {name: known[name] for name in ("dbname", "user", "password", "host", "port") if known.get(name)}
    return psycopg.connect(**wanted)


@pytest.mark.django_db(transaction=True)
@pytest.mark.usefixtures("_months_as_before")
def test_a_row_that_comes_while_old_months_are_dropped_keeps_its_month() -> None:
    rows.insert([a_record(started_at=LONG_AGO), a_record(started_at=LONG_AGO + timedelta(days=1))])
    partitions.ensure(LOG, now=NOW)
    answers = iter([NOW, NOW, LONG_AGO])  # first asked, under the lock of March, then under that of April
    dropped = partitions.drop_older_than(LOG, lambda: next(answers))
    assert dropped == [partitions.Dropped("observability_request_2021_03", 1)]
    assert Request.objects.get().started_at == LONG_AGO + timedelta(days=1)


@pytest.mark.django_db(transaction=True)
@pytest.mark.usefixtures("_months_as_before")
def test_a_filled_database_keeps_every_row_there_and_back() -> None:
    moments = [LONG_AGO + timedelta(days=17 * step) for step in range(40)] + [NOW]
    records = [a_record(started_at=moment, finished_at=moment, tags={"n": [1, "ü"]}) for moment in moments]
    rows.insert(records)
    with transaction.atomic():
        ledger._insert([a_posting(record) for record in records])
    _sql("GRANT SELECT ON governance_ledgerentry TO PUBLIC")
    partitioned = _shape()
    kept = _content()

    latest = MigrationExecutor(connection).loader.graph.leaf_nodes()
    MigrationExecutor(connection).migrate(BEFORE)
    try:
        plain = _shape()
        assert partitions.listed(LEDGER.name) == partitions.listed(LOG.name) == []
        assert ensure_months(now=NOW) == []
        assert _content() == kept
        with pytest.raises(IntegrityError, match="append-only"), transaction.atomic():
            _sql("DELETE FROM governance_ledgerentry")
    finally:
        MigrationExecutor(connection).migrate(latest)
    assert _content() == kept
    assert _shape() == partitioned
    assert plain - partitioned == {
        ("index", next(name for kind, name in plain if kind == "index" and "ledgerentry_id" in name)),
        ("index", next(name for kind, name in plain if kind == "index" and "request_id_" in name)),
    }, "only the two indexes for LIKE on an id are not made again"
    assert _where(records[0].id) == "governance_ledgerentry_2021_03"
    assert _where(records[1].id) == "governance_ledgerentry_2021_04"
    later = ("no_truncate on", "governance_routing")
    assert [name for name in triggers.missing_triggers() if not any(part in name for part in later)] == [], (
        "until `migrate` ends, only the guards of new partitions and of tables that came later may be missing"
    )
    call_command("migrate", verbosity=0)
    assert triggers.missing_triggers() == []
    for table in TABLES:
        [(stray,)] = _sql("SELECT count(*) FROM pg_class WHERE relname = %s", f"{table.name}_before")
        assert stray == 0
    _sql("REVOKE SELECT ON governance_ledgerentry FROM PUBLIC")


def _shape() -> set[tuple[str, str]]:
    """Indexes, constraints, triggers and grants of both tables, by name."""
    found: set[tuple[str, str]] = set()
    for table in TABLES:
        for kind, statement in (
            ("index", "SELECT relname FROM pg_index JOIN pg_class c ON c.oid = indexrelid WHERE indrelid = {}"),
            ("constraint", "SELECT conname FROM pg_constraint WHERE conrelid = {}"),
            ("trigger", "SELECT tgname FROM pg_trigger WHERE tgrelid = {} AND NOT tgisinternal"),
            ("grant", "SELECT unnest(relacl)::text FROM pg_class WHERE oid = {}"),
        ):
            found |= {(kind, name) for (name,) in _sql(statement.format("%s::regclass"), table.name)}
    return found


def _content() -> list[Any]:
    """Every row by id; without the column that a later migration added, and takes away on the way back."""
    row = "md5((to_jsonb(t) - 'routing')::text)"
    return [_sql(f"SELECT id, {row} FROM {table.name} t ORDER BY id") for table in TABLES]


@pytest.mark.django_db(transaction=True)
@pytest.mark.usefixtures("_months_as_before")
def test_a_copy_that_is_not_whole_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """A rule of the database that swallows rows stands for whatever could."""
    _charge(LONG_AGO)
    create = partitions.create

    def lossy(cursor: Any, table: str, name: str) -> None:
        create(cursor, table, name)
        cursor.execute(f"CREATE RULE swallow AS ON INSERT TO {name} DO INSTEAD NOTHING")

    monkeypatch.setattr(partitions, "create", lossy)
    with pytest.raises(DatabaseError, match="nothing was changed"):
        partitions.ensure(LEDGER, now=NOW)
    assert LedgerEntry.objects.count() == 1
    assert triggers.missing_triggers() == []


@pytest.mark.django_db
def test_what_pages_ask_for_spares_the_other_months() -> None:
    month = partitions.month_of(NOW)
    now = month + timedelta(hours=30)  # near no edge of the month
    made_at = f"{_ulid_time(now)}{'0' * 16}"
    record = a_record(id=made_at, started_at=now, finished_at=now)
    rows.insert([record])
    ledger.post([a_posting(record)])
    sums = LedgerEntry.objects.filter(
        customer_id=1, occurred_at__gte=month, occurred_at__lt=partitions.next_month(month)
    ).order_by()
    query = LogQuery(LogFilter(), "90d", "", month, now, before=(now + timedelta(hours=1), "0" * 26))
    for call, table in (
        (lambda: sums.aggregate(total=Sum("amount_nano_usd"))["total"], LEDGER),
        (lambda: Request.objects.all().find(made_at), LOG),
        (lambda: prove(Request.objects.all().find(made_at)).ledger, LEDGER),
        (lambda: page(Request.objects.all(), query).rows, LOG),
    ):
        asked: set[str] = set()
        with connection.execute_wrapper(_noting(asked)):
            assert call()
        assert {name for name in asked if name.startswith(table.name)} == {f"{table.name}_{month:%Y_%m}"}
    asked.clear()
    with connection.execute_wrapper(_noting(asked)):
        assert Request.objects.all().find("01JDXYZ0000000000000000000") is None
    assert len(asked) > partitions.MONTHS_AHEAD, "an id that is not where it should be is looked for everywhere"


def _ulid_time(moment: datetime) -> str:
    milliseconds = int(moment.timestamp() * 1000)
    return "".join("0123456789ABCDEFGHJKMNPQRSTVWXYZ"[milliseconds >> shift & 31] for shift in range(45, -1, -5))


def _noting(asked: set[str]) -> Callable[..., Any]:
    """Notes the partitions that each SELECT reads, as PostgreSQL's own plan names them."""

    def execute(run: Callable[..., Any], sql: str, params: Any, many: bool, context: Any) -> Any:
        if sql.startswith("SELECT"):
            with connection.connection.cursor() as cursor:
                cursor.execute(f"EXPLAIN {sql}", params)
                plan = "\n".join(line for (line,) in cursor.fetchall())
            asked.update(re.findall(r"\bon (\w+_(?:\d{4}_\d\d|default))\b", plan))
        return run(sql, params, many, context)

    return execute
