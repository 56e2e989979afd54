"""One `up` on one data folder: a lock that the kernel gives back however the process ends."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


class AlreadyRunning(Exception):
    """Another `up` holds the data folder; the message says which."""


@contextmanager
def claim(data_dir: Path, public_url: str) -> Iterator[None]:
    """Hold the folder while the block runs. The file names our process and the address that we answer on."""
    data_dir.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(_path(data_dir), os.O_RDWR | os.O_CREAT, 0o600)
    with os.fdopen(descriptor, "r+", encoding="utf-8") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            pid, _, url = file.read().partition("\n")
            raise AlreadyRunning(
                f"Comptroller already runs on {data_dir}: process {pid or 'unknown'}, {url.strip() or 'starting'}. "
                "Stop it first, or set COMPTROLLER_DATA_DIR to another folder."
            ) from None
        file.truncate(0)
        file.write(f"{os.getpid()}\n{public_url}\n")
        file.flush()
        yield


def running_url(data_dir: Path) -> str | None:
    """The address of the `up` that runs, or last ran, on this folder."""
    try:
        lines = _path(data_dir).read_text(encoding="utf-8").splitlines()
    except OSError:
        return None
    return lines[1] if len(lines) > 1 else None


def _path(data_dir: Path) -> Path:
    return data_dir / "up.lock"
