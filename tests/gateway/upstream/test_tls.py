"""TLS with a certificate authority of our own: verified, by name and by date; sessions taken up again."""

from __future__ import annotations

import asyncio
import ssl
from pathlib import Path
from typing import Any

import pytest

from gateway.upstream import Unanswered, UpstreamError
from tests.gateway.upstream.authority import Authority
from tests.gateway.upstream.scripted import WHOLE, Peer, asked, body_of, provider, request, upstream


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("authority"))


@pytest.fixture
def trusted(authority: Authority, monkeypatch: pytest.MonkeyPatch) -> Authority:
    monkeypatch.setenv("SSL_CERT_FILE", str(authority.file))
    return authority


async def steady(peer: Peer) -> None:
    """Answers until the client closes."""
    while not peer.reader.at_eof():
        await peer.request()
        await peer.say(WHOLE)


def secure(port: int, host: str = "127.0.0.1") -> str:
    return f"https://{host}:{port}/v1/messages"


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
async def test_a_certificate_that_verifies(trusted: Authority, host: str) -> None:
    async with provider(steady, trusted.server(host)) as served, upstream() as client:
        for _ in range(3):
            assert await asked(client, secure(served.port, host)) == b"{}"
    assert served.connections == 1


async def test_a_large_body_and_a_stream_go_through_tls(trusted: Authority) -> None:
    async def script(peer: Peer) -> None:
        body = (await peer.request()).partition(b"\r\n\r\n")[2]
        await peer.say(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n")
        for start in range(0, len(body), 10_000):
            part = body[start : start + 10_000]
            await peer.say(b"%x\r\n%b\r\n" % (len(part), part))
        await peer.say(b"0\r\n\r\n")

    given: list[bytes] = []
    body = bytes(range(256)) * 20_000
    async with provider(script, trusted.server("127.0.0.1")) as served, upstream() as client:
        response = await client.open(request(secure(served.port), body))

        def sink(chunk: bytes) -> None:
            given.append(chunk)
            if len(given) % 5 == 0:
                response.pause()
                asyncio.get_running_loop().call_soon(response.resume)

        await response.relay(sink)
    assert b"".join(given) == body


@pytest.mark.parametrize("why", ["unknown authority", "another name", "expired"])
async def test_a_certificate_that_does_not_verify(
    authority: Authority, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, why: str
) -> None:
    ca = Authority(tmp_path) if why == "unknown authority" else authority
    monkeypatch.setenv("SSL_CERT_FILE", str(ca.file))
    host = "example.com" if why == "another name" else "127.0.0.1"
    context = authority.server(host, days=-1 if why == "expired" else 30)
    notes: list[int] = []
    async with provider(steady, context) as served, upstream() as client:
        with pytest.raises(UpstreamError, match="its TLS certificate was not accepted") as caught:
            await client.open(request(secure(served.port)), lambda: bool(notes.append(1)) or True)
        assert client.open_connections == 0
    assert not isinstance(caught.value, Unanswered)
    assert caught.value.detail
    assert notes == []


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
async def test_a_session_is_taken_up_again(trusted: Authority, version: ssl.TLSVersion) -> None:
    reused: list[bool] = []
    protocols: list[Any] = []

    async def script(peer: Peer) -> None:
        await peer.request()
        reused.append(peer.writer.get_extra_info("ssl_object").session_reused)
        protocols.append(peer.writer.get_extra_info("ssl_object").selected_alpn_protocol())
        await peer.say(WHOLE)

    context = trusted.server("127.0.0.1")
    context.maximum_version = version
    context.set_alpn_protocols(["h2", "http/1.1"])
    async with provider(script, context) as served, upstream() as client:
        for _ in range(3):
            assert await asked(client, secure(served.port)) == b"{}"
            async with asyncio.timeout(5):
                while client.open_connections:
                    await asyncio.sleep(0.005)
    assert reused == [False, True, True]
    assert protocols == ["http/1.1"] * 3


async def test_a_session_that_the_server_forgot_costs_a_whole_handshake_and_nothing_else(trusted: Authority) -> None:
    reused: list[bool] = []

    async def script(peer: Peer) -> None:
        await peer.request()
        reused.append(peer.writer.get_extra_info("ssl_object").session_reused)
        await peer.say(WHOLE)

    async with upstream() as client:
        async with provider(script, trusted.server("127.0.0.1")) as first:
            await asked(client, secure(first.port))
        async with provider(script, trusted.server("127.0.0.1")) as second:
            await asked(client, secure(second.port))
    assert reused == [False, False]


async def test_a_server_that_speaks_no_tls() -> None:
    async def script(peer: Peer) -> None:
        await peer.say(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        await peer.gone()

    async with provider(script) as served, upstream() as client:
        with pytest.raises(Unanswered, match="it could not be reached"):
            await asked(client, secure(served.port))
        assert client.open_connections == 0


async def test_a_handshake_without_end_is_given_up_in_time_and_can_be_cancelled() -> None:
    async def script(peer: Peer) -> None:
        await peer.reader.read(1)
        reached.set()
        await peer.gone()

    reached = asyncio.Event()
    async with provider(script) as served:
        async with upstream(connect_timeout=0.3) as client:
            with pytest.raises(Unanswered, match="it could not be reached in time"):
                await asked(client, secure(served.port))
        reached.clear()
        async with upstream() as client:
            asking = asyncio.create_task(asked(client, secure(served.port)))
            await reached.wait()
            asking.cancel()
            with pytest.raises(asyncio.CancelledError):
                await asking
        await served.finish()


async def test_a_tls_connection_that_dies_under_a_request_is_replaced(trusted: Authority) -> None:
    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.say(WHOLE)
        if peer.number == 0:
            await peer.request()

    async with provider(script, trusted.server("127.0.0.1")) as served, upstream() as client:
        for _ in range(2):
            response = await client.open(request(secure(served.port)))
            assert await body_of(response) == b"{}"
    assert served.connections == 2


async def test_half_an_answer_over_tls_broke_off(trusted: Authority) -> None:
    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.say(b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nhalf")

    async with provider(script, trusted.server("127.0.0.1")) as served, upstream() as client:
        with pytest.raises(UpstreamError, match="its answer broke off"):
            await asked(client, secure(served.port))
