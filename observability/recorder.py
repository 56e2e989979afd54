"""Takes finished requests from the data plane and writes them in batches: request rows and ledger in one
transaction.

`put` only appends to a queue. A thread of its own writes what it finds there, at most 250 ms apart. When the
database is away it keeps everything and tries again; when it has kept `max_pending`, `accepting` turns false
and the pipeline refuses new requests: nothing is ever dropped in silence.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TypeVar

from django.db import DatabaseError, DataError, IntegrityError, InterfaceError, connection, transaction

from governance import ledger
from governance.domain.allowance import WindowState
from governance.ledger import Posting
from observability import metrics, rollups, rows, unwritten
from observability.records import RequestRecord

logger = logging.getLogger(__name__)

T = TypeVar("T")
Item = tuple[RequestRecord, Posting | None]
BATCH_ROWS = 200
"""Larger ones would hold the interpreter's lock, and so the event loop, for too long."""
INTERVAL_S = 0.2
FIRST_RETRY_S, LAST_RETRY_S = 0.1, 5.0
TOUCH_EVERY = timedelta(minutes=1)


class Outage(Exception):
    """The database cannot be written now; the same batch may be written later."""


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
    """Records that the database refused and that are kept in a file (`unwritten.py`), since the start."""


class Recorder:
    """One for each process. `listeners` get each committed batch, `on_posted` the budget windows it moved,
    both in the recorder's thread.
    """

    def __init__(
        self,
        *,
        listeners: Sequence[Callable[[list[RequestRecord]], object]] = (),
        on_posted: Sequence[Callable[[list[WindowState]], object]] = (),
        max_pending: int = 100_000,
        interval_s: float = INTERVAL_S,
    ) -> None:
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

    def start(self) -> None:
        """Start the thread; a second call does nothing."""
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name="recorder", daemon=True)
            self._thread.start()

    def put(self, record: RequestRecord, posting: Posting | None = None) -> None:
        """Take over a finished request; the caller must not change the record afterwards. No I/O, any thread."""
        self._queue.append((record, posting))
        if len(self._queue) >= BATCH_ROWS and not self._wake.is_set():
            self._wake.set()

    @property
    def accepting(self) -> bool:
        """False when so much waits for the database that new requests must be refused."""
        return len(self._queue) + len(self._batch) < self._max_pending and self._stop_by is None

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

        Those are kept in the file of `unwritten.py`.
        """
        self._stop_by = time.monotonic() + timeout
        self._wake.set()
        if self._thread is not None:
            self._thread.join(timeout + 1)
            if self._thread.is_alive():
                logger.error("The recorder's thread is stuck in the database; its batch is kept in a file.")
        left = [*self._batch, *self._queue]
        self._queue.clear()
        for record, posting in left:
            unwritten.keep(record, posting, "the database was away until the process ended")
        return len(left)

    # --- the thread -----------------------------------------------------------------------------------------
    def _run(self) -> None:
        try:
            while self._wait_for_rows():
                self._batch = [self._queue.popleft() for _ in range(min(BATCH_ROWS, len(self._queue)))]
                if not self._write_until_done(self._batch):
                    return
                self._batch = []
        finally:
            connection.close()

    def _wait_for_rows(self) -> bool:
        """Wait for a full batch or the interval's end; False when stopping and nothing is left."""
        while len(self._queue) < BATCH_ROWS:
            if self._stop_by is not None:
                return bool(self._queue)
            self._wake.wait(self._interval)
            self._wake.clear()
            if self._queue:
                return True
        return True

    def _write_until_done(self, batch: list[Item]) -> bool:
        """Write the batch, however long the database is away; False when the process must end first."""
        delay = FIRST_RETRY_S
        while True:
            try:
                began = time.perf_counter()
                written, windows = self._write(batch)
            except Outage as outage:
                if not self._last_error:
                    logger.warning("The request log cannot be written and is kept in memory: %s", outage)
                self._last_error = str(outage)
                metrics.PENDING.set(len(self._queue) + len(batch))
                connection.close()
            else:
                metrics.FLUSH_SECONDS.observe(time.perf_counter() - began)
                break
            if self._stop_by is not None and time.monotonic() + delay > self._stop_by:
                return False
            self._wake.wait(delay)
            self._wake.clear()
            delay = min(delay * 2, LAST_RETRY_S)
        if self._last_error:
            logger.info("The request log is written again.")
            self._last_error = ""
        self._last_flush_at = datetime.now(UTC)
        metrics.PENDING.set(len(self._queue))
        if windows:
            # First of all: until the budgets know, figures read from the ledger count the batch a second time.
            for hear in self.on_posted:
                _tell(hear, windows)
        self._touch_keys([posting for _, posting in batch if posting is not None])
        for listener in self.listeners:
            _tell(listener, written)
        return True

    def _write(self, batch: list[Item]) -> tuple[list[RequestRecord], list[WindowState]]:
        """Write the batch in one transaction; where a row is refused, one by one. Raises Outage."""
        try:
            return _commit(batch)
        except Outage:
            raise
        except Exception:
            logger.exception("A batch of the request log was refused; its rows are written one by one.")
        written: list[RequestRecord] = []
        windows: list[WindowState] = []
        for item in batch:
            posted = self._write_one(item)
            if posted is not None:
                written.append(item[0])
                windows += posted  # a window may come twice: each state says what its own row added
        return written, windows

    def _write_one(self, item: Item) -> list[WindowState] | None:
        """Write one row, repaired where it must be; None where even that is refused and the row went to a
        file.
        """
        record, posting = item
        try:
            return _commit([item])[1]
        except Outage:
            raise
        except Exception as error:
            reason = error
        try:
            changed = rows.repair(record)
            windows = _commit([item])[1]
        except Outage:
            raise
        except Exception as error:
            logger.critical("Request %s cannot be written (%s); it is kept in a file.", record.id, error)
            self._set_aside += 1
            unwritten.keep(record, posting, str(error))
            return None
        logger.error("Request %s was written after a repair of %s: %s", record.id, ", ".join(changed), reason)
        return windows

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


def _commit(batch: list[Item]) -> tuple[list[RequestRecord], list[WindowState]]:
    """One transaction. Safe to repeat after a commit whose answer was lost: rows and charges are written once
    by id.
    """
    records = [record for record, _ in batch]
    try:
        with transaction.atomic():
            rows.insert(records)
            windows = ledger.post([posting for _, posting in batch if posting is not None])
            rollups.mark(record.started_at for record in records)
    except (DataError, IntegrityError):
        raise
    except (DatabaseError, InterfaceError) as error:
        raise Outage(f"{type(error).__name__}: {str(error).strip() or 'no reason given'}") from error
    return records, windows


def _tell(listener: Callable[[T], object], news: T) -> None:
    try:
        listener(news)
    except Exception:
        logger.exception("A listener of the recorder failed; the log itself is written.")
