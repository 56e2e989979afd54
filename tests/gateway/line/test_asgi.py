"""The line over ASGI's messages: what is written is sent in order, and a dropped client is told nothing more."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

from gateway.line.asgi import AsgiLine

SCOPE = {"method": "POST", "path": "/anthropic/v1/messages", "headers": [], "client": ("127.0.0.1", 1)}


class Server:
    """The server's half: a body, then silence; what it is sent it takes only while it is `open`."""

    def __init__(self) -> None:
        self.sent: list[str] = []
        self.open = asyncio.Event()
        self._asked = False

    async def receive(self) -> Mapping[str, Any]:
        if self._asked:
            await asyncio.Event().wait()
        self._asked = True
        return {"type": "http.request", "body": b"{}", "more_body": False}

    async def send(self, message: Mapping[str, Any]) -> None:
        await self.open.wait()
        self.sent.append(message["type"])


async def test_an_answer_is_sent_in_order() -> None:
    server = Server()
    line = AsgiLine(SCOPE, server.receive, server.send)
    assert await line.body(100) == b"{}"
    line.start(200, [])
    line.write(b"a")
    line.end(b"b")
    server.open.set()
    await line.finish()
    assert server.sent == ["http.response.start", "http.response.body", "http.response.body"]


async def test_a_dropped_client_counts_as_gone_at_once() -> None:
    server, gone = Server(), asyncio.Event()
    line = AsgiLine(SCOPE, server.receive, server.send)
    line.on_gone = gone.set
    await line.body(100)
    line.start(200, [])
    line.write(b"x" * 100_000)
    await asyncio.sleep(0)  # the server holds the first message back
    assert line.paused
    line.drop()
    assert gone.is_set()
    line.write(b"never sent")
    async with asyncio.timeout(5):
        await line.finish()
    assert server.sent == []
