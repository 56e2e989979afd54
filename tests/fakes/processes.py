"""The simulated provider as a real process of its own, for tests and benchmarks."""

from __future__ import annotations

import json
import os
import selectors
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO, Any, Self

import httpx

REPOSITORY = Path(__file__).resolve().parents[2]
MODULE = (sys.executable, "-m", "gateway.simulator")
MANAGE = (sys.executable, "manage.py", "simulator")
_READY = "simulated provider on "
_START_SECONDS = 30
_STOP_SECONDS = 10


class SimulatedProvider:
    """`with SimulatedProvider() as provider:` starts one on a free port, and stops it by its process id."""

    def __init__(
        self,
        *arguments: str,
        command: Sequence[str] = MODULE,
        environment: Mapping[str, str] | None = None,
    ) -> None:
        """`arguments` go to the command (`--script FILE`, `--keep 0`); `command` is MODULE (quick) or MANAGE."""
        self._command = [*command, "--port", "0", *arguments]
        self._environment = {**os.environ, **(environment or {})}
        self._errors: IO[bytes] | None = None
        self.process: subprocess.Popen[bytes] | None = None
        self.url = ""
        self.control = httpx.Client(trust_env=False, timeout=90)

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self.stop()

    def start(self) -> None:
        """Start and wait for the line with the address. Raises AssertionError with what the process said."""
        self._errors = tempfile.TemporaryFile()  # noqa: SIM115  (closed by stop)
        self.process = subprocess.Popen(
            self._command,
            cwd=REPOSITORY,
            env=self._environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=self._errors,
        )
        line = self._first_line()
        if not line.startswith(_READY):
            self._errors.seek(0)
            said = self._errors.read().decode(errors="replace")
            self.stop()
            raise AssertionError(f"the simulated provider did not start: {line!r}\n{said}")
        self.url = line.removeprefix(_READY).strip()

    def stop(self) -> int | None:
        """End the process; its exit status. May be called twice."""
        process, self.process = self.process, None
        self.control.close()
        if self._errors is not None:
            self._errors.close()
        if process is None:
            return None
        process.terminate()
        try:
            process.wait(_STOP_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        if process.stdout is not None:
            process.stdout.close()
        return process.returncode

    @property
    def port(self) -> int:
        return int(self.url.rpartition(":")[2])

    def script(
        self,
        rules: Sequence[Mapping[str, Any]] = (),
        *,
        defaults: Mapping[str, Any] | None = None,
        accept_credentials: Sequence[str] = (),
        append: bool = False,
    ) -> None:
        """Replace the script, or add rules to it."""
        values = {"rules": rules, "defaults": defaults or {}, "accept_credentials": accept_credentials}
        self._post("script?append=1" if append else "script", values)

    def answer(self, **fields: Any) -> None:
        """Answer every message so: a script of one rule."""
        self.script([{"answer": fields}])

    def reset(self) -> None:
        self._post("reset")

    def release(self, name: str) -> None:
        """Let go on what is held under this name."""
        self._post(f"release/{name}")

    def requests(self, since: int = 0) -> list[dict[str, Any]]:
        """What arrived, oldest first; `headers` as [name, value] in wire order."""
        found: list[dict[str, Any]] = self._get("requests", since=since)["requests"]
        return found

    def messages(self) -> list[dict[str, Any]]:
        """The requests for a model's answer among them."""
        return [request for request in self.requests() if request["path"] == "/v1/messages"]

    def body(self, sequence: int) -> bytes:
        """The bytes of one request's body."""
        response = self.control.get(f"{self.url}/__sim__/requests/{sequence}/body")
        response.raise_for_status()
        return response.content

    def stats(self) -> dict[str, Any]:
        return self._get("stats")

    def wait_for(self, name: str, count: int, seconds: float = 10) -> dict[str, Any]:
        """The counters once `name` (received, answered, cancelled, cut, …) has reached `count`."""
        found = self._get("stats", until=f"{name}:{count}", seconds=seconds)
        assert found[name] >= count, f"{name} did not reach {count} within {seconds} s: {found}"
        return found

    def _get(self, path: str, **query: Any) -> dict[str, Any]:
        response = self.control.get(f"{self.url}/__sim__/{path}", params=query)
        assert response.is_success, response.text
        found: dict[str, Any] = response.json()
        return found

    def _post(self, path: str, values: Any = None) -> None:
        response = self.control.post(f"{self.url}/__sim__/{path}", content=json.dumps(values))
        assert response.is_success, response.text

    def _first_line(self) -> str:
        assert self.process is not None
        assert self.process.stdout is not None
        with selectors.DefaultSelector() as selector:
            selector.register(self.process.stdout, selectors.EVENT_READ)
            if not selector.select(_START_SECONDS):
                return ""
        return self.process.stdout.readline().decode()
