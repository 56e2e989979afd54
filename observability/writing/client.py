"""The gateway's side of its writer: notes each finished request in the spool and hands it over, with the recorder's
interface.

What is not known to be in the database is kept here as the bytes of its note. A writer that dies is started again and
gets all of it once more: every write is once by id. A writer that cannot write leaves it here, up to `max_pending`
requests; then `accepting` turns false.
"""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, datetime

from governance.domain.allowance import WindowState
from governance.ledger import Posting
from observability import live, metrics
from observability.recorder import RecorderState
from observability.records import RequestRecord
from observability.spool import Admitted, Finished, Spool, aside, notes
from observability.writing.child import Child, launch
from observability.writing.link import Gone, Link
from observability.writing.messages import (
    Condition,
    Done,
    Drain,
    Drained,
    Metrics,
    Ready,
    Recovered,
    Scrape,
    ToGateway,
    Write,
)

logger = logging.getLogger(__name__)

FLUSH_SECONDS = 0.025
"""How long finished requests gather before they go to the writer together."""
FLUSH_BYTES = 1 << 18
MAX_IN_FLIGHT = 8 << 20
"""Bytes that the writer may have and not have written: with the database away it holds no more than this."""
FIRST_PAUSE, LAST_PAUSE = 0.1, 10.0
"""Seconds between the end of a writer and the start of the next; doubled with each that did not live long."""
STABLE_SECONDS = 30.0
START_SECONDS = 15.0
"""How long a start may take before `/readyz` tells of it."""
QUIET_SECONDS = 5.0
"""After so long without a word (it speaks twice a second) the writer is said to be stuck."""
STUCK_SECONDS = 60.0
"""After so long it is killed and started anew."""
RETRY_NOTE_SECONDS = 0.5
GRACE_SECONDS = 1.0
"""What the writer's last word may take beyond the time that it was given."""
SCRAPE_SECONDS = 5.0
SCRAPE_CACHE_SECONDS = 1.0


class ProcessRecorder:
    """One for each gateway process. Everything but `drain` and `state` belongs to the event loop's thread.

    `on_posted` gets the budget windows that a batch moved, `on_written` the ids that are in the database, right after.
    """

    def __init__(
        self,
        spool: Spool,
        *,
        on_posted: Callable[[list[WindowState]], object] = lambda windows: None,
        on_written: Callable[[Sequence[str]], object] = lambda ids: None,
        max_pending: int = 100_000,
        start_writer: Callable[[], Child] | None = None,
    ) -> None:
        self.spool = spool
        self.owner = spool.owner
        self._on_posted = on_posted
        self._on_written = on_written
        self._max_pending = max_pending
        self._launch = start_writer or (lambda: launch(spool.owner, spool.root))
        self._loop: asyncio.AbstractEventLoop | None = None
        self._unwritten: dict[str, bytes] = {}
        """What is not known to be in the database, by id: the payload of its note. In the order it ended."""
        self._fresh: deque[str] = deque()
        """Those of them that the writer does not have."""
        self._in_flight = 0
        self._in_memory: set[str] = set()
        """Those that the spool had no room for."""
        self._timer: asyncio.TimerHandle | None = None
        self._watch: asyncio.TimerHandle | None = None
        self._child: Child | None = None
        self._link: Link | None = None
        self._ready = False
        self._starting: asyncio.Task[None] | None = None
        self._failures = 0
        self._started_at = 0.0
        self._down_since = time.monotonic()
        self._heard_at = 0.0
        self._condition = Condition("", None, 0, True)
        self._set_aside = 0
        self._drain_by: float | None = None
        self._drain_said = False
        self._drained = threading.Event()
        self._ended = False
        self._scrape: asyncio.Future[bytes] | None = None
        self._scraped: tuple[float, bytes] = (float("-inf"), b"")

    # --- on the request path: no I/O -------------------------------------------------------------------------
    def admit(self, note: Admitted) -> bool:
        """Note that a request's bytes go to a provider now; where this is False they must not."""
        return self.spool.admit(note)

    def withdraw(self, id: str) -> None:
        """Note that the attempt last admitted ended without an answer that is charged."""
        self.spool.withdraw(id)

    def put(self, record: RequestRecord, posting: Posting | None = None) -> None:
        """Take over a finished request; the caller must not change the record afterwards."""
        id_ = record.id
        if posting is None and len(self._unwritten) >= self._max_pending and not self.spool.holds(id_):
            # The database is away, and it is refusals that come in: they must not fill the memory and the disk that
            # the charges wait in.
            logger.warning("Not recorded, the log is full: %s %s", id_, record.error_message)
            return
        payload = notes.encode(Finished(record, posting))
        if not self.spool.note_finished(id_, payload):
            self._in_memory.add(id_)
        self._unwritten[id_] = payload
        if self._ended:
            self._leave_behind()
            return
        self._fresh.append(id_)
        if self._timer is None and self._loop is not None:
            self._timer = self._loop.call_later(FLUSH_SECONDS, self._flush_now)

    @property
    def accepting(self) -> bool:
        """False when so much waits for the database, or the spool has so little room, that new requests must be
        refused.
        """
        return len(self._unwritten) < self._max_pending and self._drain_by is None and self.spool.accepting

    # --- the event loop --------------------------------------------------------------------------------------
    def start(self) -> None:
        """Start the writer; a second call does nothing. Requests may end before it is there."""
        if self._loop is None:
            self._loop = asyncio.get_running_loop()
            self.spool.start()
            self._down_since = time.monotonic()
            self._starting = self._loop.create_task(self._start_writer(0.0))
            self._watch = self._loop.call_later(RETRY_NOTE_SECONDS, self._look)

    def state(self) -> RecorderState:
        """What `/readyz` shows, from the writer's last word; any thread."""
        condition, quiet = self._condition, time.monotonic() - self._heard_at
        down = None if self._ready else time.monotonic() - self._down_since
        error, running = condition.error, condition.running
        if down is not None and (self._failures or down > START_SECONDS):
            error, running = "the log's writer is restarting", down < START_SECONDS
        elif down is None and quiet > QUIET_SECONDS:
            error = f"the log's writer has not answered for {quiet:.0f} s"
        return RecorderState(
            pending=len(self._unwritten),
            accepting=self.accepting,
            running=running and not self._ended,
            last_error=error,
            last_flush_at=condition.flushed_at,
            lag_s=self._lag(),
            set_aside=self._set_aside + condition.set_aside,
        )

    def _lag(self) -> float:
        try:
            record = notes.finished(self._unwritten[next(iter(self._unwritten))]).record
        except (StopIteration, KeyError, RuntimeError):  # it was written in this very moment
            return 0.0
        return max(0.0, (datetime.now(UTC) - (record.finished_at or record.started_at)).total_seconds())

    async def scrape(self) -> bytes:
        """The metrics' text, at most a second old, rendered by the writer; empty where it cannot."""
        at, text = self._scraped
        if text and time.monotonic() - at < SCRAPE_CACHE_SECONDS:
            return text
        if self._link is None or not self._ready or self._loop is None:
            return b""
        scrape = self._scrape
        if scrape is None:
            scrape = self._scrape = self._loop.create_future()
            self._say(Scrape())  # which sets it where the writer turns out to be gone
        try:
            return await asyncio.wait_for(asyncio.shield(scrape), SCRAPE_SECONDS)
        except TimeoutError:
            return b""

    def _flush_now(self) -> None:
        self._timer = None
        self._flush()

    def _flush(self) -> None:
        """Send what the writer does not have, as much as it may."""
        if self._link is None or not self._ready:
            return
        while self._fresh and self._in_flight < MAX_IN_FLIGHT:
            items: list[tuple[str, bytes]] = []
            size = 0
            while self._fresh and size < FLUSH_BYTES:
                id_ = self._fresh.popleft()
                payload = self._unwritten.get(id_)
                if payload is not None:
                    items.append((id_, payload))
                    size += len(payload)
            self._in_flight += size
            if items and not self._say(Write(items)):
                return

    def _say(self, message: Write | Drain | Scrape) -> bool:
        if self._link is None:
            return False
        try:
            self._link.send(message)
        except Gone as gone:
            self._lost(str(gone))
            return False
        self._watch_room()
        return True

    def _watch_room(self) -> None:
        """Have the rest sent when the socket takes it."""
        if self._link is not None and self._link.waiting and self._loop is not None and self._loop.is_running():
            self._loop.add_writer(self._link.socket.fileno(), self._writable)

    def _writable(self) -> None:
        if self._link is None or self._loop is None:
            return
        try:
            self._link.flush()
        except Gone as gone:
            self._lost(str(gone))
            return
        if not self._link.waiting:
            self._loop.remove_writer(self._link.socket.fileno())

    def _readable(self) -> None:
        link = self._link
        if link is None:
            return
        try:
            for message in link.receive():
                if self._link is not link:
                    return  # it was lost over the last message: what it said is asked again
                self._heard_at = time.monotonic()
                self._take(message)
        except Gone as gone:
            self._lost(str(gone))

    def _take(self, message: ToGateway) -> None:
        match message:
            case Done():
                self._done(message)
            case Condition():
                self._condition = message
            case Recovered(payloads):
                self._publish(payloads)
            case Metrics(text):
                self._scraped = (time.monotonic(), text)
                if self._scrape is not None and not self._scrape.done():
                    self._scrape.set_result(text)
                self._scrape = None
            case Ready():
                self._ready, self._started_at = True, time.monotonic()
                self._flush()
                self._say_drain()
            case Drained():
                self._drained.set()

    def _done(self, done: Done) -> None:
        """A batch is committed. The budgets hear first: until they do, its charges count twice."""
        if done.windows:
            self._tell(self._on_posted, done.windows)
        self._tell(self._on_written, done.written)
        gone = [*done.written, *done.aside]
        self.spool.settled(gone)
        self._in_memory.difference_update(gone)
        pop = self._unwritten.pop
        payloads = [pop(id_, b"") for id_ in done.written]
        others = [pop(id_, b"") for id_ in (*done.aside, *done.lost)]
        self._in_flight -= sum(map(len, payloads)) + sum(map(len, others))
        if not self._unwritten:
            self._in_flight = 0  # a request handed over twice is counted twice
        if self._fresh and self._timer is None:
            self._flush()
        self._say_drain()
        self._publish(payloads)

    def _publish(self, payloads: Iterable[bytes]) -> None:
        """Show rows to those who watch through this process; with Redis the writer does so itself."""
        if live.broadcaster.listeners and live.broadcaster.is_local:
            live.publish([notes.finished(payload).record for payload in payloads if payload])

    def _tell(self, listener: Callable[..., object], news: object) -> None:
        try:
            listener(news)
        except Exception:
            logger.exception("A listener of the recorder failed; the log itself is written.")

    def _look(self) -> None:
        """Twice a second: what the spool may have room for by now, the figures, and a writer that is stuck."""
        if self._loop is None or self._ended:
            return
        self._watch = self._loop.call_later(RETRY_NOTE_SECONDS, self._look)
        metrics.PENDING.set(len(self._unwritten))
        if self._in_memory and self.spool.accepting:
            self._note_again()
        if self._ready and self._child is not None and time.monotonic() - self._heard_at > STUCK_SECONDS:
            logger.error("The log's writer (process %d) has not answered for a minute and is killed.", self._child.pid)
            self._heard_at = time.monotonic()
            self._child.kill()

    def _note_again(self) -> None:
        for id_ in list(self._in_memory):
            payload = self._unwritten.get(id_)
            if payload is not None and not self.spool.note_finished(id_, payload):
                return
            self._in_memory.discard(id_)

    # --- the writer's life -----------------------------------------------------------------------------------
    async def _start_writer(self, pause: float) -> None:
        assert self._loop is not None  # noqa: S101  (`start` has set it)
        while True:
            await asyncio.sleep(pause)
            try:
                child = await self._loop.run_in_executor(None, self._launch)
                break
            except Exception as error:
                # Whatever it is: without a writer the log only grows, so it is tried until there is one.
                self._failures += 1
                pause = self._pause()
                logger.error("The log's writer cannot be started (%s); tried again in %.1f s.", error, pause)
        if self._ended:
            child.end()
            return
        self._child, self._link = child, Link(child.socket)
        self._heard_at = self._started_at = time.monotonic()
        self._loop.add_reader(child.socket.fileno(), self._readable)

    def _lost(self, why: str) -> None:
        """The writer is gone: what it has not told to be written is not sent, for all we know."""
        child, link = self._child, self._link
        if child is None or link is None or self._loop is None:
            return
        lived = time.monotonic() - self._started_at
        self._failures = 1 if self._ready and lived > STABLE_SECONDS else self._failures + 1
        self._child = self._link = None
        self._ready, self._down_since = False, time.monotonic()
        self._in_flight, self._drain_said = 0, False
        self._fresh = deque(self._unwritten)
        if self._scrape is not None and not self._scrape.done():
            self._scrape.set_result(b"")
        self._scrape = None
        if not self._loop.is_running():
            child.end()
            self._drained.set()
            return
        self._loop.remove_reader(link.socket.fileno())
        self._loop.remove_writer(link.socket.fileno())
        if not self._ended:
            self._starting = self._loop.create_task(self._start_again(child, why))

    async def _start_again(self, child: Child, why: str) -> None:
        assert self._loop is not None  # noqa: S101
        try:
            how = await self._loop.run_in_executor(None, child.end)
        except Exception as error:
            how = f"its end could not be seen: {error}"
        pause = self._pause()
        logger.error(
            "The log's writer is gone: %s (%s). It starts again in %.1f s; %d requests wait, none is lost.",
            why,
            how,
            pause,
            len(self._unwritten),
        )
        await self._start_writer(pause)

    def _pause(self) -> float:
        return min(FIRST_PAUSE * 2.0 ** (min(self._failures, 20) - 1), LAST_PAUSE)

    # --- the end ---------------------------------------------------------------------------------------------
    def drain(self, timeout: float) -> int:
        """Have everything written and end the writer, within `timeout` seconds; gives how many records could not be
        written.

        Those stay in the spool, for the next process to write; what the spool had no room for is set aside in a file.
        Any thread but the event loop's own; or, after the loop has ended, whichever comes.
        """
        if self._ended:
            return 0
        self._drain_by = time.monotonic() + timeout
        if self._loop is not None and self._loop.is_running():
            self._loop.call_soon_threadsafe(self._begin_drain)
            self._drained.wait(timeout + GRACE_SECONDS)
            ended = threading.Event()
            self._loop.call_soon_threadsafe(self._end, ended)
            ended.wait(5)
        else:
            self._drain_alone()
            self._ended = True
        child, self._child, self._link = self._child, None, None
        if child is not None:
            child.end()
        left = len(self._unwritten)
        metrics.PENDING.set(left)
        self._leave_behind()
        if not self.spool.close():
            logger.warning("What is not in the database stays in the spool and is written by the next process.")
        return left

    def _begin_drain(self) -> None:
        if not self._unwritten and not self._ready:
            self._drained.set()
            return
        self._flush()
        self._say_drain()

    def _say_drain(self) -> None:
        """Once everything is sent."""
        if self._drain_by is not None and self._ready and not self._fresh and not self._drain_said:
            self._drain_said = True
            self._say(Drain(max(0.0, self._drain_by - time.monotonic())))

    def _end(self, ended: threading.Event) -> None:
        """The loop's part in the end: nothing of ours stays with it."""
        self._ended = True
        for timer in (self._timer, self._watch):
            if timer is not None:
                timer.cancel()
        self._timer = self._watch = None
        if self._starting is not None:
            self._starting.cancel()
        if self._link is not None and self._loop is not None:
            self._loop.remove_reader(self._link.socket.fileno())
            self._loop.remove_writer(self._link.socket.fileno())
        ended.set()

    def _drain_alone(self) -> None:
        """Without an event loop: it has ended before the recorder was drained."""
        self._timer = None
        self._begin_drain()
        while not self._drained.is_set() and self._drain_by is not None and time.monotonic() < self._drain_by:
            link = self._link
            if link is None:
                return
            link.wait(self._drain_by - time.monotonic())
            self._writable_alone(link)
            self._readable()

    def _writable_alone(self, link: Link) -> None:
        try:
            link.flush()
        except Gone as gone:
            self._lost(str(gone))

    def _leave_behind(self) -> None:
        """Set aside what is in memory alone; the rest stays in the spool."""
        for id_ in self._in_memory:
            payload = self._unwritten.get(id_)
            if payload is not None:
                finished = notes.finished(payload)
                self._set_aside += 1
                aside.keep(
                    self.spool.root, finished.record, finished.posting, "the database was away until the process ended"
                )
        self._in_memory.clear()
        self._unwritten.clear()
        self._fresh.clear()
