"""What is public, in every form that leads to an IPv4 address; and that both who dial ask the one function."""

from __future__ import annotations

import pytest

from gateway.upstream import resolve
from governance import outbound
from governance.domain.addresses import is_public


@pytest.mark.parametrize(
    "address",
    [
        "127.0.0.1", "10.1.2.3", "169.254.169.254", "0.0.0.0", "100.64.0.1", "224.0.0.1", "192.88.99.1",  # noqa: S104
        "::", "::1", "fe80::1%eth0", "fd00::1", "fec0::1", "ff02::1",
        "::127.0.0.1", "::8.8.8.8",  # IPv4-compatible
        "::ffff:10.0.0.1", "::ffff:192.88.99.1", "::ffff:0:127.0.0.1",
        "64:ff9b::a9fe:a9fe", "64:ff9b::a00:1", "64:ff9b::127.0.0.1", "64:ff9b::c058:6301", "64:ff9b:1::808:808",
        "2002:7f00:1::1", "2002:a00:1::", "2002:a9fe:a9fe::1", "2001:0:808:808::1",
    ],
)  # fmt: skip
def test_what_is_not_public(address: str) -> None:
    assert not is_public(address)


@pytest.mark.parametrize(
    "address",
    ["8.8.8.8", "::ffff:8.8.8.8", "2001:4860:4860::8888", "2606:4700::1111", "64:ff9b::808:808", "2002:808:808::1"],
)
def test_what_is_public(address: str) -> None:
    assert is_public(address)


def test_what_is_no_address_is_an_error() -> None:
    with pytest.raises(ValueError, match="example"):
        is_public("example.com")


def test_both_who_dial_ask_it() -> None:
    assert resolve.is_public is outbound.is_public is is_public
