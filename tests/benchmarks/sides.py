"""What is measured in one run: the mock itself, nginx, a bare relay and the gateway, each as processes on a port."""

from __future__ import annotations

import contextlib
import os
import resource
import secrets
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from tests.benchmarks.books import Books
from tests.benchmarks.machine import Cores, Cost, children_of, cost, pin, seconds
from tests.benchmarks.native import Mock
from tests.functional.product import ROOT, START_SECONDS, Product, free_port

BACKLOG = 4096
NGINX_CONF = """\
daemon off;
worker_processes 1;
worker_rlimit_nofile {files};
pid {folder}/nginx.pid;
error_log {folder}/nginx.log warn;
{user}
events {{ worker_connections {connections}; }}
http {{
    access_log off;
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    upstream mock {{
        server 127.0.0.1:{mock};
        keepalive 4096;
        keepalive_requests 1000000000;
    }}
    server {{
        listen 127.0.0.1:{port} backlog={backlog};
        keepalive_requests 1000000000;
        client_max_body_size 0;
        proxy_http_version 1.1;
        proxy_set_header Connection "";
        proxy_buffering off;
        proxy_request_buffering off;
        client_body_buffer_size 1m;
        location / {{ proxy_pass http://mock; }}
    }}
}}
"""


def nginx_program() -> str | None:
    """nginx, which Debian puts where an ordinary user's PATH does not look."""
    return shutil.which("nginx") or shutil.which("nginx", path="/usr/sbin:/usr/local/sbin")


class Side:
    """Processes that answer on a port. `sent` counts the requests that were put to it."""

    name = ""
    prefix = ""
    logs = False
    """Whether it writes each request into a database."""

    def __init__(self, cores: Cores) -> None:
        self.cores = cores
        self.port = 0
        self.processes: list[subprocess.Popen[bytes]] = []
        self.secrets = ["none"]
        self.sent = 0
        self.broken = ""
        """Requests failed, and this says which: what its log must hold is not known any more."""

    @property
    def roots(self) -> list[int]:
        return [process.pid for process in self.processes]

    def start(self) -> None:
        """Start the processes and wait until they answer."""

    def pin(self) -> None:
        children = children_of(self.roots)
        pin(self.roots, self.cores.proxy)
        pin(children, self.cores.proxy if self.cores.writer is None else self.cores.writer)

    def cost(self) -> Cost:
        return cost(self.roots)

    def database_seconds(self) -> float | None:
        """CPU of a database server that works for this side alone; None where there is none, or it cannot be seen."""
        return None

    def written(self) -> float:
        """Wait until all that was sent is in the log; gives the seconds that it took."""
        return 0.0

    def stop(self) -> None:
        for process in self.processes:
            process.terminate()
        for process in self.processes:
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait(5)
        self.processes.clear()

    def restart(self) -> None:
        """Fresh processes: their memory is not that of an earlier stretch."""
        self.stop()
        self.start()

    def _spawn(
        self, command: Sequence[str], log: Path, environment: dict[str, str] | None = None, fds: Sequence[int] = ()
    ) -> None:
        with log.open("ab") as output:
            self.processes.append(
                subprocess.Popen(
                    command,
                    cwd=ROOT,
                    env=environment,
                    stdin=subprocess.DEVNULL,
                    stdout=output,
                    stderr=output,
                    pass_fds=fds,
                )
            )

    def _wait_until(self, answers: str, log: Path) -> None:
        """Wait for an answer that begins with `answers` to a plain request. Raises RuntimeError with the log's end."""
        limit = time.monotonic() + START_SECONDS
        while time.monotonic() < limit:
            if any(process.poll() is not None for process in self.processes):
                break
            try:
                with socket.create_connection(("127.0.0.1", self.port), timeout=30) as connection:
                    connection.sendall(b"GET /healthz HTTP/1.1\r\nhost: 127.0.0.1\r\nconnection: close\r\n\r\n")
                    if connection.recv(64).decode("latin-1").startswith(answers):
                        return
            except OSError:
                pass
            time.sleep(0.05)
        raise RuntimeError(f"{self.name} did not start:\n{log.read_text(errors='replace')[-4000:]}")


class Direct(Side):
    """No proxy at all: the limit of mock and load client, which share a core."""

    name = "direct"

    def __init__(self, cores: Cores, mock: Mock) -> None:
        super().__init__(cores)
        self.port = mock.port
        self._pid = mock.pid

    @property
    def roots(self) -> list[int]:
        return [self._pid]

    def pin(self) -> None:
        pin([self._pid], self.cores.load)

    def stop(self) -> None:
        """The mock belongs to the bench."""

    def restart(self) -> None:
        """As it is."""


class Nginx(Side):
    """nginx as a plain reverse proxy: one worker, no log, nothing buffered, connections to the mock kept."""

    name = "nginx"

    def __init__(self, cores: Cores, mock: Mock, folder: Path, program: str) -> None:
        super().__init__(cores)
        self._mock, self._folder, self._program = mock, folder / "nginx", program

    def start(self) -> None:
        self.port = free_port()
        self._folder.mkdir(exist_ok=True)
        (self._folder / "nginx.conf").write_text(
            NGINX_CONF.format(
                folder=self._folder,
                mock=self._mock.port,
                port=self.port,
                backlog=BACKLOG,
                files=_most_files(),
                connections=min(8192, _most_files() - 100),
                user="user root;" if os.geteuid() == 0 else "",
            )
        )
        log = self._folder / "output.log"
        self._spawn([self._program, "-p", str(self._folder), "-c", str(self._folder / "nginx.conf")], log)
        self._wait_until("HTTP/1.1 ", log)


class Relay(Side):
    """uvicorn and an HTTP client with nothing between them; `client` as `relay.py` names them."""

    name = "relay"

    def __init__(self, cores: Cores, mock: Mock, folder: Path, client: str) -> None:
        super().__init__(cores)
        self._mock, self._folder, self._client = mock, folder, client

    def start(self) -> None:
        self.port = free_port()
        environment = {
            **os.environ,
            "MOCK_URL": f"http://127.0.0.1:{self._mock.port}",
            "DJANGO_SETTINGS_MODULE": "gateway.settings",
            "COMPTROLLER_DATA_DIR": str(self._folder / "relay-data"),
        }
        log = self._folder / "relay.log"
        command = [sys.executable, "-m", "tests.benchmarks.relay", str(self.port), self._client]
        self._spawn(command, log, environment)
        self._wait_until("HTTP/1.1 ", log)


class Gateway(Side):
    """Comptroller as in production: keys, budgets, the spool, the request log and ledger in a database, metrics."""

    prefix = "/anthropic"
    logs = True

    def __init__(
        self,
        cores: Cores,
        mock: Mock,
        folder: Path,
        *,
        name: str = "gateway",
        database_url: str = "",
        workers: int = 1,
        keys: int = 10,
        used: int = 10,
        enforcement: str = "stop",
    ) -> None:
        super().__init__(cores)
        self.name = name
        self.workers = workers
        self.keys = keys
        self._mock, self._folder = mock, folder / name
        self._used, self._enforcement = used, enforcement
        self._product = Product(
            self._folder,
            database_url=database_url,
            settings={"COMPTROLLER_KEY_PEPPER": secrets.token_hex(32), "BENCH_CREDENTIAL": "bench"},
        )
        self.books: Books | None = None

    def prepare(self) -> None:
        """Make the database and everything in it; once, before the first start."""
        self._folder.mkdir()
        self._product.manage("migrate", "--verbosity", "0")
        self.secrets = self._product.python(
            "from tests.benchmarks.keys import make; "
            f"print(*make('http://127.0.0.1:{self._mock.port}', {self.keys}, {self._used}, '{self._enforcement}'))"
        ).split()
        url = self._product.database_url
        self.books = Books(None if url else self._folder / "data" / "comptroller.sqlite3", url)

    def start(self) -> None:
        if self.books is None:
            self.prepare()
        environment = self._product.environment
        if self.workers > 1:
            metrics = self._folder / "metrics"
            shutil.rmtree(metrics, ignore_errors=True)
            metrics.mkdir()
            environment["PROMETHEUS_MULTIPROC_DIR"] = str(metrics)
        log = self._folder / "server.log"
        with socket.create_server(("127.0.0.1", 0), backlog=BACKLOG) as listener:
            self.port = listener.getsockname()[1]
            number = listener.fileno()
            for _ in range(self.workers):
                self._spawn([sys.executable, "-m", "gateway.serve", "--fd", str(number)], log, environment, [number])
        self._wait_until("HTTP/1.1 200", log)

    def pin(self) -> None:
        if self.workers == 1:
            super().pin()
        else:
            cores = self.cores.spread
            for number, root in enumerate(self.roots):
                pin([root, *children_of([root])], cores[number % len(cores)])
        if self.books is not None:
            # The database server is not ours to tie, unless we are root: then it keeps off the measured core.
            with contextlib.suppress(PermissionError):
                pin(self.books.backends(), self.cores.load)

    def database_seconds(self) -> float | None:
        if self.books is None or self.books.vendor == "sqlite":
            return None
        try:
            return sum(seconds(pid) for pid in self.books.backends())
        except ProcessLookupError:
            return None

    def written(self) -> float:
        assert self.books is not None
        return self.books.wait_for(self.sent)

    def verify(self) -> dict[str, int]:
        assert self.books is not None
        return self.books.verify(self.sent)

    def close(self) -> None:
        if self.books is not None:
            self.books.close()


def _most_files() -> int:
    return min(resource.getrlimit(resource.RLIMIT_NOFILE)[1], 65_536)
