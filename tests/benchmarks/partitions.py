"""How the log and the ledger answer on PostgreSQL with rows of half a year.

`python -m tests.benchmarks.partitions --rows 600000`, with DATABASE_URL naming a migrated, empty database. Run
it before and after a change of the tables, and compare. Times are the median of 30 calls, in milliseconds.
"""

from __future__ import annotations

import argparse
import os
import statistics
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import django

NOW = datetime(2026, 11, 22, 12, tzinfo=UTC)
DAYS = 183
CALLS = 30
BATCH = 200

_ULID = """
    CREATE OR REPLACE FUNCTION pg_temp.ulid(moment timestamptz, n bigint) RETURNS text LANGUAGE sql IMMUTABLE AS $$
        SELECT string_agg(substr('0123456789ABCDEFGHJKMNPQRSTVWXYZ',
            ((floor(extract(epoch FROM moment) * 1000)::bigint >> (45 - 5 * i)) & 31)::int + 1, 1), '' ORDER BY i)
            || upper(substr(md5(n::text), 1, 16))
        FROM generate_series(0, 9) i
    $$"""
_MOMENTS = """
    CREATE TEMP TABLE moments AS
    SELECT n, pg_temp.ulid(moment, n) AS id, moment, 1 + n %% 20 AS customer, 1 + n %% 200 AS team, 1 + n %% 2000 AS key
    FROM (SELECT n, %s::timestamptz - n * (interval '1 day' * %s / %s) AS moment FROM generate_series(1, %s) n) AS m"""
_LEDGER = """
    INSERT INTO governance_ledgerentry (id, kind, request_id, occurred_at, customer_id, team_id, project_id,
        developer_id, virtual_key_id, provider_access_id, model, amount_nano_usd, tokens, price_id)
    SELECT id, 'charge', id, moment, customer, team, NULL, key, key, NULL, 'claude-opus-5', 1000000 + n, 5000, 1
    FROM moments ORDER BY moment"""


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.partitions", description=__doc__)
    parser.add_argument("--rows", type=int, default=600_000, help="Rows to make where the tables are empty.")
    rows = parser.parse_args().rows
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "gateway.settings")
    django.setup()

    from django.db import connection, transaction
    from django.db.models import Sum

    from governance import ledger
    from governance.models import LedgerEntry
    from observability import rows as log_rows
    from observability.filters import LogFilter
    from observability.models import Request
    from observability.selectors.log import LogQuery, page
    from tests.observability.records import a_posting, a_record

    if not Request.objects.exists():
        _fill(rows)
    some = list(Request.objects.order_by("id").values_list("id", "started_at")[:: max(1, rows // 40)][:CALLS])
    month = datetime(2026, 9, 1, tzinfo=UTC), datetime(2026, 10, 1, tzinfo=UTC)
    calls = iter(some * 50)

    def newest(**values: object) -> Callable[[], object]:
        query = LogQuery(LogFilter(), "90d", "", NOW - timedelta(days=90), NOW, **values)  # type: ignore[arg-type]
        return lambda: page(Request.objects.all(), query)

    def total(**who: int) -> Callable[[], object]:
        entries = LedgerEntry.objects.filter(occurred_at__gte=month[0], occurred_at__lt=month[1], **who)
        return lambda: entries.aggregate(total=Sum("amount_nano_usd"))

    print(f"{Request.objects.count():,} rows in the log, {LedgerEntry.objects.count():,} in the ledger")
    _time("log, first page", newest())
    _time("log, a page 45 days back", newest(before=(NOW - timedelta(days=45), "0" * 26)))
    _time("request by id alone", lambda: Request.objects.filter(pk=next(calls)[0]).first())
    if hasattr(Request.objects.all(), "find"):
        _time("request by id, `find`", lambda: Request.objects.all().find(next(calls)[0]))
    _time("ledger, by request id", lambda: list(LedgerEntry.objects.filter(request_id=next(calls)[0])))
    _time("ledger, one month of a customer", total(customer_id=7))
    _time("ledger, one month of a key", total(virtual_key_id=77))
    _time("ledger, one month of everybody", total())

    def batch(insert: Callable[[list[object]], object], make: Callable[[], object]) -> Callable[[], None]:
        made = iter([[make() for _ in range(BATCH)] for _ in range(CALLS + 3)])

        def write() -> None:
            with transaction.atomic():
                insert(next(made))

        return write

    now = datetime.now(UTC)
    _time(f"log, insert {BATCH} rows", batch(log_rows.insert, lambda: a_record(started_at=now)))  # type: ignore[arg-type]
    post = batch(ledger._insert, lambda: a_posting(a_record(started_at=now)))  # type: ignore[arg-type]
    _time(f"ledger, insert {BATCH} rows", post)
    for table in ("observability_request", "governance_ledgerentry"):
        with connection.cursor() as cursor:
            cursor.execute(
                "SELECT pg_size_pretty(sum(pg_total_relation_size(relid))) FROM pg_partition_tree(%s) WHERE isleaf "
                "UNION ALL SELECT pg_size_pretty(pg_total_relation_size(%s)) LIMIT 2",
                [table, table],
            )
            print(f"{table}: {next(size for (size,) in cursor.fetchall() if size)}")


def _time(name: str, call: Callable[[], object]) -> None:
    for _ in range(3):
        call()
    times = []
    for _ in range(CALLS):
        started = time.perf_counter()
        call()
        times.append((time.perf_counter() - started) * 1000)
    print(f"{name:36} {statistics.median(times):8.2f} ms   worst {max(times):8.2f}", flush=True)


def _fill(rows: int) -> None:
    from django.db import connection

    from observability.models import Request

    known = {"id": "id", "started_at": "moment", "finished_at": "moment", "status": "'success'", "customer_id":
             "customer", "customer": "'Customer ' || customer", "team_id": "team", "team": "'Team ' || team",
             "virtual_key_id": "key", "virtual_key": "'Key ' || key", "session_id": "md5((n / 20)::text)", "model":
             "'claude-opus-5'", "client": "'claude-code/2.1.330'", "cost_nano_usd": "1000000 + n"}  # fmt: skip
    columns, values = [], []
    for field in Request._meta.concrete_fields:
        kind = field.get_internal_type()
        empty = {"JSONField": "'{}'", "BooleanField": "false", "CharField": "''", "TextField": "''"}.get(kind, "0")
        columns.append(field.column)
        values.append(known.get(field.column, "NULL" if field.null else empty))
    with connection.cursor() as cursor:
        cursor.execute(_ULID)
        cursor.execute(_MOMENTS, [NOW.isoformat(), DAYS, rows, rows])
        cursor.execute(_LEDGER)
        cursor.execute(
            f"INSERT INTO observability_request ({', '.join(columns)}) "
            f"SELECT {', '.join(values)} FROM moments ORDER BY moment"
        )
        cursor.execute("VACUUM ANALYZE observability_request, governance_ledgerentry")


if __name__ == "__main__":
    main()
