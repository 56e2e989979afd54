"""Posting to an address that a person typed: only where it may go, and bounded."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from typing import Any

import pytest

from governance import outbound
from tests.fakes.receiver import Receiver, receiver


@pytest.fixture
def hook() -> Iterator[Receiver]:
    with receiver() as made:
        yield made


@pytest.mark.parametrize(
    ("address", "public"),
    [
        ("8.8.8.8", True), ("127.0.0.1", False), ("10.1.2.3", False), ("169.254.169.254", False), ("0.0.0.0", False),  # noqa: S104
        ("100.64.0.1", False), ("::1", False), ("fe80::1%eth0", False), ("fd00::1", False), ("224.0.0.1", False),
        ("::ffff:10.0.0.1", False), ("2001:4860:4860::8888", True),
    ],
)  # fmt: skip
def test_is_public(address: str, public: bool) -> None:
    assert outbound.is_public(address) is public


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
    answer = outbound.post(hook.url.replace("127.0.0.1", "rebinding.test"), b"{}", {}, allow_private=True)
    assert answer == outbound.Answer(200, "ok")
    assert asked == ["rebinding.test"]
    assert hook.posted[0].headers["host"] == f"rebinding.test:{port}"


def test_an_answer_is_read_to_a_bound(hook: Receiver) -> None:
    hook.text = "x" * 100_000
    assert len(outbound.post(hook.url, b"{}", {}, allow_private=True).text) == outbound.MAX_BYTES


def test_a_proxy_of_the_environment_is_not_used(hook: Receiver, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")
    assert outbound.post(hook.url, b"{}", {}, allow_private=True).status == 200


def test_nobody_there() -> None:
    with pytest.raises(outbound.OutboundError, match="could not be reached") as unreachable:
        outbound.post("http://127.0.0.1:1/", b"{}", {}, allow_private=True)
    assert not unreachable.value.permanent
    with pytest.raises(outbound.OutboundError, match="no host"):
        outbound.post("http://nowhere.invalid/", b"{}", {}, allow_private=True)
