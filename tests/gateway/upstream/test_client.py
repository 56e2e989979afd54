"""The client towards providers, against real sockets that misbehave; and addresses that it must not call."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import threading
import zlib
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest
import uvloop

from gateway.providers.base import UpstreamRequest
from gateway.upstream import NotNoted, PrivateAddress, Unanswered, Upstream, UpstreamError
from gateway.upstream.connection import Connection

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
    return UpstreamRequest(url, ((b"x-api-key", b"sk-secret"),), b"{}", private=private)


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
        with pytest.raises(UpstreamError, match="could not be reached") as caught:
            await client.open(request("http://127.0.0.1:9/v1/messages"))
        assert caught.value.detail == "(connection refused)"


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
    "host",
    [
        "127.0.0.1",
        "[::1]",
        "10.1.2.3",
        "169.254.169.254",
        "[::ffff:127.0.0.1]",
        "localhost",
        "[64:ff9b::a9fe:a9fe]",
        "[2002:7f00:1::1]",
        "[::127.0.0.1]",
        "192.88.99.1",
    ],
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


def test_a_request_shows_no_credential() -> None:
    assert "sk-secret" not in repr(request("http://127.0.0.1:9/"))


WHOLE = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 2\r\n\r\n{}"


async def test_the_note_comes_before_the_first_byte_and_once_for_each_request() -> None:
    arrived: list[bytes] = []
    order: list[str] = []

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for _ in range(2):  # over one connection
            arrived.append(await reader.readuntil(b"{}"))
            order.append("bytes")
            writer.write(WHOLE)

    def note() -> bool:
        order.append("note")
        return True

    async with server(handle) as url, upstream() as client:
        for _ in range(2):
            response = await client.open(request(url), note)
            assert await response.read_all(10) == b"{}"
            response.close()
    assert order == ["note", "bytes"] * 2
    assert all(b"content-length: 2" in head.lower() and b"sk-secret" in head for head in arrived)
    assert not any(b"chunked" in head.lower() or b"octet-stream" in head for head in arrived)


async def test_without_a_note_not_one_byte_leaves() -> None:
    arrived: list[bytes] = []

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        arrived.append(await reader.read())

    async with server(handle) as url, upstream() as client:
        with pytest.raises(NotNoted):
            await client.open(request(url), lambda: False)
    assert arrived == [b""]


async def test_what_is_not_reached_is_not_noted() -> None:
    noted: list[int] = []
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{closed.getsockname()[1]}/v1/messages"
    async with upstream() as client:
        with pytest.raises(Unanswered):
            await client.open(request(url), lambda: bool(noted.append(1)) or True)
    assert noted == []


@pytest.mark.parametrize("size", [2, 20_000, 100_000])  # sent as one piece, and as two
def test_nothing_comes_between_the_note_and_the_bytes(monkeypatch: pytest.MonkeyPatch, size: int) -> None:
    """The event loop stands still right after the write: what arrives then was in the system's hands by then."""
    arrived = threading.Event()
    listening = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        connection, _ = listening.accept()
        with connection:
            received = b""
            while not received.endswith(b"}"):
                received += connection.recv(65536)
            arrived.set()
            connection.sendall(WHOLE)

    original = Connection.send
    in_time: list[bool] = []

    def send_then_stand_still(self: Connection, head: bytes, body: bytes) -> Any:
        sent = original(self, head, body)
        in_time.append(arrived.wait(5))
        return sent

    async def ask() -> None:
        async with upstream() as client:
            url = f"http://127.0.0.1:{listening.getsockname()[1]}/v1/messages"
            body = b"{" + b" " * (size - 2) + b"}"
            response = await client.open(UpstreamRequest(url, (), body), lambda: True)
            response.close()

    monkeypatch.setattr(Connection, "send", send_then_stand_still)
    thread = threading.Thread(target=serve)
    thread.start()
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(ask())
    thread.join()
    listening.close()
    assert in_time == [True]
