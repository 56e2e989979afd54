"""The fault matrix: every row of `faults/table.py` against a running gateway, over real sockets."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from typing import Any

import pytest

from tests.fakes.wire_client import Answer
from tests.functional.faults.clients import Call
from tests.functional.faults.site import EXACT_COST, INPUT_COST, Site, site
from tests.functional.faults.table import MATRIX, Fault

pytestmark = pytest.mark.functional

SETTINGS = {
    # Rows that wait for a silent provider take so long.
    "COMPTROLLER_UPSTREAM_READ_TIMEOUT": "2",
    "COMPTROLLER_UPSTREAM_CONNECT_TIMEOUT": "1",
}


@pytest.fixture(scope="module", params=["sqlite", "postgres"])
def running(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """Row number n has the key `row-n`."""
    scripts = {
        f"row-{number}": (fault.provider, fault.then) if fault.then else (fault.provider,)
        for number, fault in enumerate(MATRIX)
    }
    with site(request.param, tmp_path_factory.mktemp("faults"), scripts, SETTINGS) as started:
        yield started


@pytest.mark.parametrize("number", range(len(MATRIX)), ids=[fault.name for fault in MATRIX])
def test_fault(running: Site, number: int) -> None:
    fault = MATRIX[number]
    name = f"row-{number}"
    line = running.line(name)
    before = len(running.books.rows(name))

    call = Call(
        port=running.product.port,
        secret=running.product.secrets[name],
        line=line,
        stream=fault.stream,
        size=fault.size,
        tags=f"row={number}",
        noticed=running.without_clients,
    )
    try:
        answer = fault.client(call)
        _check_answer(fault, answer)
        rows = _rows(running, fault, name, before)
        for row in rows:
            _check_row(running, fault, row, last=row is rows[-1])
        if answer is not None and answer.request_id:
            assert rows[-1]["id"] == answer.request_id
            assert rows[-1]["http_status"] == answer.status
    finally:
        for each in (name, f"{name}-2"):
            if each in running.provider.lines:
                running.line(each).hang_up()
    running.process.comes_back_to(running.quiet)
    assert len(running.books.rows(name)) == before + len(rows), "a request has left another row"


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


def _rows(running: Site, fault: Fault, name: str, before: int) -> list[dict[str, Any]]:
    """The new rows, waited for; where there must be none, there is time for one to come."""
    expected = fault.rows if fault.row else 0
    deadline = time.monotonic() + (10 if expected else 0.5)
    while len(rows := running.books.rows(name)[before:]) < max(1, expected) and time.monotonic() < deadline:
        time.sleep(0.02)
    assert len(rows) == expected, rows
    return rows


def _check_row(running: Site, fault: Fault, row: dict[str, Any], *, last: bool) -> None:
    """The row and its settlement; the rows before the last one of a connection are successes."""
    cost, quality, tries = row["cost_nano_usd"], row["cost_quality"], len(row["attempts"])
    if not last:
        assert (row["status"], cost, quality) == ("success", EXACT_COST, "exact"), row
    else:
        assert row["status"] == fault.row, row
        # Whether the client left before or after its request went to the provider is a race by nature.
        assert tries == fault.tries or (fault.cost == "exact or none" and tries == 0), row
        match fault.cost:
            case "exact":
                assert (cost, quality) == (EXACT_COST, "exact"), row
            case "exact or none":
                assert (cost, quality) == (EXACT_COST * tries, "exact"), row
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
    assert running.books.charges(row["id"]) == ([cost] if cost else [])


def test_every_budget_is_given_back_and_has_spent_what_the_ledger_says(running: Site) -> None:
    """What a process holds of a budget goes back when nobody used it for some seconds."""
    deadline = time.monotonic() + 30
    while True:
        budgets = running.product.api("GET", "budgets/", params={"page_size": "1000"})["results"]
        held = [(b["target"], b["held_usd"]) for b in budgets if float(b["held_usd"])]
        if not held:
            break
        assert time.monotonic() < deadline, held
        time.sleep(0.2)
    (team,) = [b for b in budgets if "Matrix" in b["target"] and b["scope"] == "team"]
    _, total = running.books.charged()
    assert round(float(team["spent_usd"]) * 1e9) == total
    assert running.books.unlike() == 0
