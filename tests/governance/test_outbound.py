"""Posting to an address that a person typed: only where it may go, and bounded."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

import pytest

from governance import outbound
from tests.fakes.receiver import Receiver, receiver


@pytest.fixture
def hook() -> Iterator[Receiver]:
    with receiver() as made:
        yield made


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "[::1]", "0x7f000001", "2130706433", "127.1"])
def test_loopback_in_any_spelling_is_refused(hook: Receiver, host: str) -> None:
    with pytest.raises(outbound.OutboundError) as refused:
        outbound.post(hook.url.replace("127.0.0.1", host), b"{}", {}, allow_private=False)
    assert hook.posted == []
    assert refused.value.permanent or "no host" in str(refused.value)


def test_the_connection_goes_to_the_address_that_was_looked_at(hook: Receiver, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Any] = []
    port = int(hook.url.split(":")[2].split("/")[0])

    def resolve(host: str, *rest: Any, **options: Any) -> Any:
        asked.append(host)
        address = "127.0.0.1" if asked.count(host) == 1 else "192.0.2.1"
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, port))]

    real = socket.getaddrinfo
    monkeypatch.setattr(socket, "getaddrinfo", lambda host, *rest, **options: (
        resolve(host, *rest, **options) if host == "rebinding.test" else real(host, *rest, **options)
    ))  # fmt: skip
    url = hook.url.replace("127.0.0.1", "rebinding.test")
    assert outbound.post(url, b"{}", {}, allow_private=True) == 200
    assert asked == ["rebinding.test"]
    assert hook.posted[0].headers["host"] == f"rebinding.test:{port}"


def test_an_answer_without_end_is_left_at_a_bound(hook: Receiver) -> None:
    hook.text = "x" * 50_000_000
    started = time.monotonic()
    assert outbound.post(hook.url, b"{}", {}, allow_private=True) == 200
    assert time.monotonic() - started < 5


@contextmanager
def trickling(start: bytes, each: bytes) -> Iterator[str]:
    """A server on loopback that sends `start`, then `each` once a second for as long as anybody listens."""
    over = threading.Event()

    def serve() -> None:
        with suppress(OSError):
            connection, _ = listener.accept()
            with connection:
                connection.sendall(start)
                while not over.wait(1):
                    connection.sendall(each)

    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield f"127.0.0.1:{listener.getsockname()[1]}/hook"
        finally:
            over.set()
            with suppress(OSError):
                listener.shutdown(socket.SHUT_RDWR)
            thread.join()


@pytest.mark.parametrize(
    ("scheme", "start", "each"),
    [
        ("http", b"", b"H"),
        ("http", b"HTTP/1.1 200 OK\r\n", b"x"),
        ("http", b"", b"HTTP/1.1 103 Early Hints\r\n\r\n"),
        # A TLS record whose rest comes byte by byte: the handshake never ends.
        ("https", b"\x16\x03\x03\x40\x00", b"\x00"),
    ],
)
def test_headers_that_trickle_in_are_given_up(
    scheme: str, start: bytes, each: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(outbound, "MAX_SECONDS", 2.5)
    with trickling(start, each) as where:
        started = time.monotonic()
        with pytest.raises(outbound.OutboundError, match=r"in time|could not be reached") as given_up:
            outbound.post(f"{scheme}://{where}", b"{}", {}, allow_private=True)
        assert 2 < time.monotonic() - started < 4
    assert not given_up.value.permanent


def test_a_body_that_trickles_in_is_left_and_the_answer_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(outbound, "MAX_SECONDS", 2.5)
    with trickling(b"HTTP/1.1 202 Accepted\r\ncontent-length: 9\r\n\r\n", b"x") as where:
        started = time.monotonic()
        assert outbound.post(f"http://{where}", b"{}", {}, allow_private=True) == 202
        assert time.monotonic() - started < 4


def test_one_deadline_holds_over_all_addresses(monkeypatch: pytest.MonkeyPatch) -> None:
    """Listeners whose queue is full accept nobody: each address would take the whole time to connect."""
    monkeypatch.setattr(outbound, "MAX_SECONDS", 1.0)
    with socket.create_server(("127.0.0.1", 0), backlog=0) as full, socket.socket() as waiting:
        waiting.connect(full.getsockname())
        waiting_too = [socket.socket() for _ in range(3)]
        for one in waiting_too:
            one.setblocking(False)
            one.connect_ex(full.getsockname())
        port = full.getsockname()[1]
        found = [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, port)) for address in ("127.0.0.1",) * 3]
        monkeypatch.setattr(outbound, "_resolve", lambda *_, **__: [entry[4][0] for entry in found])
        started = time.monotonic()
        with pytest.raises(outbound.OutboundError):
            outbound.post(f"http://full.test:{port}/", b"{}", {}, allow_private=True)
        assert time.monotonic() - started < 2
        for one in waiting_too:
            one.close()


def test_nothing_that_was_received_is_in_the_reason() -> None:
    answer = b"HTTP/1.1 200 OK\r\nCannot POST /hook?key=very-secret\r\n\r\n"
    with trickling(answer, b"x") as where, pytest.raises(outbound.OutboundError) as failed:
        outbound.post(f"http://{where}", b"{}", {}, allow_private=True)
    assert "very-secret" not in str(failed.value)


def test_a_proxy_of_the_environment_is_not_used(hook: Receiver, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")
    assert outbound.post(hook.url, b"{}", {}, allow_private=True) == 200


def test_nobody_there() -> None:
    with pytest.raises(outbound.OutboundError, match="could not be reached") as unreachable:
        outbound.post("http://127.0.0.1:1/", b"{}", {}, allow_private=True)
    assert not unreachable.value.permanent
    with pytest.raises(outbound.OutboundError, match="no host"):
        outbound.post("http://nowhere.invalid/", b"{}", {}, allow_private=True)
