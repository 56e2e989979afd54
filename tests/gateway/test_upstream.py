"""The client towards providers, against real sockets that misbehave; and addresses that it must not call."""

from __future__ import annotations

import asyncio
import contextlib
import zlib
from collections.abc import AsyncIterator, Awaitable, Callable

import pytest

from gateway.providers.base import UpstreamRequest
from gateway.upstream import PrivateAddress, Upstream, UpstreamError, is_public

Handler = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@contextlib.asynccontextmanager
async def server(handle: Handler) -> AsyncIterator[str]:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        serving.add(asyncio.current_task())
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
            await handle(reader, writer)
        writer.close()
        with contextlib.suppress(ConnectionError):
            await writer.wait_closed()

    serving: set[asyncio.Task[None] | None] = set()
    listening = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with listening:
        yield f"http://127.0.0.1:{listening.sockets[0].getsockname()[1]}/v1/messages"
    await asyncio.gather(*(task for task in serving if task))


@contextlib.asynccontextmanager
async def upstream(*, allow_private: bool = True, read_timeout: float = 5) -> AsyncIterator[Upstream]:
    client = Upstream(connect_timeout=2, read_timeout=read_timeout, allow_private=allow_private)
    try:
        yield client
    finally:
        await client.close()


def answering(answer: bytes) -> Handler:
    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(answer)
        await writer.drain()

    return handle


def request(url: str, *, private: bool = False) -> UpstreamRequest:
    return UpstreamRequest(url, (("x-api-key", "sk-secret"),), b"{}", private=private)


async def failure(answer: bytes, read_timeout: float = 5) -> str:
    async with server(answering(answer)) as url, upstream(read_timeout=read_timeout) as client:
        try:
            response = await client.open(request(url))
        except UpstreamError as error:
            return str(error)
        try:
            await response.read_all(1000)
        except UpstreamError as error:
            return str(error)
        finally:
            response.close()
        return "no failure"


@pytest.mark.parametrize(
    ("answer", "sentence"),
    [
        (b"", "it closed the connection without an answer"),
        (b"HTTP/1.1 200 OK\r\ncontent-", "it closed the connection without an answer"),
        (b"SSH-2.0-OpenSSH\r\n\r\n", "its answer is not HTTP"),
        (b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nhalf", "its answer broke off"),
        (b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhel", "its answer broke off"),
        (b"HTTP/1.1 200 OK\r\ncontent-length: 2000\r\n\r\n" + b"x" * 2000, "its answer is larger than 1,000 bytes"),
        (b"HTTP/1.1 200 OK\r\ncontent-encoding: br\r\ncontent-length: 1\r\n\r\nx", "content-encoding br"),
        (b"HTTP/1.1 200 OK\r\ncontent-encoding: gzip\r\ncontent-length: 4\r\n\r\nnope", "compressed answer is broken"),
    ],
)
async def test_each_way_to_fail_is_one_sentence(answer: bytes, sentence: str) -> None:
    assert sentence in await failure(answer)


async def test_a_provider_that_says_nothing_is_given_up() -> None:
    async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()

    async with server(silent) as url, upstream(read_timeout=0.2) as client:
        with pytest.raises(UpstreamError, match="did not answer in time"):
            await client.open(request(url))


async def test_nobody_listens() -> None:
    async with upstream() as client:
        with pytest.raises(UpstreamError, match="could not be reached"):
            await client.open(request("http://127.0.0.1:9/v1/messages"))


async def test_a_redirect_is_not_followed_and_cookies_are_not_kept() -> None:
    seen: list[bytes] = []

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        seen.append(await reader.readuntil(b"\r\n\r\n"))
        writer.write(
            b"HTTP/1.1 307 Moved\r\nlocation: http://127.0.0.1:9/\r\nset-cookie: a=b\r\nconnection: close\r\n"
            b"content-length: 0\r\n\r\n"
        )

    async with server(handle) as url, upstream() as client:
        for _ in range(2):
            response = await client.open(request(url))
            assert response.status == 307
            response.close()
    assert len(seen) == 2
    assert b"cookie" not in seen[1].lower()
    assert b"user-agent" not in seen[1].lower()


async def test_a_compressed_answer_is_given_in_plain() -> None:
    packed = zlib.compress(b"plain text", wbits=zlib.MAX_WBITS | 16)
    answer = b"HTTP/1.1 200 OK\r\ncontent-encoding: gzip\r\ncontent-length: %d\r\n\r\n" % len(packed) + packed
    async with server(answering(answer)) as url, upstream() as client:
        response = await client.open(request(url))
        assert await response.read_all(1000) == b"plain text"
        assert not [name for name, _ in response.headers if name.startswith(b"content-")]


async def test_an_abort_ends_a_read_under_way() -> None:
    async def half(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nhalf")
        await reader.read()

    async with server(half) as url, upstream() as client:
        response = await client.open(request(url))
        assert await response.read() == b"half"
        asyncio.get_running_loop().call_later(0.05, response.abort)
        with pytest.raises(UpstreamError, match="given up"):
            await response.read()


@pytest.mark.parametrize(
    "host", ["127.0.0.1", "[::1]", "10.1.2.3", "169.254.169.254", "[::ffff:127.0.0.1]", "localhost"]
)
async def test_private_addresses_are_not_called(host: str) -> None:
    async with upstream(allow_private=False) as client:
        with pytest.raises(PrivateAddress, match="COMPTROLLER_ALLOW_PRIVATE_UPSTREAMS"):
            await client.open(request(f"http://{host}:9/"))


async def test_the_gateways_own_choice_may_be_local() -> None:
    answer = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok"
    async with server(answering(answer)) as url, upstream(allow_private=False) as client:
        response = await client.open(request(url, private=True))
        assert await response.read_all(10) == b"ok"


@pytest.mark.parametrize(("address", "public"), [("8.8.8.8", True), ("224.0.0.1", False), ("100.64.0.1", False)])
def test_what_is_public(address: str, public: bool) -> None:
    assert is_public(address) is public


def test_a_request_shows_no_credential() -> None:
    assert "sk-secret" not in repr(request("http://127.0.0.1:9/"))
