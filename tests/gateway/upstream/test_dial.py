"""Names and their addresses: checked, cached, tried one after the other; and the proxy variables."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from base64 import b64encode
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from gateway.upstream import PrivateAddress, Unanswered, UpstreamError, dial
from tests.gateway.upstream.authority import Authority
from tests.gateway.upstream.scripted import WHOLE, Peer, answering, asked, body_of, provider, request, upstream

Lookup = Callable[..., Awaitable[list[Any]]]
NAME = "provider.test"
PROXY_VARIABLES = ("http_proxy", "https_proxy", "all_proxy", "no_proxy")


@pytest.fixture(autouse=True)
def _no_proxies(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in PROXY_VARIABLES:
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)


@pytest.fixture
def names(monkeypatch: pytest.MonkeyPatch) -> dict[str, list[str]]:
    """What names resolve to; what is not named here does not. The lookups are counted under `asked`."""
    known: dict[str, list[str]] = {"asked": []}

    async def lookup(host: str, port: int, **options: Any) -> list[Any]:
        known["asked"].append(host)
        await asyncio.sleep(0)
        if host not in known:
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
        return [
            (socket.AF_INET6, 1, 6, "", (a, port, 0, 0)) if ":" in a else (socket.AF_INET, 1, 6, "", (a, port))
            for a in known[host]
        ]

    monkeypatch.setattr("gateway.upstream.resolve.lookup", lookup)
    return known


def unused_port() -> int:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        port: int = closed.getsockname()[1]
        return port


@pytest.mark.parametrize("addresses", [["127.0.0.1"], ["8.8.8.8", "10.0.0.1"], ["2001:4860:4860::8888", "::1"]])
async def test_a_name_is_refused_where_one_of_its_addresses_is_private(
    names: dict[str, list[str]], addresses: list[str]
) -> None:
    names[NAME] = addresses
    async with upstream(allow_private=False) as client:
        with pytest.raises(PrivateAddress, match="COMPTROLLER_ALLOW_PRIVATE_UPSTREAMS") as caught:
            await asked(client, f"http://{NAME}:9/")
    assert NAME in caught.value.detail


async def test_what_one_may_call_another_may_not(names: dict[str, list[str]]) -> None:
    """A connection that the gateway's own choice opened to a private address is not there for others."""
    names[NAME] = ["127.0.0.1"]
    async with provider(answering(WHOLE)) as served, upstream(allow_private=False) as client:
        url = f"http://{NAME}:{served.port}/"
        assert await body_of(await client.open(request(url, private=True))) == b"{}"
        with pytest.raises(PrivateAddress):
            await asked(client, url)


async def test_a_name_is_asked_for_once_for_all_who_wait(names: dict[str, list[str]]) -> None:
    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.say(WHOLE)

    names[NAME] = ["127.0.0.1"]
    async with provider(script) as served, upstream() as client:
        url = f"http://{NAME}:{served.port}/"
        assert await asyncio.gather(*(asked(client, url) for _ in range(20))) == [b"{}"] * 20
        assert await asked(client, url) == b"{}"
    assert names["asked"] == [NAME]


async def test_one_who_leaves_does_not_end_the_lookup_for_the_others(names: dict[str, list[str]]) -> None:
    names[NAME] = ["127.0.0.1"]
    async with provider(answering(WHOLE)) as served, upstream() as client:
        url = f"http://{NAME}:{served.port}/"
        first, second = (asyncio.create_task(asked(client, url)) for _ in range(2))
        await asyncio.sleep(0)
        first.cancel()
        assert await second == b"{}"
        with pytest.raises(asyncio.CancelledError):
            await first
    assert names["asked"] == [NAME]


async def test_a_name_that_does_not_resolve(names: dict[str, list[str]]) -> None:
    async with upstream() as client:
        for _ in range(2):
            with pytest.raises(Unanswered, match="it could not be reached") as caught:
                await asked(client, f"http://{NAME}:9/")
            assert "not known" in caught.value.detail
    assert names["asked"] == [NAME] * 2


async def test_the_next_address_is_tried_where_one_refuses(names: dict[str, list[str]]) -> None:
    names[NAME] = ["127.0.0.2", "::1", "127.0.0.1"]
    async with provider(answering(WHOLE)) as served, upstream() as client:  # it listens on 127.0.0.1 alone
        assert await asked(client, f"http://{NAME}:{served.port}/") == b"{}"


async def test_an_address_that_says_nothing_gets_company(
    names: dict[str, list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dial, "STAGGER_SECONDS", 0.05)
    names[NAME] = ["127.0.0.2", "127.0.0.1"]
    with contextlib.ExitStack() as stack:
        silent = stack.enter_context(socket.socket())  # its queue is full: a further connection waits
        async with provider(answering(WHOLE)) as served, upstream() as client:
            silent.bind(("127.0.0.2", served.port))
            silent.listen(0)
            for _ in range(3):
                waiting = stack.enter_context(socket.socket())
                waiting.setblocking(False)
                waiting.connect_ex(silent.getsockname())
            assert await asked(client, f"http://{NAME}:{served.port}/") == b"{}"
            assert len(asyncio.all_tasks()) <= 3


async def test_where_no_address_answers_the_name_is_asked_for_anew(names: dict[str, list[str]]) -> None:
    names[NAME] = ["127.0.0.2", "127.0.0.3"]
    async with provider(answering(WHOLE)) as served, upstream() as client:
        url = f"http://{NAME}:{served.port}/"
        with pytest.raises(Unanswered, match="it could not be reached"):
            await asked(client, url)
        names[NAME] = ["127.0.0.1"]
        assert await asked(client, url) == b"{}"


@pytest.mark.parametrize("variable", ["http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"])
async def test_a_plain_request_goes_to_the_proxy_with_its_whole_address(
    names: dict[str, list[str]], monkeypatch: pytest.MonkeyPatch, variable: str
) -> None:
    heads: list[bytes] = []

    async def script(peer: Peer) -> None:
        for _ in range(2):
            heads.append(await peer.request())
            await peer.say(WHOLE)

    async with provider(script) as proxy:
        monkeypatch.setenv(variable, f"http://user:p%40ss@127.0.0.1:{proxy.port}")
        async with upstream(allow_private=False) as client:  # the proxy is the operator's choice, wherever it is
            for _ in range(2):
                assert await asked(client, f"http://{NAME}:8080/v1/messages?beta=true") == b"{}"
    assert proxy.connections == 1
    for head in heads:
        lines = head.split(b"\r\n")
        assert lines[0] == b"POST http://provider.test:8080/v1/messages?beta=true HTTP/1.1"
        assert lines[1] == b"host: provider.test:8080"
        assert b"proxy-authorization: Basic " + b64encode(b"user:p@ss") in lines
        assert head.endswith(b"\r\n\r\n{}")


async def test_tls_goes_through_a_tunnel(
    names: dict[str, list[str]], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    asked_for: list[bytes] = []
    authority = Authority(tmp_path)
    monkeypatch.setenv("SSL_CERT_FILE", str(authority.file))

    async def tunnel(peer: Peer) -> None:
        asked_for.append(await peer.reader.readuntil(b"\r\n\r\n"))
        reader, writer = await asyncio.open_connection("127.0.0.1", served.port)
        await peer.say(b"HTTP/1.1 200 Connection established\r\nvia: 1.1 x\r\n\r\n")

        async def pass_on(source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
            with contextlib.suppress(ConnectionError):
                while part := await source.read(65_536):
                    sink.write(part)
                    await sink.drain()
            sink.close()

        await asyncio.gather(pass_on(peer.reader, writer), pass_on(reader, peer.writer))

    async with provider(answering(WHOLE), authority.server(NAME)) as served, provider(tunnel) as proxy:
        monkeypatch.setenv("HTTPS_PROXY", f"user:secret@127.0.0.1:{proxy.port}")
        async with upstream(allow_private=False) as client:
            assert await asked(client, f"https://{NAME}/v1/messages") == b"{}"
    assert asked_for == [
        b"CONNECT provider.test:443 HTTP/1.1\r\nhost: provider.test:443\r\n"
        b"proxy-authorization: Basic " + b64encode(b"user:secret") + b"\r\n\r\n"
    ]


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 407 Proxy Authentication Required\r\ncontent-length: 0\r\n\r\n",
        b"HTTP/1.1 502 Bad Gateway\r\n\r\n",
        b"SSH-2.0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\n\r\nsmuggled",
        b"HTTP/1.1 200 OK\r\nx: " + b"y" * 100_000,
        b"",
    ],
)
async def test_a_proxy_that_does_not_lead_on(
    names: dict[str, list[str]], monkeypatch: pytest.MonkeyPatch, answer: bytes
) -> None:
    async def script(peer: Peer) -> None:
        await peer.reader.readuntil(b"\r\n\r\n")
        await peer.say(answer)

    async with provider(script) as proxy:
        monkeypatch.setenv("https_proxy", f"http://127.0.0.1:{proxy.port}")
        async with upstream() as client:
            with pytest.raises(Unanswered, match="it could not be reached") as caught:
                await asked(client, f"https://{NAME}/")
            assert "the proxy" in caught.value.detail


async def test_what_is_private_or_excepted_is_never_asked_of_the_proxy(
    names: dict[str, list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    names[NAME] = ["127.0.0.1"]
    monkeypatch.setenv("http_proxy", f"http://127.0.0.1:{unused_port()}")
    for host, no_proxy in (("127.0.0.1", ""), (NAME, ""), (NAME, "other.test,.provider.test,provider.test")):
        monkeypatch.setenv("no_proxy", no_proxy)
        async with provider(answering(WHOLE)) as served, upstream() as client:
            assert await asked(client, f"http://{host}:{served.port}/") == b"{}"


async def test_a_proxy_is_no_way_around_the_check_of_addresses(
    names: dict[str, list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    names[NAME] = ["169.254.169.254"]
    monkeypatch.setenv("http_proxy", f"http://127.0.0.1:{unused_port()}")
    async with upstream(allow_private=False) as client:
        for host in (NAME, "169.254.169.254", "[::1]"):
            with pytest.raises(PrivateAddress):
                await asked(client, f"http://{host}/")


async def test_public_names_that_resolve_go_through_the_proxy_too(
    names: dict[str, list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    names[NAME] = ["8.8.8.8"]
    async with provider(answering(WHOLE)) as proxy:
        monkeypatch.setenv("http_proxy", f"http://127.0.0.1:{proxy.port}")
        async with upstream(allow_private=False) as client:
            assert await asked(client, f"http://{NAME}/") == b"{}"


@pytest.mark.parametrize("url", ["socks5://127.0.0.1:1080", "https://127.0.0.1:1080", "http://", "http://x:port"])
async def test_a_proxy_that_cannot_be_used_is_said_and_not_passed_by(
    names: dict[str, list[str]], monkeypatch: pytest.MonkeyPatch, url: str
) -> None:
    names[NAME] = ["8.8.8.8"]
    monkeypatch.setenv("http_proxy", url)
    async with provider(answering(WHOLE)) as served, upstream() as client:
        with pytest.raises(UpstreamError, match="the proxy that the environment names cannot be used"):
            await asked(client, f"http://{NAME}/")
        assert await asked(client, served.url) == b"{}"  # what is private needs none
