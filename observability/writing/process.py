"""What the writer's process does: the recorder, fed from the link.

It writes what comes over its socket, replays what dead processes left, counts the metrics and renders them. It keeps
nothing that its gateway does not keep too: when the socket ends it ends at once, whatever it is doing.
"""

from __future__ import annotations

import asyncio
import logging
import os
import socket
from collections.abc import Callable, Coroutine, Sequence
from pathlib import Path
from typing import NoReturn

from django.db import connection

from observability import exposition, live, metrics
from observability.recorder import Outcome, Recorder
from observability.records import RequestRecord
from observability.spool import Finished, notes
from observability.writing.messages import (
    BadFrame,
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

log = logging.getLogger("observability.writing")

CONDITION_SECONDS = 0.5
BATCH_ROWS = 500
"""No event loop waits for this process: larger ones than the recorder's own, so that fewer transactions are paid for.
The gateway hears of a whole batch at once, in one turn of its event loop, which bounds them."""
READ_BYTES = 1 << 18


async def serve(sock: socket.socket, owner: str, root: Path) -> None:
    """Work for the gateway at the other end; ends the process when that is gone."""
    loop = asyncio.get_running_loop()
    live.bind(loop)
    writer = Writer(loop, owner, root)
    reader, transport = await asyncio.open_unix_connection(sock=sock, limit=READ_BYTES)
    writer.connect(transport)
    frames: Frames[ToWriter] = Frames(ToWriter)
    while data := await _read(reader):
        try:
            for message in frames.feed(data):
                writer.take(message)
        except BadFrame as error:
            log.critical("The gateway sent %s; the writer ends and is started again.", error)
            end(1)
    end(0)


async def _read(reader: asyncio.StreamReader) -> bytes:
    try:
        return await reader.read(READ_BYTES)
    except OSError:
        return b""


def end(code: int) -> NoReturn:
    """At once: a transaction under way is rolled back, and what it held is the gateway's, or its spool's, to tell."""
    logging.shutdown()
    os._exit(code)


class Writer:
    """The recorder of a gateway process, at the other end of its link."""

    def __init__(self, loop: asyncio.AbstractEventLoop, owner: str, root: Path) -> None:
        # Without Redis the live log's sockets are in the gateway: it has the payloads and publishes them itself.
        listeners: list[Callable[[list[RequestRecord]], object]] = [metrics.observe]
        if not live.broadcaster.is_local:
            listeners.append(live.publish)
        self._loop = loop
        self._transport: asyncio.StreamWriter | None = None
        self._recorder = Recorder(
            writes_for=owner,
            root=root,
            listeners=listeners,
            on_done=self._done,
            on_replayed=[metrics.observe, self._recovered if live.broadcaster.is_local else live.publish],
            batch_rows=BATCH_ROWS,
        )
        self._rendering: asyncio.Task[None] | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    def connect(self, transport: asyncio.StreamWriter) -> None:
        """Begin."""
        self._transport = transport
        self._recorder.start()
        self._send(Ready())
        self._start(self._tell_condition())

    def take(self, message: ToWriter) -> None:
        """One message of the gateway."""
        match message:
            case Write(items):
                self._write(items)
            case Drain(seconds):
                self._start(self._drain(seconds))
            case Scrape():
                if self._rendering is None or self._rendering.done():
                    self._rendering = self._start(self._render())

    def _write(self, items: Sequence[tuple[str, bytes]]) -> None:
        unreadable: list[str] = []
        for id_, payload in items:
            try:
                finished = notes.finished(payload)
            except ValueError as error:
                log.critical("The note of request %s %s; it stays in the spool.", id_, error)
                unreadable.append(id_)
            else:
                self._recorder.put(finished.record, finished.posting)
        if unreadable:
            self._send(Done([], [], [], unreadable))

    # --- in the recorder's thread ---------------------------------------------------------------------------
    def _done(self, outcome: Outcome) -> None:
        done = Done(outcome.windows, outcome.written, outcome.aside, outcome.lost)
        self._loop.call_soon_threadsafe(self._send, done)

    def _recovered(self, records: list[RequestRecord]) -> None:
        payloads = [notes.encode(Finished(record, None)) for record in records]
        self._loop.call_soon_threadsafe(self._send, Recovered(payloads))

    # --- tasks ----------------------------------------------------------------------------------------------
    async def _tell_condition(self) -> None:
        while True:
            state = self._recorder.state()
            self._send(Condition(state.last_error, state.last_flush_at, state.set_aside, state.running))
            await asyncio.sleep(CONDITION_SECONDS)

    async def _drain(self, seconds: float) -> None:
        await asyncio.to_thread(self._recorder.drain, seconds)
        self._send(Drained())

    async def _render(self) -> None:
        self._send(Metrics(await asyncio.to_thread(_render)))

    def _send(self, message: ToGateway) -> None:
        if self._transport is not None:
            self._transport.write(frame(message))

    def _start(self, work: Coroutine[None, None, None]) -> asyncio.Task[None]:
        task = self._loop.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task


def _render() -> bytes:
    try:
        return exposition.render()
    except Exception:
        log.exception("The metrics could not be rendered")
        return b""
    finally:
        connection.close()
