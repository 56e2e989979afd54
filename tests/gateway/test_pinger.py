"""Pings go between events only, and a client that takes no byte is given up."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any

import pytest

from gateway import pinger
from gateway.formats.anthropic import ANTHROPIC
from gateway.pinger import Pinger
from gateway.wire import sse
from gateway.wire.peek import Peek
from tests.fakes.line import FakeLine


class Stream:
    """The writing side of an exchange: keeps what is written; `line.paused` is a client that reads too slowly."""

    def __init__(self) -> None:
        self.peek = Peek("claude-opus-5-5", stream=True)
        self.format = ANTHROPIC
        self.billable = True
        self.client_gone = self.finished = False
        self.line = FakeLine()
        self.line.on_gone = self.leave
        self.gateway = SimpleNamespace(stall_seconds=0.15)
        self.answered_status: int | None = None
        self.written: list[bytes] = []

    def start(self, status: int, headers: Any) -> None:
        self.answered_status = status

    def write(self, chunk: bytes) -> None:
        self.written.append(chunk)

    def leave(self) -> None:
        self.client_gone = True


@pytest.fixture
def stream(monkeypatch: pytest.MonkeyPatch) -> Stream:
    monkeypatch.setattr(pinger, "PING_SECONDS", 0.05)
    return Stream()


async def until(condition: Any) -> None:
    async with asyncio.timeout(5):
        while not condition():
            await asyncio.sleep(0.01)


async def test_a_silent_provider_is_bridged_from_the_start(stream: Stream) -> None:
    writer = Pinger(stream)  # type: ignore[arg-type]
    await until(lambda: len(stream.written) >= 2)
    writer.stop()
    assert stream.answered_status == 200
    assert set(stream.written) == {sse.PING}


async def test_no_ping_inside_an_event(stream: Stream) -> None:
    writer = Pinger(stream)  # type: ignore[arg-type]
    stream.answered_status = 200
    writer.write(b'event: x\ndata: {"ty')
    assert not writer.at_boundary
    await asyncio.sleep(0.2)  # four silences long: nothing may come
    assert stream.written == [b'event: x\ndata: {"ty']
    writer.write(b'pe": 1}\n')
    writer.write(b"\n")
    assert writer.at_boundary
    await until(lambda: stream.written[-1] == sse.PING)
    writer.stop()


async def test_a_client_that_takes_no_byte_is_given_up(stream: Stream) -> None:
    writer = Pinger(stream)  # type: ignore[arg-type]
    stream.answered_status, stream.line.paused = 200, True
    writer.write(b"event: x\ndata: 1\n\n")
    await until(lambda: stream.client_gone)
    writer.stop()
    assert stream.written == [b"event: x\ndata: 1\n\n"]  # no ping on top of what it does not read


async def test_a_client_that_reads_on_is_kept(stream: Stream) -> None:
    writer = Pinger(stream)  # type: ignore[arg-type]
    stream.answered_status, stream.line.paused = 200, True
    writer.write(b"event: x\ndata: 1\n\n")
    await asyncio.sleep(0.1)  # less than a stall
    stream.line.paused = False
    await until(lambda: stream.written[-1] == sse.PING)
    writer.stop()
    assert not stream.client_gone


async def test_nothing_is_written_after_the_end(stream: Stream) -> None:
    writer = Pinger(stream)  # type: ignore[arg-type]
    stream.answered_status, stream.finished = 200, True
    await asyncio.sleep(0.15)  # three silences long
    writer.stop()
    assert stream.written == []
