"""How a server process stops: unready at once, then no new connection, then no new request, then no running one.

A first SIGTERM or SIGINT begins a drain. For `COMPTROLLER_DRAIN_DELAY_SECONDS` all goes on but `/readyz` says 503 and
every answer closes its connection. Then the listening socket closes, quiet connections close, and running answers have
`COMPTROLLER_DRAIN_SECONDS` to end. What runs then is told so in Anthropic's form and settled. A second signal skips the
waiting: answers are cut off the same way, and what is recorded lies in the spool.
"""

from __future__ import annotations

import asyncio
import logging
import os
import socket
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from types import FrameType

import uvicorn

from gateway import runtime
from gateway.connections import Connections
from gateway.deputy import Deputy
from observability.health import Check

log = logging.getLogger(__name__)

LOOK_SECONDS = 0.05
CUT_SECONDS = 3.0
"""How long requests that are cut off may take to tell their clients and settle."""


class Server(uvicorn.Server):
    """uvicorn's server with a drain that loses no request and settles what it cuts off."""

    def __init__(
        self,
        config: uvicorn.Config,
        connections: Connections,
        *,
        delay_seconds: float,
        ready_fd: int | None = None,
        others: Sequence[socket.socket] = (),
    ) -> None:
        super().__init__(config)
        self._connections = connections
        self._delay_seconds = delay_seconds
        self._ready_fd = ready_fd
        self._others = others
        self._deputy: Deputy | None = None
        self._sweeper: asyncio.Task[None] | None = None

    def check(self) -> Check:
        """For `/readyz`: whether new requests are welcome here."""
        if self.should_exit:
            return Check(False, "draining: this process stops and takes no new requests.")
        return Check(True, "New requests are welcome.")

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """The first signal begins the drain, whichever follows hastens it: `docker stop` twice sends SIGTERM twice."""
        self._captured_signals.append(sig)
        self.force_exit = self.should_exit
        self.should_exit = True
        # At once: the main loop looks ten times a second only.
        self._connections.draining = True

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self._sweeper = asyncio.create_task(self._connections.keep_swept())
        self._deputy = Deputy(self._others, self._protocol)
        self._deputy.start()
        if self._ready_fd is not None:
            # `up` waits for this before it stops the process that we replace. It may be gone by now.
            with suppress(OSError):
                os.write(self._ready_fd, b"1")
            os.close(self._ready_fd)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        log.info("Draining: %d connections, %d requests", len(self._connections), len(self.server_state.tasks))
        self._connections.drain()
        if self._delay_seconds:
            await self._until(lambda: False, self._delay_seconds)
        runtime.stopping()
        if self._deputy is not None:
            self._deputy.stop()
        for server in self.servers:
            server.close()
        for sock in sockets or ():
            sock.close()
        # WebSockets are told to go (1012, service restart); they are not counted as answers that may end.
        for connection in tuple(self.server_state.connections):
            connection.shutdown()
        if not await self._until(self._nothing_runs, self.config.timeout_graceful_shutdown or 0):
            await self._cut(self.server_state.tasks)
        if self._sweeper is not None:
            self._sweeper.cancel()
        if not self.force_exit:
            await self.lifespan.shutdown()

    def _protocol(self) -> asyncio.Protocol:
        made: asyncio.Protocol = self.config.http_protocol_class(  # type: ignore[call-arg]
            config=self.config, server_state=self.server_state, app_state=self.lifespan.state
        )
        return made

    def _nothing_runs(self) -> bool:
        self._connections.sweep()
        return not self.server_state.connections and not self.server_state.tasks

    async def _until(self, done: Callable[[], bool], seconds: float) -> bool:
        """Wait for it, at most so long, and not after a second signal. Whether it is done."""
        loop = asyncio.get_running_loop()
        end = loop.time() + seconds
        while not done():
            if self.force_exit or loop.time() >= end:
                return False
            await asyncio.sleep(LOOK_SECONDS)
        return True

    async def _cut(self, tasks: Iterable[asyncio.Task[None]]) -> None:
        """End what still runs: each request tells its client and settles when it is cancelled."""
        running = [task for task in tasks if not task.done()]
        if not running:
            return
        log.warning("%d requests did not end in time and are cut off", len(running))
        for task in running:
            task.cancel(msg="the drain is over")
        await asyncio.wait(running, timeout=CUT_SECONDS)
