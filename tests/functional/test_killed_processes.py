"""Four gateway processes, of which one after the other is killed under load; and PostgreSQL stopped and started.

The provider's own journal is the witness: every request that it saw is charged once, and nothing stays held.
COMPTROLLER_TEST_KILLS sets how often a process is killed.
"""

from __future__ import annotations

import asyncio
import os
import random
import threading
import time
from collections import Counter
from decimal import Decimal
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.fakes.postgres import private_postgres
from tests.functional.fleet import Fleet
from tests.functional.product import Product, configuration, database
from tests.functional.test_spool import KEY, Load, agree, settle

pytestmark = pytest.mark.functional
KILLS = int(os.environ.get("COMPTROLLER_TEST_KILLS", "5"))
OUTAGE_SECONDS = 30
NAMES = [f"gateway-{number}" for number in range(4)]
CLIENTS = 12


class FleetLoad(Load):
    """Clients that go to any process that is up; what the provider saw is gathered before its journal forgets it."""

    def __init__(self, fleet: Fleet) -> None:
        super().__init__(fleet.product)
        self.fleet = fleet
        self.up = set(NAMES)
        self.stopped = threading.Event()
        self._seen: Counter[str] = Counter()

    def seen(self) -> Counter[str]:
        for number, times in super().seen().items():
            self._seen[number] = max(times, self._seen[number])
        return self._seen

    def rows(self) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = []
        path: str | None = "requests/?page_size=1000"
        while path:
            page = self.product.api("GET", path.split("/api/v1/")[-1])
            found += page["results"]
            path = page["next"]
        return [row for row in found if row["tags"].get("n") and row["http_status"] != 529]

    async def go_on(self, pause: float = 0.05) -> None:
        """Send until told to stop; requests break whenever a process is killed."""

        async def client(http: httpx.AsyncClient) -> None:
            while not self.stopped.is_set():
                name = random.choice(sorted(self.up))
                try:
                    answer = await http.post(self.fleet.url(name), **self.request())
                    self.statuses[answer.status_code] += 1
                except httpx.HTTPError:
                    self.statuses[0] += 1
                await asyncio.sleep(pause)

        async with httpx.AsyncClient(timeout=60) as http:
            await asyncio.gather(*[client(http) for _ in range(CLIENTS)])

    def start(self, pause: float = 0.05) -> threading.Thread:
        self.stopped.clear()
        thread = threading.Thread(target=lambda: asyncio.run(self.go_on(pause)))
        thread.start()
        return thread

    def stop(self, thread: threading.Thread) -> None:
        self.stopped.set()
        thread.join(90)
        assert not thread.is_alive()


def _configured(product: Product) -> None:
    limits = [{"limit_usd": 500, "period": "month", "enforcement": "hard"}, {"limit_usd": 400, "period": "day"}]
    wanted = configuration(KEY, budgets=limits)
    wanted["customers"][0]["teams"][0]["rate_limits"] = [
        {"concurrent": 200},
        {"tokens": 1_000_000_000, "per": "hour"},
        {"requests": 1_000_000, "per": "minute"},
    ]
    product.apply(wanted)


def _everything_is_settled(product: Product, load: FleetLoad) -> Counter[str]:
    """The books agree with the provider's journal, and nothing is held any more."""
    settle(product, load, alive=len(NAMES))
    qualities = agree(product, load)
    charged = sum(row["cost_nano_usd"] for row in load.rows())
    deadline = time.monotonic() + 30
    while True:
        budgets = product.api("GET", "budgets/")["results"]
        if all(Decimal(budget["held_usd"]) == 0 for budget in budgets):
            break
        assert time.monotonic() < deadline, budgets
        time.sleep(0.5)
    assert len(budgets) == 2
    for budget in budgets:
        assert Decimal(budget["spent_usd"]) * 10**9 == charged
    return qualities


@pytest.mark.parametrize("kind", ["sqlite", "postgres"])
def test_one_of_four_is_killed_again_and_again(tmp_path: Path, kind: str) -> None:
    with database(kind) as url:
        product = Product(tmp_path, database_url=url).prepare()
        fleet = Fleet(product)
        try:
            product.start_simulator()
            _configured(product)
            fleet.start(*NAMES)
            product.port = fleet.ports[NAMES[0]]
            load = FleetLoad(fleet)
            for _ in range(KILLS):
                thread = load.start()
                time.sleep(random.uniform(0.3, 1.5))
                victim = random.choice(NAMES)
                load.up.discard(victim)
                fleet.kill(victim)
                load.stop(thread)
                load.seen()
                fleet.start(victim)
                load.up.add(victim)
            qualities = _everything_is_settled(product, load)
            assert qualities["estimated"] > 0, "no request was cut off: this shows nothing"
            assert qualities["exact"] > 20 * KILLS
        finally:
            product.stop()


def test_the_database_is_stopped_for_half_a_minute(tmp_path: Path) -> None:
    with private_postgres() as server:
        product = Product(tmp_path, database_url=server.url).prepare()
        fleet = Fleet(product)
        try:
            product.start_simulator()
            _configured(product)
            fleet.start(*NAMES)
            product.port = fleet.ports[NAMES[0]]
            load = FleetLoad(fleet)
            thread = load.start(pause=0.6)
            time.sleep(2)
            server.stop()
            before = load.statuses.total()
            time.sleep(OUTAGE_SECONDS / 2)
            victim = NAMES[1]
            load.up.discard(victim)
            fleet.kill(victim)
            time.sleep(OUTAGE_SECONDS / 2)
            during = load.statuses.total() - before
            server.start()
            time.sleep(3)
            load.stop(thread)
            fleet.start(victim)
            assert set(load.statuses) <= {0, 200, 529}, load.statuses
            assert during > CLIENTS, "clients were left hanging"
            _everything_is_settled(product, load)
        finally:
            product.stop()
