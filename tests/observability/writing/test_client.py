"""The gateway's side of the link, against a writer whose every word the test says."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from governance.domain.allowance import WindowState
from observability import live, metrics
from observability.records import RequestRecord
from observability.spool import Spool, aside, folders, notes
from observability.writing import client
from observability.writing.client import ProcessRecorder
from observability.writing.messages import (
    Condition,
    Done,
    Drain,
    Drained,
    Frames,
    Metrics,
    Ready,
    Recovered,
    Scrape,
    ToGateway,
    ToWriter,
    Write,
    frame,
)
from tests.observability.records import MORNING, a_posting, a_record


@pytest.fixture(autouse=True)
def _no_grace(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client, "GRACE_SECONDS", 0.05)


WINDOW = WindowState(7, "definition", MORNING, 1_000)


class Script:
    """The other end of one link: what a writer hears, and what the test has it say."""

    def __init__(self) -> None:
        self.socket, theirs = socket.socketpair()
        self.theirs = theirs
        self.socket.setblocking(False)
        self._frames: Frames[ToWriter] = Frames(ToWriter)
        self._heard: list[ToWriter] = []
        self.killed = False

    async def say(self, *messages: ToGateway) -> None:
        await self.say_bytes(b"".join(frame(message) for message in messages))

    async def say_bytes(self, data: bytes) -> None:
        await asyncio.get_running_loop().sock_sendall(self.theirs, data)

    async def hears(self) -> ToWriter:
        """The next message."""
        while not self._heard:
            data = await asyncio.wait_for(asyncio.get_running_loop().sock_recv(self.theirs, 1 << 20), 10)
            assert data, "the gateway closed the link"
            self._heard += self._frames.feed(data)
        return self._heard.pop(0)

    async def hears_ids(self, count: int) -> list[str]:
        """The ids of the next so many requests, in the order they came."""
        ids: list[str] = []
        while len(ids) < count:
            message = await self.hears()
            assert isinstance(message, Write)
            ids += [id_ for id_, _ in message.items]
        return ids

    # What `client.Child` has.
    pid = 1

    def end(self) -> str:
        self.socket.close()
        return "exit code 0"

    def kill(self) -> None:
        self.killed = True
        self.theirs.close()


class Desk:
    """A recorder and the writers that were started for it."""

    def __init__(self, root: Path, **options: object) -> None:
        self.scripts: asyncio.Queue[Script] = asyncio.Queue()
        self.started: list[Script] = []
        self.posted: list[WindowState] = []
        self.written: list[str] = []
        self.order: list[str] = []
        self._loop = asyncio.get_running_loop()
        self.spool = Spool(root, **{"fsync_ms": 5, **options.pop("spool", {})})  # type: ignore[arg-type]
        self.recorder = ProcessRecorder(
            self.spool,
            on_posted=self._on_posted,
            on_written=self._on_written,
            start_writer=self._launch,  # type: ignore[arg-type]
            **options,  # type: ignore[arg-type]
        )

    def _on_posted(self, windows: list[WindowState]) -> None:
        self.order.append("posted")
        self.posted += windows

    def _on_written(self, ids: list[str]) -> None:
        self.order.append("written")
        self.written += ids

    def _launch(self) -> Script:
        script = Script()
        self.started.append(script)
        self._loop.call_soon_threadsafe(self.scripts.put_nowait, script)
        return script

    async def writer(self) -> Script:
        """The next writer that is started; it says that it is ready."""
        script = await asyncio.wait_for(self.scripts.get(), 10)
        script.theirs.setblocking(False)
        await script.say(Ready())
        return script

    def put(self, count: int = 1, **values: object) -> list[RequestRecord]:
        records = [a_record(**values) for _ in range(count)]
        for record in records:
            self.recorder.put(record, a_posting(record))
        return records

    def close(self) -> None:
        """The sockets of every writer that was started."""
        for script in self.started:
            script.theirs.close()
            script.socket.close()

    async def drain(self, timeout: float = 5) -> int:
        return await asyncio.to_thread(self.recorder.drain, timeout)


@pytest.fixture
async def make(tmp_path: Path) -> AsyncIterator[Callable[..., Desk]]:
    """A recorder with options, started."""
    made: list[Desk] = []

    def started(**options: object) -> Desk:
        made.append(Desk(tmp_path / "spool", **options))
        return made[-1]

    yield started
    for desk in made:
        await desk.drain(0)
        desk.close()


async def eventually(condition: object) -> None:
    """Give the loop turns until it is so."""
    for _ in range(1_000):
        if condition():  # type: ignore[operator]
            return
        await asyncio.sleep(0.005)
    raise AssertionError("It did not come true within 5 s.")


@pytest.fixture
async def desk(tmp_path: Path) -> AsyncIterator[Desk]:
    desk = Desk(tmp_path / "spool")
    desk.recorder.start()
    yield desk
    await desk.drain(0)
    desk.close()


async def test_a_request_is_settled_when_the_writer_says_so(desk: Desk) -> None:
    writer = await desk.writer()
    (record,) = desk.put()
    message = await writer.hears()
    assert isinstance(message, Write)
    ((id_, payload),) = message.items
    assert (id_, notes.finished(payload)) == (record.id, notes.Finished(record, a_posting(record)))
    assert desk.spool.holds(record.id)
    assert desk.recorder.state().pending == 1
    await writer.say(Done([WINDOW], [record.id], [], []))
    await eventually(lambda: desk.written == [record.id])
    assert desk.posted == [WINDOW]
    assert desk.order == ["posted", "written"]
    assert not desk.spool.holds(record.id)
    assert desk.recorder.state().pending == 0


async def test_requests_that_end_before_the_writer_is_there_wait_for_it(make: Callable[..., Desk]) -> None:
    desk = make()
    early = desk.put(2)
    desk.recorder.start()
    more = desk.put(1)
    state = desk.recorder.state()
    assert (state.pending, state.accepting, state.last_error) == (3, True, "")
    writer = await desk.writer()
    assert await writer.hears_ids(3) == [record.id for record in early + more]


async def test_what_a_dead_writer_did_not_confirm_goes_to_the_next(desk: Desk) -> None:
    first = await desk.writer()
    records = desk.put(4)
    assert len(await first.hears_ids(4)) == 4
    await first.say(Done([], [records[1].id], [], []))
    first.theirs.close()
    assert desk.recorder.accepting
    await eventually(lambda: desk.recorder.state().last_error)
    assert "restarting" in desk.recorder.state().last_error
    late = desk.put(1)
    second = await desk.writer()
    assert await second.hears_ids(4) == [records[0].id, records[2].id, records[3].id, late[0].id]
    await second.say(Done([], [record.id for record in (records[0], *records[2:], *late)], [], []))
    await eventually(lambda: desk.recorder.state().pending == 0)
    assert sorted(desk.written) == sorted(record.id for record in records + late)
    assert desk.recorder.state().last_error == ""


@pytest.mark.parametrize("garbage", [b"\xff" * 64, b"\x01\x00\x00\x00\xc1", b"\x05\x00\x00\x00\x92\xa4done"])
async def test_a_writer_that_sends_garbage_is_replaced(desk: Desk, garbage: bytes) -> None:
    first = await desk.writer()
    records = desk.put(1)
    await first.hears_ids(1)
    await first.say_bytes(garbage)
    second = await desk.writer()
    assert await second.hears_ids(1) == [records[0].id]
    first.theirs.close()


async def test_what_is_set_aside_is_settled_and_what_is_lost_stays_in_the_spool(desk: Desk) -> None:
    writer = await desk.writer()
    aside_, lost = desk.put(2)
    await writer.hears_ids(2)
    await writer.say(Done([], [], [aside_.id], [lost.id]), Condition("", MORNING, 1, True))
    await eventually(lambda: desk.recorder.state().pending == 0)
    assert desk.written == [], "neither is in the ledger"
    assert (desk.spool.holds(aside_.id), desk.spool.holds(lost.id)) == (False, True)
    await eventually(lambda: desk.recorder.state().set_aside == 1)


async def test_a_full_recorder_refuses_new_requests_and_takes_what_runs(make: Callable[..., Desk]) -> None:
    desk = make(max_pending=3)
    desk.recorder.start()
    writer = await desk.writer()
    records = desk.put(3)
    assert not desk.recorder.accepting
    records += desk.put(1)
    desk.recorder.put(a_record(), None)  # a refusal: not recorded
    assert desk.recorder.state().pending == 4
    await writer.hears_ids(4)
    await writer.say(Done([], [record.id for record in records], [], []))
    await eventually(lambda: desk.recorder.accepting)


async def test_a_writer_gets_no_more_than_it_may_hold(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client, "MAX_IN_FLIGHT", 4_000)
    monkeypatch.setattr(client, "FLUSH_BYTES", 2_000)
    writer = await desk.writer()
    ids = [record.id for record in desk.put(50)]
    heard: list[str] = []
    while len(heard) < 50:
        message = await writer.hears()
        assert isinstance(message, Write)
        assert sum(len(payload) for _, payload in message.items) < 4_000
        heard += [id_ for id_, _ in message.items]
        if len(heard) % 7 == 0 or len(heard) < 50:
            await writer.say(Done([], [id_ for id_, _ in message.items], [], []))
    assert heard == ids


async def test_a_drain_waits_for_the_last_word(desk: Desk) -> None:
    writer = await desk.writer()
    (record,) = desk.put()
    draining = asyncio.create_task(desk.drain(5))
    assert await writer.hears_ids(1) == [record.id]
    drain = await writer.hears()
    assert isinstance(drain, Drain)
    assert 0 < drain.seconds <= 5
    assert not desk.recorder.accepting
    await writer.say(Done([WINDOW], [record.id], [], []), Drained())
    assert await draining == 0
    assert desk.posted == [WINDOW]
    desk.spool.discard()
    assert folders.owners(desk.spool.root) == []


async def test_a_drain_without_a_writer_leaves_the_rest_in_the_spool(desk: Desk) -> None:
    writer = await desk.writer()
    records = desk.put(3)
    await writer.hears_ids(3)
    writer.theirs.close()
    assert await desk.drain(0.2) == 3
    owned = folders.take(desk.spool.root / desk.spool.owner)
    assert owned is not None, "the next process may replay it"
    owned.release()
    assert aside.count(desk.spool.root) == 0
    assert len(records) == 3


async def test_a_drain_whose_writer_dies_asks_the_next_one(desk: Desk) -> None:
    first = await desk.writer()
    (record,) = desk.put()
    draining = asyncio.create_task(desk.drain(5))
    await first.hears_ids(1)
    first.theirs.close()
    second = await desk.writer()
    assert await second.hears_ids(1) == [record.id]
    assert isinstance(await second.hears(), Drain)
    await second.say(Done([], [record.id], [], []), Drained())
    assert await draining == 0


def test_a_drain_after_the_loop_has_ended_still_writes(tmp_path: Path) -> None:
    """A second signal makes the server skip its own shutdown: `atexit` drains."""

    async def work() -> tuple[Desk, Script, RequestRecord]:
        desk = Desk(tmp_path / "spool")
        desk.recorder.start()
        writer = await desk.writer()
        await eventually(lambda: desk.recorder._ready)
        (record,) = desk.put()
        return desk, writer, record

    desk, writer, record = asyncio.run(work())
    writer.theirs.setblocking(True)
    writer.theirs.sendall(frame(Done([WINDOW], [record.id], [], [])) + frame(Drained()))
    assert desk.recorder.drain(5) == 0
    assert desk.written == [record.id]
    messages = list(Frames(ToWriter).feed(writer.theirs.recv(1 << 20)))
    assert [type(message) for message in messages] == [Write, Drain]
    desk.close()


async def test_what_is_in_memory_alone_at_the_end_is_set_aside(make: Callable[..., Desk]) -> None:
    desk = make(spool={"max_bytes": 1})
    desk.recorder.start()
    await desk.writer()
    (record,) = desk.put()
    assert not desk.recorder.accepting
    assert await desk.drain(0.1) == 1
    (late,) = desk.put()
    assert [id_ for id_, _ in aside.entries(desk.spool.root)] == [record.id, late.id]


async def test_what_found_no_room_is_noted_when_there_is_some(make: Callable[..., Desk], tmp_path: Path) -> None:
    root = tmp_path / "spool"
    root.write_text("a file in the way")
    desk = make()
    desk.recorder.start()
    await desk.writer()
    (record,) = desk.put()
    assert not desk.spool.holds(record.id)
    root.unlink()
    await eventually(lambda: desk.spool.holds(record.id))
    assert await desk.drain(0) == 1
    assert aside.count(root) == 0


async def test_a_silent_writer_is_told_of_and_replaced(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client, "QUIET_SECONDS", 0.1)
    first = await desk.writer()
    (record,) = desk.put()
    await eventually(lambda: "has not answered" in desk.recorder.state().last_error)
    assert desk.recorder.accepting
    monkeypatch.setattr(client, "STUCK_SECONDS", 0.1)
    second = await desk.writer()
    assert first.killed
    assert record.id in await second.hears_ids(1)


async def test_the_writers_condition_is_shown(desk: Desk) -> None:
    writer = await desk.writer()
    await writer.say(Condition("OperationalError: away", MORNING, 2, True))
    await eventually(lambda: desk.recorder.state().last_error == "OperationalError: away")
    state = desk.recorder.state()
    assert (state.last_flush_at, state.set_aside, state.running) == (MORNING, 2, True)
    desk.put(1, finished_at=MORNING)
    assert desk.recorder.state().lag_s > 0
    await eventually(lambda: metrics.PENDING._value.get() == 1)


async def test_a_scrape_is_asked_for_once_and_kept_a_second(desk: Desk) -> None:
    assert await desk.recorder.scrape() == b"", "no writer yet: this process renders"
    writer = await desk.writer()
    await eventually(lambda: desk.recorder._ready)
    asked = [asyncio.create_task(desk.recorder.scrape()) for _ in range(3)]
    assert isinstance(await writer.hears(), Scrape)
    await writer.say(Metrics(b"text"))
    assert await asyncio.gather(*asked) == [b"text"] * 3
    assert await desk.recorder.scrape() == b"text"
    assert writer._heard == []


async def test_a_scrape_ends_with_its_writer(desk: Desk) -> None:
    writer = await desk.writer()
    await eventually(lambda: desk.recorder._ready)
    asked = asyncio.create_task(desk.recorder.scrape())
    await writer.hears()
    writer.theirs.close()
    assert await asked == b""


async def test_who_watches_sees_what_was_written_and_recovered(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[RequestRecord] = []
    monkeypatch.setattr(live, "publish", seen.extend)
    writer = await desk.writer()
    unseen, first = desk.put(2)
    await writer.hears_ids(2)
    await writer.say(Done([], [unseen.id], [], []))
    await eventually(lambda: desk.written)
    monkeypatch.setattr(live.broadcaster, "listeners", 1)
    found = a_record()
    await writer.say(Done([], [first.id], [], []), Recovered([notes.encode(notes.Finished(found, None))]))
    await eventually(lambda: len(seen) == 2)
    assert seen == [first, found]
