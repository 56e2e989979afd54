"""How long the pages and the API take over ten million logged rows, through the real HTTP stack.

`python -m tests.benchmarks.rows --rows 10000000 --database postgres` makes a database of its own, fills it with the log
of 90 days (`rows_fill.py`; ten minutes and 20 GB at ten million), starts the gateway on it and asks for each page 50
times with changing filters and places. It prints a table of milliseconds, and drops the database. `--keep` leaves it;
`--at ADDRESS` measures one that is filled. `--only WORD` asks for the pages whose name contains it. `--explain` prints
the slowest statement of each page that took over 300 ms. `--database sqlite --rows 1000000` does the same on SQLite.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import psycopg

from tests.functional.product import POSTGRES, ROOT, Product

CALLS = 50
GOAL_MS = 300.0
PASSWORD = "correct horse battery staple"
_FILL = "from tests.benchmarks import rows_fill as f; f.organisation({keys}); f.fill({rows}, f.datetime.now(f.UTC))"
_FIND = (
    "import json; from observability.models import Request as R; from governance.models import *;"
    "picked = list(R.objects.order_by('-started_at').values('id', 'session_id', 'developer')[:200000:997]);"
    "old = list(R.objects.order_by('started_at').values('id', 'session_id', 'developer')[:200000:997]);"
    "print(json.dumps({'rows': picked + old, 'teams': list(Team.objects.values_list('pk', flat=True)),"
    "'keys': list(VirtualKey.objects.order_by('pk').values_list('pk', flat=True)[:2000]),"
    "'customers': list(Customer.objects.values_list('pk', flat=True)),"
    "'projects': list(Project.objects.values_list('pk', flat=True)),"
    "'developers': list(Developer.objects.values_list('pk', flat=True))}))"
)
Address = Callable[[random.Random], str]


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.rows", description=__doc__)
    parser.add_argument("--rows", type=int, default=10_000_000)
    parser.add_argument("--database", choices=("postgres", "sqlite"), default="postgres")
    parser.add_argument("--keys", type=int, default=2_000)
    parser.add_argument("--calls", type=int, default=CALLS)
    parser.add_argument("--only", default="")
    parser.add_argument("--at", default="", help="A database that is filled already.")
    parser.add_argument("--keep", action="store_true")
    parser.add_argument("--explain", action="store_true")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="comptroller-rows-") as place, _database(options, Path(place)) as address:
        product = Product(Path(place), address, settings={"COMPTROLLER_PUBLIC_URL": "http://127.0.0.1"})
        if options.at:
            product.token = product.manage("issue_api_token", "--user", "root").split()[-1]
        else:
            _prepare(product, options)
        if options.keep:
            print(address)
        product.start_server()
        try:
            slow = _measure(product, options)
        finally:
            product.stop()
        if options.explain:
            _explain(product, slow)


@contextmanager
def _database(options: argparse.Namespace, folder: Path) -> Iterator[str]:
    """An address: the one that is given, a file, or a PostgreSQL database that is dropped at the end."""
    if options.at:
        yield options.at
    elif options.database == "sqlite":
        yield f"sqlite:///{folder / 'rows.sqlite3'}"
    else:
        name = f"bench_rows_{uuid.uuid4().hex[:12]}"
        with psycopg.connect(POSTGRES, autocommit=True) as connection:
            connection.execute(f'CREATE DATABASE "{name}"')
        try:
            yield f"{POSTGRES.rpartition('/')[0]}/{name}"
        finally:
            if not options.keep:
                with psycopg.connect(POSTGRES, autocommit=True) as connection:
                    connection.execute(f'DROP DATABASE "{name}" WITH (FORCE)')


def _prepare(product: Product, options: argparse.Namespace) -> None:
    product.prepare()
    environment = {**product.environment, "DJANGO_SETTINGS_MODULE": "gateway.settings"}
    code = "import django; django.setup(); " + _FILL.format(keys=options.keys, rows=options.rows)
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, env=environment, check=True)


def _pages(found: dict[str, Any]) -> dict[str, tuple[str, Address]]:
    """By name: who asks (root, finance, lead; `api` with a token) and what for."""
    now = datetime.now(UTC)
    ranges = ("24h", "7d", "30d", "90d")

    def row(r: random.Random) -> dict[str, str]:
        picked: dict[str, str] = r.choice(found["rows"])
        return picked

    def some(name: str, r: random.Random) -> int:
        one: int = r.choice(found[name])
        return one

    log = "/admin/observability/request/"

    def place(r: random.Random) -> str:
        moment = now - timedelta(days=90 * r.random())
        return f"{moment:%Y-%m-%dT%H:%M:%S.%fZ}_01M19TZV64FC69D2B01EE7113E"

    def since(days: int) -> str:
        return f"{now - timedelta(days=days):%Y-%m-%dT%H:%M:%SZ}"

    api, models = "/api/v1/requests/", ("claude-opus-5", "claude-sonnet-5", "claude-haiku-4-5", "claude-rare-1")
    return {
        "log: last 24 hours": ("root", lambda r: log),
        "log: 7, 30, 90 days": ("root", lambda r: f"{log}?range={r.choice(ranges[1:])}"),
        "log: next pages, 90 days": ("root", lambda r: f"{log}?range=90d&before={place(r)}"),
        "log: a customer": (
            "root",
            lambda r: f"{log}?customer={some('customers', r)}&range={r.choice(ranges)}",
        ),
        "log: a team": ("root", lambda r: f"{log}?team={some('teams', r)}&range={r.choice(ranges)}"),
        "log: a key": ("root", lambda r: f"{log}?key={some('keys', r)}&range={r.choice(ranges)}"),
        "log: an outcome": (
            "root",
            lambda r: f"{log}?status={r.choice(('error', 'refused', 'cancelled'))}&range={r.choice(ranges)}",
        ),
        "log: a model": ("root", lambda r: f"{log}?model={r.choice(models)}&range={r.choice(ranges)}"),
        "log: a model nobody asked": ("root", lambda r: f"{log}?model=nothing-{r.random()}&range={r.choice(ranges)}"),
        "log: team, rare outcome, model": (
            "root",
            lambda r: f"{log}?team={some('teams', r)}&status=cancelled&model=rare&range=90d",
        ),
        "log: search a request id": ("root", lambda r: f"{log}?q={row(r)['id']}"),
        "log: search a session": ("root", lambda r: f"{log}?q={row(r)['session_id']}"),
        "log: search a developer": ("root", lambda r: f"{log}?q={row(r)['developer']}&range={r.choice(ranges)}"),
        "log: search a provider's id": ("root", lambda r: f"{log}?q=req_{row(r)['id']}&range={r.choice(ranges)}"),
        "log: search what is nowhere": ("root", lambda r: f"{log}?q=nothing+{r.random()}&range={r.choice(ranges)}"),
        "log: a team lead": ("lead", lambda r: f"{log}?range={r.choice(ranges)}"),
        "log: one customer's finance": ("finance", lambda r: f"{log}?range={r.choice(ranges)}"),
        "request": ("root", lambda r: f"{log}{row(r)['id']}/change/"),
        "dashboard: root": ("root", lambda r: f"/admin/?days={r.choice((7, 30, 90))}"),
        "dashboard: finance": ("finance", lambda r: f"/admin/?days={r.choice((7, 30, 90))}"),
        "dashboard: team lead": ("lead", lambda r: f"/admin/?days={r.choice((7, 30, 90))}"),
        "hourly usage": ("root", lambda r: "/admin/observability/hourlyusage/"),
        "keys": ("root", lambda r: f"/admin/governance/virtualkey/?p={r.randrange(1, 10)}"),
        "a key": ("root", lambda r: f"/admin/governance/virtualkey/{some('keys', r)}/change/"),
        "budgets": ("root", lambda r: f"/admin/governance/budget/?p={r.randrange(1, 3)}"),
        "exports": ("root", lambda r: "/admin/observability/logexport/"),
        "api: requests": ("api", lambda r: api),
        "api: started_at__gte": ("api", lambda r: f"{api}?started_at__gte={since(r.randrange(1, 90))}"),
        "api: started_at range": (
            "api",
            lambda r: f"{api}?started_at__gte={since(60 + r.randrange(20))}&started_at__lt={since(r.randrange(50))}",
        ),
        "api: a key's name": ("api", lambda r: f"{api}?virtual_key=key-{r.randrange(2000)}"),
        "api: virtual_key_id": ("api", lambda r: f"{api}?virtual_key_id={some('keys', r)}"),
        "api: team_id": ("api", lambda r: f"{api}?team_id={some('teams', r)}"),
        "api: team's name": ("api", lambda r: f"{api}?team=Team+{r.randrange(40)}"),
        "api: developer": ("api", lambda r: f"{api}?developer={row(r)['developer']}"),
        "api: developer_id": ("api", lambda r: f"{api}?developer_id={some('developers', r)}"),
        "api: project_id": ("api", lambda r: f"{api}?project_id={some('projects', r)}"),
        "api: model": ("api", lambda r: f"{api}?model={r.choice(models)}"),
        "api: status": ("api", lambda r: f"{api}?status={r.choice(('error', 'refused', 'cancelled'))}"),
        "api: session_id": ("api", lambda r: f"{api}?session_id={row(r)['session_id']}"),
        "api: finished_at__gte": ("api", lambda r: f"{api}?finished_at__gte={since(r.randrange(1, 90))}"),
        "api: error_type": ("api", lambda r: f"{api}?error_type=overloaded_error"),
        "api: what is nowhere": ("api", lambda r: f"{api}?provider_request_id=req_{r.random()}"),
        "api: one request": ("api", lambda r: f"{api}{row(r)['id']}/"),
        "api: budgets": ("api", lambda r: "/api/v1/budgets/"),
        "api: keys": ("api", lambda r: "/api/v1/keys/"),
    }


def _measure(product: Product, options: argparse.Namespace) -> list[tuple[str, str, str]]:
    """Print the table; gives the page, asker and address of what was too slow."""
    found = json.loads(product.python(_FIND))
    clients = {who: _signed_in(product, who) for who in ("root", "finance", "lead")}
    clients["api"] = httpx.Client(base_url=product.url, headers={"Authorization": f"Token {product.token}"}, timeout=60)
    slow = []
    print(f"{'milliseconds':34} {'p50':>8} {'p95':>8} {'p99':>8} {'max':>8}", flush=True)
    for name, (who, address) in _pages(found).items():
        if options.only not in name:
            continue
        picks = random.Random(name)
        clients[who].get(address(picks))
        times: list[tuple[float, str]] = []
        spent = time.monotonic()
        while len(times) < options.calls and (len(times) < 5 or time.monotonic() - spent < 60):
            asked = address(picks)
            started = time.perf_counter()
            answer = clients[who].get(asked)
            times.append(((time.perf_counter() - started) * 1000, asked))
            assert answer.status_code == 200, f"{asked}: {answer.status_code} {answer.text[:300]}"
        times.sort()
        p50, p95, p99 = (times[min(len(times) - 1, int(len(times) * share))][0] for share in (0.5, 0.95, 0.99))
        mark = "  <" if p99 > GOAL_MS else ""
        calls = f"  ({len(times)} calls)" if len(times) < options.calls else ""
        print(f"{name:34} {p50:8.0f} {p95:8.0f} {p99:8.0f} {times[-1][0]:8.0f}{mark}{calls}", flush=True)
        if mark:
            print(f"    {times[-1][1]}", flush=True)
            slow.append((name, who, times[-1][1]))
    return slow


def _signed_in(product: Product, user: str) -> httpx.Client:
    """A browser with a session; the form is filled in as a person does."""
    client = httpx.Client(base_url=product.url, timeout=60)
    client.get("/admin/login/")
    form = {"username": user, "password": PASSWORD, "csrfmiddlewaretoken": client.cookies["csrftoken"]}
    answer = client.post("/admin/login/?next=/me/", data=form, headers={"referer": f"{product.url}/admin/login/"})
    assert answer.status_code == 302, f"{user} cannot sign in: {answer.status_code}"
    return client


def _explain(product: Product, slow: list[tuple[str, str, str]]) -> None:
    """The plan of the slowest statement of each slow page, asked again inside this process's own Django."""
    for name, who, address in slow:
        user = "root" if who == "api" else who
        code = f"from tests.benchmarks.rows import explain; explain({user!r}, {address!r}, {product.token!r})"
        print(f"\n{name}: {address}\n{product.python(code)}", flush=True)


def explain(user: str, address: str, token: str) -> None:
    """Ask for an address as a user and print the plan of its slowest statement."""
    from django.contrib.auth.models import User
    from django.db import connection
    from django.test import Client
    from django.test.utils import CaptureQueriesContext

    client = Client(headers={"host": "127.0.0.1", "authorization": f"Token {token}"})
    if not address.startswith("/api/"):
        client.force_login(User.objects.get(username=user))
    with CaptureQueriesContext(connection) as queries:
        client.get(address)
    slowest = max(queries.captured_queries, key=lambda query: float(query["time"]))
    print(f"{len(queries)} statements, the slowest took {slowest['time']} s:\n{slowest['sql'][:3000]}")
    with connection.cursor() as cursor:
        verb = "EXPLAIN (ANALYZE, BUFFERS)" if connection.vendor == "postgresql" else "EXPLAIN QUERY PLAN"
        cursor.execute(f"{verb} {slowest['sql']}")
        print("\n".join(str(row[-1]) for row in cursor.fetchall()))


if __name__ == "__main__":
    os.chdir(ROOT)
    main()
