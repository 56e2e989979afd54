"""Starting and stopping the simulated provider as its users do."""

from __future__ import annotations

import socket
import subprocess
import sys
from pathlib import Path

import httpx

from tests.fakes.processes import MANAGE, MODULE, REPOSITORY, SimulatedProvider
from tests.gateway.simulator.asking import answer, ask


def _fails(*arguments: str) -> str:
    done = subprocess.run([*MODULE, *arguments], cwd=REPOSITORY, capture_output=True, text=True, timeout=30)
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    return done.stderr


def test_the_management_command_serves_a_script_file(tmp_path: Path) -> None:
    script = tmp_path / "script.yaml"
    script.write_text("rules: [{answer: {text: from the file}}]")
    with SimulatedProvider("--script", str(script), command=MANAGE) as provider:
        assert provider.url.startswith("http://127.0.0.1:")
        with httpx.Client(base_url=provider.url, trust_env=False) as client:
            assert answer(client, "x")["content"][0]["text"] == "from the file"
            provider.answer(text="from the test")
            assert answer(client, "x")["content"][0]["text"] == "from the test"
            provider.reset()
            assert answer(client, "x")["content"][0]["text"] == "from the file"


def test_it_ends_while_streams_are_open() -> None:
    provider = SimulatedProvider()
    provider.start()
    request = ask("[[sim: chunks=2 silent_s=60]]", stream=True)
    with (
        httpx.Client(base_url=provider.url, trust_env=False) as client,
        client.stream("POST", "/v1/messages", json=request) as response,
    ):
        assert response.status_code == 200
        assert provider.stop() in {0, -15}
    assert provider.stop() is None


def test_wrong_options_are_told(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        assert f"cannot listen on 127.0.0.1 port {port}" in _fails("--port", str(port))
    assert "--port must lie" in _fails("--port", "70000")
    assert "--keep" in _fails("--keep", "-1")
    assert "cannot be read" in _fails("--script", str(tmp_path / "missing.yaml"))
    assert "cannot listen" in _fails("--host", "203.0.113.7", "--port", "0")


def test_the_application_loads_neither_django_nor_aiohttp() -> None:
    code = "import sys, gateway.simulator.app; print(*sorted({m.partition('.')[0] for m in sys.modules}))"
    done = subprocess.run([sys.executable, "-c", code], cwd=REPOSITORY, capture_output=True, text=True, check=True)
    assert {"django", "aiohttp", "celery", "yaml"}.isdisjoint(done.stdout.split())
