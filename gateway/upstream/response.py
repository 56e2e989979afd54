"""A provider's answer as its consumer sees it: pulled with `read`, or pushed into a sink with `relay`."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from functools import lru_cache
from typing import TYPE_CHECKING, Final

from gateway.upstream.errors import UpstreamError
from gateway.upstream.inflate import KNOWN, Inflater

if TYPE_CHECKING:
    from gateway.upstream.connection import Connection

MOST_UNREAD_BYTES: Final = 256 * 1024
"""What may wait for the consumer before the socket is not read any more."""


class UpstreamResponse:
    """Status and headers now, the body as it comes. One consumer: either `read` or `relay`.

    The connection is given back by itself once the body has arrived, also where the consumer has yet to read it.
    """

    __slots__ = (
        "_behind",
        "_chunks",
        "_connection",
        "_done",
        "_error",
        "_fields",
        "_held",
        "_inflate",
        "_sink",
        "_unread",
        "_waiter",
        "content_type",
        "headers",
        "status",
    )

    def __init__(self, connection: Connection, status: int, headers: list[tuple[bytes, bytes]]) -> None:
        self.status = status
        self.headers: tuple[tuple[bytes, bytes], ...] = tuple(headers)
        """Names in lower case."""
        headers.reverse()
        self._fields = dict(headers)
        self.content_type = media_type(self._fields.get(b"content-type", b""))
        """In lower case and without its parameters."""
        self._connection: Connection | None = connection
        self._chunks: list[bytes] = []
        self._unread = 0
        self._done = False
        self._error: BaseException | None = None
        self._waiter: asyncio.Future[None] | None = None
        self._sink: Callable[[bytes], None] | None = None
        self._held = False
        self._behind = False
        """A pause left something of a compressed body that the sink has yet to get."""
        self._inflate: Inflater | None = None
        if b"content-encoding" in self._fields:
            self._inflate = self._inflater()

    def header(self, name: bytes) -> bytes | None:
        """The first value of a header, by its name in lower case."""
        return self._fields.get(name)

    async def read(self) -> bytes:
        """The next bytes as they arrive; empty at the end. Raises UpstreamError where the answer breaks off."""
        while True:
            if self._chunks:
                chunk = self._take()
                if self._inflate is None:
                    return chunk
                self._inflate.feed(chunk)
            if self._inflate is not None and (plain := self._inflate.next()):
                return plain
            if self._error is not None:
                raise self._error
            if self._done:
                self._finish_inflating()
                return b""
            await self._changed()

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
        """Give every part of the body to `sink` the moment it arrives; return at the body's end.

        `sink` runs where the socket is read: it must be quick and must not block. What it raises ends the relay and is
        raised from here. Raises UpstreamError where the answer breaks off.
        """
        self._sink = sink
        try:
            self._push(sink)
            while self._error is None and (self._behind or not self._done):
                await self._changed()
        finally:
            self._sink = None
        if self._error is not None:
            raise self._error
        self._finish_inflating()

    def pause(self) -> None:
        """Read no more from the socket until `resume`; what has been read already may still come."""
        self._held = True
        self._steer()

    def resume(self) -> None:
        """Go on after `pause`; harmless without it."""
        if self._held:
            self._held = False
            if self._sink is not None:
                self._push(self._sink)
                self._wake()
            self._steer()

    def close(self) -> None:
        """Be done with the answer: a connection whose body has not arrived wholly is closed."""
        if self._connection is not None:
            self._connection.abort()
            self.failed(UpstreamError("its answer was closed"))

    def abort(self) -> None:
        """Close the connection at once; a `read` or `relay` under way ends with UpstreamError."""
        if self._connection is not None:
            self._connection.abort()
        if self._error is None:
            self._chunks.clear()
            self.failed(UpstreamError("given up: the client is gone"))

    # What the connection calls.

    def received(self, chunk: bytes) -> None:
        """A part of the body arrived."""
        if self._sink is not None and self._inflate is None:
            try:
                self._sink(chunk)
            except BaseException as error:
                self._sink_failed(error)
            return
        self._chunks.append(chunk)
        self._unread += len(chunk)
        if self._sink is not None:
            self._push(self._sink)
        if self._unread > MOST_UNREAD_BYTES:
            self._steer()
        self._wake()

    def completed(self) -> None:
        """The body arrived wholly; the connection is free."""
        self._done = True
        self._connection = None
        self._wake()

    def failed(self, error: UpstreamError) -> None:
        """The connection is gone before the body's end."""
        self._connection = None
        if self._error is None:
            self._error = error
        self._wake()

    def _wake(self) -> None:
        waiter, self._waiter = self._waiter, None
        if waiter is not None and not waiter.done():
            waiter.set_result(None)

    async def _changed(self) -> None:
        self._waiter = asyncio.get_running_loop().create_future()
        await self._waiter

    def _take(self) -> bytes:
        chunks = self._chunks
        chunk = chunks[0] if len(chunks) == 1 else b"".join(chunks)
        chunks.clear()
        full, self._unread = self._unread > MOST_UNREAD_BYTES, 0
        if full:
            self._steer()
        return chunk

    def _steer(self) -> None:
        if self._connection is not None:
            self._connection.set_reading(not self._held and self._unread <= MOST_UNREAD_BYTES)

    def _push(self, sink: Callable[[bytes], None]) -> None:
        """Give the sink what waits; a compressed body piece by piece, as long as the consumer does not pause."""
        try:
            if self._inflate is None:
                if self._chunks:
                    sink(self._take())
                return
            self._behind = True
            while not self._held:
                if plain := self._inflate.next():
                    sink(plain)
                elif self._chunks:
                    self._inflate.feed(self._take())
                else:
                    self._behind = False
                    break
        except BaseException as error:
            self._sink_failed(error)

    def _sink_failed(self, error: BaseException) -> None:
        if self._error is None:
            self._error = error
        if self._connection is not None:
            self._connection.abort()
            self._connection = None
        self._wake()

    def _finish_inflating(self) -> None:
        if self._inflate is not None:
            self._inflate.finish()

    def _inflater(self) -> Inflater | None:
        """For an answer that came compressed, though asked for in plain: what is sent on is the plain form."""
        said = b",".join(value for name, value in self.headers if name == b"content-encoding").strip().lower()
        if said in {b"", b"identity"}:
            return None
        if said not in KNOWN:
            encoding = said[:40].decode("latin-1")
            raise UpstreamError(f"it answered with content-encoding {encoding}, which was not asked for")
        self.headers = tuple(h for h in self.headers if h[0] not in {b"content-encoding", b"content-length"})
        self._fields = dict(reversed(self.headers))
        return Inflater()


@lru_cache(maxsize=256)
def media_type(value: bytes) -> str:
    """The type of a `Content-Type` value, in lower case."""
    return value.decode("latin-1").partition(";")[0].strip().lower()
