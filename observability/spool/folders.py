"""Where the spool's files lie, and who owns them: `spool/<owner>/`, locked for as long as the owner lives.

The system gives a lock back the moment its process is gone, however it went: a folder whose lock is free belongs to
nobody any more, and any process may take it over. Clocks and process numbers play no part in it.
"""

from __future__ import annotations

import fcntl
import json
import os
import re
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

from observability.spool.segments import DRAFT, SUFFIX, sync_folder

LOCK = "lock"
DAMAGED = "damaged"
"""Folder beside the owners': what could not be read in full, and a note on each."""
NOTE = ".note.json"
ASIDE = "set-aside.jsonl"
_ULID = re.compile(r"[0-9A-HJKMNP-TV-Z]{26}")


class Owned:
    """A folder that this process holds the lock of."""

    def __init__(self, path: Path, descriptor: int) -> None:
        self.path = path
        self.owner = path.name
        self._descriptor: int | None = descriptor

    def segments(self) -> list[Path]:
        """Its segments in the order they were made."""
        return sorted(self.path.glob(f"*{SUFFIX}"))

    def strangers(self) -> list[Path]:
        """What does not belong there."""
        known = (SUFFIX, DRAFT)
        return sorted(path for path in self.path.iterdir() if path.suffix not in known and path.name != LOCK)

    def release(self) -> None:
        """Give the lock back and leave the files to whoever comes next."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None

    def remove(self) -> None:
        """Remove the folder and its files, the lock last: whoever finds a half-removed one finishes the work."""
        for path in [*self.segments(), *self.path.glob(f"*{DRAFT}"), self.path / LOCK]:
            path.unlink(missing_ok=True)
        self.path.rmdir()
        self.release()


def create(root: Path, owner: str) -> Owned:
    """A new folder, locked before it has its name, so that nobody can take it for a dead one. Raises OSError."""
    root.mkdir(parents=True, exist_ok=True, mode=0o700)
    draft = root / f".{owner}"
    draft.mkdir(mode=0o700, exist_ok=True)
    descriptor = os.open(draft / LOCK, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        draft.rename(root / owner)
        sync_folder(root)
    except BaseException:
        os.close(descriptor)
        raise
    return Owned(root / owner, descriptor)


def owners(root: Path) -> list[Path]:
    """The folder of every owner, dead or alive, oldest first."""
    try:
        return sorted(path for path in root.iterdir() if _ULID.fullmatch(path.name) and path.is_dir())
    except FileNotFoundError:
        return []


def take(path: Path) -> Owned | None:
    """Take a dead owner's folder over; None where its owner, or another process that took it, lives."""
    try:
        descriptor = os.open(path / LOCK, os.O_RDWR | os.O_CREAT, 0o600)
    except FileNotFoundError:  # somebody else has just removed it
        return None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        # The race: another process removed the folder between our opening the file and our locking it.
        if os.stat(path / LOCK).st_ino == os.fstat(descriptor).st_ino:
            return Owned(path, descriptor)
    except (BlockingIOError, FileNotFoundError):
        pass
    os.close(descriptor)
    return None


def keep_damaged(root: Path, path: Path, why: str, **details: object) -> Path:
    """Move a file that could not be read in full out of the way, with a note that says why."""
    folder = root / DAMAGED
    folder.mkdir(mode=0o700, exist_ok=True)
    kept = folder / f"{path.parent.name}-{path.name}"
    note = {"file": path.name, "owner": path.parent.name, "found_at": datetime.now(UTC).isoformat(), "why": why}
    kept.with_name(kept.name + NOTE).write_text(json.dumps({**note, **details}, indent=1) + "\n", encoding="utf-8")
    path.rename(kept)
    sync_folder(folder)
    return kept


def damaged(root: Path) -> list[Path]:
    """The files that `keep_damaged` moved and nobody has removed since."""
    try:
        return sorted(path for path in (root / DAMAGED).iterdir() if not path.name.endswith(NOTE))
    except FileNotFoundError:
        return []


def size(root: Path) -> int:
    """Bytes of every file of the spool, of all processes that share the folder."""
    return sum(_sizes(root))


def _sizes(folder: Path) -> Iterator[int]:
    try:
        with os.scandir(folder) as entries:
            for entry in entries:
                try:
                    if entry.is_dir(follow_symlinks=False):
                        yield from _sizes(Path(entry.path))
                    else:
                        yield entry.stat(follow_symlinks=False).st_size
                except FileNotFoundError:  # removed by its owner in this moment
                    continue
    except FileNotFoundError:
        return
