"""Errors, slowness and broken answers, seen from a real socket."""

from __future__ import annotations

import asyncio
import gzip
import json
import socket
import time

import httpx
import pytest

from tests.fakes.processes import SimulatedProvider
from tests.gateway.simulator.asking import ask, events, said, stream


def _raw(simulator: SimulatedProvider, prompt: str, **more: object) -> bytes:
    """Every byte the socket gives until the other side closes it."""
    body = json.dumps(ask(prompt, **more)).encode()
    with socket.create_connection(("127.0.0.1", simulator.port), timeout=10) as connection:
        connection.sendall(
            b"POST /v1/messages HTTP/1.1\r\nhost: 127.0.0.1\r\ncontent-length: %d\r\n\r\n" % len(body) + body
        )
        received = b""
        while part := connection.recv(65536):
            received += part
    return received


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (400, "invalid_request_error"),
        (401, "authentication_error"),
        (403, "permission_error"),
        (404, "not_found_error"),
        (413, "request_too_large"),
        (429, "rate_limit_error"),
        (500, "api_error"),
        (529, "overloaded_error"),
    ],
)
@pytest.mark.parametrize("streamed", [False, True])
def test_statuses_in_the_envelope(client: httpx.Client, status: int, kind: str, streamed: bool) -> None:
    prompt = f'[[sim: status={status} retry_after=5 should_retry=false message="said so"]]'
    response = client.post("/v1/messages", json=ask(prompt, stream=streamed))
    assert response.status_code == status
    assert response.json() == {
        "type": "error",
        "error": {"type": kind, "message": "said so"},
        "request_id": response.headers["request-id"],
    }
    assert (response.headers["retry-after"], response.headers["x-should-retry"]) == ("5", "false")


@pytest.mark.parametrize("after", [0, 1, 4])
def test_a_cut_stream_has_so_many_events_and_no_end(simulator: SimulatedProvider, after: int) -> None:
    received = _raw(simulator, f"[[sim: cut_after={after}]]", stream=True)
    head, _, body = received.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 200 OK")
    assert body.count(b"event: ") == after
    assert not body.endswith(b"0\r\n\r\n")
    assert simulator.wait_for("cut", 1)["messages"] == 0


def test_a_cut_answer_is_shorter_than_it_promised(client: httpx.Client) -> None:
    with pytest.raises(httpx.RemoteProtocolError, match="peer closed connection"):
        client.post("/v1/messages", json=ask("[[sim: cut_after=0]]"))


def test_a_reset_is_a_reset(simulator: SimulatedProvider) -> None:
    with pytest.raises(ConnectionResetError):
        _raw(simulator, "[[sim: cut_after=2 reset]]", stream=True)


@pytest.mark.parametrize("streamed", [False, True])
def test_no_answer_and_half_headers(simulator: SimulatedProvider, streamed: bool) -> None:
    assert _raw(simulator, "[[sim: no_answer]]", stream=streamed) == b""
    assert _raw(simulator, "[[sim: half_headers]]", stream=streamed) == b"HTTP/1.1 200 OK\r\nContent-Type: text/ev"
    begun = time.monotonic()
    assert _raw(simulator, "[[sim: hang_s=0.2]]", stream=streamed) == b""
    # Timers of the event loop count whole milliseconds.
    assert time.monotonic() - begun >= 0.198


def test_an_error_event_ends_a_stream_in_order(client: httpx.Client, simulator: SimulatedProvider) -> None:
    found = stream(client, "[[sim: error_event=overloaded_error error_after=4]]")
    assert len(found) == 5
    assert found[-1]["error"]["type"] == "overloaded_error"
    assert simulator.stats()["messages"] == 0
    response = client.post("/v1/messages", json=ask("[[sim: error_event=overloaded_error]]"))
    assert (response.status_code, response.json()["error"]["type"]) == (500, "overloaded_error")


def test_what_is_no_api(client: httpx.Client) -> None:
    response = client.post("/v1/messages", json=ask("[[sim: html]]"))
    assert (response.status_code, response.headers["content-type"]) == (502, "text/html")
    assert client.post("/v1/messages", json=ask("[[sim: html status=200]]")).status_code == 200
    empty = client.post("/v1/messages", json=ask("[[sim: empty]]"))
    assert (empty.status_code, empty.content) == (200, b"")
    garbage = client.post("/v1/messages", json=ask("[[sim: garbage]]", stream=True))
    assert (len(garbage.content), garbage.headers["content-type"]) == (2048, "text/event-stream; charset=utf-8")


def test_gzip(simulator: SimulatedProvider, client: httpx.Client) -> None:
    response = client.post("/v1/messages", json=ask('[[sim: gzip text="small"]]'))
    assert response.headers["content-encoding"] == "gzip"
    assert response.json()["content"][0]["text"] == "small"
    with client.stream("POST", "/v1/messages", json=ask('[[sim: gzip text="small"]]', stream=True)) as streamed:
        raw = b"".join(streamed.iter_raw())
    assert said(events(gzip.decompress(raw).decode())) == "small"


def test_odd_streams_say_the_same(client: httpx.Client) -> None:
    assert said(stream(client, '[[sim: write_bytes=1 text="byte by byte"]]')) == "byte by byte"
    assert any(e["type"] == "simulated_unknown_event" for e in stream(client, "[[sim: unknown_event]]"))
    big = stream(client, '[[sim: big_event text="a"]]')
    assert len(said(big)) == 8 * 1024 * 1024 + 1
    response = client.post("/v1/messages", json=ask("""[[sim: headers='{"X-Odd":"yes"}']]"""))
    assert response.headers["x-odd"] == "yes"


def test_slowness(client: httpx.Client) -> None:
    begun = time.monotonic()
    stream(client, "[[sim: chunks=5 delay_ms=20 ttft_ms=50 silent_s=0.1]]")
    assert 0.25 <= time.monotonic() - begun < 5
    begun = time.monotonic()
    client.post("/v1/messages", json=ask("[[sim: chunks=5 delay_ms=20 ttft_ms=50]]"))
    assert 0.15 <= time.monotonic() - begun < 5


@pytest.mark.parametrize("prompt", ["[[sim: chunks=2 silent_s=60]]", "[[sim: hang_s=60]]", "[[sim: hold=never]]"])
def test_a_client_that_leaves_is_noticed(simulator: SimulatedProvider, prompt: str) -> None:
    body = json.dumps(ask(prompt, stream=True)).encode()
    with socket.create_connection(("127.0.0.1", simulator.port), timeout=10) as connection:
        connection.sendall(
            b"POST /v1/messages HTTP/1.1\r\nhost: 127.0.0.1\r\ncontent-length: %d\r\n\r\n" % len(body) + body
        )
        assert simulator.wait_for("received", 1)["open"] == 1
    stats = simulator.wait_for("cancelled", 1)
    assert (stats["open"], stats["answered"]) == (0, 0)


def test_a_client_that_leaves_before_its_body_is_whole(simulator: SimulatedProvider) -> None:
    with socket.create_connection(("127.0.0.1", simulator.port), timeout=10) as connection:
        connection.sendall(b"POST /v1/messages HTTP/1.1\r\nhost: 127.0.0.1\r\ncontent-length: 999\r\n\r\n{")
        simulator.wait_for("received", 1)
    assert simulator.wait_for("cancelled", 1)["open"] == 0


@pytest.mark.parametrize(("after", "streamed"), [(0, True), (0, False), (3, True)])
async def test_what_is_held_goes_on_when_released(simulator: SimulatedProvider, after: int, streamed: bool) -> None:
    prompt = f"[[sim: hold=gate hold_after={after}]]"
    async with httpx.AsyncClient(base_url=simulator.url, trust_env=False, timeout=20) as client:
        tasks = [asyncio.create_task(client.post("/v1/messages", json=ask(prompt, stream=streamed))) for _ in range(5)]
        held = await asyncio.to_thread(simulator.wait_for, "received", 5)
        assert (held["open"], held["answered"]) == (5, 0)
        await asyncio.to_thread(simulator.release, "gate")
        assert [response.status_code for response in await asyncio.gather(*tasks)] == [200] * 5
    assert simulator.wait_for("answered", 5)["open"] == 0
