"""Starts and ends the writer's process; what ties the two together is a pair of sockets.

The writer ends by itself when its socket does, however the gateway went: no process id is trusted, no orphan is left.
"""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path

from django.conf import settings

END_SECONDS = 2.0
"""How long a writer whose socket is closed may take to end."""


class Child:
    """One writer's process and our end of its socket."""

    def __init__(self, process: subprocess.Popen[bytes], sock: socket.socket) -> None:
        self._process = process
        self.socket = sock
        self.pid = process.pid

    def end(self) -> str:
        """Wait for it, which blocks, and make it end where it does not; says how it ended. Its socket is closed."""
        self.socket.close()
        try:
            code = self._process.wait(END_SECONDS)
        except subprocess.TimeoutExpired:
            # Stopped, or its machine is out of breath: what it was writing is rolled back, or is recognised by its id.
            self._process.kill()
            code = self._process.wait()
        return f"exit code {code}" if code >= 0 else f"signal {-code}"

    def kill(self) -> None:
        """End it now: it does not answer."""
        self._process.kill()


def launch(owner: str, root: Path) -> Child:
    """Start a writer for the gateway process `owner`, whose spool lies under `root`. Blocks for milliseconds.

    Raises OSError where no process can be had.
    """
    ours, theirs = socket.socketpair()
    command = [sys.executable, "-P", "-m", "observability.writing", "--fd", str(theirs.fileno())]
    command += ["--owner", owner, "--root", str(root), "--parent", str(os.getpid())]
    try:
        with theirs:
            process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                pass_fds=[theirs.fileno()],
                env={**os.environ, "PYTHONPATH": _path()},
            )
    except BaseException:
        ours.close()
        raise
    return Child(process, ours)


def _path() -> str:
    return os.pathsep.join(filter(None, [str(settings.BASE_DIR), os.environ.get("PYTHONPATH")]))
