"""A connection of the data plane over real sockets: pipelines, clients that do not read, bodies nobody asked for."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass, field

import pytest
import uvicorn
from uvicorn.server import ServerState

from gateway import line
from gateway.line import Line
from gateway.line.base import _surfaces
from gateway.line.direct import MAX_PIPELINED, Front

GET = b"GET /probe/%d HTTP/1.1\r\nhost: a\r\n\r\n"


@dataclass
class Server:
    """A server whose surface answers 401 with `size` bytes, as many as `gate` lets."""

    port: int = 0
    size: int = 2
    seen: list[str] = field(default_factory=list)
    fronts: list[Front] = field(default_factory=list)
    gate: asyncio.Event = field(default_factory=asyncio.Event)

    async def surface(self, client: Line) -> None:
        self.seen.append(client.path)
        await self.gate.wait()
        client.start(401, [(b"content-length", str(self.size).encode())])
        client.end(b"x" * self.size)


@pytest.fixture
async def server(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Server]:
    made = Server()
    monkeypatch.setitem(_surfaces, "probe", made.surface)
    config = uvicorn.Config(lambda: None, http=Front, log_config=None)  # type: ignore[arg-type,return-value]
    config.load()
    state = ServerState()

    def front() -> Front:
        made.fronts.append(Front(config=config, server_state=state, app_state={}))
        return made.fronts[-1]

    listening = await asyncio.get_running_loop().create_server(front, "127.0.0.1", 0)
    made.port = listening.sockets[0].getsockname()[1]
    assert line.find("/probe/1") is not None
    yield made
    listening.close()
    made.gate.set()
    for each in made.fronts:
        if each.transport is not None:
            each.transport.abort()
    await asyncio.gather(*state.tasks, return_exceptions=True)
    await listening.wait_closed()


async def read_all(reader: asyncio.StreamReader) -> bytes:
    async with asyncio.timeout(10):
        return await reader.read()


async def test_pipelined_requests_are_answered_in_their_order(server: Server) -> None:
    server.gate.set()
    reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
    closing = b"GET /probe/9 HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n"
    writer.write(b"".join(GET % number for number in range(9)) + closing)
    assert (await read_all(reader)).count(b"HTTP/1.1 401") == 10
    assert server.seen == [f"/probe/{number}" for number in range(10)]
    writer.close()


async def test_more_than_a_few_pipelined_requests_end_the_connection(server: Server) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
    writer.write(b"".join(GET % number for number in range(MAX_PIPELINED * 3)))
    assert b"HTTP/1.1 400" not in await read_all(reader)
    (front,) = server.fronts
    assert len(front.pipeline) <= MAX_PIPELINED
    assert server.seen == ["/probe/0"]
    writer.close()


async def test_who_does_not_read_gets_no_further_answer(server: Server) -> None:
    server.gate.set()
    server.size = 1 << 20
    reader, writer = await asyncio.open_connection("127.0.0.1", server.port, limit=1)
    for number in range(40):
        writer.write(GET % number)
    await asyncio.sleep(0.5)
    (front,) = server.fronts
    # What the system's buffers take, and then no more than the one answer that filled ours.
    assert front.transport.get_write_buffer_size() <= 2 * server.size
    answered = len(server.seen)
    assert answered < 40
    received = 0
    async with asyncio.timeout(20):
        while received < 40 * server.size:
            received += len(await reader.read(1 << 20))
    assert len(server.seen) == 40
    writer.close()


async def test_a_body_that_was_not_asked_for_is_not_waited_for(server: Server) -> None:
    server.gate.set()
    reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
    writer.write(b"POST /probe/1 HTTP/1.1\r\nhost: a\r\nexpect: 100-continue\r\ncontent-length: 44\r\n\r\n")
    answer = await read_all(reader)  # to its end: a next request would be taken for the body
    assert b"connection: close" in answer
    assert b"100 Continue" not in answer
    writer.close()
