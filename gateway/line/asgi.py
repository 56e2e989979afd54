"""The data plane behind any ASGI server: Daphne in development, or a path that only the server could decode."""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any

from gateway.line.base import BodyTooLarge, ClientGone, Surface

Scope = dict[str, Any]
Receive = Callable[[], Awaitable[Mapping[str, Any]]]
Send = Callable[[Mapping[str, Any]], Awaitable[None]]

HIGH_WATER_BYTES = 64 * 1024


class AsgiLine:
    """One request over ASGI's messages. A task sends what is written, another watches for the client's leave."""

    def __init__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.method: str = scope["method"]
        self.path: str = scope["path"]
        self.query: bytes = scope.get("query_string", b"")
        self.headers: Sequence[tuple[bytes, bytes]] = list(scope["headers"])
        self.client: str | None = scope["client"][0] if scope.get("client") else None
        self.on_gone: Callable[[], None] | None = None
        self.on_writable: Callable[[], None] | None = None
        self._receive = receive
        self._send = send
        self._messages: deque[dict[str, Any]] = deque()
        self._bytes = 0
        self._ended = False
        self._gone = False
        self._sender: asyncio.Task[None] | None = None
        self._watcher: asyncio.Task[None] | None = None

    async def body(self, limit: int) -> bytes:
        parts: list[bytes] = []
        size, more = 0, True
        while more:
            message = await self._receive()
            if message["type"] == "http.disconnect":
                raise ClientGone
            parts.append(message.get("body", b""))
            size += len(parts[-1])
            if size > limit:
                raise BodyTooLarge
            more = message.get("more_body", False)
        self._watcher = asyncio.ensure_future(self._watch())
        return b"".join(parts)

    @property
    def paused(self) -> bool:
        return self._bytes > HIGH_WATER_BYTES

    def start(self, status: int, headers: Sequence[tuple[bytes, bytes]]) -> None:
        if any(b"\n" in value or b"\r" in value for _, value in headers):
            raise ValueError("A header of the answer holds a line end.")
        self._put({"type": "http.response.start", "status": status, "headers": list(headers)})

    def write(self, chunk: bytes) -> None:
        self._put({"type": "http.response.body", "body": chunk, "more_body": True})

    def end(self, chunk: bytes = b"") -> None:
        self._put({"type": "http.response.body", "body": chunk})
        self._ended = True

    def drop(self) -> None:
        """ASGI has no word for it: the server closes the connection when this request's answer ends unfinished."""
        if self._gone or self._ended:
            return
        self._gone = True
        if self._sender is not None:
            self._sender.cancel()
        if self.on_gone is not None:
            self.on_gone()

    async def finish(self) -> None:
        """Wait until everything is sent. The watcher goes first: the answer's end looks like a leave to it."""
        if self._sender is not None:
            with contextlib.suppress(asyncio.CancelledError):
                await self._sender
        if self._watcher is not None:
            self._watcher.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._watcher

    def _put(self, message: dict[str, Any]) -> None:
        if self._gone or self._ended:
            return
        self._messages.append(message)
        self._bytes += len(message.get("body", b""))
        if self._sender is None or self._sender.done():
            self._sender = asyncio.ensure_future(self._flush())

    async def _flush(self) -> None:
        while self._messages and not self._gone:
            message = self._messages.popleft()
            await self._send(message)
            was_paused = self.paused
            self._bytes -= len(message.get("body", b""))
            if was_paused and not self.paused and self.on_writable is not None:
                self.on_writable()

    async def _watch(self) -> None:
        while (await self._receive())["type"] != "http.disconnect":
            pass
        if not self._ended:
            self._gone = True
            if self.on_gone is not None:
                self.on_gone()


async def serve(surface: Surface, scope: Scope, receive: Receive, send: Send) -> None:
    """Answer one request with a surface."""
    line = AsgiLine(scope, receive, send)
    try:
        await surface(line)
    finally:
        await line.finish()
