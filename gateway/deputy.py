"""Take connections that another server process of this machine leaves waiting: it was killed, restarts, or is stuck.

Each of several servers has a listening socket of its own on the same port (`SO_REUSEPORT`), since the kernel deals
connections out evenly over those, and unevenly over one that all share. `up` holds every socket and gives each server
all of them: its own, and the others' to look after. Nothing that waits is lost while one of them runs.
"""

from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import Callable, Iterable

log = logging.getLogger(__name__)

WAIT_SECONDS = 0.05
"""How long a connection may wait for the socket's own server. Also bounds the cost of looking: a busy socket wakes us
once in that time."""
AT_ONCE = 64


class Deputy:
    """Looks after the listening sockets of others. Every method belongs to the event loop."""

    def __init__(self, sockets: Iterable[socket.socket], protocol: Callable[[], asyncio.Protocol]) -> None:
        self._sockets = list(sockets)
        self._protocol = protocol
        self._loop = asyncio.get_running_loop()
        self._later: dict[socket.socket, asyncio.TimerHandle] = {}
        self._taking: set[asyncio.Task[object]] = set()

    def start(self) -> None:
        for sock in self._sockets:
            sock.setblocking(False)
            self._watch(sock)

    def stop(self) -> None:
        """Look no more, and let go of the sockets."""
        for sock in self._sockets:
            later = self._later.pop(sock, None)
            if later is not None:
                later.cancel()
            self._loop.remove_reader(sock.fileno())
            sock.close()
        self._sockets.clear()

    def _watch(self, sock: socket.socket) -> None:
        self._later.pop(sock, None)
        self._loop.add_reader(sock.fileno(), self._seen, sock)

    def _seen(self, sock: socket.socket) -> None:
        """One waits: its own server has a moment, in which we do not look."""
        self._loop.remove_reader(sock.fileno())
        self._later[sock] = self._loop.call_later(WAIT_SECONDS, self._take, sock)

    def _take(self, sock: socket.socket) -> None:
        for _ in range(AT_ONCE):
            # The mode belongs to the socket, not to us: whoever else holds it may have set it, and a blocking accept of
            # a connection that its own server took first would stop this process for good.
            sock.setblocking(False)
            try:
                connection, _ = sock.accept()
            except BlockingIOError:
                break
            except OSError as error:
                log.warning("A waiting connection cannot be accepted: %s", error)
                break
            connection.setblocking(False)
            task = self._loop.create_task(self._serve(connection))
            self._taking.add(task)
            task.add_done_callback(self._taking.discard)
        self._watch(sock)

    async def _serve(self, connection: socket.socket) -> None:
        try:
            await self._loop.connect_accepted_socket(self._protocol, connection)
        except OSError as error:
            log.warning("A connection that was taken for another process cannot be served: %s", error)
            connection.close()
