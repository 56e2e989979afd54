"""The processes of one installation as `up` runs them: server, simulated provider, Celery worker and beat."""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from django.conf import settings
from prometheus_client.multiprocess import mark_process_dead

from gateway.launch.bootstrap import uses_simulator
from gateway.launch.supervisor import Part
from gateway.roles import Role

SETTLE_SECONDS = 25.0
"""What the server may take after the drain, to write its last records and close its connections."""
TASK_SECONDS = 20.0
"""What a background task may take to end; every task is an idempotent sweep, so one that is cut runs again."""


@dataclass(frozen=True, slots=True)
class Plan:
    """What one `up` runs. `public_url` is where people go, `gateway_url` where model calls go."""

    role: Role
    public_url: str
    gateway_url: str
    listeners: Sequence[socket.socket] = ()
    """One for each server, all on one port; none for a worker."""
    workers: int = 1
    web_listener: socket.socket | None = None
    """Where the web role has a process and a port of its own beside the gateway's."""
    beat: bool = True


@dataclass(frozen=True, slots=True)
class Parts:
    """Started in this order; a reload replaces the servers and restarts the background."""

    servers: list[Part]
    simulator: list[Part]
    background: list[Part]


def of_installation(plan: Plan) -> Parts:
    """The processes of the plan."""
    environ = {
        "DJANGO_SETTINGS_MODULE": "gateway.settings",
        "PYTHONPATH": os.pathsep.join(filter(None, [str(settings.BASE_DIR), os.environ.get("PYTHONPATH")])),
        "COMPTROLLER_DATA_DIR": str(Path(settings.DATA_DIR)),
        "COMPTROLLER_PUBLIC_URL": plan.public_url,
        "COMPTROLLER_GATEWAY_URL": plan.gateway_url,
        # Used once, by this process.
        "COMPTROLLER_ADMIN_PASSWORD": "",
        "COMPTROLLER_ADMIN_PASSWORD_FILE": "",
        # The warning is about pickled tasks, which the settings refuse.
        "PYTHONWARNINGS": "ignore:You're running the worker with superuser privileges:UserWarning",
    }
    simulator: list[Part] = []
    wanted = plan.role.serves_data_plane and not settings.COMPTROLLER["COMPTROLLER_SIMULATOR_URL"]
    if wanted and uses_simulator():
        port = _free_port()
        environ["COMPTROLLER_SIMULATOR_URL"] = f"http://127.0.0.1:{port}"
        simulator = [
            Part("simulator", "gateway.simulator", ["--port", str(port), "--keep", "0"], stage=2, environ=environ)
        ]
    return Parts(_servers(plan, environ), simulator, _background(plan, environ))


def _servers(plan: Plan, environ: dict[str, str]) -> list[Part]:
    if not plan.listeners:
        return []
    of_server, on_end = dict(environ), None
    if plan.workers > 1 or (plan.role.serves_data_plane and settings.COMPTROLLER["COMPTROLLER_WRITER"] == "process"):
        # Must be there before metrics are imported: each server counts into files that every one of them reads.
        folder = _empty_metrics_folder("metrics-web" if plan.role is Role.WEB else "metrics")
        of_server["PROMETHEUS_MULTIPROC_DIR"] = str(folder)
        on_end = partial(_forget_gauges, folder)
    configured = settings.COMPTROLLER
    drain = float(configured["COMPTROLLER_DRAIN_DELAY_SECONDS"] + configured["COMPTROLLER_DRAIN_SECONDS"])

    def server(name: str, role: Role, own: socket.socket, environ: dict[str, str]) -> Part:
        # The others' too, unless all share one: what waits there is not left waiting.
        others = [str(each.fileno()) for each in plan.listeners if each is not own and own in plan.listeners]
        return Part(
            name,
            "gateway.serve",
            ["--fd", str(own.fileno()), "--role", role, *(["--other-fds", *others] if others else [])],
            patience=drain + SETTLE_SECONDS,
            pass_fds=[own.fileno(), *map(int, others)],
            environ=environ,
            on_end=on_end,
            announces=True,
        )

    role = plan.role if plan.web_listener is None else Role.GATEWAY
    names = ["server"] if plan.workers == 1 else [f"server {number}" for number in range(1, plan.workers + 1)]
    servers = [server(name, role, own, of_server) for name, own in zip(names, plan.listeners, strict=True)]
    if plan.web_listener is not None:
        servers.append(server("web", Role.WEB, plan.web_listener, environ))
    return servers


def _background(plan: Plan, environ: dict[str, str]) -> list[Part]:
    if plan.role not in {Role.ALL, Role.WORKER}:
        return []
    level = f"--loglevel={settings.COMPTROLLER['COMPTROLLER_LOG_LEVEL']}"
    celery = ["--quiet", "-A", "gateway.celery"]
    worker = Part(
        "worker",
        "celery",
        [*celery, "worker", "--pool=threads", "--concurrency=2", "--without-gossip", "--without-mingle", level],
        stage=1,
        patience=TASK_SECONDS,
        environ=environ,
    )
    beat = Part("beat", "celery", [*celery, "beat", "--pidfile=", level], stage=1, environ=environ)
    return [worker, beat] if plan.beat else [worker]


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


def _empty_metrics_folder(name: str) -> Path:
    """Where servers and their writers count together; what an earlier `up` counted goes, as it does with one server."""
    folder = Path(settings.DATA_DIR) / name
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
