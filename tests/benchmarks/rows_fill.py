"""Fills a migrated, empty database with an organisation and the log of its last 90 days, by set-based SQL.

Rows come in sessions of 25 requests of one key and one model, as Claude Code makes them; a few keys are busy and most
are quiet. The request log, the ledger and the hourly roll-up agree with each other as after a year of operation: the
indexes that production has are on the tables when this ends, built at once and not row by row.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any

DAYS = 90
SESSION = 25
"""Requests of one session."""
CUSTOMERS, TEAMS, DEVELOPERS, PROJECTS = 5, 40, 500, 30
TEXT = "Rate limit of the provider reached: the provider answered 429 and named no time to wait."

_DIALECT = {
    "postgresql": {
        "rnd": "random()",
        "moment": "to_timestamp(({}) / 1000.0)",
        "hour": "date_trunc('hour', started_at, 'UTC')",
        "ulid": "("
        + " || ".join(
            f"substr('0123456789ABCDEFGHJKMNPQRSTVWXYZ', ((ms >> {45 - 5 * i}) & 31)::int + 1, 1)" for i in range(10)
        )
        + " || upper(substr(md5(n::text), 1, 16)))",
        "uuid": "md5(s::text)::uuid::text",
        "int": "floor({})::bigint",
    },
    "sqlite": {
        "rnd": "((random() & 9007199254740991) / 9007199254740992.0)",
        "moment": "strftime('%Y-%m-%d %H:%M:%f', ({}) / 1000.0, 'unixepoch') || '000'",
        "hour": "strftime('%Y-%m-%d %H:00:00', started_at)",
        "ulid": "bench_ulid(ms, n)",
        "uuid": "bench_uuid(s)",
        "int": "CAST({} AS integer)",
    },
}
_ROW = {
    "id": "id", "started_at": "{moment_ms}", "finished_at": "{moment_end}", "status": "status",
    "http_status": "CASE status WHEN 'success' THEN 200 WHEN 'cancelled' THEN 200 ELSE 429 END",
    "error_type": "CASE status WHEN 'error' THEN 'overloaded_error' WHEN 'refused' THEN 'budget_exceeded' ELSE '' END",
    "error_message": f"CASE status WHEN 'error' THEN '{TEXT}' ELSE '' END",
    "customer": "customer", "customer_id": "customer_id", "team": "team", "team_id": "team_id",
    "project": "project", "project_id": "project_id", "developer": "developer", "developer_id": "developer_id",
    "virtual_key": "virtual_key", "virtual_key_id": "virtual_key_id", "session_id": "session_id",
    "prompt_id": "substr(id, 1, 20)", "request_class": "'main'", "client": "'claude-code/2.1.330'",
    "working_directory": "'/home/dev/src/' || project", "client_ip": "'10.0.0.7'",
    "endpoint": "'/v1/messages'",
    "provider": "CASE status WHEN 'refused' THEN '' ELSE 'anthropic' END",
    "provider_credential": "'main'", "model_requested": "asked",
    "model": "CASE status WHEN 'refused' THEN '' ELSE asked END",
    "attempts": """'[{"provider": "anthropic", "credential": "main", "status": 200, "latency_ms": 812.5, """
    """"provider_request_id": "req_011CVxyzabcdefghijk"}]'""",
    "stream": "{true}", "input_tokens": "{in}", "output_tokens": "{out}", "cache_read_tokens": "{cached}",
    "cost_nano_usd": "CASE status WHEN 'refused' THEN 0 ELSE cost END", "price_id": "1",
    "latency_ms": "800 + r * 9000", "ttft_ms": "300 + r * 900", "gateway_overhead_us": "420", "cache": "'none'",
    "cost_quality": "'exact'", "stop_reason": "'end_turn'", "tool_calls": """'{"Edit": 1, "Bash": 2}'""",
    "provider_request_id": "'req_' || id", "request_bytes": "180000",
    "budget_decision": """'[{"budget": "Team, month", "scope": "team", "settled": 812345678901, "held": 1234567890, """
    """"limit": 5000000000000, "outcome": "room"}]'""",
}  # fmt: skip


def organisation(keys: int) -> None:
    """Five customers with teams, developers, projects and keys, and a budget for each of the larger ones."""
    from django.contrib.auth.models import Group, User

    from governance.catalog import seed_prices
    from governance.models import Budget, Customer, Developer, Membership, Project, Provider, Team

    seed_prices()
    Provider.objects.create(name="anthropic", kind=Provider.Kind.SIMULATED)
    customers = Customer.objects.bulk_create(
        [Customer(name=f"Customer {n}", timezone="Europe/Berlin") for n in range(CUSTOMERS)]
    )
    teams = Team.objects.bulk_create([Team(customer=customers[n % CUSTOMERS], name=f"Team {n}") for n in range(TEAMS)])
    Developer.objects.bulk_create(
        [
            Developer(customer=teams[n % TEAMS].customer, team=teams[n % TEAMS], email=f"developer-{n}@example.test")
            for n in range(DEVELOPERS)
        ]
    )
    Project.objects.bulk_create([Project(customer=customers[n % CUSTOMERS], name=f"p{n}") for n in range(PROJECTS)])
    more_keys(keys)
    limit = {"limit_nano_usd": 10**16, "period": "month", "enforcement": "observe"}
    Budget.objects.bulk_create([Budget(scope="customer", customer=row, **limit) for row in customers])
    Budget.objects.bulk_create([Budget(scope="team", team=row, customer=row.customer, **limit) for row in teams])
    people = Developer.objects.select_related("team__customer")
    Budget.objects.bulk_create(
        [Budget(scope="developer", developer=row, team=row.team, customer=row.customer, **limit) for row in people]
    )
    for name, group, team in (("finance", "Finance", None), ("lead", "Team lead", teams[0])):
        user = User.objects.create_user(name, password="correct horse battery staple", is_staff=True)
        user.groups.add(Group.objects.get(name=group))
        Membership.objects.create(user=user, customer=customers[0], team=team)


def more_keys(upto: int) -> None:
    """Keys until there are as many."""
    from django.utils import timezone

    from governance.models import Developer, KeySecret, Project, VirtualKey

    people, projects = list(Developer.objects.order_by("pk")), list(Project.objects.order_by("pk"))
    by_customer = {c: [p for p in projects if p.customer_id == c] for c in {p.customer_id for p in projects}}
    now, present = timezone.now(), VirtualKey.objects.count()
    for start in range(present, upto, 5_000):
        made = []
        for n in range(start, min(upto, start + 5_000)):
            person = people[n % len(people)]
            project = by_customer[person.customer_id][n % 5] if n % 2 else None
            made.append(VirtualKey(team_id=person.team_id, name=f"key-{n}", developer=person, project=project))
        rows = VirtualKey.objects.bulk_create(made)
        KeySecret.objects.bulk_create(
            [
                KeySecret(virtual_key=row, public_id=f"{row.pk:08d}", digest=f"{row.pk:064x}", created_at=now)
                for row in rows
            ]
        )


def fill(rows: int, now: datetime) -> None:
    """`rows` requests with their charges and roll-ups, up to `now`."""
    from django.db import connection

    from governance import partitions
    from governance.models import LedgerEntry
    from observability.models import ChangedHour, Request
    from observability.months import LOG
    from observability.rollups import hour_of

    words = _DIALECT[connection.vendor]
    month = partitions.month_of(datetime.fromtimestamp(now.timestamp() - (DAYS + 1) * 86400, UTC))
    while month <= now:
        for table in (LOG, partitions.LEDGER):
            partitions.ensure(table, now=month, months_ahead=0)
        month = partitions.next_month(month)
    if connection.vendor == "sqlite":
        _functions(connection)
    with connection.cursor() as cursor:
        if connection.vendor == "postgresql":
            cursor.execute("SET synchronous_commit = off; SET work_mem = '256MB'; SET maintenance_work_mem = '1GB'")
            cursor.execute("SET jit = off")
        _people(cursor)
        with _without_indexes(cursor, connection.vendor, (Request._meta.db_table, LedgerEntry._meta.db_table)):
            per_day = rows // DAYS // SESSION
            started = time.monotonic()
            for day in reversed(range(DAYS)):
                _day(cursor, words, int(now.timestamp() * 1000), day, per_day)
                print(f"day {DAYS - day} of {DAYS}, {time.monotonic() - started:.0f} s", flush=True)
        _roll_up(cursor, words)
    ChangedHour.objects.get_or_create(hour=hour_of(now), defaults={"token": "now"})
    windows(now)
    with connection.cursor() as cursor:
        cursor.execute("VACUUM ANALYZE" if connection.vendor == "postgresql" else "ANALYZE")
    print(f"filled in {time.monotonic() - started:.0f} s", flush=True)


def windows(now: datetime) -> None:
    """The windows of budgets that were charged, as the ledger makes them."""
    from governance import allowance_rows, watched

    budgets = [budget for group in watched.current().by_target.values() for budget in group]
    allowance_rows.make([(budget, budget.window(now)) for budget in budgets], now)


def _day(cursor: Any, words: dict[str, str], now: int, day: int, sessions: int) -> None:
    rnd, integer = words["rnd"], words["int"].format
    length = 86_400_000 - (1_800_000 if day == 0 else 0)
    first = now - (day + 1) * 86_400_000
    cursor.execute("DROP TABLE IF EXISTS bench_day")
    cursor.execute("DROP TABLE IF EXISTS bench_session")
    cursor.execute(
        f"CREATE TEMP TABLE bench_session AS WITH RECURSIVE g(i) AS "
        f"(SELECT 1 UNION ALL SELECT i + 1 FROM g WHERE i < {sessions}) "
        f"SELECT s, {words['uuid']} AS session_id, {integer(f'{first} + {length} * a')} AS start, "
        f"{integer('(SELECT count(*) FROM bench_who) * b * b')} AS who, "
        f"CASE WHEN c < 0.45 THEN 'claude-sonnet-5' WHEN c < 0.85 THEN 'claude-opus-5' WHEN c < 0.9995 "
        f"THEN 'claude-haiku-4-5' ELSE 'claude-rare-1' END AS asked "
        f"FROM (SELECT CAST({day} AS bigint) * 10000000 + i AS s, {rnd} AS a, {rnd} AS b, {rnd} AS c FROM g) picked"
    )
    cursor.execute(
        f"CREATE TEMP TABLE bench_day AS WITH RECURSIVE g(i) AS "
        f"(SELECT 0 UNION ALL SELECT i + 1 FROM g WHERE i < {SESSION - 1}) "
        f"SELECT {words['ulid']} AS id, n, ms, r, session_id, asked, who, "
        f"{integer('20000000 + r * 400000000')} AS cost, "
        f"CASE WHEN u < 0.965 THEN 'success' WHEN u < 0.985 THEN 'error' WHEN u < 0.9995 THEN 'refused' "
        f"ELSE 'cancelled' END AS status FROM (SELECT s * 100 + i AS n, session_id, asked, who, {rnd} AS r, "
        f"{rnd} AS u, start + {integer(f'i * 45000 + {rnd} * 40000')} AS ms FROM bench_session, g) picked"
    )
    values = {
        "moment_ms": words["moment"].format("ms"),
        "moment_end": words["moment"].format("ms + 800 + r * 9000"),
        "true": "true",
        "in": integer("20 + r * 3000"),
        "out": integer("50 + r * 2000"),
        "cached": integer("20000 + r * 120000"),
    }
    _copy(cursor, values)


def _copy(cursor: Any, values: dict[str, str]) -> None:
    from observability.models import Request

    columns: list[str] = []
    chosen: list[str] = []
    fields: list[Any] = list(Request._meta.concrete_fields)
    for field in fields:
        kind = field.get_internal_type()
        empty = {"JSONField": "'{}'", "CharField": "''", "TextField": "''"}.get(kind, "0")
        empty = "'[]'" if field.name == "iterations" else empty
        value = _ROW.get(field.column, "NULL" if field.null else empty)
        for name, text in values.items():
            value = value.replace(f"{{{name}}}", text)
        if field.name == "client_ip" and "to_timestamp" in values["moment_ms"]:
            value += "::inet"
        if kind == "JSONField" and "to_timestamp" in values["moment_ms"]:
            value += "::jsonb"
        columns.append(field.column)
        chosen.append(value)
    source = "FROM bench_day JOIN bench_who ON number = who"
    cursor.execute(
        f"INSERT INTO observability_request ({', '.join(columns)}) SELECT {', '.join(chosen)} {source} ORDER BY ms"
    )
    cursor.execute(
        "INSERT INTO governance_ledgerentry (id, kind, request_id, occurred_at, customer_id, team_id, project_id, "
        "developer_id, virtual_key_id, provider_access_id, model, amount_nano_usd, tokens, price_id) "
        f"SELECT id, 'charge', id, {values['moment_ms']}, customer_id, team_id, project_id, developer_id, "
        f"virtual_key_id, NULL, asked, cost, 90000, 1 {source} WHERE status <> 'refused' ORDER BY ms"
    )


def _people(cursor: Any) -> None:
    from governance.models import VirtualKey

    cursor.execute("DROP TABLE IF EXISTS bench_who")
    cursor.execute(
        "CREATE TEMP TABLE bench_who (number bigint PRIMARY KEY, virtual_key_id bigint, virtual_key text, "
        "team_id bigint, team text, customer_id bigint, customer text, developer_id bigint, developer text, "
        "project_id bigint, project text)"
    )
    keys = VirtualKey.objects.select_related("team__customer", "developer", "project").order_by("pk")
    rows = [
        (n, key.pk, key.name, key.team_id, key.team.name, key.team.customer_id, key.team.customer.name,
         key.developer_id, key.developer.email if key.developer else "",
         key.project_id, key.project.name if key.project else "")
        for n, key in enumerate(keys)
    ]  # fmt: skip
    cursor.executemany(f"INSERT INTO bench_who VALUES ({', '.join(['%s'] * 11)})", rows)


def _roll_up(cursor: Any, words: dict[str, str]) -> None:
    from observability.rollups import GROUP, SUMS

    sums = ", ".join(f"sum({name})" for name in SUMS)
    cursor.execute(
        f"INSERT INTO observability_hourlyusage (hour, {', '.join(GROUP)}, requests, {', '.join(SUMS)}) "
        f"SELECT {words['hour']} AS started_hour, {', '.join(GROUP)}, count(*), {sums} FROM observability_request "
        f"GROUP BY started_hour, {', '.join(GROUP)} ORDER BY started_hour"
    )
    cursor.execute(
        f"INSERT INTO observability_hourlytotal (hour, customer_id, status, requests, {', '.join(SUMS)}) "
        f"SELECT hour, customer_id, status, sum(requests), {sums} FROM observability_hourlyusage "
        "GROUP BY hour, customer_id, status ORDER BY hour"
    )


@contextmanager
def _without_indexes(cursor: Any, vendor: str, tables: Sequence[str]) -> Iterator[None]:
    """The tables' own indexes are dropped and built anew at the end; keys and what keeps an id once stay."""
    again: list[tuple[str, str]] = []
    for table in tables:
        if vendor == "postgresql":
            cursor.execute(
                "SELECT relname, pg_get_indexdef(indexrelid) FROM pg_index JOIN pg_class ON pg_class.oid = indexrelid "
                "WHERE indrelid = %s::regclass AND NOT indisprimary",
                [table],
            )
            again += [(name, sql.replace(" ON ONLY ", " ON ", 1)) for name, sql in cursor.fetchall()]
        else:
            cursor.execute(
                "SELECT name, sql FROM sqlite_master WHERE type = 'index' AND tbl_name = %s AND sql IS NOT NULL",
                [table],
            )
            again += cursor.fetchall()
    for name, _ in again:
        cursor.execute(f'DROP INDEX "{name}"')
    try:
        yield
    finally:
        for name, statement in again:
            started = time.monotonic()
            cursor.execute(statement)
            print(f"index {name}: {time.monotonic() - started:.0f} s", flush=True)


def _functions(connection: Any) -> None:
    import hashlib
    import uuid

    letters = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"

    def ulid(ms: int, n: int) -> str:
        head = "".join(letters[(ms >> (45 - 5 * i)) & 31] for i in range(10))
        return head + hashlib.md5(str(n).encode(), usedforsecurity=False).hexdigest()[:16].upper()

    connection.ensure_connection()
    connection.connection.create_function("bench_ulid", 2, ulid)
    connection.connection.create_function("bench_uuid", 1, lambda s: str(uuid.UUID(int=s * 2**64 + 2**63)))
