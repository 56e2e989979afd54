"""The processes of one installation as `up` runs them: server, simulated provider, Celery worker and beat."""

from __future__ import annotations

import asyncio
import os
import socket
from functools import partial
from pathlib import Path

from django.conf import settings
from prometheus_client.multiprocess import mark_process_dead

from gateway.launch.bootstrap import uses_simulator
from gateway.launch.supervisor import Part

SETTLE_SECONDS = 25.0
"""What the server may take after the drain, to write its last records and close its connections."""
TASK_SECONDS = 20.0
"""What a background task may take to end; every task is an idempotent sweep, so one that is cut runs again."""


def of_installation(listener: socket.socket, workers: int, public_url: str) -> tuple[list[Part], list[Part]]:
    """What must run before a request can be answered, and what may follow."""
    environ = {
        "DJANGO_SETTINGS_MODULE": "gateway.settings",
        "PYTHONPATH": os.pathsep.join(filter(None, [str(settings.BASE_DIR), os.environ.get("PYTHONPATH")])),
        "COMPTROLLER_DATA_DIR": str(Path(settings.DATA_DIR)),
        "COMPTROLLER_PUBLIC_URL": public_url,
        # Used once, by this process.
        "COMPTROLLER_ADMIN_PASSWORD": "",
        "COMPTROLLER_ADMIN_PASSWORD_FILE": "",
        # The warning is about pickled tasks, which the settings refuse.
        "PYTHONWARNINGS": "ignore:You're running the worker with superuser privileges:UserWarning",
    }
    simulator: list[Part] = []
    if uses_simulator() and not settings.COMPTROLLER["COMPTROLLER_SIMULATOR_URL"]:
        port = _free_port()
        environ["COMPTROLLER_SIMULATOR_URL"] = f"http://127.0.0.1:{port}"
        simulator = [
            Part("simulator", "gateway.simulator", ["--port", str(port), "--keep", "0"], stage=2, environ=environ)
        ]
    of_server, on_end = dict(environ), None
    if workers > 1:
        # Must be there before metrics are imported: each server counts into files that every one of them reads.
        folder = _empty_metrics_folder()
        of_server["PROMETHEUS_MULTIPROC_DIR"] = str(folder)
        on_end = partial(_forget_gauges, folder)
    drain = float(settings.COMPTROLLER["COMPTROLLER_DRAIN_SECONDS"])
    front = [
        Part(
            "server" if workers == 1 else f"server {number}",
            "gateway.serve",
            ["--fd", str(listener.fileno())],
            patience=drain + SETTLE_SECONDS,
            pass_fds=[listener.fileno()],
            environ=of_server,
            on_end=on_end,
        )
        for number in range(1, workers + 1)
    ]
    level = f"--loglevel={settings.COMPTROLLER['COMPTROLLER_LOG_LEVEL']}"
    celery = ["--quiet", "-A", "gateway.celery"]
    background = [
        Part(
            "worker",
            "celery",
            [*celery, "worker", "--pool=threads", "--concurrency=2", "--without-gossip", "--without-mingle", level],
            stage=1,
            patience=TASK_SECONDS,
            environ=environ,
        ),
        Part("beat", "celery", [*celery, "beat", "--pidfile=", level], stage=1, environ=environ),
    ]
    return [*front, *simulator], background


async def answers(listener: socket.socket) -> None:
    """Returns once the server answers. The question waits in the listening socket's queue until it does."""
    host, port = listener.getsockname()[:2]
    if host in {"0.0.0.0", "::"}:  # noqa: S104  (compared, not bound)
        host = "127.0.0.1" if listener.family == socket.AF_INET else "::1"
    pause = 0.05
    while True:
        if b" 200 " in await _ask(host, port):
            return
        # The server ended with our question in its hands, or is not well: ask again, and less and less often.
        await asyncio.sleep(pause)
        pause = min(pause * 2, 2.0)


async def _ask(host: str, port: int) -> bytes:
    """The status line of the answer, empty where the connection broke."""
    try:
        reader, writer = await asyncio.open_connection(host, port)
        try:
            writer.write(b"GET /healthz HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n")
            return await reader.readline()
        finally:
            writer.close()
    except OSError:
        return b""


def _empty_metrics_folder() -> Path:
    """Where several servers count together; what an earlier `up` counted goes, as it does with one server."""
    folder = Path(settings.DATA_DIR) / "metrics"
    folder.mkdir(parents=True, exist_ok=True)
    for old in folder.glob("*.db"):
        old.unlink()
    return folder


def _forget_gauges(folder: Path, pid: int) -> None:
    """Streams and spools of a server that ended are no longer ours to show; what it counted stays in the sums."""
    mark_process_dead(pid, str(folder))  # type: ignore[no-untyped-call]


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
