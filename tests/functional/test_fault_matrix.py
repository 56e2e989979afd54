"""The fault matrix: every row of `faults/table.py` against a running gateway, over real sockets."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import httpx
import pytest

from tests.fakes.wire_client import Answer
from tests.fakes.wire_provider import INPUT_TOKENS, OUTPUT_TOKENS, WireProvider, wire_provider
from tests.functional.faults.books import Books, Footprint, Process
from tests.functional.faults.clients import Call
from tests.functional.faults.table import MATRIX, Fault
from tests.functional.product import Product, database

pytestmark = pytest.mark.functional

READ_TIMEOUT = 2
"""Seconds without a byte from a provider: rows that wait for it take so long."""
INPUT_COST = INPUT_TOKENS * 4_000
EXACT_COST = INPUT_COST + OUTPUT_TOKENS * 20_000
"""Nano-dollars, at opus 5.5's $4 and $20 per million tokens."""
LIMITS = {
    "budgets": [{"limit_usd": 10_000, "period": "month", "enforcement": "hard"}],
    "rate_limits": [{"concurrent": 50}],
}


@dataclass
class Site:
    """A product whose providers are all scripted: row number n has the key `row-n` and the provider `row-n`."""

    product: Product
    provider: WireProvider
    books: Books
    process: Process
    quiet: Footprint


@pytest.fixture(scope="module", params=["sqlite", "postgres"])
def site(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    with wire_provider() as provider, database(request.param) as url:
        settings = {"COMPTROLLER_UPSTREAM_READ_TIMEOUT": str(READ_TIMEOUT), "WIRE_CREDENTIAL": "sk-ant-test"}
        product = Product(tmp_path_factory.mktemp("faults"), database_url=url, settings=settings).prepare()
        product.apply(_configuration(provider))
        try:
            product.start_server()
            _wait_for_keys(product)
            books, process = Books(product), Process(product)
            process.watch({line.port for line in provider.lines.values()})
            _warm(product)
            yield Site(product, provider, books, process, process.rests())
            books.close()
        finally:
            product.stop()


def _configuration(provider: WireProvider) -> dict[str, Any]:
    providers: list[dict[str, Any]] = []
    keys: list[dict[str, Any]] = []
    for number, fault in enumerate(MATRIX):
        scripts = {f"row-{number}": fault.provider}
        if fault.then is not None:
            scripts[f"row-{number}-then"] = fault.then
        for rank, (name, script) in enumerate(scripts.items()):
            line = provider.line(name, script)
            providers.append({
                "name": name,
                "kind": "anthropic",
                "base_url": f"http://127.0.0.1:{line.port}",
                "rank": rank,
                "credentials": [{"name": "main", "secret_env": "WIRE_CREDENTIAL"}],
            })  # fmt: skip
        keys.append({"name": f"row-{number}", "providers": [{"name": name} for name in scripts], **LIMITS})
    return {
        "providers": providers,
        "customers": [{"name": "Faults", "teams": [{"name": "Matrix", "keys": keys, **LIMITS}]}],
    }


def _wait_for_keys(product: Product) -> None:
    deadline = time.monotonic() + 20
    headers = product.headers(f"row-{len(MATRIX) - 1}")
    while httpx.get(f"{product.base_url}/v1/models", headers=headers, timeout=10).is_error:
        assert time.monotonic() < deadline, product.log("server")
        time.sleep(0.05)


def _warm(product: Product) -> None:
    """Whatever opens with the first scrape or the first request is open."""
    for _ in range(5):
        httpx.get(f"{product.url}/metrics", timeout=20)
        httpx.get(f"{product.url}/readyz", timeout=20)


@pytest.mark.parametrize("number", range(len(MATRIX)), ids=[fault.name for fault in MATRIX])
def test_fault(site: Site, number: int) -> None:
    fault = MATRIX[number]
    name = f"row-{number}"
    line = site.provider.lines[name]
    before = len(site.books.rows(name))

    def noticed() -> None:
        deadline = time.monotonic() + 10
        while site.process.client_connections() > site.quiet.clients:
            assert time.monotonic() < deadline, "the gateway keeps the connection of a client that left"
            time.sleep(0.01)

    call = Call(
        port=site.product.port,
        secret=site.product.secrets[name],
        line=line,
        stream=fault.stream,
        size=fault.size,
        tags=f"row={number}",
        noticed=noticed,
    )
    answer = fault.client(call)
    _check_answer(fault, answer)
    rows = _rows(site, fault, name, before)
    for row in rows:
        _check_row(site, fault, row, last=row is rows[-1])
    if answer is not None and answer.request_id:
        assert rows[-1]["id"] == answer.request_id
        assert rows[-1]["http_status"] == answer.status
    for each in (name, f"{name}-then"):
        if each in site.provider.lines:
            site.provider.lines[each].hang_up()
    site.process.comes_back_to(site.quiet)
    assert len(site.books.rows(name)) == before + len(rows), "a request has left another row"


def _check_answer(fault: Fault, answer: Answer | None) -> None:
    """What the client saw."""
    status, _, end = fault.sees.partition(" ")
    if status == "-":
        assert answer is None
        return
    assert answer is not None
    if status == "closed":
        assert answer.status == 0
        return
    assert (answer.status, answer.whole) == (int(status), True), answer
    if end.startswith("error ") or end == "message_stop":
        events = answer.events
        assert [kind for kind, _ in events if kind in {"message_stop", "error"}] == [end.partition(" ")[0]], events
        kind, data = events[-1]
        assert kind == end.partition(" ")[0]
        if kind == "error":
            assert data["type"] == "error"
            assert (data["error"]["type"], bool(data["error"]["message"])) == (end.partition(" ")[2], True)
    elif end == "message":
        assert json.loads(answer.body)["type"] == "message"
    elif end:
        error = json.loads(answer.body)
        assert (error["type"], error["error"]["type"]) == ("error", end), error
        assert error["error"]["message"]
    if end:
        assert answer.request_id
    for name, value in fault.headers.items():
        assert answer.headers.get(name) == value, answer.headers


def _rows(site: Site, fault: Fault, name: str, before: int) -> list[dict[str, Any]]:
    """The new rows, waited for; where there must be none, there is time for one to come."""
    expected = fault.rows if fault.row else 0
    deadline = time.monotonic() + (10 if expected else 0.5)
    while len(rows := site.books.rows(name)[before:]) < max(1, expected) and time.monotonic() < deadline:
        time.sleep(0.02)
    assert len(rows) == expected, rows
    return rows


def _check_row(site: Site, fault: Fault, row: dict[str, Any], *, last: bool) -> None:
    """The row and its settlement; the rows before the last one of a connection are successes."""
    cost, quality, tries = row["cost_nano_usd"], row["cost_quality"], len(row["attempts"])
    if not last:
        assert (row["status"], cost, quality) == ("success", EXACT_COST, "exact"), row
    else:
        assert (row["status"], tries) == (fault.row, fault.tries), row
        match fault.cost:
            case "exact":
                assert (cost, quality) == (EXACT_COST, "exact"), row
            case "none":
                assert (cost, quality) == (0, "exact"), row
            case "input":
                assert INPUT_COST < cost < EXACT_COST, row
                assert quality == "estimated"
            case "prompt":
                assert cost > 0, row
                assert quality == "estimated"
                assert cost < INPUT_COST or fault.size, row
            case "exact+prompt":
                assert EXACT_COST < cost < EXACT_COST + INPUT_COST, row
                assert quality == "estimated"
            case _:
                raise AssertionError(fault.cost)
    if row["status"] == "error" or row["status"] == "refused":
        assert row["error_type"]
        assert row["error_message"]
    assert site.books.charges(row["id"]) == ([cost] if cost else [])


def test_every_budget_is_given_back_and_has_spent_what_the_ledger_says(site: Site) -> None:
    """What a process holds of a budget goes back when nobody used it for some seconds."""
    deadline = time.monotonic() + 30
    while True:
        budgets = site.product.api("GET", "budgets/", params={"page_size": "1000"})["results"]
        held = [(b["target"], b["held_usd"]) for b in budgets if float(b["held_usd"])]
        if not held:
            break
        assert time.monotonic() < deadline, held
        time.sleep(0.2)
    (team,) = [b for b in budgets if "Matrix" in b["target"] and b["scope"] == "team"]
    _, total = site.books.charged()
    assert round(float(team["spent_usd"]) * 1e9) == total
    assert site.books.unlike() == 0
