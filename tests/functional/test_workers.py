"""Several server processes on one listening socket: `up --workers` as it runs in production."""

from __future__ import annotations

import socket
import threading
import time
from pathlib import Path

import httpx
import psutil
import pytest

from tests.gateway.test_up import Up, _issue_key

pytestmark = pytest.mark.functional
WORKERS = 3
BODY = {"model": "claude-opus-5-5", "max_tokens": 64, "messages": [{"role": "user", "content": "[[sim: text=ok]]"}]}


def _servers(up: Up) -> list[psutil.Process]:
    return [child for child in up.process.children() if "gateway.serve" in child.cmdline()]


def _held(server: psutil.Process, port: int) -> int:
    return sum(
        1 for each in server.net_connections() if each.status == psutil.CONN_ESTABLISHED and each.laddr.port == port
    )


def test_connections_spread_and_a_killed_worker_loses_only_what_it_held(tmp_path: Path) -> None:
    with Up(tmp_path, "--role", "gateway", "--workers", str(WORKERS), "--port", "0") as up:
        up.ready()
        up.wait("Application startup complete", "log", times=WORKERS)
        secret = _issue_key(up, "workers")
        headers = {"authorization": f"Bearer {secret}", "anthropic-version": "2023-06-01"}
        port = int(up.url.rpartition(":")[2])
        up.knows(secret)

        opened = []
        for _ in range(64):
            opened.append(socket.create_connection(("127.0.0.1", port), timeout=20))
            opened[-1].sendall(b"HEAD /anthropic HTTP/1.1\r\nHost: x\r\n\r\n")
            assert opened[-1].recv(4096).startswith(b"HTTP/1.1 200 ")
        spread = [_held(server, port) for server in _servers(up)]
        for connection in opened:
            connection.close()
        assert sum(spread) == 64
        assert max(spread) < 45, spread  # 21 each, were it even; five times its deviation

        refused: list[str] = []
        cut: list[str] = []
        answered = [0]
        enough = threading.Event()

        def ask() -> None:
            with httpx.Client(timeout=60, limits=httpx.Limits(max_keepalive_connections=0)) as client:
                while not enough.is_set():
                    try:
                        answer = client.post(f"{up.url}/anthropic/v1/messages", json=BODY, headers=headers)
                        assert answer.status_code == 200, answer.text
                        answered[0] += 1
                    except httpx.ConnectError as error:
                        refused.append(repr(error))
                    except httpx.HTTPError as error:
                        cut.append(repr(error))

        clients = [threading.Thread(target=ask) for _ in range(4)]
        for client in clients:
            client.start()
        try:
            for kill in range(1, 4):
                before = answered[0]
                _servers(up)[kill % WORKERS].kill()
                # The others go on at once, long before it is back.
                deadline = time.monotonic() + 20
                while answered[0] < before + 20:
                    assert time.monotonic() < deadline
                    time.sleep(0.01)
                up.wait("Application startup complete", "log", times=WORKERS + kill)
        finally:
            enough.set()
            for client in clients:
                client.join(60)
        assert refused == []
        # At most what each client had running on the one that died.
        assert len(cut) <= 3 * len(clients), cut
        assert up.stop() == 0
