"""A provider that does on its socket exactly what a test says, and what the tests of the client share."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

from gateway.providers.base import UpstreamRequest
from gateway.upstream import Upstream, UpstreamResponse

WHOLE = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 2\r\n\r\n{}"


class Peer:
    """One accepted connection, from the provider's side."""

    def __init__(self, number: int, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.number = number
        """Of this connection, from 0."""
        self.reader = reader
        self.writer = writer

    async def request(self) -> bytes:
        """The next request wholly, head and body."""
        head = await self.reader.readuntil(b"\r\n\r\n")
        length = int(head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0])
        return head + await self.reader.readexactly(length)

    async def say(self, *parts: bytes) -> None:
        """Send each part as a packet of its own, as far as a loopback socket does."""
        for part in parts:
            self.writer.write(part)
            await self.writer.drain()
            await asyncio.sleep(0)

    async def gone(self) -> bytes:
        """Wait until the client closes; what it still sent."""
        with contextlib.suppress(ConnectionError):
            return await self.reader.read()
        return b""

    def reset(self) -> None:
        """End the connection with a RST."""
        self.writer.transport.abort()


Script = Callable[[Peer], Awaitable[Any]]


class Provider:
    """A listening socket whose every connection follows the script; closes each at the script's end."""

    def __init__(self, script: Script) -> None:
        self._script = script
        self._tasks: set[asyncio.Task[Any]] = set()
        self.port = 0
        self.connections = 0
        self.failures: list[BaseException] = []
        """What went wrong in a script, but for the client's leave."""

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/v1/messages"

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        peer = Peer(self.connections, reader, writer)
        self.connections += 1
        try:
            await self._script(peer)
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        except Exception as error:
            self.failures.append(error)
        writer.close()
        with contextlib.suppress(ConnectionError, ssl.SSLError):
            await writer.wait_closed()

    async def finish(self) -> None:
        """Wait for every script's end."""
        await asyncio.gather(*self._tasks)
        assert self.failures == []


@contextlib.asynccontextmanager
async def provider(script: Script, context: ssl.SSLContext | None = None) -> AsyncIterator[Provider]:
    """Serve the script; at the end every connection must come to its own."""
    made = Provider(script)
    listening = await asyncio.start_server(made.serve, "127.0.0.1", 0, ssl=context, limit=2**20)
    made.port = listening.sockets[0].getsockname()[1]
    try:
        yield made
    finally:
        listening.close()
    async with asyncio.timeout(10):
        await made.finish()
        await listening.wait_closed()


@contextlib.asynccontextmanager
async def upstream(
    *, allow_private: bool = True, connect_timeout: float = 2, read_timeout: float = 5
) -> AsyncIterator[Upstream]:
    client = Upstream(connect_timeout=connect_timeout, read_timeout=read_timeout, allow_private=allow_private)
    try:
        yield client
    finally:
        await client.close()
        assert client.open_connections == 0


def request(url: str, body: bytes = b"{}", *, private: bool = False) -> UpstreamRequest:
    return UpstreamRequest(url, ((b"x-api-key", b"sk-secret"),), body, private=private)


async def body_of(response: UpstreamResponse, limit: int = 1_000_000) -> bytes:
    try:
        return await response.read_all(limit)
    finally:
        response.close()


async def asked(client: Upstream, url: str, body: bytes = b"{}") -> bytes:
    """Ask once and read the answer to its end."""
    return await body_of(await client.open(request(url, body)))


def answering(*answers: bytes) -> Script:
    """Answers the requests of a connection in turn, then closes it."""

    async def script(peer: Peer) -> None:
        for answer in answers:
            await peer.request()
            await peer.say(answer)

    return script
