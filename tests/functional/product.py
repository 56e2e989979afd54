"""The product as its users meet it: real processes on a database of their own, driven over real sockets."""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import socket
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

import httpx
import psycopg
import yaml

ROOT = Path(__file__).resolve().parents[2]
START_SECONDS = 60
POSTGRES = os.environ.get("TEST_POSTGRES_URL", "postgresql://postgres@127.0.0.1:5432/postgres")


def free_port() -> int:
    """A port on loopback that nobody listens on at this moment."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@dataclass
class Product:
    """A migrated database, the simulated provider and one gateway process; `secrets` holds the keys by name."""

    folder: Path
    database_url: str = ""
    settings: dict[str, str] = field(default_factory=dict)
    port: int = field(default_factory=free_port)
    secrets: dict[str, str] = field(default_factory=dict)
    simulator_url: str = ""
    processes: dict[str, subprocess.Popen[str]] = field(default_factory=dict)
    token: str = ""

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def base_url(self) -> str:
        """What Claude Code gets as ANTHROPIC_BASE_URL."""
        return f"{self.url}/anthropic"

    @property
    def environment(self) -> dict[str, str]:
        kept = {
            name: value
            for name, value in os.environ.items()
            if not name.startswith(("COMPTROLLER_", "ANTHROPIC_", "CLAUDE", "DJANGO_", "PYTEST_"))
            and name not in {"DATABASE_URL", "REDIS_URL", "CELERY_BROKER_URL"}
        }
        return {
            **kept,
            "COMPTROLLER_DATA_DIR": str(self.folder / "data"),
            "COMPTROLLER_PUBLIC_URL": self.url,
            "COMPTROLLER_ALLOW_PRIVATE_UPSTREAMS": "1",
            "COMPTROLLER_SIMULATOR_URL": self.simulator_url,
            "COMPTROLLER_DRAIN_SECONDS": "5",
            "PYTHONUNBUFFERED": "1",
            **({"DATABASE_URL": self.database_url} if self.database_url else {}),
            **self.settings,
        }

    # --- life -----------------------------------------------------------------------------------------------
    def prepare(self) -> Self:
        """Migrate, load the prices, make a superuser with an API token."""
        self.folder.mkdir(parents=True, exist_ok=True)
        self.manage("migrate", "--verbosity", "0")
        self.python(
            "from governance.catalog import seed_prices; seed_prices();"
            "from django.contrib.auth.models import User;"
            "User.objects.create_superuser('root', 'root@example.test', 'correct horse battery staple')"
        )
        self.token = self.manage("issue_api_token", "--user", "root").split()[-1]
        return self

    def start(self) -> Self:
        self.start_simulator()
        self.start_server()
        return self

    def start_simulator(self) -> None:
        process = self._spawn("simulator", "-m", "gateway.simulator", "--port", "0")
        assert process.stdout is not None
        line = process.stdout.readline()
        found = re.search(r"http://127\.0\.0\.1:\d+", line)
        assert found, f"the simulator said {line!r}"
        self.simulator_url = found[0]

    def start_server(self) -> None:
        self._spawn("server", "-m", "gateway.serve", "--port", str(self.port))
        deadline = time.monotonic() + START_SECONDS
        while time.monotonic() < deadline:
            with contextlib.suppress(httpx.HTTPError):
                if httpx.get(f"{self.url}/healthz", timeout=2).status_code == 200:
                    return
            assert self.processes["server"].poll() is None, self.log("server")
            time.sleep(0.05)
        raise AssertionError(f"the server did not become ready:\n{self.log('server')}")

    def stop(self, name: str = "") -> None:
        """End the processes by pid: politely, then for good."""
        chosen = [name] if name else list(self.processes)
        for each in chosen:
            process = self.processes.pop(each)
            process.terminate()
            try:
                process.wait(15)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait(5)
            if process.stdout is not None:
                process.stdout.close()

    def log(self, name: str) -> str:
        return (self.folder / f"{name}.log").read_text(encoding="utf-8", errors="replace")[-4000:]

    def _spawn(self, name: str, *arguments: str) -> subprocess.Popen[str]:
        with (self.folder / f"{name}.log").open("a") as log:
            process = subprocess.Popen(
                [sys.executable, *arguments],
                cwd=ROOT,
                env=self.environment,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE if name == "simulator" else log,
                stderr=log,
                text=True,
            )
        self.processes[name] = process
        return process

    # --- commands -------------------------------------------------------------------------------------------
    def manage(self, *arguments: str, input: str | None = None, environment: dict[str, str] | None = None) -> str:
        done = subprocess.run(
            [sys.executable, "manage.py", *arguments],
            cwd=ROOT,
            env={**self.environment, **(environment or {})},
            input=input,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        assert done.returncode == 0, f"manage.py {' '.join(arguments)}: {done.stdout}\n{done.stderr}"
        return done.stdout

    def python(self, code: str) -> str:
        """Run code inside Django."""
        done = subprocess.run(
            [sys.executable, "-c", f"import django; django.setup(); {code}"],
            cwd=ROOT,
            env={**self.environment, "DJANGO_SETTINGS_MODULE": "gateway.settings"},
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    def apply(self, configuration: dict[str, Any]) -> str:
        """`manage.py apply`; the secrets of new keys are kept by `Customer/Team/key` and by the key's own name."""
        output = self.manage("apply", "-", input=yaml.safe_dump(configuration))
        for name, secret in re.findall(r"^\s+(\S.*?)\s+(sk-cmp-\w{8}-\w{43})$", output, re.MULTILINE):
            self.secrets[name] = self.secrets[name.rpartition("/")[2]] = secret
        return output

    # --- the API --------------------------------------------------------------------------------------------
    def api(self, method: str, path: str, **options: Any) -> Any:
        answer = httpx.request(
            method, f"{self.url}/api/v1/{path}", headers={"Authorization": f"Token {self.token}"}, timeout=20, **options
        )
        assert answer.status_code < 300, f"{method} {path}: {answer.status_code} {answer.text}"
        return answer.json()

    def switch_off_all_but(self, kind: str) -> None:
        """Leave no provider of another kind active."""
        with contextlib.suppress(httpx.HTTPError):
            found = self.api("GET", "providers/", params={"is_active": "true", "page_size": "1000"})["results"]
            for provider in found:
                if provider["kind"] != kind:
                    self.api("PATCH", f"providers/{provider['id']}/", json={"is_active": False})

    def row(self, request_id: str, seconds: float = 10) -> dict[str, Any]:
        """The request's row, waited for: it is written within a quarter of a second after the answer."""
        deadline = time.monotonic() + seconds
        while True:
            answer = httpx.get(
                f"{self.url}/api/v1/requests/{request_id}/",
                headers={"Authorization": f"Token {self.token}"},
                timeout=20,
            )
            if answer.status_code == 200:
                found: dict[str, Any] = answer.json()
                return found
            assert answer.status_code == 404, answer.text
            assert time.monotonic() < deadline, f"request {request_id} did not reach the log"
            time.sleep(0.05)

    def rows(self, **filters: str) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = self.api("GET", "requests/", params={"page_size": "1000", **filters})["results"]
        return found

    # --- traffic --------------------------------------------------------------------------------------------
    def headers(self, key: str, **extra: str) -> dict[str, str]:
        secret = self.secrets.get(key, key)
        return {"authorization": f"Bearer {secret}", "anthropic-version": "2023-06-01", **extra}

    def post(
        self, prompt: str, *, key: str, path: str = "/v1/messages", headers: dict[str, str] | None = None, **body: Any
    ) -> httpx.Response:
        """One model call; `stream=True` reads the whole stream into the response's text."""
        payload = {
            "model": "claude-opus-5-5",
            "max_tokens": 1024,
            "messages": [{"role": "user", "content": prompt}],
            **body,
        }
        return httpx.post(
            f"{self.base_url}{path}", json=payload, headers=self.headers(key, **(headers or {})), timeout=60
        )

    def simulator(self, method: str, path: str, **options: Any) -> Any:
        answer = httpx.request(method, f"{self.simulator_url}/__sim__/{path}", timeout=20, **options)
        assert answer.status_code < 300, answer.text
        return answer.json()


@contextlib.contextmanager
def database(kind: str) -> Iterator[str]:
    """A database address: empty for SQLite in the product's folder, else of a PostgreSQL database that is dropped."""
    if kind == "sqlite":
        yield ""
        return
    name = f"product_{uuid.uuid4().hex[:12]}"
    with psycopg.connect(POSTGRES, autocommit=True) as connection:
        connection.execute(f'CREATE DATABASE "{name}"')
    try:
        yield f"{POSTGRES.rpartition('/')[0]}/{name}"
    finally:
        with psycopg.connect(POSTGRES, autocommit=True) as connection:
            connection.execute(f'DROP DATABASE "{name}" WITH (FORCE)')


def sse_events(text: str) -> list[tuple[str, Any]]:
    """(event, decoded data) of an event stream."""
    events = []
    for block in text.replace("\r\n", "\n").split("\n\n"):
        fields = dict(line.split(": ", 1) for line in block.splitlines() if ": " in line)
        if "data" in fields:
            events.append((fields.get("event", ""), json.loads(fields["data"])))
    return events


def configuration(name: str, *, budgets: Sequence[dict[str, Any]] = (), **key: Any) -> dict[str, Any]:
    """A customer of its own with one team and one key, named after the test that asks."""
    return {
        "providers": [{"name": "simulated", "kind": "simulated"}],
        "customers": [
            {
                "name": f"{name} customer",
                "teams": [{"name": f"{name} team", "budgets": list(budgets), "keys": [{"name": name, **key}]}],
            }
        ],
    }


def remove(folder: Path) -> None:
    shutil.rmtree(folder, ignore_errors=True)
