"""One request's connection: ASGI answers, notice of a client that left, a hand on the socket for faults."""

from __future__ import annotations

import asyncio
import socket
import struct
from collections.abc import Awaitable, Callable, Iterable
from typing import Any

Scope = dict[str, Any]
Receive = Callable[[], Awaitable[dict[str, Any]]]
Send = Callable[[dict[str, Any]], Awaitable[None]]
Headers = list[tuple[bytes, bytes]]

TRANSPORT = "comptroller.simulator.transport"
"""Scope extension under which `server.py` hands over the socket's transport."""


class ClientGone(Exception):
    """The client closed the connection before the answer was complete."""


class Cut(Exception):
    """Raised to a foreign ASGI server, which closes the connection of a response that did not end."""


class Line:
    """`close()` must be called at the end on every way out."""

    def __init__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self._receive = receive
        self._send = send
        self._transport: asyncio.Transport | None = scope.get("extensions", {}).get(TRANSPORT, {}).get("transport")
        self._watcher: asyncio.Task[None] | None = None

    async def body(self, limit: int) -> bytes | None:
        """The whole request body, or None when it is longer than `limit` bytes. Raises ClientGone."""
        parts: list[bytes] = []
        size = 0
        while True:
            message = await self._receive()
            if message["type"] == "http.disconnect":
                raise ClientGone
            part = message.get("body", b"")
            size += len(part)
            if size <= limit:
                parts.append(part)
            if not message.get("more_body"):
                return b"".join(parts) if size <= limit else None

    async def start(self, status: int, headers: Headers) -> None:
        self._check()
        await self._send({"type": "http.response.start", "status": status, "headers": headers})

    async def write(self, data: bytes, piece: int = 0) -> None:
        """Part of the body, in pieces of so many bytes if told."""
        for part in _pieces(data, piece):
            self._check()
            await self._send({"type": "http.response.body", "body": part, "more_body": True})

    async def end(self) -> None:
        self._check()
        await self._send({"type": "http.response.body", "body": b"", "more_body": False})

    async def whole(self, status: int, headers: Headers, body: bytes) -> None:
        """A complete answer with its content length."""
        await self.start(status, [*headers, (b"content-length", str(len(body)).encode())])
        await self._send({"type": "http.response.body", "body": body, "more_body": False})

    async def pause(self, seconds: float) -> None:
        """Wait, but not longer than the client does. Raises ClientGone."""
        if seconds > 0:
            await asyncio.wait([self.watch()], timeout=seconds)
            self._check()

    async def hold(self, gate: asyncio.Event) -> None:
        """Wait for the gate to open. Raises ClientGone."""
        opened = asyncio.ensure_future(gate.wait())
        try:
            await asyncio.wait([opened, self.watch()], return_when=asyncio.FIRST_COMPLETED)
        finally:
            opened.cancel()
        self._check()

    def watch(self) -> asyncio.Task[None]:
        """Notice from now on when the client leaves: the task then ends."""
        if self._watcher is None:
            self._watcher = asyncio.create_task(self._until_disconnect())
        return self._watcher

    async def cut(self, raw: bytes = b"", *, reset: bool = False) -> None:
        """Close the connection as it is, after these raw bytes; with a TCP reset if told."""
        if self._transport is None:
            raise Cut("the script cuts this answer")
        if raw:
            self._transport.write(raw)
        if reset:
            # Closing with a linger time of zero is what makes the kernel send RST instead of FIN.
            connection = self._transport.get_extra_info("socket")
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self._transport.abort()
        else:
            self._transport.close()
        await self.watch()

    def close(self) -> None:
        if self._watcher is not None:
            self._watcher.cancel()

    async def _until_disconnect(self) -> None:
        while (await self._receive())["type"] != "http.disconnect":
            pass

    def _check(self) -> None:
        left = self._watcher is not None and self._watcher.done()
        # A burst never yields to the watcher: the transport itself knows at once.
        if left or (self._transport is not None and self._transport.is_closing()):
            raise ClientGone


def _pieces(data: bytes, size: int) -> Iterable[bytes]:
    if size <= 0 or len(data) <= size:
        return (data,)
    return (data[start : start + size] for start in range(0, len(data), size))
