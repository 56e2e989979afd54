"""Names become addresses: asked of the system once a minute, whoever waits for one waits for the same answer."""

from __future__ import annotations

import asyncio
import socket
import time
from ipaddress import ip_address
from typing import Any, Final, NamedTuple

from governance.domain.addresses import is_public

CACHE_SECONDS: Final = 60.0


class Address(NamedTuple):
    """What a socket connects to."""

    family: int
    sockaddr: tuple[Any, ...]

    @property
    def is_public(self) -> bool:
        return is_public(str(self.sockaddr[0]))


class Resolver:
    """`getaddrinfo` off the event loop, in its order: the system knows which family works (RFC 6724)."""

    def __init__(self) -> None:
        self._known: dict[tuple[str, int], tuple[float, list[Address]]] = {}
        self._asked: dict[tuple[str, int], asyncio.Task[list[Address]]] = {}

    async def resolve(self, host: str, port: int) -> list[Address]:
        """At least one address; a host that is one stands for itself. Raises OSError."""
        if is_literal(host):
            return [_literal(host, port)]
        key = (host, port)
        known = self._known.get(key)
        if known is not None and known[0] > time.monotonic():
            return known[1]
        task = self._asked.get(key)
        if task is None:
            task = self._asked[key] = asyncio.get_running_loop().create_task(self._ask(key))
            task.add_done_callback(lambda done: self._answered(key, done))
        return await asyncio.shield(task)

    def forget(self, host: str, port: int) -> None:
        """Ask anew next time: none of the addresses answered."""
        self._known.pop((host, port), None)

    async def close(self) -> None:
        tasks = list(self._asked.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _ask(self, key: tuple[str, int]) -> list[Address]:
        host, port = key
        found = await lookup(host, port)
        addresses = [Address(f, a) for f, _, _, _, a in found if f in {socket.AF_INET, socket.AF_INET6}]
        if not addresses:
            raise OSError("the name has no address")
        return addresses

    def _answered(self, key: tuple[str, int], task: asyncio.Task[list[Address]]) -> None:
        del self._asked[key]
        if not task.cancelled() and task.exception() is None:
            self._known[key] = (time.monotonic() + CACHE_SECONDS, task.result())


async def lookup(host: str, port: int) -> list[Any]:
    """Ask the system. Raises OSError."""
    return await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)


def is_literal(host: str) -> bool:
    """Whether a host is an IP address, with or without a zone."""
    try:
        ip_address(host.partition("%")[0])
    except ValueError:
        return False
    return True


def _literal(host: str, port: int) -> Address:
    if ip_address(host.partition("%")[0]).version == 4:
        return Address(socket.AF_INET, (host, port))
    bare, _, zone = host.partition("%")
    scope = socket.if_nametoindex(zone) if zone else 0
    return Address(socket.AF_INET6, (bare, port, 0, scope))
