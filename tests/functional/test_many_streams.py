"""Many streams at once, each silent for longer than a client waits: pings keep them alive, between events only."""

from __future__ import annotations

import asyncio
import resource
import time
from collections import Counter
from collections.abc import Iterator

import pytest

from tests.fakes.wire_client import Answer
from tests.fakes.wire_provider import BLOCK, EVENTS, LAST_CHUNK, START, WORDS, Wire, chunk, head
from tests.functional.faults.site import EXACT_COST, Site, site

pytestmark = pytest.mark.functional

STREAMS = 500
SILENCE_SECONDS = 20.0
PAUSES = 1
"""Pings of a silence of so long: one after 15 s."""


async def silent_between(wire: Wire) -> None:
    """Two events, a silence, the rest."""
    await wire.request()
    await wire.send(head(), *(chunk(each) for each in (START, BLOCK)))
    await wire.pause(SILENCE_SECONDS)
    await wire.send(*(chunk(each) for each in EVENTS[2:]), LAST_CHUNK)


async def silent_inside(wire: Wire) -> None:
    """A silence in the middle of an event."""
    await wire.request()
    await wire.send(head(), *(chunk(each) for each in (START, BLOCK, WORDS[0][:40])))
    await wire.pause(SILENCE_SECONDS)
    await wire.send(chunk(WORDS[0][40:]), *(chunk(each) for each in EVENTS[3:]), LAST_CHUNK)


async def silent_before(wire: Wire) -> None:
    """A silence before the answer's first byte."""
    await wire.request()
    await wire.pause(SILENCE_SECONDS)
    await wire.send(head(), *(chunk(each) for each in EVENTS), LAST_CHUNK)


SCRIPTS = {"between": (silent_between,), "inside": (silent_inside,), "before": (silent_before,)}
PINGS = {"between": PAUSES, "inside": 0, "before": PAUSES}


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    needed = min(hard, 4 * STREAMS + 200)
    if soft < needed:
        resource.setrlimit(resource.RLIMIT_NOFILE, (needed, hard))
    with site("sqlite", tmp_path_factory.mktemp("streams"), SCRIPTS, {}) as started:
        yield started


async def _ask(running: Site, name: str) -> tuple[Answer, float]:
    """One stream, read to its end; and the seconds until its first byte."""
    began = time.monotonic()
    reader, writer = await asyncio.open_connection("127.0.0.1", running.product.port)
    writer.write(running.request(name))
    first = await reader.readuntil(b"\r\n\r\n")
    until_first = time.monotonic() - began
    body = b""
    while size := int(await reader.readline(), 16):
        body += await reader.readexactly(size)
        await reader.readexactly(2)
    writer.close()
    await writer.wait_closed()
    lines = first.decode().split("\r\n")[1:]
    fields = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines)}
    return Answer(int(first[9:12]), fields, body, whole=True), until_first


def test_five_hundred_silent_streams_get_pings_and_end_whole(running: Site) -> None:
    names = [list(SCRIPTS)[number % len(SCRIPTS)] for number in range(STREAMS)]

    async def run() -> list[tuple[Answer, float]]:
        return await asyncio.gather(*(_ask(running, name) for name in names))

    answers = asyncio.run(run())
    for name, (answer, _) in zip(names, answers, strict=True):
        kinds = [kind for kind, _ in answer.events]
        assert answer.status == 200
        assert Counter(kinds)["ping"] == PINGS[name], (name, kinds)
        # The pings apart, it is byte for byte what the provider sent: none stands inside an event.
        assert answer.body.replace(b'event: ping\ndata: {"type": "ping"}\n\n', b"") == b"".join(EVENTS)
    began = sorted(seconds for name, (_, seconds) in zip(names, answers, strict=True) if name != "before")
    assert began[len(began) // 2] < 2, "the first byte is held back"
    for name in SCRIPTS:
        rows = running.rows(name, names.count(name))
        assert {(row["status"], row["cost_quality"], row["cost_nano_usd"]) for row in rows} == {
            ("success", "exact", EXACT_COST)
        }
        running.line(name).hang_up()
    running.process.comes_back_to(running.quiet, seconds=30)
