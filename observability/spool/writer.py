"""Notes each request in a local file before its bytes go to a provider and again when it ends, without any I/O then.

A note is one copy into a mapped, preallocated segment: it outlives the process. A thread of its own makes the next
segment before it is needed, brings what was written onto the disk every few milliseconds (against power loss) and
removes segments whose requests are all in the database. Where there is no room, new requests are refused or served
without a note, as the settings say; `/readyz`, the log and a metric tell.
"""

from __future__ import annotations

import itertools
import logging
import threading
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from django.conf import settings

from governance.domain.ids import new_ulid
from governance.ledger import Posting
from observability import metrics
from observability.health import Check
from observability.records import RequestRecord
from observability.spool import aside, folders, notes
from observability.spool.folders import Owned
from observability.spool.notes import Admitted, Finished
from observability.spool.segments import OVERHEAD, SUFFIX, Kind, Segment, pack

logger = logging.getLogger(__name__)

RETRY_S = 0.5
"""Between two tries to make a segment where there was no room."""


@dataclass(frozen=True, slots=True)
class SpoolState:
    """What `/readyz` and the metrics show."""

    requests: int
    """Requests noted here that are not in the database yet: running ones, and finished ones that wait for it."""
    segments: int
    bytes: int
    """On disk, of this process."""
    problem: str
    """Why there is no room, or why what is written cannot be brought onto the disk; empty where all is well."""
    unnoted: int
    """Notes that could not be written since the start."""


class Spool:
    """One for each process. Any thread may note; each note is whole or not there."""

    def __init__(
        self,
        root: Path,
        *,
        segment_bytes: int = 4 << 20,
        max_bytes: int = 1 << 30,
        fsync_ms: int = 100,
        refuse_when_full: bool = True,
        owner: str = "",
    ) -> None:
        self.root = root
        self.owner = owner or new_ulid()
        self.refuses = refuse_when_full
        self._segment_bytes = segment_bytes
        self._max_bytes = max_bytes
        self._fsync_s = fsync_ms / 1000
        self._lock = threading.Lock()
        self._folder: Owned | None = None
        self._numbers = itertools.count(1)
        self._current: Segment | None = None
        self._spare: Segment | None = None
        self._sealed: list[Segment] = []
        self._held: dict[str, Segment | tuple[Segment, ...]] = {}
        """Where each request that is not in the database yet has its records: in one segment, nearly always."""
        self._unnoted = 0
        self._no_room = ""
        self._unflushed = ""
        self._tried_at = 0.0
        self._wake = threading.Event()
        self._closing = False
        self._thread: threading.Thread | None = None

    @classmethod
    def configured(cls) -> Self:
        """As the settings say."""
        values = settings.COMPTROLLER
        return cls(
            configured_root(),
            segment_bytes=values["COMPTROLLER_SPOOL_SEGMENT_BYTES"],
            max_bytes=values["COMPTROLLER_SPOOL_MAX_BYTES"],
            fsync_ms=values["COMPTROLLER_SPOOL_FSYNC_MS"],
            refuse_when_full=values["COMPTROLLER_SPOOL_WHEN_FULL"] == "refuse",
        )

    def start(self) -> None:
        """Make the folder and the first segments, and start the thread. Without room it goes on trying."""
        if self._thread is None:
            self._tend()
            self._thread = threading.Thread(target=self._run, name="spool", daemon=True)
            self._thread.start()

    # --- notes: on the request path, no I/O -----------------------------------------------------------------
    def admit(self, note: Admitted) -> bool:
        """Note that the request's bytes go to a provider now. False: they must not, there is no room for the note."""
        if self._note(Kind.ADMITTED, note.record.id, notes.encode(note)):
            return True
        metrics.SPOOL_UNNOTED.labels("refused" if self.refuses else "admitted").inc()
        return not self.refuses

    def withdraw(self, id: str) -> None:
        """Note that the attempt last admitted ended without an answer that is charged."""
        if id in self._held:
            self._note(Kind.WITHDRAWN, id, b"")

    def finish(self, record: RequestRecord, posting: Posting | None) -> bool:
        """Note a finished request; False where there is no room and it is in memory alone."""
        return self.note_finished(record.id, notes.encode(Finished(record, posting)))

    def note_finished(self, id: str, payload: bytes) -> bool:
        """The same for a note that is encoded already."""
        if self._note(Kind.FINISHED, id, payload):
            return True
        metrics.SPOOL_UNNOTED.labels("finished").inc()
        return False

    def holds(self, id: str) -> bool:
        """Whether the request has a record here that would be replayed if the process died now."""
        return id in self._held

    def settled(self, ids: Iterable[str]) -> None:
        """These requests are in the database, or set aside: their records are needed no more."""
        freed = False
        with self._lock:
            for id_ in ids:
                places = self._held.pop(id_, ())
                for segment in places if isinstance(places, tuple) else (places,):
                    segment.outstanding -= 1
                    freed = freed or not segment.outstanding
        if freed and self._sealed:
            self._wake.set()

    @property
    def outstanding(self) -> int:
        """Requests noted here that are not in the database yet."""
        return len(self._held)

    @property
    def accepting(self) -> bool:
        """False where new requests must be refused: no segment can be had, and the rest of the last one is kept for
        the ends of those that run.
        """
        if not self.refuses or not self._no_room or self._spare is not None:
            return True
        current = self._current
        return current is not None and current.free > current.size // 4

    def _note(self, kind: Kind, id: str, payload: bytes) -> bool:
        record = pack(kind, id, payload)
        with self._lock:
            segment = self._current
            if segment is None or not segment.append(record):
                segment = self._rotate(len(record))
                if segment is None:
                    self._unnoted += 1
                    return False
                segment.append(record)
            before = self._held.get(id)
            if before is None:
                self._held[id] = segment
                segment.outstanding += 1
            elif before is not segment:
                self._add_place(id, before, segment)
        return True

    def _add_place(self, id: str, before: Segment | tuple[Segment, ...], segment: Segment) -> None:
        """The request's records lie in several segments: the one they began in was full."""
        places = before if isinstance(before, tuple) else (before,)
        if segment not in places:
            self._held[id] = (*places, segment)
            segment.outstanding += 1

    def _rotate(self, size: int) -> Segment | None:
        """The next segment, which is ready; None where there is none."""
        if self._closing:
            return None
        fits = size + 2 * OVERHEAD <= self._segment_bytes
        if fits:
            following, self._spare = self._spare, None
        else:
            # Larger than any segment: the one record in many millions for which the disk is asked at once.
            following = self._make(size + 2 * OVERHEAD)
        self._wake.set()
        if following is None:
            return None
        if self._current is not None:
            self._sealed.append(self._current)
        self._current = following
        return following

    # --- the thread -----------------------------------------------------------------------------------------
    def _run(self) -> None:
        pause = self._fsync_s or RETRY_S
        while not self._closing:
            self._wake.wait(pause)
            self._wake.clear()
            try:
                self._tend()
            except Exception:
                logger.exception("The spool's thread failed; it goes on")
                time.sleep(RETRY_S)

    def _tend(self) -> None:
        """Flush, remove what is done, make what will be needed."""
        if self._fsync_s:
            self.flush()
        self._remove_done()
        if self._spare is None or self._current is None or self._no_room:
            self._provide()
        metrics.SPOOL_BYTES.set(sum(segment.size for segment in self._segments()))
        metrics.SPOOL_FULL.set(1 if self._no_room else 0)

    def flush(self) -> None:
        """Bring everything written onto the disk; it blocks."""
        problem = ""
        for segment in self._segments():
            if segment.dirty:
                try:
                    segment.flush()
                except OSError as error:
                    segment.dirty = True
                    problem = f"what is written cannot be brought onto the disk ({error.strerror})"
        if problem and not self._unflushed:
            logger.error(
                "The spool at %s: %s. It still outlives the process, but not a power failure.", self.root, problem
            )
        self._unflushed = problem

    def _remove_done(self) -> None:
        with self._lock:
            done = [segment for segment in self._sealed if not segment.outstanding]
            self._sealed = [segment for segment in self._sealed if segment.outstanding]
        for segment in done:
            segment.path.unlink(missing_ok=True)
            segment.close()

    def _provide(self) -> None:
        """Make the segments that are missing: one to write into and a spare."""
        if self._no_room and time.monotonic() - self._tried_at < RETRY_S:
            return
        while self._current is None or self._spare is None:
            made = self._make(self._segment_bytes)
            if made is None:
                return
            with self._lock:
                if self._current is None:
                    self._current = made
                else:
                    self._spare = made
        if self._no_room:
            logger.warning("The spool at %s has room again.", self.root)
            self._no_room = ""

    def _make(self, size: int) -> Segment | None:
        """A new segment, or None and the reason in `_no_room`."""
        self._tried_at = time.monotonic()
        try:
            if self._folder is None:
                self._folder = folders.create(self.root, self.owner)
            used = folders.size(self.root)
            if used + size > self._max_bytes:
                raise OSError(0, f"it holds {used:,} bytes of COMPTROLLER_SPOOL_MAX_BYTES={self._max_bytes:,}")
            return Segment(self._folder.path / f"{next(self._numbers):08}{SUFFIX}", self.owner, size)
        except OSError as error:
            problem = error.strerror or str(error)
            if not self._no_room:
                what = "New requests are refused" if self.refuses else "New requests are served without a note"
                logger.error("The spool at %s has no room: %s. %s until there is.", self.root, problem, what)
            self._no_room = problem
            return None

    def _segments(self) -> list[Segment]:
        with self._lock:
            return [s for s in (*self._sealed, self._current, self._spare) if s is not None]

    # --- around ---------------------------------------------------------------------------------------------
    def state(self) -> SpoolState:
        segments = self._segments()
        return SpoolState(
            requests=self.outstanding,
            segments=len(segments),
            bytes=sum(segment.size for segment in segments),
            problem=f"no room: {self._no_room}" if self._no_room else self._unflushed,
            unnoted=self._unnoted,
        )

    def check(self) -> Check:
        """For `/readyz`: unready only where new requests are refused; what waits for a person shows too."""
        state = self.state()
        damaged, set_aside = len(folders.damaged(self.root)), aside.count(self.root)
        metrics.SPOOL_DAMAGED.set(damaged)
        metrics.SPOOL_SET_ASIDE.set(set_aside)
        parts = [state.problem] if state.problem else []
        if state.problem and not self.refuses:
            parts.append("requests are served without a note")
        elif not self.accepting:
            parts.append("new requests are refused")
        if damaged:
            parts.append(f"{damaged} damaged files kept")
        if set_aside:
            parts.append(f"{set_aside} records set aside")
        detail = f"{state.requests} requests in {state.segments} segments, {state.bytes:,} bytes"
        if parts:
            detail = f"{'; '.join(parts)} (`manage.py spool` says more); {detail}"
        return Check(not parts, detail, required=not self.accepting)

    def close(self) -> bool:
        """End; True where every request is in the database, else the folder is left for a replay.

        The folder stays until `discard`: as long as it is there, somebody will give back what this process leased.
        """
        self._closing = True
        self._wake.set()
        if self._thread is not None:
            self._thread.join(5)
        with self._lock:
            segments = [s for s in (*self._sealed, self._current, self._spare) if s is not None]
            self._sealed, self._current, self._spare = [], None, None
            left = bool(self._held)
        for segment in segments:
            try:
                segment.flush()
            except OSError as error:
                logger.error("The spool's last records could not be brought onto the disk: %s", error)
            segment.close()
        if self._folder is not None and left:
            self._folder.release()
            self._folder = None
        return not left

    def discard(self) -> None:
        """Remove the folder of a closed spool that has nothing left: no replay, and no recovery, is needed."""
        folder, self._folder = self._folder, None
        if folder is not None:
            try:
                folder.remove()
            except OSError as error:
                logger.warning("The spool's folder %s stays until it is replayed: %s", folder.path, error)
                folder.release()


def configured_root() -> Path:
    """The spool's folder as the settings say."""
    return Path(settings.DATA_DIR) / "spool"
