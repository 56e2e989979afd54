"""Where the processes of one server count their metrics together: a folder that must be named before any is made."""

from __future__ import annotations

import atexit
import contextlib
import fcntl
import os
import shutil
import tempfile
from pathlib import Path

VARIABLE = "PROMETHEUS_MULTIPROC_DIR"
PREFIX = "comptroller-metrics-"
LOCK = "lock"
_held: list[int] = []


def share() -> None:
    """Name a folder for this process and its writer, where nobody has; it goes with this process.

    In the system's folder for temporary files, which is often in memory: the counts live no longer than the server.
    """
    if VARIABLE in os.environ:
        return
    root = Path(tempfile.gettempdir())
    _sweep(root)
    draft = Path(tempfile.mkdtemp(prefix=f".{PREFIX}", dir=root))
    descriptor = os.open(draft / LOCK, os.O_RDWR | os.O_CREAT, 0o600)
    fcntl.flock(descriptor, fcntl.LOCK_EX)
    # Locked before it has its name, so that nobody takes it for one that was left.
    folder = draft.rename(root / draft.name[1:])
    _held.append(descriptor)
    os.environ[VARIABLE] = str(folder)
    atexit.register(shutil.rmtree, folder, ignore_errors=True)


def _sweep(root: Path) -> None:
    """Remove the folders of servers that were killed: the system gave their locks back."""
    for folder in root.glob(f"{PREFIX}*"):
        with contextlib.suppress(OSError):  # another user's, or removed by another server in this moment
            descriptor = os.open(folder / LOCK, os.O_RDWR)
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                shutil.rmtree(folder, ignore_errors=True)
            finally:
                os.close(descriptor)
