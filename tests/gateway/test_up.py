"""`manage.py up` as a user starts it: a real process on a data folder of its own."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Self

import httpx
import psutil
import pytest
from prometheus_client.parser import text_string_to_metric_families

ROOT = Path(__file__).resolve().parents[2]
pytestmark = pytest.mark.functional


class Up:
    """One `up`; `out` is what it says to the user, `log` what its parts print."""

    def __init__(self, folder: Path, *arguments: str, **environ: str) -> None:
        self.folder = folder
        self.arguments = arguments or ("--port", "0")
        self.environ = {
            name: value
            for name, value in os.environ.items()
            if not name.startswith(("COMPTROLLER_", "ANTHROPIC_")) and name not in {"DATABASE_URL", "REDIS_URL"}
        } | {"COMPTROLLER_DATA_DIR": str(folder / "data"), "COMPTROLLER_DRAIN_SECONDS": "5", **environ}
        self.out = self.log = ""
        self._told = threading.Condition()

    def __enter__(self) -> Self:
        self.process = psutil.Popen(
            [sys.executable, "manage.py", "up", *self.arguments],
            cwd=ROOT,
            env=self.environ,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        self._readers = [threading.Thread(target=self._read, args=(name,)) for name in ("stdout", "stderr")]
        for reader in self._readers:
            reader.start()
        return self

    def __exit__(self, *_: object) -> None:
        family = [self.process, *self.process.children(recursive=True)] if self.process.is_running() else []
        for member in family:
            member.kill()
        self.process.wait(30)
        for reader in self._readers:
            reader.join(30)
        self.process.stdout.close()
        self.process.stderr.close()

    def _read(self, name: str) -> None:
        for line in getattr(self.process, name):
            with self._told:
                if name == "stdout":
                    self.out += line
                else:
                    self.log += line
                self._told.notify_all()

    def wait(self, pattern: str, where: str = "out", times: int = 1) -> re.Match[str]:
        """The first match of what is said, waited for."""
        with self._told:
            told = self._told.wait_for(
                lambda: len(re.findall(pattern, getattr(self, where), re.MULTILINE)) >= times, timeout=120
            )
        found = re.search(pattern, getattr(self, where), re.MULTILINE)
        assert told, f"{pattern!r} was not said {times} times:\n{self.out}\n{self.log}"
        assert found is not None
        return found

    def ready(self) -> Self:
        self.wait(r"^Ready in \d+\.\d s")
        return self

    @property
    def url(self) -> str:
        return self.wait(r"answers on (http://127\.0\.0\.1:\d+)$")[1]

    @property
    def secret(self) -> str:
        return self.wait(r"ANTHROPIC_AUTH_TOKEN=(sk-cmp-\w{8}-\w{43})$")[1]

    def part(self, name: str) -> psutil.Process:
        module = {"server": "gateway.serve", "simulator": "gateway.simulator", "worker": "worker", "beat": "beat"}[name]
        (found,) = (child for child in self.process.children() if module in child.cmdline())
        return found

    def ask(self, secret: str) -> httpx.Response:
        body = {"model": "claude-opus-5-5", "max_tokens": 64, "messages": [{"role": "user", "content": "Hello"}]}
        headers = {"authorization": f"Bearer {secret}", "anthropic-version": "2023-06-01"}
        return httpx.post(f"{self.url}/anthropic/v1/messages", json=body, headers=headers, timeout=30)

    def knows(self, secret: str) -> None:
        """Wait until the server that answers has read the configuration with this key: within a second."""
        deadline = time.monotonic() + 10
        headers = {"authorization": f"Bearer {secret}"}
        while httpx.get(f"{self.url}/anthropic/v1/models", headers=headers, timeout=30).status_code == 401:
            assert time.monotonic() < deadline, "the new key stays unknown"
            time.sleep(0.05)

    def stop(self, number: signal.Signals = signal.SIGTERM) -> int:
        """Send the signal; the exit code, once nothing is left."""
        children = self.process.children(recursive=True)
        self.process.send_signal(number)
        code: int = self.process.wait(60)
        _, alive = psutil.wait_procs(children, timeout=30)
        assert alive == []
        return code


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Shared by the tests that do not care what the state is."""
    return tmp_path_factory.mktemp("up")


def test_first_start_answers_and_a_second_one_keeps_everything(tmp_path: Path) -> None:
    with Up(tmp_path) as first:
        first.ready()
        assert "The provider is SIMULATED" in first.out
        password = first.wait(r"password  (\S+)$")[1]
        secret = first.secret
        answer = first.ask(secret)
        assert answer.status_code == 200, answer.text
        assert answer.json()["type"] == "message"
        page = httpx.Client(base_url=first.url, follow_redirects=True)
        with page:
            token = page.get("/admin/login/").cookies["csrftoken"]
            form = {"username": "admin", "password": password, "csrfmiddlewaretoken": token, "next": "/admin/"}
            inside = page.post("/admin/login/", data=form, headers={"referer": f"{first.url}/admin/login/"})
            assert inside.status_code == 200
            assert inside.url.path == "/admin/"
        port = first.url.rpartition(":")[2]
        assert first.stop() == 0
        assert "running requests may end first" in first.log

    with Up(tmp_path, "--port", port) as second:
        second.ready()
        assert second.url == f"http://127.0.0.1:{port}"
        assert "sk-cmp-" not in second.out + second.log
        assert "First login" not in second.out
        assert ".venv/bin/python manage.py issue_key" in second.out
        assert second.ask(secret).status_code == 200
        assert second.stop(signal.SIGINT) == 0


def test_a_killed_server_is_restarted_and_no_connection_is_refused_meanwhile(folder: Path) -> None:
    with Up(folder) as up:
        up.ready()
        up.part("server").kill()
        # Asked while no server runs: the connection waits in the socket that `up` holds.
        assert httpx.get(f"{up.url}/healthz", timeout=60).status_code == 200
        up.wait(r"server \| ended with signal SIGKILL; starts again in 0\.5 s", "log")
        up.part("beat").kill()
        up.wait(r"beat \| ended with signal SIGKILL", "log")
        assert up.stop() == 0


def test_up_killed_leaves_no_orphan(folder: Path) -> None:
    with Up(folder) as up:
        up.ready()
        children = up.process.children(recursive=True)
        assert len(children) == 5, "server and its writer, simulator, worker, beat"
        up.process.kill()
        gone, alive = psutil.wait_procs(children, timeout=60)
        assert (len(gone), alive) == (5, [])


def test_a_running_answer_ends_before_the_server_does(folder: Path) -> None:
    with Up(folder) as up:
        up.ready()
        secret = _issue_key(up, "drain")
        up.knows(secret)
        body = {
            "model": "claude-opus-5-5",
            "max_tokens": 4096,
            "stream": True,
            "messages": [{"role": "user", "content": "[[sim: text=abcdefghij chunks=10 delay_ms=200]]"}],
        }
        headers = {"authorization": f"Bearer {secret}", "anthropic-version": "2023-06-01"}
        url = f"{up.url}/anthropic/v1/messages"
        with httpx.stream("POST", url, json=body, headers=headers, timeout=30) as answer:
            parts = answer.iter_text()
            first = next(parts)
            up.process.terminate()
            text = first + "".join(parts)
        assert "message_stop" in text
        assert up.process.wait(60) == 0


@pytest.mark.redis
def test_two_workers_share_one_port_and_one_state(folder: Path) -> None:
    redis_url = os.environ.get("TEST_REDIS_URL", "redis://127.0.0.1:6379/15")
    with Up(folder, "--port", "0", "--workers", "2", REDIS_URL=redis_url) as up:
        up.ready()
        up.wait("Application startup complete", "log", times=2)
        servers = [child for child in up.process.children() if "gateway.serve" in child.cmdline()]
        assert len(servers) == 2
        secret = _issue_key(up, "shared")
        servers[0].suspend()
        try:
            # The other answers all of them, with the key that was issued a moment ago.
            up.knows(secret)
            assert {up.ask(secret).status_code for _ in range(5)} == {200}
        finally:
            servers[0].resume()
        assert up.stop() == 0


@pytest.mark.redis
def test_every_scrape_of_two_workers_says_the_same(folder: Path) -> None:
    redis_url = os.environ.get("TEST_REDIS_URL", "redis://127.0.0.1:6379/15")
    with Up(folder, "--port", "0", "--workers", "2", REDIS_URL=redis_url) as up:
        up.ready()
        up.wait("Application startup complete", "log", times=2)
        one, other = (child for child in up.process.children() if "gateway.serve" in child.cmdline())
        secret = _issue_key(up, "scraped")
        for silent, requests in ((one, 3), (other, 2)):
            silent.suspend()
            try:
                up.knows(secret)
                assert {up.ask(secret).status_code for _ in range(requests)} == {200}
            finally:
                silent.resume()
        deadline = time.monotonic() + 15
        while _sample(up, "comptroller_requests_total", model="claude-opus-5-5") < 5 and time.monotonic() < deadline:
            time.sleep(0.1)
        for silent in (one, other):
            silent.suspend()
            try:
                # What it rendered last may be a second old.
                deadline = time.monotonic() + 15
                while _sample(up, "comptroller_requests_total", model="claude-opus-5-5") < 5:
                    assert time.monotonic() < deadline
                    time.sleep(0.1)
                assert [_sample(up, "comptroller_requests_total", model="claude-opus-5-5") for _ in range(3)] == [
                    5,
                    5,
                    5,
                ]
                # Read from the database, by a collector of ours.
                assert _sample(up, "comptroller_gateway_processes") == 2
            finally:
                silent.resume()

        metrics = folder / "data" / "metrics"
        gauges = metrics / f"gauge_livesum_{one.pid}.db"
        assert gauges.exists()
        one.kill()
        up.wait("Application startup complete", "log", times=3)
        assert not gauges.exists()
        assert [_sample(up, "comptroller_requests_total", model="claude-opus-5-5") for _ in range(5)] == [5] * 5
        assert up.stop() == 0

    with Up(folder, "--port", "0", "--workers", "2", REDIS_URL=redis_url) as up:
        up.ready()
        assert not list(metrics.glob(f"*_{other.pid}.db"))
        assert _sample(up, "comptroller_requests_total", model="claude-opus-5-5") == 0
        assert up.stop() == 0


def _sample(up: Up, name: str, **labels: str) -> float:
    """The sum of a metric's series with these labels, as one scrape on a new connection has them."""
    text = httpx.get(f"{up.url}/metrics", timeout=30).text
    families = text_string_to_metric_families(text)
    samples = (sample for family in families for sample in family.samples if sample.name == name)
    return sum(sample.value for sample in samples if labels.items() <= sample.labels.items())


def test_sighup_replaces_the_servers_and_refuses_no_request(folder: Path) -> None:
    with Up(folder) as up:
        up.ready()
        secret = _issue_key(up, "reload")
        up.knows(secret)
        before = up.part("server").pid
        body = {"model": "claude-opus-5-5", "max_tokens": 64, "messages": [{"role": "user", "content": "Hello"}]}
        headers = {"authorization": f"Bearer {secret}", "anthropic-version": "2023-06-01"}
        ids: list[str] = []
        failed: list[str] = []
        enough = threading.Event()

        def ask(keep_alive: bool) -> None:
            """A client over one kept connection, or over a new one for each request."""
            limits = httpx.Limits(max_keepalive_connections=1 if keep_alive else 0)
            with httpx.Client(timeout=30, limits=limits) as client:
                while not enough.is_set():
                    try:
                        answer = client.post(f"{up.url}/anthropic/v1/messages", json=body, headers=headers)
                    except httpx.HTTPError as error:
                        failed.append(repr(error))
                        continue
                    if answer.status_code == 200:
                        ids.append(answer.headers["request-id"])
                    else:
                        failed.append(answer.text)

        clients = [threading.Thread(target=ask, args=(number % 2 == 0,)) for number in range(6)]
        for client in clients:
            client.start()
        try:
            for times in (1, 2):
                up.process.send_signal(signal.SIGHUP)
                up.wait(r"up \| reloaded$", "log", times=times)
        finally:
            enough.set()
            for client in clients:
                client.join(60)
        assert failed == []
        assert len(ids) > 20
        assert up.part("server").pid != before
        assert up.part("worker").is_running()
        assert _logged(up, ids) == set(ids)
        assert up.stop() == 0


def test_a_new_generation_that_does_not_start_leaves_the_old_one(tmp_path: Path) -> None:
    secret_file = tmp_path / "metrics-token"
    secret_file.write_text("first")
    with Up(tmp_path, COMPTROLLER_METRICS_TOKEN_FILE=str(secret_file)) as up:
        up.ready()
        before = up.part("server").pid
        secret_file.write_text("two words")
        up.process.send_signal(signal.SIGHUP)
        up.wait("the reload failed: what ran before goes on", "log")
        assert "COMPTROLLER_METRICS_TOKEN must be one line of visible ASCII characters" in up.log
        assert up.part("server").pid == before
        assert httpx.get(f"{up.url}/healthz", timeout=30).status_code == 200
        secret_file.write_text("second")
        up.process.send_signal(signal.SIGHUP)
        up.wait(r"up \| reloaded$", "log")
        for token, status in (("first", 401), ("second", 200)):
            headers = {"authorization": f"Bearer {token}"}
            assert httpx.get(f"{up.url}/metrics", headers=headers, timeout=30).status_code == status
        assert up.stop() == 0


def test_roles_share_a_data_folder_and_each_runs_once(folder: Path) -> None:
    with Up(folder, "--role", "web", "--port", "0") as web:
        web.wait(r"^Ready in \d+\.\d s")
        admin = web.wait(r"admin and API answer on (http://127\.0\.0\.1:\d+)$")[1]
        with Up(folder, "--role", "gateway", "--port", "0") as up:
            up.ready()
            assert "admin     " not in up.out
            secret = _issue_key(up, "apart")
            up.knows(secret)
            assert up.ask(secret).status_code == 200
            # Each names the other, from what the locks of the data folder say.
            assert httpx.get(f"{up.url}/admin/", timeout=30).text.endswith(f"are at {admin}\n")
            assert httpx.get(f"{admin}/admin/login/", timeout=30).status_code == 200
            with Up(folder, "--role", "worker", "--no-beat") as worker:
                worker.wait("background tasks run")
                assert [child.name() for child in worker.process.children()] != []
                assert not any("beat" in child.cmdline() for child in worker.process.children())
                for role, running in (("all", up), ("gateway", up), ("web", web), ("worker", worker)):
                    sentence = TestRefusals().refused(folder, "--role", role, *(["--port", "0"] * (role != "worker")))
                    assert f"already runs on {folder / 'data'}: process {running.process.pid}," in sentence
                assert worker.stop() == 0
            assert up.stop() == 0
        assert web.stop() == 0


def test_the_admin_in_a_process_and_on_a_port_of_its_own(folder: Path) -> None:
    with Up(folder, "--port", "0", "--web-port", "0") as up:
        up.ready()
        admin = up.wait(r"admin     (http://127\.0\.0\.1:\d+)/admin/$")[1]
        assert admin != up.url
        assert httpx.get(f"{admin}/admin/login/", timeout=30).status_code == 200
        assert httpx.get(f"{up.url}/admin/login/", timeout=30).status_code == 404
        secret = _issue_key(up, "beside")
        up.knows(secret)
        assert up.ask(secret).status_code == 200
        assert "Without REDIS_URL the live log stays empty" in up.log
        assert up.stop() == 0


def _logged(up: Up, ids: list[str]) -> set[str]:
    """Which of these requests are in the log: asked of the database, after the last was written."""
    code = "from observability.models import Request;print('\\n'.join(Request.objects.values_list('pk', flat=True)))"
    deadline = time.monotonic() + 20
    while True:
        done = subprocess.run(
            [sys.executable, "manage.py", "shell", "-c", code],
            cwd=ROOT,
            env=up.environ,
            capture_output=True,
            text=True,
            timeout=120,
            check=True,
        )
        found = set(ids) & set(done.stdout.split())
        if len(found) == len(ids) or time.monotonic() > deadline:
            return found


class TestRefusals:
    """Each is a sentence and exit code 2, with nothing started."""

    def refused(self, folder: Path, *arguments: str, **environ: str) -> str:
        up = Up(folder, *arguments, **environ)
        done = subprocess.run(
            [sys.executable, "manage.py", "up", *up.arguments],
            cwd=ROOT,
            env=up.environ,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        assert done.returncode == 2, done.stderr
        assert "Traceback" not in done.stderr
        return done.stderr

    def test_a_second_up_on_one_folder(self, folder: Path) -> None:
        with Up(folder) as up:
            up.ready()
            sentence = self.refused(folder)
            assert f"already runs on {folder / 'data'}: process {up.process.pid}, {up.url}." in sentence
            assert up.stop() == 0

    def test_a_port_in_use(self, tmp_path: Path) -> None:
        with socket.create_server(("127.0.0.1", 0)) as taken:
            port = taken.getsockname()[1]
            sentence = self.refused(tmp_path, "--port", str(port))
        assert f"Port {port} on 127.0.0.1 is in use." in sentence

    def test_an_address_of_another_machine(self, tmp_path: Path) -> None:
        assert "Cannot listen on 192.0.2.1 port 8000:" in self.refused(tmp_path, "--host", "192.0.2.1")

    def test_a_port_that_is_none(self, tmp_path: Path) -> None:
        assert "--port must lie between 0 and 65535" in self.refused(tmp_path, "--port", "70000")

    def test_several_workers_without_redis(self, tmp_path: Path) -> None:
        assert "--workers 2 needs REDIS_URL" in self.refused(tmp_path, "--workers", "2")

    def test_options_that_do_not_go_together(self, tmp_path: Path) -> None:
        assert "--role worker has none" in self.refused(tmp_path, "--role", "worker", "--workers", "2")
        assert "--web-port is for --role all" in self.refused(tmp_path, "--role", "web", "--web-port", "8001")

    def test_a_database_that_is_away(self, tmp_path: Path) -> None:
        url = "postgresql://nobody@127.0.0.1:1/none"
        assert "The database does not answer:" in self.refused(tmp_path, DATABASE_URL=url)


def _issue_key(up: Up, name: str) -> str:
    done = subprocess.run(
        [sys.executable, "manage.py", "issue_key", "--team", "Main/Everyone", "--name", name],
        cwd=ROOT,
        env=up.environ,
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    assert f"ANTHROPIC_BASE_URL={up.url}/anthropic" in done.stdout
    return re.search(r"sk-cmp-\w{8}-\w{43}", done.stdout)[0]  # type: ignore[index]
