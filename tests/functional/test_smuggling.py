"""Requests that two HTTP parsers could read differently: one answer at most, and nothing hidden in one is served.

Each probe hides a second model call behind the first. The provider's own journal is the witness.
"""

from __future__ import annotations

import json
import socket
import time

import pytest

from tests.functional.product import Product, configuration

pytestmark = [pytest.mark.functional, pytest.mark.parametrize("product", ["sqlite"], indirect=True)]

BODY = json.dumps(
    {"model": "claude-opus-5-5", "max_tokens": 5, "messages": [{"role": "user", "content": "[[sim: text=ok]]"}]}
).encode()
PATH = b"/anthropic/v1/messages"
SIZE = b"%d" % len(BODY)
CHUNKED = b"%x\r\n%b\r\n0\r\n\r\n" % (len(BODY), BODY)


def _head(key: bytes, *lines: bytes, method: bytes = b"POST", version: bytes = b" HTTP/1.1") -> bytes:
    first = b"%b %b%b" % (method, PATH, version)
    return b"\r\n".join([first, b"Host: gateway", b"Authorization: Bearer " + key, *lines, b"", b""])


# Name: lines of the head, and what follows it; {hidden} is a whole model call.
PROBES: dict[str, tuple[tuple[bytes, ...], bytes]] = {
    "length then chunked": ((b"Content-Length: " + SIZE, b"Transfer-Encoding: chunked"), b"0\r\n\r\n{hidden}"),
    "chunked then length": ((b"Transfer-Encoding: chunked", b"Content-Length: 4"), b"0\r\n\r\n{hidden}"),
    "two lengths": ((b"Content-Length: 0", b"Content-Length: " + SIZE), b"{hidden}"),
    "the same length twice": ((b"Content-Length: " + SIZE, b"Content-Length: " + SIZE), BODY + b"{hidden}"),
    "a list of lengths": ((b"Content-Length: 0, 0",), b"{hidden}"),
    "a signed length": ((b"Content-Length: +0",), b"{hidden}"),
    "a length below zero": ((b"Content-Length: -1",), b"{hidden}"),
    "a length in hex": ((b"Content-Length: 0x0",), b"{hidden}"),
    "a length that overflows": ((b"Content-Length: 18446744073709551616",), b"{hidden}"),
    "an empty length": ((b"Content-Length:",), b"{hidden}"),
    "a folded length": ((b"Content-Length:", b" 0"), b"{hidden}"),
    "a folded header": ((b"X-A: b", b" Content-Length: 5", b"Content-Length: 0"), b"{hidden}"),
    "a bare line feed": ((b"X-A: b\nContent-Length: 0",), b"{hidden}"),
    "a bare carriage return": ((b"X-A: b\rContent-Length: 0",), b"{hidden}"),
    "a space before the colon": ((b"Transfer-Encoding : chunked",), b"0\r\n\r\n{hidden}"),
    "a space before the length's colon": ((b"Content-Length : 0",), b"{hidden}"),
    "a space before the name": ((b" Content-Length: 0",), b"{hidden}"),
    "an underscore for the hyphen": ((b"Content_Length: 0",), b"{hidden}"),
    "xchunked": ((b"Transfer-Encoding: xchunked",), b"0\r\n\r\n{hidden}"),
    "identity": ((b"Transfer-Encoding: identity",), b"{hidden}"),
    "identity and chunked": ((b"Transfer-Encoding: identity", b"Transfer-Encoding: chunked"), b"0\r\n\r\n{hidden}"),
    "chunked and identity": ((b"Transfer-Encoding: chunked, identity",), b"0\r\n\r\n{hidden}"),
    "chunked twice": ((b"Transfer-Encoding: chunked", b"Transfer-Encoding: chunked"), b"0\r\n\r\n{hidden}"),
    "gzip inside chunked": ((b"Transfer-Encoding: gzip, chunked",), CHUNKED + b"{hidden}"),
    "chunked in quotes": ((b'Transfer-Encoding: "chunked"',), b"0\r\n\r\n{hidden}"),
    "chunked with a parameter": ((b"Transfer-Encoding: chunked;a=b",), b"0\r\n\r\n{hidden}"),
    "a vertical tab": ((b"Transfer-Encoding: \x0bchunked",), b"0\r\n\r\n{hidden}"),
    "a NUL in a value": ((b"X-A: a\0b", b"Content-Length: 0"), b"{hidden}"),
    "a NUL in a name": ((b"X\0A: b", b"Content-Length: 0"), b"{hidden}"),
    "two hosts": ((b"Host: other", b"Content-Length: " + SIZE), BODY + b"{hidden}"),
    "an upgrade with a body": ((b"Connection: Upgrade", b"Upgrade: h2c", b"Content-Length: 9"), b"GET /a HT{hidden}"),
    "a WebSocket with a body": (
        (b"Connection: Upgrade", b"Upgrade: websocket", b"Content-Length: 9"),
        b"GET /a HT{hidden}",
    ),
    "a chunk's size with 0x": ((b"Transfer-Encoding: chunked",), b"0x0\r\n\r\n{hidden}"),
    "a chunk's size with a sign": ((b"Transfer-Encoding: chunked",), b"+0\r\n\r\n{hidden}"),
    "a chunk's size with a space": ((b"Transfer-Encoding: chunked",), b"0 \r\n\r\n{hidden}"),
    "a chunk's size that overflows": ((b"Transfer-Encoding: chunked",), b"10000000000000000\r\n{hidden}"),
    "a chunk ended by a line feed": ((b"Transfer-Encoding: chunked",), b"0\n\n{hidden}"),
    "a line feed in an extension": ((b"Transfer-Encoding: chunked",), b"0;a\nb\r\n\r\n{hidden}"),
    "a chunk longer than it says": ((b"Transfer-Encoding: chunked",), b"2\r\nabcd\r\n0\r\n\r\n{hidden}"),
    "a length in the trailer": ((b"Transfer-Encoding: chunked",), b"0\r\nContent-Length: 9\r\n\r\n{hidden}"),
    "chunked in the trailer": ((b"Transfer-Encoding: chunked",), b"0\r\nTransfer-Encoding: chunked\r\n\r\n{hidden}"),
}


@pytest.fixture(scope="module")
def secret(product: Product) -> bytes:
    product.apply(configuration("smuggling"))
    deadline = time.monotonic() + 10
    while product.post("[[sim: text=ok]]", key="smuggling").status_code == 401:
        assert time.monotonic() < deadline
    return product.secrets["smuggling"].encode()


def _said(product: Product, request: bytes) -> bytes:
    """Everything that comes back until the gateway closes the connection, which it must."""
    with socket.create_connection(("127.0.0.1", product.port), timeout=10) as connection:
        connection.sendall(request)
        said = b""
        try:
            while part := connection.recv(65536):
                said += part
        except ConnectionResetError:
            pass
        return said


def _served(product: Product) -> int:
    count: int = product.simulator("GET", "stats")["received"]
    return count


@pytest.mark.parametrize("probe", PROBES)
def test_nothing_hidden_is_served(product: Product, secret: bytes, probe: str) -> None:
    lines, rest = PROBES[probe]
    hidden = _head(secret, b"Content-Length: " + SIZE) + BODY
    before = _served(product)
    said = _said(product, _head(secret, *lines) + rest.replace(b"{hidden}", hidden))
    assert said.count(b"HTTP/1.1 ") == 1, said
    assert said.startswith(b"HTTP/1.1 400 "), said
    assert b"connection: close" in said.lower()
    assert json.loads(said.partition(b"\r\n\r\n")[2])["error"]["type"] == "invalid_request_error"
    assert _served(product) == before


@pytest.mark.parametrize("version", [b"", b" HTTP/0.9", b" HTTP/1.2", b" HTTP/2.0", b" HTTP/1.1x"])
def test_other_versions_are_refused(product: Product, secret: bytes, version: bytes) -> None:
    before = _served(product)
    said = _said(product, _head(secret, b"Content-Length: " + SIZE, version=version) + BODY)
    assert said.startswith(b"HTTP/1.1 400 "), said
    assert said.count(b"HTTP/1.1 ") == 1
    assert _served(product) == before


def test_a_request_without_a_host_is_refused(product: Product, secret: bytes) -> None:
    request = _head(secret, b"Content-Length: " + SIZE).replace(b"Host: gateway\r\n", b"") + BODY
    assert _said(product, request).startswith(b"HTTP/1.1 400 ")


def test_what_follows_connection_close_is_not_a_request(product: Product, secret: bytes) -> None:
    one = _head(secret, b"Connection: close", b"Content-Length: " + SIZE) + BODY
    before = _served(product)
    said = _said(product, one + _head(secret, b"Content-Length: " + SIZE) + BODY)
    assert said.count(b"HTTP/1.1 200 ") == 1
    assert _served(product) == before + 1


def test_honest_pipelining_is_answered_in_order(product: Product, secret: bytes) -> None:
    """Two whole requests are two requests: this shows that the probes above could have been served."""
    before = _served(product)
    chunked = _head(secret, b"Transfer-Encoding: chunked") + CHUNKED
    last = _head(secret, b"Connection: close", b"Content-Length: " + SIZE) + BODY
    said = _said(product, chunked + last)
    assert said.count(b"HTTP/1.1 200 ") == 2, said
    assert _served(product) == before + 2


def test_an_upgrade_that_is_not_known_is_ignored_and_the_connection_closed(product: Product, secret: bytes) -> None:
    request = _head(secret, b"Connection: Upgrade", b"Upgrade: h2c", method=b"HEAD").replace(PATH, b"/anthropic")
    hidden = _head(secret, b"Content-Length: " + SIZE) + BODY
    before = _served(product)
    said = _said(product, request + hidden)
    assert said.startswith(b"HTTP/1.1 200 ")
    assert said.count(b"HTTP/1.1 ") == 1
    assert _served(product) == before
