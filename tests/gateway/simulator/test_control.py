"""The control endpoint: the provider's own count, and what really arrived."""

from __future__ import annotations

from hashlib import sha256

import httpx
import pytest

from tests.fakes.processes import SimulatedProvider
from tests.gateway.simulator.asking import answer, ask

ODD = (
    b'{"z":1.0e2, "model":"m","model":"claude-opus-5-5" ,"max_tokens":1,'
    b'"messages":[{"role":"user","content":"\\u00e9"}]}\n'
)


def test_the_bytes_that_arrived(client: httpx.Client, simulator: SimulatedProvider) -> None:
    client.post("/v1/messages?beta=true", content=ODD, headers={"X-Api-Key": "sk-1", "anthropic-beta": "a,b"})
    [request] = simulator.requests()
    assert (request["method"], request["path"], request["query"]) == ("POST", "/v1/messages", "beta=true")
    assert (request["length"], request["sha256"]) == (len(ODD), sha256(ODD).hexdigest())
    assert ["x-api-key", "sk-1"] in request["headers"]
    assert (request["model"], request["status"], request["outcome"]) == ("claude-opus-5-5", 200, "answered")
    assert simulator.body(request["sequence"]) == ODD
    client.get("/v1/models")
    assert [later["path"] for later in simulator.requests(since=request["sequence"])] == ["/v1/models"]
    assert len(simulator.messages()) == 1


def test_the_provider_counts_for_itself(client: httpx.Client, simulator: SimulatedProvider) -> None:
    answer(client, "[[sim: input_tokens=10 output_tokens=5 cache_read=1 cache_write_5m=2 cache_write_1h=3]]")
    answer(client, "[[sim: input_tokens=10 output_tokens=5]]")
    client.post("/v1/messages", json=ask("[[sim: status=500]]"))
    client.get("/v1/models")
    assert simulator.stats() == {
        "received": 4,
        "open": 0,
        "answered": 4,
        "cut": 0,
        "cancelled": 0,
        "messages": 2,
        "statuses": {"200": 3, "500": 1},
        "tokens": {"input": 20, "output": 10, "cache_read": 1, "cache_write_5m": 2, "cache_write_1h": 3},
    }
    simulator.reset()
    assert simulator.stats()["received"] == 0
    assert simulator.requests() == []


def test_what_was_open_at_a_reset_is_not_counted_later(simulator: SimulatedProvider) -> None:
    with httpx.Client(base_url=simulator.url, trust_env=False) as client:
        request = ask("[[sim: chunks=2 silent_s=30]]", stream=True)
        with client.stream("POST", "/v1/messages", json=request) as response:
            assert response.status_code == 200
            simulator.reset()
        assert client.post("/v1/messages", json=ask("x")).status_code == 200
    assert simulator.wait_for("answered", 1)["open"] == 0


def test_only_the_newest_requests_are_kept() -> None:
    with SimulatedProvider("--keep", "3") as provider, httpx.Client(base_url=provider.url, trust_env=False) as client:
        for number in range(5):
            client.post("/v1/messages", json=ask(f"number {number}"))
        assert [request["sequence"] for request in provider.requests()] == [3, 4, 5]
        assert b"number 2" in provider.body(3)
        assert client.get("/__sim__/requests/1/body").status_code == 404
        assert provider.stats()["received"] == 5


def test_a_page_in_a_browser_cannot_reach_it(client: httpx.Client) -> None:
    assert client.get("/__sim__/stats", headers={"origin": "http://evil.test"}).status_code == 403
    assert client.get("/__sim__/stats", headers={"host": "evil.test:80"}).status_code == 403
    assert client.get("/__sim__/stats", headers={"host": "localhost:80"}).status_code == 200
    assert client.get("/__sim__/stats", headers={"host": "[::1]:80"}).status_code == 200


@pytest.mark.parametrize(
    ("method", "path", "content", "status"),
    [
        ("GET", "/__sim__/nothing", b"", 404),
        ("POST", "/__sim__/script", b"{", 400),
        ("POST", "/__sim__/script", b"[]", 400),
        ("POST", "/__sim__/script", b'{"rules":[{"answer":{"colour":1}}]}', 400),
        ("GET", "/__sim__/requests?since=x", b"", 400),
        ("GET", "/__sim__/requests/99/body", b"", 404),
        ("GET", "/__sim__/stats?until=answered", b"", 400),
    ],
)
def test_wrong_control_requests(client: httpx.Client, method: str, path: str, content: bytes, status: int) -> None:
    response = client.request(method, path, content=content)
    assert response.status_code == status
    assert response.json()["error"]["message"]


def test_waiting_for_what_does_not_come(client: httpx.Client, simulator: SimulatedProvider) -> None:
    response = client.get("/__sim__/stats", params={"until": "answered:5", "seconds": "0.05"})
    assert response.json()["answered"] == 0
    with pytest.raises(AssertionError, match="did not reach"):
        simulator.wait_for("answered", 1, 0.05)
