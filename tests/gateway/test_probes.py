"""The probes answer beside Django as its views do."""

from __future__ import annotations

import asyncio
import json
import threading
from typing import Any

import pytest

from gateway import probes
from observability import health


async def ask(path: str, method: str = "GET") -> tuple[int, dict[bytes, bytes], bytes]:
    sent: list[Any] = []

    async def send(message: Any) -> None:
        sent.append(message)

    async def receive() -> Any:
        raise AssertionError("a probe reads no body")

    await probes.PROBES[path]({"type": "http", "method": method, "path": path}, receive, send)
    start, body = sent
    return start["status"], dict(start["headers"]), body["body"]


async def test_alive() -> None:
    assert (await ask("/healthz"))[::2] == (200, b"ok\n")
    status, headers, body = await ask("/healthz", "HEAD")
    assert (status, headers[b"content-length"], body) == (200, b"3", b"")
    assert (await ask("/healthz", "POST"))[0] == 405


@pytest.mark.parametrize(("said", "status"), [("ready", 200), ("degraded", 200), ("unready", 503)])
async def test_ready_or_not(said: str, status: int, monkeypatch: pytest.MonkeyPatch) -> None:
    checks = {"load": {"ok": said == "ready", "detail": "why"}}
    monkeypatch.setattr(health, "report", lambda: (health.Status(said), checks))
    found, headers, body = await ask("/readyz")
    assert (found, headers[b"cache-control"]) == (status, b"no-store")
    assert json.loads(body) == {"status": said, "checks": checks}


async def test_probes_at_once_share_one_round_of_checks(monkeypatch: pytest.MonkeyPatch) -> None:
    rounds, go = [], threading.Event()

    def report() -> tuple[health.Status, dict[str, Any]]:
        rounds.append(1)
        assert go.wait(10)
        return health.Status.READY, {}

    monkeypatch.setattr(health, "report", report)
    asked = [asyncio.create_task(ask("/readyz")) for _ in range(5)]
    while not rounds:
        await asyncio.sleep(0)
    go.set()
    assert [status for status, _, _ in await asyncio.gather(*asked)] == [200] * 5
    assert len(rounds) == 1
    await ask("/readyz")
    assert len(rounds) == 2
