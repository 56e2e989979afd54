"""Connections that their own server leaves waiting are taken by another, and by none before their time."""

from __future__ import annotations

import asyncio
import socket

from gateway.deputy import Deputy
from gateway.serve import listen_together


class Hello(asyncio.Protocol):
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        transport.write(b"deputy")
        transport.close()


async def _said(port: int) -> bytes:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        return await reader.read()
    finally:
        writer.close()
        await writer.wait_closed()


async def test_what_nobody_takes_is_taken() -> None:
    with socket.create_server(("127.0.0.1", 0)) as orphan:
        deputy = Deputy([orphan.dup()], Hello)
        deputy.start()
        async with asyncio.timeout(10):
            said = await asyncio.gather(*(_said(orphan.getsockname()[1]) for _ in range(100)))
        assert said == [b"deputy"] * 100
        deputy.stop()


async def test_the_sockets_own_server_comes_first() -> None:
    with socket.create_server(("127.0.0.1", 0)) as owned:

        class Owner(Hello):
            def connection_made(self, transport: asyncio.BaseTransport) -> None:
                assert isinstance(transport, asyncio.Transport)
                transport.write(b"owner")
                transport.close()

        deputy = Deputy([owned.dup()], Hello)
        deputy.start()
        server = await asyncio.get_running_loop().create_server(Owner, sock=owned.dup())
        async with asyncio.timeout(10):
            for _ in range(20):
                assert await _said(owned.getsockname()[1]) == b"owner"
        deputy.stop()
        server.close()
        await server.wait_closed()


def test_servers_together_listen_on_one_port_and_refuse_one_in_use() -> None:
    sockets = listen_together("127.0.0.1", 0, 3)
    try:
        assert len({sock.getsockname() for sock in sockets}) == 1
        try:
            listen_together("127.0.0.1", sockets[0].getsockname()[1], 2)
        except OSError:
            pass
        else:
            raise AssertionError("a port in use was taken")
    finally:
        for sock in sockets:
            sock.close()
