"""Sockets that go away or stay silent: clients, providers and the gateway itself."""

from __future__ import annotations

import asyncio
import contextlib
import json
import signal
import socket
import time

import httpx
import pytest

from tests.functional.product import Product, configuration, sse_events

pytestmark = pytest.mark.functional


@pytest.fixture(scope="module")
def key(product: Product) -> str:
    product.apply(configuration("connections"))
    deadline = time.monotonic() + 5
    while httpx.get(f"{product.base_url}/v1/models", headers=product.headers("connections"), timeout=10).is_error:
        assert time.monotonic() < deadline
    return "connections"


def _body(prompt: str, **more: object) -> dict[str, object]:
    message = {"role": "user", "content": prompt}
    return {"model": "claude-opus-5-5", "max_tokens": 100, "stream": True, "messages": [message], **more}


def test_a_client_that_leaves_is_charged_for_what_the_provider_says(product: Product, key: str) -> None:
    prompt = '[[sim: text="a b c d e f g h" chunks=8 delay_ms=50 input_tokens=1000 output_tokens=300]]'
    with httpx.stream(
        "POST", f"{product.base_url}/v1/messages", json=_body(prompt), headers=product.headers(key), timeout=20
    ) as answer:
        request_id = answer.headers["request-id"]
        next(answer.iter_bytes())
    row = product.row(request_id)
    assert (row["status"], row["cost_quality"]) == ("cancelled", "exact")
    assert (row["input_tokens"], row["output_tokens"]) == (1000, 300)
    assert row["cost_nano_usd"] == 1000 * 4000 + 300 * 20000
    assert product.simulator("GET", "stats")["cancelled"] == 0


def test_a_client_that_leaves_before_the_answer_is_charged_too(product: Product, key: str) -> None:
    answered = product.simulator("GET", "stats")["answered"]
    with pytest.raises(httpx.ReadTimeout):
        httpx.post(
            f"{product.base_url}/v1/messages",
            json=_body("[[sim: ttft_ms=1500 input_tokens=77 output_tokens=5]]", stream=False),
            headers=product.headers(key),
            timeout=0.5,
        )
    product.simulator("GET", f"stats?until=answered:{answered + 1}")
    deadline = time.monotonic() + 10
    while not (rows := [r for r in product.rows(virtual_key=key, status="cancelled") if r["input_tokens"] == 77]):
        assert time.monotonic() < deadline
    assert rows[0]["cost_nano_usd"] == 77 * 4000 + 5 * 20000


@pytest.mark.parametrize("product", ["sqlite"], indirect=True)
def test_a_silent_stream_gets_pings_before_and_between_its_events(product: Product) -> None:
    """The client gives up on a stream that is silent too long: a ping goes out in every silent 15 s."""
    product.apply(configuration("pings"))

    async def run() -> list[httpx.Response]:
        async with httpx.AsyncClient(timeout=60) as client:
            return await asyncio.gather(
                *(
                    client.post(f"{product.base_url}/v1/messages", json=_body(prompt), headers=product.headers("pings"))
                    for prompt in (
                        "[[sim: text=late ttft_ms=16500 input_tokens=5 output_tokens=5]]",
                        '[[sim: text="one two" silent_s=16.5 input_tokens=5 output_tokens=5]]',
                        "[[sim: status=529 ttft_ms=15500]]",
                    )
                )
            )

    time.sleep(1)  # the key was just made
    late, between, failed = asyncio.run(run())
    for answer in (late, between):
        names = [name for name, _ in sse_events(answer.text)]
        assert names[-1] == "message_stop"
        row = product.row(answer.headers["request-id"])
        assert (row["status"], row["input_tokens"], row["cost_quality"]) == ("success", 5, "exact")
    assert next(name for name, _ in sse_events(late.text)) == "ping"
    assert "ping" in [name for name, _ in sse_events(between.text)][2:]
    # The status line was sent with the first ping: the failure comes as an event.
    assert failed.status_code == 200
    assert sse_events(failed.text)[-1][1]["error"]["type"] == "overloaded_error"


def test_two_hundred_streams_at_once(product: Product, key: str) -> None:
    prompt = '[[sim: text="a b c d" chunks=4 delay_ms=100 input_tokens=10 output_tokens=4]]'

    async def run() -> list[int]:
        limits = httpx.Limits(max_connections=200)
        async with httpx.AsyncClient(limits=limits, timeout=60) as client:
            answers = await asyncio.gather(
                *(
                    client.post(f"{product.base_url}/v1/messages", json=_body(prompt), headers=product.headers(key))
                    for _ in range(200)
                )
            )
        return [answer.text.count("event: message_stop") for answer in answers]

    assert asyncio.run(run()) == [1] * 200


@pytest.mark.parametrize("product", ["sqlite"], indirect=True)
def test_a_stop_lets_running_streams_end_and_loses_no_row(product: Product) -> None:
    product.apply(configuration("drain"))
    time.sleep(1)  # the key was just made
    prompt = '[[sim: text="a b c d e f g h" chunks=8 delay_ms=200 input_tokens=50 output_tokens=8]]'
    with httpx.stream(
        "POST", f"{product.base_url}/v1/messages", json=_body(prompt), headers=product.headers("drain"), timeout=20
    ) as answer:
        request_id = answer.headers["request-id"]
        product.processes["server"].send_signal(signal.SIGTERM)
        text = "".join(answer.iter_text())
    assert "event: message_stop" in text
    assert product.processes["server"].wait(20) is not None
    product.processes.pop("server")
    product.start_server()
    row = product.row(request_id)
    assert (row["status"], row["output_tokens"]) == ("success", 8)


@pytest.mark.parametrize("product", ["sqlite"], indirect=True)
def test_a_provider_that_is_gone_is_a_clear_error(product: Product) -> None:
    configured = configuration("gone", providers=[{"name": "gone"}])
    configured["providers"] = [
        {
            "name": "gone",
            "kind": "anthropic",
            "base_url": "http://127.0.0.1:9",
            "credentials": [{"name": "main", "secret_env": "GONE_CREDENTIAL"}],
        }
    ]
    product.settings["GONE_CREDENTIAL"] = "sk-test"
    product.apply(configured)
    deadline = time.monotonic() + 5
    while (answer := product.post("hi", key="gone")).status_code == 401:
        assert time.monotonic() < deadline
    assert answer.status_code == 503
    assert "gone" in answer.json()["error"]["message"]
    row = product.row(answer.headers["request-id"])
    assert [attempt["provider"] for attempt in row["attempts"]] == ["gone"] * 3
    assert row["cost_nano_usd"] == 0
    assert "sk-test" not in json.dumps(row)


def test_a_head_without_an_end_is_cut_off(product: Product) -> None:
    with socket.create_connection(("127.0.0.1", product.port), timeout=20) as connection:
        connection.sendall(b"POST /anthropic/v1/messages HTTP/1.1\r\nx-big: ")
        with contextlib.suppress(ConnectionError):
            for _ in range(200):
                connection.sendall(b"a" * 65536)
        with contextlib.suppress(ConnectionError):
            answer = connection.recv(100)
            assert answer.startswith(b"HTTP/1.1 431") or not answer
    assert httpx.get(f"{product.url}/healthz", timeout=10).status_code == 200


def test_nothing_is_held_when_nothing_runs(product: Product, key: str) -> None:
    metrics = httpx.get(f"{product.url}/metrics", timeout=20).text
    held = [line for line in metrics.splitlines() if line.startswith("comptroller_budget_held_usd{")]
    assert all(float(line.rpartition(" ")[2]) == 0 for line in held)
    streams = [line for line in metrics.splitlines() if line.startswith("comptroller_active_streams")]
    assert [float(line.rpartition(" ")[2]) for line in streams] == [0.0]
