"""Eight gateway processes share budgets and limits: none is ever passed, and no headroom is wasted."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Iterator
from decimal import Decimal
from typing import Any

import httpx
import pytest

from tests.functional.fleet import MODEL, Fleet, Outcome, call, crowd
from tests.functional.product import Product, configuration, database

pytestmark = pytest.mark.functional
PROCESSES = 8
CLIENTS = 64
NAMES = [f"gateway-{number}" for number in range(PROCESSES)]


@pytest.fixture(scope="module", params=["sqlite", "postgres"])
def fleet(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fleet]:
    with database(request.param) as url:
        product = Product(tmp_path_factory.mktemp("fleet"), database_url=url).prepare()
        fleet = Fleet(product)
        try:
            product.start_simulator()
            fleet.start(*NAMES)
            product.port = fleet.ports[NAMES[0]]
            yield fleet
        finally:
            product.stop()


def _wait_until_nothing_is_held(fleet: Fleet, customer: str) -> dict[str, Any]:
    deadline = time.monotonic() + 30
    while True:
        (budget,) = fleet.product.api("GET", "budgets/", params={"customer": customer})["results"]
        if Decimal(budget["held_usd"]) == 0:
            return dict(budget)
        assert time.monotonic() < deadline, budget
        time.sleep(0.25)


def test_a_hard_budget_of_a_dollar(fleet: Fleet) -> None:
    configured = configuration("dollar", budgets=[{"limit_usd": 1, "period": "month", "enforcement": "hard"}])
    fleet.apply(configured, "dollar")
    outcome = Outcome()
    dice = random.Random(7)

    async def spend(client: httpx.AsyncClient, number: int) -> None:
        refused = 0
        while refused < 4:
            output = dice.randint(100, 1000)
            prompt = f"[[sim: text=ok input_tokens=20 output_tokens={output}]]"
            status = await call(client, fleet, NAMES[number % PROCESSES], "dollar", prompt, outcome)
            assert status in {200, 429}, outcome.statuses
            refused = refused + 1 if status == 429 else 0
            if refused:
                await asyncio.sleep(0.3)

    asyncio.run(crowd(CLIENTS, spend))
    budget = _wait_until_nothing_is_held(fleet, "dollar customer")
    spent = Decimal(budget["spent_usd"])
    assert Decimal("0.97") <= spent <= 1, (spent, outcome)
    rows = _rows(fleet, "dollar customer", outcome.successes.total())
    assert sum(row["cost_nano_usd"] for row in rows) == spent * 10**9
    share = outcome.successes.total() / PROCESSES
    assert all(outcome.successes[name] > share / 4 for name in NAMES), outcome.successes


def test_a_hard_limit_of_tokens(fleet: Fleet) -> None:
    configured = configuration("tokens")
    limit = {"tokens": 200_000, "per": "day", "enforcement": "hard"}
    configured["customers"][0]["teams"][0]["rate_limits"] = [limit]
    fleet.apply(configured, "tokens")
    outcome = Outcome()
    dice = random.Random(11)

    async def use(client: httpx.AsyncClient, number: int) -> None:
        refused = 0
        while refused < 4:
            prompt = f"[[sim: text=ok input_tokens=20 output_tokens={dice.randint(100, 1000)}]]"
            status = await call(client, fleet, NAMES[number % PROCESSES], "tokens", prompt, outcome)
            assert status in {200, 429}, outcome.statuses
            refused = refused + 1 if status == 429 else 0
            if refused:
                await asyncio.sleep(0.3)

    asyncio.run(crowd(CLIENTS, use))
    rows = _rows(fleet, "tokens customer", outcome.successes.total())
    used = sum(row["input_tokens"] + row["output_tokens"] for row in rows)
    assert 194_000 <= used <= 200_000, (used, outcome)
    share = outcome.successes.total() / PROCESSES
    assert all(outcome.successes[name] > share / 4 for name in NAMES), outcome.successes


def test_a_limit_of_requests_at_once(fleet: Fleet) -> None:
    configured = configuration("atonce")
    configured["customers"][0]["teams"][0]["rate_limits"] = [{"concurrent": 12}]
    fleet.apply(configured, "atonce")
    outcome = Outcome()
    most = 0

    async def keep_busy(client: httpx.AsyncClient, number: int) -> None:
        nonlocal most
        if number == CLIENTS - 1:
            while outcome.statuses.total() < 4 * (CLIENTS - 1):
                answer = await client.get(f"{fleet.product.simulator_url}/__sim__/stats")
                most = max(most, answer.json()["open"])
            return
        done = 0
        while done < 4:
            status = await call(
                client, fleet, NAMES[number % PROCESSES], "atonce", "[[sim: text=ok ttft_ms=150]]", outcome
            )
            assert status in {200, 429}, outcome.statuses
            done += 1
            await asyncio.sleep(0.05)

    asyncio.run(crowd(CLIENTS, keep_busy))
    # Headroom is not wasted either: with five times the demand nearly all places are taken at some moment.
    assert 9 <= most <= 12, (most, outcome)


def _rows(fleet: Fleet, customer: str, count: int) -> list[dict[str, Any]]:
    """Every charged row of a customer, waited for; none is there twice."""
    deadline = time.monotonic() + 20
    while True:
        found: list[dict[str, Any]] = []
        url: str | None = "requests/?" + str(
            httpx.QueryParams(customer=customer, status="success", model=MODEL, page_size="1000")
        )
        while url:
            page = fleet.product.api("GET", url.split("/api/v1/")[-1])
            found += page["results"]
            url = page["next"]
        if len(found) >= count:
            assert len({row["id"] for row in found}) == len(found) == count
            return found
        assert time.monotonic() < deadline, f"{len(found)} of {count} rows"
        time.sleep(0.25)
