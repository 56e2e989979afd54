"""Connections that wait for ever, or that are too many: over real sockets, with short limits."""

from __future__ import annotations

import contextlib
import json
import socket
import time
from collections.abc import Iterator

import httpx
import pytest

from tests.functional.product import Product, configuration

pytestmark = pytest.mark.functional
MOST = 16


@pytest.fixture(scope="module")
def limited(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Product]:
    product = Product(tmp_path_factory.mktemp("limits")).prepare()
    product.settings = {
        "COMPTROLLER_MAX_CONNECTIONS": str(MOST),
        "COMPTROLLER_HEAD_TIMEOUT_SECONDS": "2",
        "COMPTROLLER_BODY_TIMEOUT_SECONDS": "2",
    }
    product.start_simulator()
    product.apply(configuration("limits"))
    try:
        product.start_server()
        yield product
    finally:
        product.stop()


@contextlib.contextmanager
def connected(product: Product, count: int = 1) -> Iterator[list[socket.socket]]:
    with contextlib.ExitStack() as stack:
        yield [
            stack.enter_context(socket.create_connection(("127.0.0.1", product.port), timeout=20)) for _ in range(count)
        ]


def rest(connection: socket.socket) -> bytes:
    """What comes until the gateway closes."""
    said = b""
    with contextlib.suppress(ConnectionResetError):
        while part := connection.recv(65536):
            said += part
    return said


def head(product: Product, length: int) -> bytes:
    secret = product.secrets["limits"]
    return (
        f"POST /anthropic/v1/messages HTTP/1.1\r\nHost: gateway\r\nAuthorization: Bearer {secret}\r\n"
        f"Content-Length: {length}\r\n\r\n"
    ).encode()


def test_a_connection_without_a_byte_is_closed(limited: Product) -> None:
    with connected(limited) as (connection,):
        began = time.monotonic()
        assert rest(connection) == b""
        assert 1.5 < time.monotonic() - began < 6


def test_a_head_that_trickles_is_cut_off(limited: Product) -> None:
    """Slow loris: one byte now and then keeps no connection."""
    with connected(limited) as (connection,):
        connection.sendall(b"POST /anthropic/v1/messages HTTP/1.1\r\n")
        connection.settimeout(0.25)
        began = time.monotonic()
        said = b""
        for byte in b"x-slow: " + b"a" * 1000:
            with contextlib.suppress(ConnectionError):
                connection.send(bytes([byte]))
            with contextlib.suppress(TimeoutError):
                said = connection.recv(1000)
                break
        assert said.startswith(b"HTTP/1.1 408 "), said
        assert 1.5 < time.monotonic() - began < 6


def test_line_ends_before_a_request_keep_no_connection(limited: Product) -> None:
    with connected(limited) as (connection,):
        connection.sendall(b"\r\n\r\n")
        began = time.monotonic()
        assert rest(connection).startswith(b"HTTP/1.1 408 ")
        assert time.monotonic() - began < 6


@pytest.mark.parametrize("sent", [b"", b'{"model": "claude'])
def test_a_body_that_stalls_is_answered_408_and_is_a_row(limited: Product, sent: bytes) -> None:
    with connected(limited) as (connection,):
        connection.sendall(head(limited, 1000) + sent)
        said = rest(connection)
    lines, _, body = said.partition(b"\r\n\r\n")
    assert lines.startswith(b"HTTP/1.1 408 "), said
    assert b"connection: close" in lines
    answer = json.loads(body)
    assert answer["error"]["type"] == "timeout_error"
    row = limited.row(answer["request_id"])
    assert (row["status"], row["http_status"], row["cost_nano_usd"]) == ("refused", 408, 0)


def test_a_body_that_is_slow_but_goes_on_is_served(limited: Product) -> None:
    body = json.dumps(
        {"model": "claude-opus-5-5", "max_tokens": 5, "messages": [{"role": "user", "content": "[[sim: text=ok]]"}]}
    ).encode()
    with connected(limited) as (connection,):
        connection.sendall(head(limited, len(body)).replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n"))
        for start in range(0, len(body), len(body) // 8):
            connection.sendall(body[start : start + len(body) // 8])
            time.sleep(0.5)  # slower in all than the limit, faster in each part
        assert rest(connection).startswith(b"HTTP/1.1 200 ")


def test_beyond_the_limit_new_connections_are_told_so_and_others_are_served(limited: Product) -> None:
    """None is idle: each is inside a body."""
    with httpx.Client(base_url=limited.url) as served:
        assert served.get("/healthz").status_code == 200
        with connected(limited, MOST - 1) as busy:
            for connection in busy:
                connection.sendall(head(limited, 1000))
            with connected(limited, 3) as late:
                for connection in late:
                    connection.sendall(head(limited, 1000))
                    said = rest(connection)
                    assert said.startswith(b"HTTP/1.1 503 "), said
                    assert b"retry-after: 2" in said
                    assert b"connection: close" in said
                    assert json.loads(said.partition(b"\r\n\r\n")[2])["error"]["type"] == "overloaded_error"
            assert served.get("/healthz").status_code == 200
        assert "All 16 connections are taken" in limited.log("server")
        deadline = time.monotonic() + 20
        while limited.post("[[sim: text=ok]]", key="limits").status_code == 503:
            assert time.monotonic() < deadline, "the places were not given back"


def test_a_connection_that_is_idle_for_long_gives_its_place(limited: Product) -> None:
    with contextlib.ExitStack() as stack:
        clients = [stack.enter_context(httpx.Client(base_url=limited.url)) for _ in range(MOST)]
        for client in clients:
            assert client.get("/healthz").status_code == 200
        time.sleep(2.5)  # QUIET_SECONDS: only then may an idle connection be taken
        assert limited.post("[[sim: text=ok]]", key="limits").status_code == 200
