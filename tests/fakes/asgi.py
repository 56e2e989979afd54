"""An ASGI application of a fake, served on loopback by uvicorn in a thread of its own."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import threading
from collections.abc import Iterator
from typing import Any

import uvicorn

from gateway.simulator.server import Protocol


class _Server(uvicorn.Server):
    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.up = threading.Event()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self.up.set()


@contextlib.contextmanager
def served(application: Any) -> Iterator[str]:
    """Its address, `http://127.0.0.1:PORT`; the socket's transport is in the scope, as the simulator has it."""
    listener = socket.create_server(("127.0.0.1", 0))
    config = uvicorn.Config(
        application,
        http=Protocol,
        ws="none",
        interface="asgi3",
        lifespan="off",
        log_config=None,
        log_level="error",
        access_log=False,
        server_header=False,
        timeout_graceful_shutdown=1,
    )
    server = _Server(config)
    # No signal handlers outside of the main thread: `serve` itself, not `run`.
    thread = threading.Thread(target=lambda: asyncio.run(server._serve([listener])), name="fake", daemon=True)
    thread.start()
    assert server.up.wait(10)
    try:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join(10)
        listener.close()


async def body_of(receive: Any) -> bytes:
    """A request's whole body."""
    parts = []
    more = True
    while more:
        message = await receive()
        parts.append(message.get("body", b""))
        more = message.get("more_body", False)
    return b"".join(parts)


async def answer(send: Any, status: int, body: bytes, *headers: tuple[bytes, bytes], kind: bytes = b"") -> None:
    """A whole answer, JSON where nothing else is said."""
    own = [(b"content-type", kind or b"application/json"), (b"content-length", str(len(body)).encode()), *headers]
    await send({"type": "http.response.start", "status": status, "headers": own})
    await send({"type": "http.response.body", "body": body, "more_body": False})
