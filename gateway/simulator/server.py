"""Serve the simulated provider with uvicorn, and hand its application the socket for cuts and half answers.

Why uvicorn and not a server of our own: keep-alive, chunking and back-pressure are then a real server's, and only
the misbehaviour is ours. ASGI cannot express it, so `Protocol` puts each connection's transport into the scope.
Under a foreign ASGI server the application works too, but cuts by raising, which that server logs.
"""

from __future__ import annotations

import socket
from typing import Any

import uvicorn
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from gateway.simulator.app import Simulator
from gateway.simulator.line import TRANSPORT

_BACKLOG = 2048


class Protocol(HttpToolsProtocol):
    def on_message_begin(self) -> None:
        super().on_message_begin()
        scope: Any = self.scope
        scope["extensions"] = {TRANSPORT: {"transport": self.transport}}


class _Server(uvicorn.Server):
    def __init__(self, config: uvicorn.Config, announcement: str) -> None:
        super().__init__(config)
        self._announcement = announcement

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        # Printed once connections are taken: whoever starts this process reads the address from this line.
        print(self._announcement, flush=True)  # noqa: T201


def listen(host: str, port: int) -> socket.socket:
    """A listening socket; port 0 takes a free one. Raises OSError."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    return socket.create_server((host, port), family=family, backlog=_BACKLOG)


def serve(simulator: Simulator, listener: socket.socket) -> None:
    """Serve until SIGINT or SIGTERM; what is still open then gets one second."""
    host, port = listener.getsockname()[:2]
    address = f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
    config = uvicorn.Config(
        simulator,
        http=Protocol,
        ws="none",
        interface="asgi3",
        lifespan="off",
        log_level="warning",
        access_log=False,
        server_header=False,
        backlog=_BACKLOG,
        timeout_keep_alive=75,
        timeout_graceful_shutdown=1,
    )
    _Server(config, f"simulated provider on {address}").run(sockets=[listener])
