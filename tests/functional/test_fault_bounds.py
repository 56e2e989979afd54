"""What is bounded whatever clients and providers do: memory, time, and how many requests are read on for nobody."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator

import pytest

from tests.fakes.wire_client import WireClient
from tests.fakes.wire_provider import BLOCK, EVENTS, LAST_CHUNK, START, WORDS, Wire, chunk, head, text
from tests.functional.faults import providers
from tests.functional.faults.site import EXACT_COST, INPUT_COST, Site, site

pytestmark = pytest.mark.functional

ABANDONED, ABANDONED_SECONDS, STALL_SECONDS = 4, 3, 6
MORE = 3
"""Clients that leave beyond the bound."""
STALLED = 50
FLOOD_BYTES = 100 << 20
BEGUN = b"".join(chunk(each) for each in (START, BLOCK, WORDS[0]))


async def trickle(wire: Wire) -> None:
    """A stream without an end: a word five times a second."""
    await wire.request()
    await wire.send(head(), BEGUN)
    wire.line.reached.set()
    while True:
        await wire.pause(0.2)
        await wire.send(chunk(text("more ")))


async def flood(wire: Wire) -> None:
    """A stream of 100 MB, as fast as it is taken."""
    await wire.request()
    await wire.send(head(), BEGUN)
    part = chunk(text("z" * 65_000))
    for _ in range(FLOOD_BYTES // len(part)):
        await wire.send(part)
        wire.line.sent += len(part)
    await wire.send(*(chunk(each) for each in EVENTS[-3:]), LAST_CHUNK)


SCRIPTS = {
    "streams": (providers.gate_after(*providers.BEGUN),),
    "messages": (providers.gate_before_a_message,),
    "trickle": (trickle,),
    "flood": (flood,),
    "stalled": (flood,),
}
SETTINGS = {
    "COMPTROLLER_ABANDONED_REQUESTS": str(ABANDONED),
    "COMPTROLLER_ABANDONED_SECONDS": str(ABANDONED_SECONDS),
    "COMPTROLLER_STALL_SECONDS": str(STALL_SECONDS),
}


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    with site("sqlite", tmp_path_factory.mktemp("bounds"), SCRIPTS, SETTINGS) as started:
        yield started


def _all_wait(running: Site, name: str, count: int) -> None:
    deadline = time.monotonic() + 10
    while running.line(name).waiting < count:
        assert time.monotonic() < deadline, f"{running.line(name).waiting} of {count} requests came to the provider"
        time.sleep(0.01)


@pytest.mark.parametrize("name", ["streams", "messages"])
def test_so_many_are_read_on_for_clients_that_left_and_no_more(running: Site, name: str) -> None:
    stream = name == "streams"
    clients = [running.connect() for _ in range(ABANDONED + MORE)]
    for client in clients:
        client.send(running.request(name, stream=stream))
    _all_wait(running, name, len(clients))
    for client in clients:
        if stream:
            client.until(b"one ")
        client.leave()
    given_up = running.rows(name, MORE)
    for row in given_up:
        assert (row["status"], row["error_type"], row["cost_quality"]) == ("cancelled", "client_closed", "estimated")
        assert row["cost_nano_usd"] > (INPUT_COST if stream else 0)
        assert row["attempts"][0]["error"] == "given up: the client is gone"
    running.line(name).open_gate()
    rows = running.rows(name, ABANDONED + MORE)
    exact = [row for row in rows if row["cost_quality"] == "exact"]
    assert [(row["status"], row["cost_nano_usd"]) for row in exact] == [("cancelled", EXACT_COST)] * ABANDONED
    assert [running.books.charges(row["id"]) for row in rows] == [[row["cost_nano_usd"]] for row in rows]
    running.line(name).hang_up()
    running.process.comes_back_to(running.quiet)


def test_a_provider_without_an_end_is_read_on_for_so_long(running: Site) -> None:
    with running.connect() as client:
        client.send(running.request("trickle"))
        client.until(b"one ")
    left = time.monotonic()
    (row,) = running.rows("trickle", 1)
    assert ABANDONED_SECONDS - 0.1 < time.monotonic() - left < ABANDONED_SECONDS + 3
    assert (row["status"], row["cost_quality"]) == ("cancelled", "estimated")
    assert INPUT_COST < row["cost_nano_usd"] < EXACT_COST
    running.process.comes_back_to(running.quiet)
    assert running.line("trickle").lost == 1, "the provider was not told"


def test_clients_that_do_not_read_cost_little_memory_and_are_dropped(running: Site) -> None:
    """100 MB for each of 50: their providers have to wait, and nobody waits for longer than is set."""
    before, began = running.process.rss(), time.monotonic()
    with contextlib.ExitStack() as open_ones:
        clients = [open_ones.enter_context(running.connect(receive_buffer=4096)) for _ in range(STALLED)]
        _stall(running, clients, before, began)
        # The clients are still there, and do not read: their connections are gone all the same.
        running.process.comes_back_to(running.quiet)


def _stall(running: Site, clients: list[WireClient], before: int, began: float) -> None:
    for client in clients:
        client.send(running.request("flood"))
    for client in clients:
        answer = client.head()
        assert answer.status == 200, client.until(b"}")
    most = _most_memory(running, until=began + STALL_SECONDS - 0.5)
    assert running.line("flood").sent < STALLED * FLOOD_BYTES / 10, "the providers did not have to wait"
    assert most - before < 100 << 20, f"{(most - before) >> 20} MB"
    rows = running.rows("flood", STALLED, seconds=30)
    assert {(row["status"], row["error_type"], row["cost_quality"]) for row in rows} <= {
        ("cancelled", "client_closed", "estimated"),
        # The few that are read on for so long that they come to the end.
        ("cancelled", "", "exact"),
    }


def _most_memory(running: Site, until: float) -> int:
    """Until shortly before the first of them is dropped."""
    most = 0
    while time.monotonic() < until:
        most = max(most, running.process.rss())
        time.sleep(0.05)
    return most


def test_a_client_that_reads_again_before_it_is_dropped_loses_nothing(running: Site) -> None:
    with running.connect(receive_buffer=4096) as client:
        client.send(running.request("stalled"))
        time.sleep(STALL_SECONDS / 2)
        answer = client.read()
    assert answer.whole
    assert len(answer.body) > FLOOD_BYTES * 0.99
    assert answer.events[-1][0] == "message_stop"
    (row,) = running.rows("stalled", 1)
    assert (row["status"], row["cost_nano_usd"]) == ("success", EXACT_COST)
    running.line("stalled").hang_up()
    running.process.comes_back_to(running.quiet)
