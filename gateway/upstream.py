"""The HTTP client towards providers, behind four methods: `open`, `read`, `read_all`, `close`.

aiohttp's exceptions end here: everything becomes an `UpstreamError` with a sentence.
"""

from __future__ import annotations

import asyncio
import ipaddress
import socket
import ssl
import zlib
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar
from urllib.parse import urlsplit

import aiohttp
from aiohttp.abc import AbstractResolver, AbstractStreamWriter, ResolveResult
from aiohttp.payload import Payload
from aiohttp.resolver import ThreadedResolver

from gateway.providers.base import UpstreamRequest
from governance.domain.addresses import is_public

_T = TypeVar("_T")


class UpstreamError(Exception):
    """The provider could not be reached, did not answer, or broke off; the message says which.

    `detail` is for the log and the request row alone: it may name addresses that a developer need not know.
    """

    def __init__(self, message: str, detail: str = "") -> None:
        super().__init__(message)
        self.detail = detail


class TimedOut(UpstreamError):
    """The request was sent and no answer came in time."""


class Unanswered(UpstreamError):
    """No answer began and the provider most likely did nothing: the request may be sent again."""


class PrivateAddress(UpstreamError):
    """The provider's address is on loopback or a private network and that is not allowed."""

    def __init__(self, host: str) -> None:
        super().__init__(
            "its address is on loopback or a private network, which COMPTROLLER_ALLOW_PRIVATE_UPSTREAMS=1 would allow",
            f"({host})",
        )


class NotNoted(UpstreamError):
    """The request could not be noted first and was not sent: not one of its bytes left."""

    def __init__(self) -> None:
        super().__init__("it was not asked, for the request could not be noted before")


class _PublicResolver(AbstractResolver):
    """Resolves names and refuses private addresses at connect time: a name that changes its address gains nothing."""

    def __init__(self) -> None:
        self._inner = ThreadedResolver()

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        found = await self._inner.resolve(host, port, family)
        if not all(is_public(result["host"]) for result in found):
            raise PrivateAddress(host)
        return found

    async def close(self) -> None:
        await self._inner.close()


class UpstreamResponse:
    """A provider's answer: status and headers now, the body as it comes."""

    def __init__(self, response: aiohttp.ClientResponse) -> None:
        self._response = response
        self._inflate: Any = None
        self.status = response.status
        self.headers: tuple[tuple[bytes, bytes], ...] = tuple((k.lower(), v) for k, v in response.raw_headers)
        self.content_type = response.headers.get("content-type", "").partition(";")[0].strip().lower()
        encoding = response.headers.get("content-encoding", "identity").strip().lower()
        if encoding in {"gzip", "x-gzip", "deflate"}:
            # Asked for identity all the same: what is sent on is the plain form.
            self._inflate = zlib.decompressobj(zlib.MAX_WBITS | 32)
            self.headers = tuple(h for h in self.headers if h[0] not in {b"content-encoding", b"content-length"})
        elif encoding not in {"identity", ""}:
            response.close()
            raise UpstreamError(f"it answered with content-encoding {encoding}, which was not asked for")

    def header(self, name: bytes) -> bytes | None:
        return next((value for key, value in self.headers if key == name), None)

    async def read(self) -> bytes:
        """The next bytes as they arrive; empty at the end. Raises UpstreamError where the answer breaks off."""
        while True:
            chunk = await _translated(self._response.content.readany)
            if self._inflate is None or not chunk:
                return chunk
            try:
                if plain := self._inflate.decompress(chunk):
                    return bytes(plain)
            except zlib.error as error:
                raise UpstreamError(f"its compressed answer is broken ({error})") from None

    async def read_all(self, limit: int) -> bytes:
        """The whole body. Raises UpstreamError where it is larger than `limit` bytes or breaks off."""
        parts: list[bytes] = []
        size = 0
        while chunk := await self.read():
            size += len(chunk)
            if size > limit:
                raise UpstreamError(f"its answer is larger than {limit:,} bytes")
            parts.append(chunk)
        return parts[0] if len(parts) == 1 else b"".join(parts)

    async def relay(self, sink: Callable[[bytes], None]) -> None:
        while chunk := await self.read():
            sink(chunk)

    def pause(self) -> None:
        pass

    def resume(self) -> None:
        pass

    def close(self) -> None:
        """Give the connection back where the answer was read to its end, else close it."""
        if self._response.content.is_eof():
            self._response.release()
        else:
            self._response.close()

    def abort(self) -> None:
        """Close the connection at once; a `read` under way ends with UpstreamError."""
        self._response.content.set_exception(UpstreamError("given up: the client is gone"))
        self._response.close()


class _Body(Payload):
    """A request's body. `note` is called once the connection stands, right before the first byte is sent.

    aiohttp keeps the head back until the first part of the body comes and sends both at once: nothing leaves before.
    """

    def __init__(self, value: bytes, note: Callable[[], bool] | None) -> None:
        super().__init__(value)
        self._size = len(value)
        self._note = note
        self.refused = False
        """The note could not be written: nothing was sent."""

    def decode(self, encoding: str = "utf-8", errors: str = "strict") -> str:
        raise NotImplementedError("The body is sent as it is.")

    async def as_bytes(self, encoding: str = "utf-8", errors: str = "strict") -> bytes:
        return bytes(self._value)

    async def write(self, writer: AbstractStreamWriter) -> None:
        await self.write_with_length(writer, None)

    async def write_with_length(self, writer: AbstractStreamWriter, content_length: int | None) -> None:
        # The system has the bytes before the event loop turns: a process that is killed has not noted what no provider
        # ever saw, but for the instant between these two lines.
        if self._note is not None and not self._note():
            self.refused = True
            raise NotNoted
        await writer.write(self._value)


class Upstream:
    """Connection pools to all providers of one process."""

    def __init__(self, *, connect_timeout: float, read_timeout: float, allow_private: bool) -> None:
        self._timeout = aiohttp.ClientTimeout(
            total=None, sock_connect=connect_timeout, connect=None, sock_read=read_timeout
        )
        self._allow_private = allow_private
        self._open: dict[bool, aiohttp.ClientSession] = {}

    async def open(self, request: UpstreamRequest, note: Callable[[], bool] | None = None) -> UpstreamResponse:
        """Send the request and wait for status and headers. Raises UpstreamError.

        `note` is called right before the first byte is sent; where it says False nothing is, and NotNoted is raised.
        """
        private = request.private or self._allow_private
        host = urlsplit(request.url).hostname or ""
        if not private and _is_literal(host) and not is_public(host):
            raise PrivateAddress(host)
        session = self._session(private)
        body = _Body(request.body, note)
        try:
            response = await _translated(
                lambda: session.post(request.url, data=body, headers=request.headers, allow_redirects=False)
            )
        except UpstreamError:
            if body.refused:
                raise NotNoted from None
            raise
        return UpstreamResponse(response)

    async def close(self) -> None:
        for session in self._open.values():
            await session.close()

    def _session(self, private: bool) -> aiohttp.ClientSession:
        session = self._open.get(private)
        if session is None:
            connector = aiohttp.TCPConnector(
                limit=0,
                ttl_dns_cache=60,
                # Below the idle time-outs of the usual load balancers: a connection is rarely closed under a request.
                keepalive_timeout=20,
                resolver=ThreadedResolver() if private else _PublicResolver(),
            )
            session = self._open[private] = aiohttp.ClientSession(
                connector=connector,
                timeout=self._timeout,
                auto_decompress=False,
                cookie_jar=aiohttp.DummyCookieJar(),
                skip_auto_headers=("User-Agent", "Accept", "Accept-Encoding", "Content-Type"),
                read_bufsize=256 * 1024,
                max_line_size=64 * 1024,
                max_field_size=64 * 1024,
            )
        return session


def _is_literal(host: str) -> bool:
    try:
        ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        return False
    return True


async def _translated(call: Callable[[], Awaitable[_T]]) -> _T:
    try:
        return await call()
    except UpstreamError:
        raise
    except aiohttp.ClientConnectorCertificateError:
        raise UpstreamError("its TLS certificate was not accepted") from None
    except aiohttp.ClientConnectorError as error:
        if isinstance(error.os_error, PrivateAddress):
            raise error.os_error from None
        raise Unanswered("it could not be reached", f"({error.strerror or error.os_error})") from None
    except aiohttp.ConnectionTimeoutError:
        raise Unanswered("it could not be reached in time") from None
    except (aiohttp.SocketTimeoutError, TimeoutError):
        raise TimedOut("it did not answer in time") from None
    except aiohttp.ServerDisconnectedError:
        raise Unanswered("it closed the connection without an answer") from None
    except aiohttp.ClientPayloadError:
        raise UpstreamError("its answer broke off") from None
    except aiohttp.ClientResponseError as error:
        raise UpstreamError(f"its answer is not HTTP ({error.message[:200]})") from None
    except (aiohttp.ClientError, ssl.SSLError, OSError, asyncio.IncompleteReadError) as error:
        raise UpstreamError(f"the connection failed ({type(error).__name__})") from None
