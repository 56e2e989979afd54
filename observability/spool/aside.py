"""Keeps, in a file of the spool, the records that the database refused for good, so that no charge is ever lost."""

from __future__ import annotations

import fcntl
import json
import logging
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

from governance.ledger import Posting
from observability.records import RequestRecord
from observability.spool.folders import ASIDE
from observability.spool.notes import Finished, encode_json, finished_from

logger = logging.getLogger(__name__)
_RETRIED = ".retried"
_LOCK = ".lock"
_RETRY_LOCK = ".retry.lock"


def path(root: Path) -> Path:
    """The file: one JSON object a line with `at`, `reason`, `record` (a request row) and `posting` (its charge or
    null).
    """
    return root / ASIDE


def keep(root: Path, record: RequestRecord, posting: Posting | None, reason: str) -> bool:
    """Append a record; where even that fails, its essentials go to the process's log and False is returned."""
    try:
        now = datetime.now(UTC).isoformat()
        line = encode_json({"at": now, "reason": reason, "record": record, "posting": posting}) + b"\n"
        root.mkdir(parents=True, exist_ok=True, mode=0o700)
        with _locked(root, _LOCK):
            descriptor = os.open(path(root), os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
            with os.fdopen(descriptor, "wb") as file:
                file.write(line)
                file.flush()
                os.fsync(descriptor)
    except (OSError, ValueError, TypeError) as error:
        logger.critical(
            "Request %s of key %s, %s nano-USD, cannot be set aside in a file: %s",
            record.id,
            record.virtual_key_id,
            posting.amount_nano_usd if posting else 0,
            error,
        )
        return False
    return True


def count(root: Path) -> int:
    """How many records are set aside."""
    return sum(1 for _ in _lines(path(root))) + sum(1 for _ in _lines(_retried(root)))


def entries(root: Path) -> Iterator[tuple[str, str]]:
    """(request id, reason) of each, for people."""
    for line in [*_lines(_retried(root)), *_lines(path(root))]:
        try:
            found = json.loads(line)
            yield str(found["record"]["id"]), str(found.get("reason", ""))
        except (ValueError, KeyError, TypeError):
            yield "?", "a line that cannot be read"


def retry(root: Path, write: Callable[[Finished], object]) -> tuple[int, int]:
    """Hand every record to `write`, which keeps it anew where it is refused again; gives (tried, unreadable).

    A crash, or a `write` that raises because the database is away, leaves the rest for the next time; what was written
    twice is in the database once. Raises BlockingIOError where another process is at it.
    """
    if not path(root).exists() and not _retried(root).exists():
        return 0, 0
    with _locked(root, _RETRY_LOCK, wait=False):
        tried = unreadable = 0
        if _retried(root).exists():  # left by a try that was broken off
            tried, unreadable = _retry_file(root, write)
        # The race: whoever appends opened the file under the lock, so nobody holds it open now.
        with _locked(root, _LOCK):
            if not path(root).exists():
                return tried, unreadable
            path(root).rename(_retried(root))
        more, broken = _retry_file(root, write)
    return tried + more, unreadable + broken


def _retry_file(root: Path, write: Callable[[Finished], object]) -> tuple[int, int]:
    tried = 0
    unreadable: list[bytes] = []
    for line in _lines(_retried(root)):
        try:
            finished = finished_from(json.loads(line))
        except (ValueError, KeyError, TypeError, AttributeError):
            unreadable.append(line)
            continue
        write(finished)
        tried += 1
    with _locked(root, _LOCK), path(root).open("ab") as file:
        file.writelines(unreadable)
        file.flush()
        os.fsync(file.fileno())
        if not file.tell():
            path(root).unlink()
    _retried(root).unlink()
    return tried, len(unreadable)


@contextmanager
def _locked(root: Path, name: str, *, wait: bool = True) -> Iterator[None]:
    """Over all processes. Not for use inside itself: the second would wait for the first."""
    descriptor = os.open(root / (ASIDE + name), os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX if wait else fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    finally:
        os.close(descriptor)


def _retried(root: Path) -> Path:
    return root / (ASIDE + _RETRIED)


def _lines(file: Path) -> list[bytes]:
    try:
        return file.read_bytes().splitlines(keepends=True)
    except FileNotFoundError:
        return []
