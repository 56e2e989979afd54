"""Serve the ASGI application with uvicorn: `python -m gateway.serve --host 0.0.0.0 --port 8000`.

One place for the server's options, whether `up` starts it (with a socket that it holds open across restarts) or a
container does.
"""

from __future__ import annotations

import argparse
import logging
import os
import socket
import sys
from typing import Any

import uvicorn
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol

from gateway import counting, descriptors
from gateway.connections import CONNECTIONS
from gateway.env import SettingsError
from gateway.line.direct import Front

log = logging.getLogger(__name__)

BACKLOG = 4096
"""Connections that may wait to be accepted; the system's own bound (net.core.somaxconn) may be lower."""
ACCEPTS = 16
"""Connections accepted in one turn of the event loop. libuv accepts one for each descriptor it listens on: with 264
busy clients a turn took 20 to 100 ms, and a probe that connected behind them waited for seconds."""
SWITCH_SECONDS = 0.001
"""How long the thread of the event loop may keep the others waiting. Admin pages, checks and the log's writer take the
interpreter's lock dozens of times each; at Python's 5 ms they wait for a tenth of a second in all."""
KEEP_ALIVE_SECONDS = 75
"""Longer than the idle time of common load balancers, so that they and not we close an idle connection."""


class CountedWebSocket(WebSocketsSansIOProtocol):
    """A WebSocket takes a place among the connections like any other; it waits for nothing that has a limit."""

    def connection_made(self, transport: Any) -> None:
        super().connection_made(transport)
        CONNECTIONS.upgraded(self)

    def connection_lost(self, exc: Exception | None) -> None:
        CONNECTIONS.closed(self)
        super().connection_lost(exc)

    def end_keep_alive(self) -> None:
        """Nothing here: `shutdown` tells the client to come back elsewhere."""

    head_overdue = body_overdue = close_unused = end_keep_alive


def listen(host: str, port: int) -> socket.socket:
    """A listening socket. Raises OSError."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    return socket.create_server((host, port), family=family, backlog=BACKLOG)


def listen_together(host: str, port: int, count: int) -> list[socket.socket]:
    """Listening sockets for `count` servers on one port (see `gateway.deputy`). Raises OSError.

    Only Linux deals connections out over several sockets: elsewhere all servers share one.
    """
    first = listen(host, port)
    if count == 1 or sys.platform != "linux":
        return [first] * count
    # Whoever listens there already would not be noticed with SO_REUSEPORT alone: the first one, without, told us.
    port = first.getsockname()[1]
    first.close()
    sockets = []
    for _ in range(count):
        sock = socket.socket(first.family)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        sock.bind((host, port))
        sock.listen(BACKLOG)
        sockets.append(sock)
    return sockets


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m gateway.serve", description=__doc__)
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, choices=range(65_536), default=8000, metavar="PORT")
    parser.add_argument("--fd", type=int, help="An inherited listening socket instead of host and port.")
    parser.add_argument("--other-fds", type=int, nargs="*", default=[], help="Those of the servers beside this one.")
    parser.add_argument("--role", choices=["all", "gateway", "web"], default="all", help="What to serve.")
    parser.add_argument("--ready-fd", type=int, help="An inherited pipe that is told when requests are taken.")
    options = parser.parse_args()
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "gateway.settings")
    sys.setswitchinterval(SWITCH_SECONDS)
    try:
        from django.conf import settings

        configured = settings.COMPTROLLER
        listener = listen(options.host, options.port) if options.fd is None else socket.socket(fileno=options.fd)
    except SettingsError as error:
        sys.exit(f"Comptroller cannot start:\n{error}")
    except OSError as error:
        sys.exit(f"Cannot listen on {options.host} port {options.port}: {error.strerror}.")
    # Before it is duplicated: a duplicate takes the mode over, and the servers that share the socket would block in it.
    listener.setblocking(False)
    _bound_connections(configured)
    if options.role != "web" and configured["COMPTROLLER_WRITER"] == "process":
        counting.share()

    # They set Django up, for which the settings must be right.
    from gateway.asgi import application_of
    from gateway.drain import Server
    from gateway.launch.advice import when_apart
    from gateway.roles import Role
    from observability import health

    config = uvicorn.Config(
        application_of(Role(options.role)),
        loop="uvloop",
        http=Front,
        ws=CountedWebSocket,
        lifespan="on",
        access_log=False,
        log_config=None,
        server_header=False,
        # Whose X-Forwarded-For is believed is the gateway's own decision (COMPTROLLER_TRUSTED_PROXIES).
        proxy_headers=False,
        backlog=BACKLOG,
        timeout_keep_alive=KEEP_ALIVE_SECONDS,
        timeout_graceful_shutdown=configured["COMPTROLLER_DRAIN_SECONDS"],
    )
    server = Server(
        config,
        CONNECTIONS,
        delay_seconds=configured["COMPTROLLER_DRAIN_DELAY_SECONDS"],
        ready_fd=options.ready_fd,
        others=[socket.socket(fileno=each) for each in options.other_fds],
    )
    health.register("accepting", server.check)
    for sentence in when_apart(Role(options.role)) if options.fd is None else ():
        log.warning(sentence)
    server.run(sockets=[listener, *(listener.dup() for _ in range(ACCEPTS - 1))])


def _bound_connections(configured: dict[str, Any]) -> None:
    """Set the limits of this process's connections, as far as the system's own limit of descriptors goes."""
    limit = descriptors.raise_limit()
    most: int = configured["COMPTROLLER_MAX_CONNECTIONS"]
    if sentence := descriptors.shortage(most, limit):
        log.warning(sentence)
    CONNECTIONS.most = descriptors.affordable(most, limit)
    CONNECTIONS.head_seconds = configured["COMPTROLLER_HEAD_TIMEOUT_SECONDS"]
    CONNECTIONS.body_seconds = configured["COMPTROLLER_BODY_TIMEOUT_SECONDS"]
    CONNECTIONS.idle_seconds = KEEP_ALIVE_SECONDS


if __name__ == "__main__":
    main()
