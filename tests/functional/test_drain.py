"""A stop: unready at once, no request lost, nothing cut off without a word, a row and a charge."""

from __future__ import annotations

import contextlib
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Iterator

import httpx
import pytest

from tests.functional.product import Product, configuration, sse_events

pytestmark = pytest.mark.functional
SLOW = '[[sim: text="a b c d e f g h i j k l m n o p q r s t" chunks=20 delay_ms=500 input_tokens=50 output_tokens=20]]'


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Product]:
    made = Product(tmp_path_factory.mktemp("drain")).prepare()
    made.start_simulator()
    made.apply(configuration("drain"))
    try:
        yield made
    finally:
        made.stop()


@pytest.fixture
def product(prepared: Product) -> Iterator[Product]:
    """Without a server: each test starts its own, with its own settings."""
    yield prepared
    prepared.settings = {}
    if "server" in prepared.processes:
        prepared.stop("server")


def stream(product: Product, prompt: str) -> tuple[httpx.Client, httpx.Response]:
    """A stream whose first bytes have come."""
    client = httpx.Client(timeout=60)
    body = {
        "model": "claude-opus-5-5",
        "max_tokens": 100,
        "stream": True,
        "messages": [{"role": "user", "content": prompt}],
    }
    request = client.build_request(
        "POST", f"{product.base_url}/v1/messages", json=body, headers=product.headers("drain")
    )
    answer = client.send(request, stream=True)
    assert answer.status_code == 200, answer.read()
    return client, answer


def end(process: subprocess.Popen[str]) -> float:
    """Seconds until it is gone."""
    began = time.monotonic()
    process.wait(60)
    return time.monotonic() - began


def test_it_is_unready_at_once_and_takes_requests_until_the_balancer_has_seen_it(product: Product) -> None:
    product.settings = {"COMPTROLLER_DRAIN_DELAY_SECONDS": "4"}
    product.start_server()
    with httpx.Client(base_url=product.url, timeout=20) as kept:
        assert kept.get("/readyz").status_code == 200
        product.processes["server"].send_signal(signal.SIGTERM)
        deadline = time.monotonic() + 2
        while (answer := httpx.get(f"{product.url}/readyz", timeout=20)).status_code == 200:
            assert time.monotonic() < deadline
        assert answer.status_code == 503
        assert answer.json()["checks"]["accepting"]["detail"].startswith("draining")
        # The connection that was there before is answered too, once, and told that this was the last time.
        last = product.post("[[sim: text=ok]]", key="drain")
        assert last.status_code == 200
        assert last.headers["connection"] == "close"
        assert kept.get("/healthz").headers["connection"] == "close"
    process = product.processes.pop("server")
    assert end(process) < 15
    with pytest.raises(httpx.ConnectError):
        httpx.get(product.url)
    product.settings = {}
    product.start_server()
    assert product.row(last.headers["request-id"])["status"] == "success"


def test_a_request_that_comes_in_on_a_kept_connection_during_the_stop_is_answered(product: Product) -> None:
    """Again and again on connections that are never quiet: closing an idle one at once would lose one of them."""
    product.start_server()
    failed: list[str] = []
    done = threading.Barrier(9)

    def ask() -> None:
        done.wait()
        with httpx.Client(base_url=product.url, timeout=20) as client:
            while True:
                try:
                    answer = client.get("/healthz")
                except httpx.ConnectError:
                    return  # a new connection: the process takes no more
                except httpx.HTTPError as error:
                    failed.append(repr(error))
                    return
                assert answer.status_code == 200

    threads = [threading.Thread(target=ask) for _ in range(8)]
    for thread in threads:
        thread.start()
    done.wait()
    time.sleep(1)  # the load runs
    product.processes["server"].send_signal(signal.SIGTERM)
    for thread in threads:
        thread.join(60)
    assert failed == []
    end(product.processes.pop("server"))


def test_at_the_deadline_a_stream_ends_with_an_error_event_and_is_charged(product: Product) -> None:
    product.settings = {"COMPTROLLER_DRAIN_SECONDS": "1"}
    product.start_server()
    client, answer = stream(product, SLOW)
    with contextlib.closing(client):
        request_id = answer.headers["request-id"]
        parts = answer.iter_text()
        text = next(parts)
        process = product.processes.pop("server")
        process.send_signal(signal.SIGTERM)
        text += "".join(parts)
    assert end(process) < 10
    events = sse_events(text)
    assert events[-1][0] == "error"
    assert events[-1][1]["error"]["type"] == "overloaded_error"
    assert "message_stop" not in text
    product.settings = {}
    product.start_server()
    row = product.row(request_id)
    assert (row["status"], row["http_status"], row["cost_quality"]) == ("error", 200, "estimated")
    assert row["error_type"] == "overloaded_error"
    assert row["input_tokens"] == 50
    assert row["cost_nano_usd"] >= 50 * 4000
    assert "Traceback" not in product.log("server")


def test_a_request_without_an_answer_yet_is_told_too(product: Product) -> None:
    product.settings = {"COMPTROLLER_DRAIN_SECONDS": "1"}
    product.start_server()
    found: list[httpx.Response] = []
    asking = threading.Thread(target=lambda: found.append(product.post("[[sim: ttft_ms=20000]]", key="drain")))
    received = product.simulator("GET", "stats")["received"]
    asking.start()
    product.simulator("GET", f"stats?until=received:{received + 1}")
    process = product.processes.pop("server")
    process.send_signal(signal.SIGTERM)
    asking.join(30)
    end(process)
    (answer,) = found
    assert answer.status_code == 529
    assert answer.headers["retry-after"] == "1"
    product.settings = {}
    product.start_server()
    row = product.row(answer.headers["request-id"])
    assert (row["status"], row["http_status"], row["cost_quality"]) == ("error", 529, "estimated")
    assert row["cost_nano_usd"] > 0


@pytest.mark.parametrize("second", [signal.SIGTERM, signal.SIGINT])
def test_a_second_signal_hastens_and_still_settles(product: Product, second: signal.Signals) -> None:
    product.settings = {"COMPTROLLER_DRAIN_SECONDS": "60"}
    product.start_server()
    client, answer = stream(product, SLOW)
    with contextlib.closing(client):
        parts = answer.iter_text()
        text = next(parts)
        process = product.processes.pop("server")
        process.send_signal(signal.SIGTERM)
        # It drains: the port is closed.
        deadline = time.monotonic() + 10
        while True:
            try:
                socket.create_connection(("127.0.0.1", product.port), timeout=5).close()
            except OSError:
                break
            assert time.monotonic() < deadline
            time.sleep(0.05)
        process.send_signal(second)
        text += "".join(parts)
    assert end(process) < 8
    assert sse_events(text)[-1][0] == "error"
    product.settings = {}
    product.start_server()
    row = product.row(answer.headers["request-id"])
    assert (row["status"], row["cost_quality"], row["input_tokens"]) == ("error", "estimated", 50)


def test_a_connection_whose_stream_was_running_is_not_cut_after_it(product: Product) -> None:
    """The stream's head went out before the stop: it could not say that the connection ends with it."""
    product.settings = {"COMPTROLLER_DRAIN_SECONDS": "20"}
    product.start_server()
    prompt = '[[sim: text="a b c d" chunks=4 delay_ms=300 input_tokens=5 output_tokens=4]]'
    client, running = stream(product, prompt)
    with contextlib.closing(client):
        product.processes["server"].send_signal(signal.SIGTERM)
        assert "message_stop" in "".join(running.iter_text())
        body = {
            "model": "claude-opus-5-5",
            "max_tokens": 9,
            "messages": [{"role": "user", "content": "[[sim: text=x]]"}],
        }
        following = client.post(f"{product.base_url}/v1/messages", json=body, headers=product.headers("drain"))
        assert following.status_code == 200, following.text
        assert following.headers["connection"] == "close"
    end(product.processes.pop("server"))
