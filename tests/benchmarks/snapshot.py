"""How long a gateway process takes to read a large configuration, and what it costs in memory.

`python -m tests.benchmarks.snapshot` makes 100,000 keys and 10,000 budgets in a SQLite file and in a PostgreSQL
database of its own, loads the snapshot in a fresh process, and prints a line of JSON for each. `--profile` shows where
the time goes; `--keep` says where the databases are, and `--at ADDRESS` measures one of them again. `--follow` measures
how long a gateway's event loop stands still while it follows changes: a revoked key each second, then a changed budget,
which makes it read everything again.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from contextlib import ExitStack
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from tests.functional.product import ROOT, database

_SEED = "from tests.benchmarks.snapshot import seed; seed({keys}, {budgets})"
_FOLLOW = "from tests.benchmarks.snapshot import follow; follow()"
_LOAD = "from tests.benchmarks.snapshot import measure; measure({profile})"
BATCH = 5_000


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.snapshot", description=__doc__)
    parser.add_argument("--keys", type=int, default=100_000)
    parser.add_argument("--budgets", type=int, default=10_000)
    parser.add_argument("--profile", action="store_true")
    parser.add_argument("--follow", action="store_true", help="Measure what following a change does to the event loop.")
    parser.add_argument("--keep", action="store_true", help="Leave the databases; wait for Enter before the end.")
    parser.add_argument("--at", action="append", default=[], help="A database that is filled already.")
    options = parser.parse_args()
    load = _FOLLOW if options.follow else _LOAD.format(profile=options.profile)
    for address in options.at:
        _python(load, address, Path(tempfile.gettempdir()))
    if options.at:
        return
    folder = Path(tempfile.mkdtemp(prefix="comptroller-snapshot-"))
    try:
        with ExitStack() as kept:
            for kind in ("sqlite", "postgresql"):
                address = kept.enter_context(database(kind)) or f"sqlite:///{folder / 'keys.sqlite3'}"
                _python(
                    "from django.core.management import call_command as c; c('migrate', verbosity=0)", address, folder
                )
                _python(_SEED.format(keys=options.keys, budgets=options.budgets), address, folder)
                for _ in range(2):  # the first run also warms the database's own cache
                    _python(load, address, folder)
                if options.keep:
                    print(address)
            if options.keep:
                input("Enter ends this and removes the databases. ")
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _python(code: str, address: str, folder: Path) -> None:
    environment = {**os.environ, "DATABASE_URL": address, "COMPTROLLER_DATA_DIR": str(folder / "data")}
    environment["DJANGO_SETTINGS_MODULE"] = "gateway.settings"
    (folder / "data").mkdir(exist_ok=True)
    subprocess.run(
        [sys.executable, "-c", f"import django; django.setup()\n{code}"], cwd=ROOT, env=environment, check=True
    )


def seed(keys: int, budgets: int) -> None:
    """Rows in bulk: 20 customers, 200 teams, a developer for each 5 keys; one key in 20 has providers of its own."""
    from django.utils import timezone

    from governance.catalog import seed_prices
    from governance.models import (
        Budget,
        Customer,
        Developer,
        KeySecret,
        Project,
        Provider,
        ProviderAccess,
        RateLimit,
        Team,
        VirtualKey,
    )

    seed_prices()
    now = timezone.now()

    def many(model: Any, count: int, make: Callable[[int], Any]) -> list[Any]:
        made = []
        for start in range(0, count, BATCH):
            made += model.objects.bulk_create([make(n) for n in range(start, min(count, start + BATCH))])
        return made

    providers = many(Provider, 3, lambda n: Provider(name=f"provider-{n}", kind=Provider.Kind.SIMULATED))
    customers = many(Customer, 20, lambda n: Customer(name=f"Customer {n}", timezone="Europe/Berlin"))
    teams = many(Team, 200, lambda n: Team(customer=customers[n % 20], name=f"Team {n}"))
    projects = many(
        Project, 500, lambda n: Project(customer=customers[n % 20], name=f"p{n}", directories=[f"/src/p{n}/*"])
    )
    people = many(
        Developer,
        max(1, keys // 5),
        lambda n: Developer(customer=customers[n % 20], team=teams[n % 200], email=f"developer-{n}@example.test"),
    )
    rows = many(
        VirtualKey,
        keys,
        lambda n: VirtualKey(
            team=teams[n % 200],
            name=f"key-{n}",
            developer=people[n % len(people)],
            project=projects[n % 500] if n % 3 == 0 else None,
            model_patterns=["claude-opus-*", "claude-sonnet-*"] if n % 4 == 0 else [],
            allowed_ips=["10.0.0.0/8", f"192.168.{n % 256}.0/24"] if n % 5 == 0 else [],
        ),
    )
    many(
        KeySecret,
        keys,
        lambda n: KeySecret(virtual_key=rows[n], public_id=f"{n:08x}", digest=f"{n:064x}", created_at=now),
    )
    accesses = many(
        ProviderAccess,
        keys // 20,
        lambda n: ProviderAccess(virtual_key=rows[n * 20], provider=providers[n % 3], model_patterns=["claude-*"]),
    )

    def scoped(n: int) -> dict[str, Any]:
        # A few for each customer and team, the rest on developers, keys and their providers.
        if n < 3 * len(customers):
            scope, targets = "customer", customers
        elif n < 3 * len(customers) + 3 * len(teams):
            scope, targets = "team", teams
        else:
            own = ("virtual_key", rows), ("developer", people), ("virtual_key", rows), ("provider_access", accesses)
            scope, targets = own[n % 4]
        target = targets[n % len(targets)]
        values = {"scope": scope, scope: target}
        if scope == "provider_access":
            return {**values, "customer": target.virtual_key.team.customer, "team": target.virtual_key.team}
        customer = target if scope == "customer" else getattr(target, "customer", None) or target.team.customer
        return {**values, "customer": customer, "team": target if scope == "team" else getattr(target, "team", None)}

    many(Budget, budgets, lambda n: Budget(**scoped(n), limit_nano_usd=10**12, period="month", enforcement="hard"))
    many(RateLimit, budgets // 10, lambda n: RateLimit(**scoped(n), limit=100, unit="requests", per="minute"))


def measure(profile: bool) -> None:
    """Load in this fresh process; memory beyond what the process had before."""
    import cProfile
    import pickle
    import pstats
    import resource
    import time

    import psutil
    from django.db import connection

    from governance import snapshot, watched

    connection.ensure_connection()
    process = psutil.Process()
    before = process.memory_info().rss
    profiler = cProfile.Profile()
    started, cpu = time.perf_counter(), time.process_time()
    if profile:
        profiler.enable()
    loaded = snapshot.load(datetime.now(UTC))
    profiler.disable()
    seconds, cpu = time.perf_counter() - started, time.process_time() - cpu
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    resident = process.memory_info().rss
    started = time.perf_counter()
    watched.current()
    figures = {
        "database": connection.vendor,
        "keys": len(loaded.secrets),
        "allowances": len(loaded.allowances),
        "load_seconds": round(seconds, 2),
        "load_cpu_seconds": round(cpu, 2),
        "watched_seconds": round(time.perf_counter() - started, 2),
        "before_mb": before // 2**20,
        "peak_mb": peak // 2**20,
        "resident_mb": resident // 2**20,
        "pickled_mb": round(len(pickle.dumps(loaded)) / 2**20, 1),
    }
    print(json.dumps(figures), flush=True)
    if profile:
        pstats.Stats(profiler).sort_stats("tottime").print_stats(25)


def follow() -> None:
    """A gateway in this process, and a ticker in its event loop: the delay of each tick of 1 ms, in milliseconds."""
    import asyncio
    import threading
    import time

    import uvloop
    from django.db import connection, transaction
    from django.utils import timezone

    from gateway import runtime
    from governance.models import Budget, KeySecret, VirtualKey

    def change(what: Callable[[int], Any], done: Callable[[], bool], times: int) -> list[float]:
        """Seconds until the gateway knew, for each change; made in a thread of its own, as another process would."""
        waited = []
        for number in range(times):
            with transaction.atomic():
                what(number)
            started = time.perf_counter()
            while not done():
                time.sleep(0.005)
            waited.append(time.perf_counter() - started)
            time.sleep(max(0.0, 1 - waited[-1]))
        connection.close()
        return waited

    async def main() -> None:
        gateway = await runtime.start()
        keys = list(KeySecret.objects.order_by("-pk").values_list("virtual_key_id", "public_id")[:20])
        current: dict[str, str] = {}

        def revoke(number: int) -> None:
            key, current["id"] = keys[number]
            VirtualKey.objects.filter(pk=key).update(revoked_at=timezone.now())

        def is_revoked() -> bool:
            return gateway.snapshot.secrets[current["id"]].grant.revoked_at is not None

        budget = Budget.objects.order_by("pk")[0]

        def raise_limit(number: int) -> None:
            Budget.objects.filter(pk=budget.pk).update(limit_nano_usd=10**12 + number + time.time_ns() % 10**6)
            current["limit"] = str(Budget.objects.get(pk=budget.pk).limit_nano_usd)

        def is_raised() -> bool:
            return str(gateway.snapshot.allowances[f"budget:{budget.pk}"].limit) == current["limit"]

        def nothing(number: int) -> None:
            pass

        def revoked_while_read() -> list[float]:
            raising = threading.Thread(target=change, args=(raise_limit, is_raised, 1))
            raising.start()
            waited = change(lambda n: revoke(10 + n), is_revoked, 3)
            raising.join()
            return waited

        for name, work in (
            ("nothing changes", lambda: change(nothing, lambda: True, 5)),
            ("a key is revoked each second", lambda: change(revoke, is_revoked, 8)),
            ("a budget is changed", lambda: change(raise_limit, is_raised, 3)),
            ("keys are revoked while all is read", revoked_while_read),
        ):
            delays, waited = await _ticks(work)
            figures = {
                "database": connection.vendor,
                "while": name,
                "loop_delay_p99_ms": round(delays[int(len(delays) * 0.99)], 1),
                "loop_delay_p999_ms": round(delays[int(len(delays) * 0.999)], 1),
                "loop_delay_worst_ms": round(delays[-1], 1),
                "known_after_s": [round(seconds, 2) for seconds in waited],
            }
            print(json.dumps(figures), flush=True)
        await runtime.stop()

    async def _ticks(work: Callable[[], list[float]]) -> tuple[list[float], list[float]]:
        delays: list[float] = []
        working = asyncio.get_running_loop().run_in_executor(None, work)
        while not working.done():
            started = time.perf_counter()
            await asyncio.sleep(0.001)
            delays.append((time.perf_counter() - started) * 1000 - 1)
        return sorted(delays), await working

    os.environ["DJANGO_ALLOW_ASYNC_UNSAFE"] = "1"  # for the few rows that are read before the measuring
    uvloop.run(main())


if __name__ == "__main__":
    main()
