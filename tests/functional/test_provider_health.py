"""Credentials that are rejected and providers that fail, as clients, operators and alarms see them: nobody waits."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any
from uuid import uuid4

import httpx
import pytest

from tests.functional.product import Product

pytestmark = pytest.mark.functional

MESSAGE = {
    "id": "msg_1", "type": "message", "role": "assistant", "model": "claude-opus-5-5", "stop_reason": "end_turn",
    "stop_sequence": None, "content": [{"type": "text", "text": "Hello"}],
    "usage": {"input_tokens": 3, "output_tokens": 2},
}  # fmt: skip


class Picky(BaseHTTPRequestHandler):
    """Answers who has a good secret, while it works."""

    protocol_version = "HTTP/1.1"
    works = True
    good = frozenset({"good"})

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["content-length"]))
        presented = {self.headers.get("x-api-key"), (self.headers.get("authorization") or "").removeprefix("Bearer ")}
        if not self.works:
            self._answer(500, {"type": "error", "error": {"type": "api_error", "message": "broken"}})
        elif presented & self.good:
            self._answer(200, MESSAGE)
        else:
            self._answer(401, {"type": "error", "error": {"type": "authentication_error", "message": "key bad is off"}})

    def log_message(self, *args: object) -> None:
        """Nothing."""

    def _answer(self, status: int, body: dict[str, Any]) -> None:
        data = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(data)))
        self.end_headers()
        with suppress(OSError):
            self.wfile.write(data)


@pytest.fixture
def picky() -> Iterator[type[Picky]]:
    """A provider of its own for each test; the class it gives is switched by setting attributes."""
    handler = type("OfOneTest", (Picky,), {})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    server.daemon_threads = True
    thread = Thread(target=server.serve_forever, daemon=True)
    thread.start()
    handler.url = f"http://127.0.0.1:{server.server_port}"
    yield handler
    server.shutdown()
    server.server_close()
    thread.join(5)


def eventually(condition: Callable[[], Any], seconds: float = 15) -> Any:
    deadline = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < deadline, f"{condition} never held"
        time.sleep(0.05)
    return found


class Site:
    """A product with one customer whose key goes to the picky provider."""

    def __init__(self, product: Product, provider: str, url: str, **secrets: str) -> None:
        self.product, self.name = product, f"{provider}-{uuid4().hex[:6]}"
        self.key = f"{self.name}-key"
        credentials = [{"name": name} for name in secrets]
        product.apply(
            {
                "providers": [{"name": self.name, "kind": "anthropic", "base_url": url, "credentials": credentials}],
                "customers": [
                    {
                        "name": f"{self.name} customer",
                        "teams": [{"name": "T", "keys": [{"name": self.key, "providers": [{"name": self.name}]}]}],
                    }
                ],
            }
        )
        for name, secret in secrets.items():
            self.set_secret(name, secret)

    def set_secret(self, name: str, secret: str) -> None:
        provider = self.row["id"]
        credentials = self.product.api("GET", f"providers/{provider}/credentials/")["results"]
        (pk,) = (one["id"] for one in credentials if one["name"] == name)
        self.product.api("PATCH", f"providers/{provider}/credentials/{pk}/", json={"secret": secret})

    @property
    def row(self) -> dict[str, Any]:
        (found,) = self.product.api("GET", "providers/", params={"name": self.name})["results"]
        return dict(found)

    def state(self) -> str:
        return str(self.row["health"]["state"])

    def credentials(self) -> dict[str, str]:
        return {one["name"]: one["state"] for one in self.row["health"]["credentials"]}

    def ask(self, session: str = "") -> httpx.Response:
        metadata = {"user_id": json.dumps({"session_id": session or str(uuid4())})}
        return self.product.post("Hello", key=self.key, metadata=metadata)

    def ready(self) -> tuple[int, str]:
        answer = httpx.get(f"{self.product.url}/readyz", timeout=10)
        told = answer.json()
        assert told["status"] == "degraded" or told["checks"]["providers"]["ok"]
        return answer.status_code, str(told["checks"]["providers"]["detail"])

    def metric(self, name: str) -> float:
        text = httpx.get(f"{self.product.url}/metrics", timeout=10).text
        (line,) = (one for one in text.splitlines() if one.startswith(f'comptroller_{name}{{provider="{self.name}"}}'))
        return float(line.rpartition(" ")[2])

    def alarms(self) -> list[tuple[str, str]]:
        self.product.python("from governance.tasks import evaluate_alerts; evaluate_alerts()")
        rows = self.product.api("GET", "alerts/", params={"kind": "provider"})["results"]
        return [(row["event"], row["target"]) for row in reversed(rows) if row["target"].startswith(self.name)]


def test_a_rejected_credential_is_left_alone_told_once_and_comes_back(product: Product, picky: type[Picky]) -> None:
    site = Site(product, "twins", picky.url, old="bad", new="good")  # type: ignore[attr-defined]
    eventually(lambda: site.credentials() == {"old": "ready", "new": "ready"})
    answers = [site.ask() for _ in range(12)]
    assert {answer.status_code for answer in answers} == {200}
    rows = [product.row(answer.headers["request-id"]) for answer in answers]
    assert sum(len(row["attempts"]) == 2 for row in rows) == 1, "the first that met it went on, the others never asked"
    (met,) = (row["attempts"][0] for row in rows if len(row["attempts"]) == 2)
    assert met["error"] == "credential (401): key bad is off"
    eventually(lambda: site.credentials() == {"old": "dead", "new": "ready"})
    (old,) = (one for one in site.row["health"]["credentials"] if one["name"] == "old")
    assert old["last_error"] == "rejected the credential (401): key bad is off"
    assert site.state() == "degraded"
    status, detail = site.ready()
    assert (status, f"{site.name} is degraded: old: rejected with 401 at " in detail) == (200, True)
    assert [site.metric(name) for name in ("provider_up", "credentials_usable", "credentials_rejected_total")] == [
        1,
        1,
        1,
    ]
    told = [("rejected", f"{site.name}/old")]
    assert site.alarms() == told
    assert site.alarms() == told
    site.set_secret("old", "good")
    eventually(lambda: site.credentials() == {"old": "ready", "new": "ready"})
    assert site.alarms() == told, "nothing has shown yet that it works"
    for _ in range(12):
        assert site.ask().status_code == 200
    eventually(lambda: site.alarms() == [*told, ("accepted", f"{site.name}/old")], seconds=40)


def test_a_provider_that_fails_is_left_alone_and_asked_again(product: Product, picky: type[Picky]) -> None:
    site = Site(product, "failing", picky.url, main="good")  # type: ignore[attr-defined]
    eventually(lambda: site.ask().status_code == 200)
    picky.works = False
    for _ in range(3):
        assert site.ask().status_code == 503
    eventually(lambda: site.state() == "down")
    status, detail = site.ready()
    expected = f"{site.name} is down: not asked after too many failures, the last: failed (500)"
    assert (status, expected in detail) == (200, True)
    assert [site.metric(name) for name in ("provider_up", "provider_breaker_open")] == [0, 1]
    picky.works = True
    assert site.ask().status_code == 200, "where there is no other it is asked all the same"
    eventually(lambda: site.metric("provider_breaker_open") == 0)
    assert site.metric("provider_up") == 1
