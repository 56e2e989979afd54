"""Where the processes of one server count their metrics together: a folder that must be named before any is made."""

from __future__ import annotations

import atexit
import os
import shutil
import tempfile

VARIABLE = "PROMETHEUS_MULTIPROC_DIR"


def share() -> None:
    """Name a folder for this process and its writer, where nobody has; it goes with this process.

    In the system's folder for temporary files, which is often in memory: the counts live no longer than the server.
    """
    if VARIABLE in os.environ:
        return
    folder = tempfile.mkdtemp(prefix="comptroller-metrics-")
    os.environ[VARIABLE] = folder
    # Before the recorder's own: what is registered first runs last.
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
