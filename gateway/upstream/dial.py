"""How a connection comes about: name, address check, proxy, TCP, TLS, all within the connect time-out."""

from __future__ import annotations

import asyncio
import re
import socket
import ssl
from collections.abc import Sequence
from contextlib import suppress
from typing import Final

from gateway.upstream.connection import Connection
from gateway.upstream.errors import PrivateAddress, Unanswered, UpstreamError, in_words
from gateway.upstream.head import Origin
from gateway.upstream.pool import Pool
from gateway.upstream.proxies import Proxies, Proxy
from gateway.upstream.resolve import Address, Resolver
from gateway.upstream.tls import SessionContext, client_context

STAGGER_SECONDS: Final = 0.25
"""An address that has not answered by then gets company from the next (RFC 8305 §5)."""
LOCAL_NAME_SECONDS: Final = 2.0
"""Behind a proxy a name may have no address here, and its lookup no end."""
_MOST_PROXY_HEAD: Final = 16 * 1024
_KEEPALIVE: Final = (("TCP_KEEPIDLE", 60), ("TCP_KEEPINTVL", 15), ("TCP_KEEPCNT", 4))
"""A peer that vanished is noticed within two minutes, also where no read time-out runs."""
_TUNNEL: Final = re.compile(rb"HTTP/1\.[01] 2\d\d[ \r]")


class Dialer:
    """Opens connections. One for a process: names, TLS sessions and the proxy variables are known to it."""

    def __init__(self, connect_timeout: float) -> None:
        self._timeout = connect_timeout
        self._resolver = Resolver()
        self._proxies = Proxies()
        self._tls: SessionContext | None = None

    @property
    def tls(self) -> SessionContext:
        if self._tls is None:
            self._tls = client_context()
        return self._tls

    async def dial(self, pool: Pool) -> Connection:
        """A connection to the pool's origin, in use. Raises UpstreamError."""
        origin = pool.origin
        try:
            async with asyncio.timeout(self._timeout):
                proxy, addresses = await self._way(origin, pool.private)
                connected = await self._connect(addresses, origin, proxy)
                try:
                    return await self._speak(connected, pool, proxy)
                except BaseException:
                    connected.close()
                    raise
        except TimeoutError:
            raise Unanswered("it could not be reached in time") from None
        except ssl.SSLCertVerificationError as error:
            raise UpstreamError("its TLS certificate was not accepted", f"({error.verify_message})") from None
        except OSError as error:  # gaierror, SSLError and every refusal are one
            raise Unanswered("it could not be reached", f"({in_words(error)})") from None

    async def close(self) -> None:
        await self._resolver.close()

    async def _way(self, origin: Origin, private: bool) -> tuple[Proxy | None, Sequence[Address]]:
        """The proxy, if one leads there, and the addresses to connect to.

        Where the name resolves here its addresses are checked as without a proxy, and what is private is never asked of
        one. Where it does not, the check is the proxy's: it alone knows the address.
        """
        url = self._proxies.of(origin)
        try:
            async with asyncio.timeout(None if url is None else LOCAL_NAME_SECONDS):
                addresses = await self._resolver.resolve(origin.host, origin.port)
        except (OSError, TimeoutError):
            if url is None:
                raise
        else:
            public = all(address.is_public for address in addresses)
            if not public and not private:
                raise PrivateAddress(origin.host)
            if url is None or not public:
                return None, addresses
        proxy = Proxy(url)
        return proxy, await self._resolver.resolve(proxy.host, proxy.port)

    async def _connect(self, addresses: Sequence[Address], origin: Origin, proxy: Proxy | None) -> socket.socket:
        try:
            return await _first(addresses)
        except OSError:
            self._resolver.forget(*((origin.host, origin.port) if proxy is None else (proxy.host, proxy.port)))
            raise

    async def _speak(self, connected: socket.socket, pool: Pool, proxy: Proxy | None) -> Connection:
        loop = asyncio.get_running_loop()
        origin = pool.origin
        prefix, proxy_line = b"POST ", b""
        if proxy is not None and origin.secure:
            await _tunnel(connected, origin, proxy)
        elif proxy is not None:
            prefix, proxy_line = b"POST http://" + origin.written, proxy.authorization
        context = self.tls if origin.secure else None
        connection = Connection(loop, pool, prefix, proxy_line, context)
        await loop.create_connection(
            lambda: connection,
            sock=connected,
            ssl=context,
            server_hostname=origin.host if context is not None else None,
            ssl_handshake_timeout=self._timeout + 1 if context is not None else None,
        )
        return connection


async def _first(addresses: Sequence[Address]) -> socket.socket:
    """The first of the addresses that connects. Raises the last one's OSError where none does."""
    if len(addresses) == 1:
        return await _connected(addresses[0])
    loop = asyncio.get_running_loop()
    tried: list[asyncio.Task[socket.socket]] = []
    winner: asyncio.Task[socket.socket] | None = None
    failure: BaseException = OSError("no address")
    try:
        waiting: set[asyncio.Task[socket.socket]] = set()
        left = list(addresses)
        while left or waiting:
            if left:
                tried.append(task := loop.create_task(_connected(left.pop(0))))
                waiting.add(task)
            timeout = STAGGER_SECONDS if left else None
            done, waiting = await asyncio.wait(waiting, timeout=timeout, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                error = task.exception()
                if error is None:
                    winner = task
                    return task.result()
                failure = error
        raise failure
    finally:
        for task in tried:
            if task is not winner:
                task.cancel()
        for made in await asyncio.gather(*(task for task in tried if task is not winner), return_exceptions=True):
            if isinstance(made, socket.socket):
                made.close()


async def _connected(address: Address) -> socket.socket:
    made = socket.socket(address.family, socket.SOCK_STREAM)
    try:
        made.setblocking(False)
        made.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        made.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        for name, value in _KEEPALIVE:
            with suppress(AttributeError, OSError):  # not every system has them
                made.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)
        await asyncio.get_running_loop().sock_connect(made, address.sockaddr)
    except BaseException:
        made.close()
        raise
    return made


async def _tunnel(connected: socket.socket, origin: Origin, proxy: Proxy) -> None:
    """Have the proxy lead on to the origin. Raises OSError where it does not."""
    loop = asyncio.get_running_loop()
    where = f"[{origin.host}]" if ":" in origin.host else origin.host
    place = f"{where}:{origin.port}".encode()
    request = b"CONNECT %b HTTP/1.1\r\nhost: %b\r\n%b\r\n" % (place, place, proxy.authorization)
    await loop.sock_sendall(connected, request)
    head = bytearray()
    while (end := head.find(b"\r\n\r\n")) < 0:
        part = await loop.sock_recv(connected, 4096)
        head += part
        if not part or len(head) > _MOST_PROXY_HEAD:
            raise OSError("the proxy closed the connection")
    if not _TUNNEL.match(head) or end + 4 != len(head):
        line = bytes(head).partition(b"\r\n")[0][:100].decode("latin-1")
        raise OSError(f"the proxy answered {line!r}")
