"""Takes finished requests from the data plane and writes them in batches: request rows and ledger in one
transaction.

`put` notes the request in the spool, a local file that outlives the process, and appends it to a queue. A thread
writes what it finds there, at most 250 ms apart, and replays what dead processes left. When the database is away
everything is kept and tried again; when `max_pending` are kept, or the spool has no room, `accepting` turns false and
the pipeline refuses new requests: nothing is ever dropped in silence.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TypeVar

from django.db import connection, transaction

from governance import ledger
from governance.domain.allowance import WindowState
from governance.domain.ids import new_ulid
from governance.ledger import Posting
from observability import metrics
from observability.batch import Item, Outage, write
from observability.records import RequestRecord
from observability.replay import Replay
from observability.spool import Admitted, Spool, aside, configured_root

logger = logging.getLogger(__name__)

T = TypeVar("T")
BATCH_ROWS = 200
"""Larger ones would hold the interpreter's lock, and so the event loop of the same process, for too long."""
INTERVAL_S = 0.2
REPLAY_EVERY_S = 1.0
FIRST_RETRY_S, LAST_RETRY_S = 0.1, 5.0
TOUCH_EVERY = timedelta(minutes=1)


@dataclass(frozen=True, slots=True)
class RecorderState:
    """What `/readyz` and the metrics show. `lag_s`: age of the oldest request not written yet, in seconds."""

    pending: int
    accepting: bool
    running: bool
    last_error: str
    last_flush_at: datetime | None
    lag_s: float
    set_aside: int
    """Records that the database refused and that are kept in a file of the spool, since the start."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of a batch."""

    windows: list[WindowState]
    written: list[str]
    """Ids of the requests that are in the database now, or were already."""
    aside: list[str]
    """Refused by the database for good, and kept in the file for a person."""
    lost: list[str]
    """In neither."""


class Recorder:
    """One for each process. `listeners` get each committed batch, `on_posted` the budget windows it moved,
    both in the recorder's thread. Without a spool it keeps everything in memory alone.

    In a writer's process it works for the gateway whose id is `writes_for`, and `on_done` hears what became of each
    batch; what it cannot write is that gateway's to keep.
    """

    def __init__(
        self,
        *,
        listeners: Sequence[Callable[[list[RequestRecord]], object]] = (),
        on_posted: Sequence[Callable[[list[WindowState]], object]] = (),
        max_pending: int = 100_000,
        interval_s: float = INTERVAL_S,
        spool: Spool | None = None,
        writes_for: str = "",
        root: Path | None = None,
        on_done: Callable[[Outcome], object] | None = None,
        on_replayed: Sequence[Callable[[list[RequestRecord]], object]] | None = None,
        batch_rows: int = BATCH_ROWS,
    ) -> None:
        self.spool = spool
        self.owner = writes_for or (spool.owner if spool else new_ulid())
        """Names this process in its leases and its spool."""
        self._is_writer = bool(writes_for)
        self._on_done = on_done
        self._batch_rows = batch_rows
        self._root = root or (spool.root if spool else configured_root())
        self.listeners = list(listeners)
        self.on_posted = list(on_posted)
        self._max_pending = max_pending
        self._interval = interval_s
        self._queue: deque[Item] = deque()
        self._batch: list[Item] = []
        self._wake = threading.Event()
        self._thread: threading.Thread | None = None
        self._stop_by: float | None = None
        self._touched: dict[int, datetime] = {}
        self._last_error = ""
        self._last_flush_at: datetime | None = None
        self._set_aside = 0
        self._in_memory: dict[str, Item] = {}
        """Finished requests that the spool had no room for."""
        self._replay = (
            Replay(self._root, listeners=self.listeners if on_replayed is None else on_replayed)
            if spool or writes_for
            else None
        )
        self._sweep: Iterator[None] | None = None
        self._next_sweep = 0.0
        self._ended = False

    def start(self) -> None:
        """Start the thread; a second call does nothing."""
        if self._thread is None:
            if self.spool is not None:
                self.spool.start()
            self._thread = threading.Thread(target=self._run, name="recorder", daemon=True)
            self._thread.start()

    def admit(self, note: Admitted) -> bool:
        """Note that a request's bytes go to a provider now; where this is False they must not. No I/O."""
        return self.spool is None or self.spool.admit(note)

    def withdraw(self, id: str) -> None:
        """Note that the attempt last admitted ended without an answer that is charged. No I/O."""
        if self.spool is not None:
            self.spool.withdraw(id)

    def put(self, record: RequestRecord, posting: Posting | None = None) -> None:
        """Take over a finished request; the caller must not change the record afterwards. No I/O, any thread."""
        spool = self.spool
        if posting is None and not self._is_writer and self._full() and not (spool and spool.holds(record.id)):
            # The database is away, and it is refusals that come in: they must not fill the memory and the disk that
            # the charges wait in.
            logger.warning("Not recorded, the log is full: %s %s", record.id, record.error_message)
            return
        if spool is not None and not spool.finish(record, posting):
            self._in_memory[record.id] = (record, posting)
        if self._ended:
            self._leave_behind([(record, posting)])
            return
        self._queue.append((record, posting))
        if len(self._queue) >= self._batch_rows and not self._wake.is_set():
            self._wake.set()

    @property
    def accepting(self) -> bool:
        """False when so much waits for the database, or the spool has so little room, that new requests must be
        refused.
        """
        return not self._full() and self._stop_by is None and (self.spool is None or self.spool.accepting)

    def _full(self) -> bool:
        return len(self._queue) + len(self._batch) >= self._max_pending

    def state(self) -> RecorderState:
        batch = self._batch
        try:
            oldest = (batch or self._queue)[0][0]
            lag = max(0.0, (datetime.now(UTC) - (oldest.finished_at or oldest.started_at)).total_seconds())
        except IndexError:  # the thread took it in this very moment
            lag = 0.0
        return RecorderState(
            pending=len(self._queue) + len(batch),
            accepting=self.accepting,
            running=self._thread is not None and self._thread.is_alive(),
            last_error=self._last_error,
            last_flush_at=self._last_flush_at,
            lag_s=lag,
            set_aside=self._set_aside,
        )

    def drain(self, timeout: float) -> int:
        """Write everything and end the thread, within `timeout` seconds; gives how many records could not be
        written.

        Those stay in the spool, for the next process to write; what the spool had no room for is set aside in a file.
        """
        if self._ended:
            return 0
        self._stop_by = time.monotonic() + timeout
        self._wake.set()
        stuck = False
        if self._thread is not None:
            self._thread.join(timeout + 1)
            stuck = self._thread.is_alive()
        self._ended = True
        left = [*self._batch, *self._queue]
        self._queue.clear()
        self._leave_behind(left)
        if stuck:
            # It may still commit: the lock on the spool goes with the process, then another one looks.
            logger.error("The recorder's thread is stuck in the database; its batch stays in the spool.")
        elif self.spool is not None and not self.spool.close():
            logger.warning("What is not in the database stays in the spool and is written by the next process.")
        return len(left)

    def _leave_behind(self, items: Sequence[Item]) -> None:
        """Set aside what is in memory alone."""
        if self._is_writer:
            return
        for record, posting in items:
            if self.spool is None or self._in_memory.pop(record.id, None) is not None:
                self._keep_aside(record, posting, "the database was away until the process ended")

    def _keep_aside(self, record: RequestRecord, posting: Posting | None, reason: str) -> bool:
        self._set_aside += 1
        return aside.keep(self._root, record, posting, reason)

    # --- the thread -----------------------------------------------------------------------------------------
    def _run(self) -> None:
        try:
            while True:
                self._wait_for_rows()
                self._batch = [self._queue.popleft() for _ in range(min(self._batch_rows, len(self._queue)))]
                if self._batch:
                    if not self._write_until_done(self._batch):
                        return
                    self._batch = []
                elif self._stop_by is not None:
                    return
                self._replay_some()
        finally:
            self._end_sweep()
            connection.close()

    def _wait_for_rows(self) -> None:
        """Wait for a full batch or the interval's end; not at all when stopping or in the middle of a replay."""
        if len(self._queue) < self._batch_rows and self._stop_by is None and self._sweep is None:
            self._wake.wait(self._interval)
            self._wake.clear()

    def _replay_some(self) -> None:
        """One batch of what a dead process left, between two of our own; looked for about once a second."""
        if self._replay is None or self._stop_by is not None:
            return
        if self._sweep is None:
            if time.monotonic() < self._next_sweep:
                return
            self._sweep = self._replay.sweep()
        try:
            next(self._sweep)
        except StopIteration:
            self._end_sweep()
            self._last_error = ""
        except Outage as outage:
            if not self._last_error:
                logger.warning("What a dead process left cannot be written yet: %s", outage)
            self._last_error = str(outage)
            connection.close()
            self._end_sweep(LAST_RETRY_S)
        except Exception:
            logger.exception("The spools of dead processes cannot be looked through; this is tried again.")
            self._end_sweep(LAST_RETRY_S)

    def _end_sweep(self, pause_s: float = REPLAY_EVERY_S) -> None:
        if self._sweep is not None:
            self._sweep.close()  # type: ignore[attr-defined]
        self._sweep = None
        self._next_sweep = time.monotonic() + pause_s

    def _write_until_done(self, batch: list[Item]) -> bool:
        """Write the batch, however long the database is away; False when the process must end first."""
        delay = FIRST_RETRY_S
        while True:
            try:
                began = time.perf_counter()
                written = write(batch, self.owner)
            except Outage as outage:
                if not self._last_error:
                    logger.warning("The request log cannot be written and is kept in memory: %s", outage)
                self._last_error = str(outage)
                self._show_pending(len(self._queue) + len(batch))
                connection.close()
            else:
                metrics.FLUSH_SECONDS.observe(time.perf_counter() - began)
                break
            if self._stop_by is not None and time.monotonic() + delay > self._stop_by:
                return False
            self._note_again()
            self._wake.wait(delay)
            self._wake.clear()
            delay = min(delay * 2, LAST_RETRY_S)
        if self._last_error:
            logger.info("The request log is written again.")
            self._last_error = ""
        self._last_flush_at = datetime.now(UTC)
        self._show_pending(len(self._queue))
        if written.windows:
            # First of all: until the budgets know, figures read from the ledger count the batch a second time.
            for hear in self.on_posted:
                _tell(hear, written.windows)
        lost = {item[0].id for item, why in written.refused if not self._keep_aside(*item, why)}
        self._settle(batch, lost)
        if self._on_done is not None:
            ids = [record.id for record in written.records]
            aside_ids = [item[0].id for item, _ in written.refused if item[0].id not in lost]
            _tell(self._on_done, Outcome(written.windows, ids, aside_ids, list(lost)))
        for listener in self.listeners:
            _tell(listener, written.records)
        # Last: nobody waits for it, and it may wait for the database.
        self._touch_keys([posting for _, posting in batch if posting is not None])
        return True

    def _show_pending(self, count: int) -> None:
        if not self._is_writer:  # its gateway counts them
            metrics.PENDING.set(count)

    def _settle(self, batch: list[Item], lost: set[str]) -> None:
        """Tell the spool what is in the database or in the file: it keeps what is in neither."""
        if self.spool is None:
            return
        self.spool.settled([record.id for record, _ in batch if record.id not in lost])
        if self._in_memory:
            for record, _ in batch:
                self._in_memory.pop(record.id, None)

    def _note_again(self) -> None:
        """The spool may have room by now for what it had none for."""
        if self.spool is not None and self._in_memory and self.spool.accepting:
            for id_, item in list(self._in_memory.items()):
                if not self.spool.finish(*item):
                    return
                del self._in_memory[id_]

    def _touch_keys(self, postings: list[Posting]) -> None:
        """Note the keys' last use, each at most once a minute. Best effort: the next use notes it again."""
        used: dict[int, tuple[datetime, str]] = {}
        for posting in postings:
            last = self._touched.get(posting.virtual_key_id)
            if last is None or posting.occurred_at - last >= TOUCH_EVERY:
                used[posting.virtual_key_id] = (posting.occurred_at, posting.client)
        if not used:
            return
        try:
            with transaction.atomic():
                ledger.touch_keys(used)
        except Exception as error:
            # Whatever it is: it must not end the thread that writes the ledger.
            logger.warning("The last use of %d keys was not noted: %s", len(used), error)
        else:
            self._touched.update({key_id: when for key_id, (when, _) in used.items()})


def _tell(listener: Callable[[T], object], news: T) -> None:
    try:
        listener(news)
    except Exception:
        logger.exception("A listener of the recorder failed; the log itself is written.")
