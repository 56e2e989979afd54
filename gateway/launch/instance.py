"""One `up` of each role on one data folder: locks that the kernel gives back however the process ends."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from gateway.roles import Role

_FILES = {
    # Its name was there before there were roles: an `up` of an older release holds it for all of them.
    Role.GATEWAY: "up.lock",
    Role.WEB: "up-web.lock",
    Role.WORKER: "up-worker.lock",
}


class AlreadyRunning(Exception):
    """Another `up` holds the role on this data folder; the message says which."""


@contextmanager
def claim(data_dir: Path, role: Role, *, gateway_url: str, public_url: str) -> Iterator[None]:
    """Hold the role, or all of them, while the block runs. The files name our process and where we answer."""
    data_dir.mkdir(parents=True, exist_ok=True)
    urls = {Role.GATEWAY: gateway_url, Role.WEB: public_url, Role.WORKER: "its worker"}
    with ExitStack() as held:
        for each in _FILES if role is Role.ALL else [role]:
            held.enter_context(_claim(data_dir, each, urls[each]))
        yield


def running_url(data_dir: Path, role: Role = Role.GATEWAY) -> str | None:
    """The address at which this role runs, or last ran, on this folder: for GATEWAY the one of the data plane."""
    try:
        lines = (data_dir / _FILES[role]).read_text(encoding="utf-8").splitlines()
    except OSError:
        return None
    return lines[1] if len(lines) > 1 else None


@contextmanager
def _claim(data_dir: Path, role: Role, url: str) -> Iterator[None]:
    descriptor = os.open(data_dir / _FILES[role], os.O_RDWR | os.O_CREAT, 0o600)
    with os.fdopen(descriptor, "r+", encoding="utf-8") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            pid, _, other = file.read().partition("\n")
            raise AlreadyRunning(
                f"Comptroller's role {role} already runs on {data_dir}: process {pid or 'unknown'}, "
                f"{other.strip() or 'starting'}. Stop it first, or set COMPTROLLER_DATA_DIR to another folder."
            ) from None
        file.truncate(0)
        file.write(f"{os.getpid()}\n{url}\n")
        file.flush()
        yield
