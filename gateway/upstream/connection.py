"""One connection to a provider: writes a request, parses what comes back, and says whether it may be used again.

llhttp (by httptools) parses; what it lets pass and this client does not (size of the head, interim answers without end,
bytes after the body) is bounded here. The methods named `on_…` are the parser's callbacks.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Final, cast

from httptools import HttpParserError, HttpParserUpgrade, HttpResponseParser

from gateway.upstream.errors import TimedOut, Unanswered, UpstreamError, in_words
from gateway.upstream.response import UpstreamResponse

if TYPE_CHECKING:
    from gateway.upstream.pool import Pool
    from gateway.upstream.tls import SessionContext

MOST_HEAD_BYTES: Final = 64 * 1024
MOST_HEADERS: Final = 200
MOST_INTERIM: Final = 32
"""Answers of status 1xx before the final one."""
MOST_OVERHEAD_BYTES: Final = 64 * 1024
"""Chunk extensions and trailers in a row, without a byte of the body."""
JOINED_BYTES: Final = 64 * 1024
"""Up to here copying a body behind its head is cheaper than handing over two pieces."""


class Connection(asyncio.Protocol):
    """One request at a time. Made by `dial`, kept by its `Pool`."""

    __slots__ = (
        "_complete",
        "_context",
        "_extra",
        "_failure",
        "_fed",
        "_gone",
        "_headers",
        "_interim",
        "_interims",
        "_keep",
        "_left_to_send",
        "_loop",
        "_parser",
        "_parts",
        "_paused",
        "_quiet",
        "_response",
        "_transport",
        "_until_eof",
        "_waiter",
        "_whole",
        "closed",
        "heard",
        "idle_since",
        "on_body",
        "pool",
        "prefix",
        "proxy_line",
    )

    _transport: asyncio.Transport
    """Set before anybody sees the connection."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        pool: Pool,
        prefix: bytes = b"POST ",
        proxy_line: bytes = b"",
        context: SessionContext | None = None,
    ) -> None:
        self._loop = loop
        self.pool = pool
        self.prefix = prefix
        """What stands before a request's target: the method, and the origin where a proxy has to be told."""
        self.proxy_line = proxy_line
        self._context = context
        self.idle_since = 0.0
        self.closed = False
        """No request may go over it any more."""
        self.heard = False
        """A byte of an answer to the present request came."""
        self._gone: asyncio.Future[None] | None = None
        self._waiter: asyncio.Future[UpstreamResponse] | None = None
        self._response: UpstreamResponse | None = None
        self._headers: list[tuple[bytes, bytes]] = []
        self._parts: list[bytes] = []
        self._whole = 0
        self._fed = 0
        self._interim = False
        self._interims = 0
        self._keep = False
        self._until_eof = False
        self._complete = False
        self._extra = False
        self._paused = False
        self._quiet = 0
        self._left_to_send = 0
        self._failure: UpstreamError | None = None
        # The parser calls the list itself: no frame of Python for a chunk.
        self.on_body = self._parts.append
        self._parser: Any = HttpResponseParser(self)

    def send(self, head: bytes, body: bytes) -> asyncio.Future[UpstreamResponse]:
        """Write a request, its head from the target on; the future gets the answer's head."""
        self._waiter = waiter = self._loop.create_future()
        self.heard = self._complete = False
        self._quiet = self._fed = self._interims = 0
        if self.proxy_line:
            head = head[:-2] + self.proxy_line + b"\r\n"
        # uvloop hands them to the system before it returns, as far as the socket takes them.
        if len(body) <= JOINED_BYTES:
            self._transport.write(b"".join((self.prefix, head, body)))
        else:
            self._transport.writelines((self.prefix + head, body))
            self._left_to_send = self._transport.get_write_buffer_size()
        return waiter

    def set_reading(self, wanted: bool) -> None:
        """Read from the socket, or let what comes wait in the system's buffers."""
        if self._paused is wanted and not self.closed:
            self._paused = not wanted
            self._quiet = 0
            if wanted:
                self._transport.resume_reading()
            else:
                self._transport.pause_reading()

    def abort(self) -> None:
        """Close at once, whatever is under way; nobody hears of it from here."""
        self.closed = True
        self._response = self._waiter = None
        self._transport.abort()

    def stop(self) -> asyncio.Future[None]:
        """Close at once; a request under way ends with UpstreamError. The future tells when it is closed."""
        self._gone = self._loop.create_future()
        self._break(UpstreamError("the gateway stops"))
        return self._gone

    def tick(self, limit: int) -> None:
        """Called by the clock of all connections: the provider may be silent for `limit` ticks in a row."""
        if (self._waiter is None and self._response is None) or self._paused:
            return
        if self._left_to_send:
            left = self._transport.get_write_buffer_size()
            if left < self._left_to_send:
                self._quiet = 0
            self._left_to_send = left
        self._quiet += 1
        if self._quiet > limit:
            # Without the whole request it has done nothing that it could charge.
            self._break(UpstreamError("it did not take the request in time") if self._left_to_send else TimedOut())

    # What the event loop calls.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's transports are no subclass of asyncio.Transport.
        self._transport = cast(asyncio.Transport, transport)
        self.pool.everything.add(self)

    def data_received(self, data: bytes) -> None:
        response = self._response
        if response is None:
            if self._waiter is None:
                self._unasked()
                return
            self.heard = True
            self._fed += len(data)
        else:
            self._quiet = 0
        try:
            self._parser.feed_data(data)
        except (HttpParserError, HttpParserUpgrade) as error:
            if not self._complete:
                self._failure = self._failure or self._not_http(str(error))
            self._extra = True
        if self._failure is not None:
            if response is not None and self._parts:
                response.received(b"".join(self._parts))  # what came before it went wrong
            self._break(self._failure)
            return
        if response is None:
            response = self._response
            if response is None:
                if self._fed > MOST_HEAD_BYTES:
                    self._break(self._not_http("its head is larger than 64 KB"))
                return
            waiter, self._waiter = self._waiter, None
            if waiter is None or waiter.done():  # cancelled: who waited aborts
                return
            waiter.set_result(response)  # who waits runs after this, and finds what came with the head
            self._fed = 0
        parts = self._parts
        if parts:
            if self._extra:
                del parts[self._whole :]
            chunk = parts[0] if len(parts) == 1 else b"".join(parts)
            parts.clear()
            self._fed = 0
            response.received(chunk)
        elif not self._complete:
            self._fed += len(data)
            if self._fed > MOST_OVERHEAD_BYTES:
                self._break(UpstreamError("its answer broke off", "(64 KB without a byte of the body)"))
                return
        if self._complete and not self.closed:
            self._finish(response)

    def eof_received(self) -> bool | None:
        self._lost(None)
        return None

    def connection_lost(self, exc: Exception | None) -> None:
        self._lost(exc)
        self.pool.lost(self)
        self._parser = None  # they hold each other
        if self._gone is not None and not self._gone.done():
            self._gone.set_result(None)

    # What the parser calls.

    def on_message_begin(self) -> None:
        if self._complete:
            self._extra = True

    def on_header(self, name: bytes, value: bytes) -> None:
        if self._response is None:
            self._headers.append((name.lower(), value))

    def on_headers_complete(self) -> None:
        if self._response is not None or self._failure is not None:
            self._extra = True
            return
        parser = self._parser
        headers, self._headers = self._headers, []
        status = parser.get_status_code()
        if len(headers) > MOST_HEADERS:
            self._failure = self._not_http(f"more than {MOST_HEADERS} headers")
        elif self._fed > MOST_HEAD_BYTES and sum(len(n) + len(v) + 4 for n, v in headers) > MOST_HEAD_BYTES:
            self._failure = self._not_http("its head is larger than 64 KB")
        elif status < 100:
            self._failure = self._not_http(f"status {status}")
        elif status < 200:
            self._interim = True
            self._interims += 1
            self._quiet = self._fed = 0
            if status == 101 or self._interims > MOST_INTERIM:
                self._failure = self._not_http(f"status {status}, which was not asked for")
        else:
            self._answer(status, headers)

    def on_message_complete(self) -> None:
        if self._interim:
            self._interim = False
        elif not self._complete:
            self._complete = True
            self._whole = len(self._parts)

    # What follows from it.

    def _answer(self, status: int, headers: list[tuple[bytes, bytes]]) -> None:
        self._keep = self._parser.should_keep_alive()
        try:
            response = UpstreamResponse(self, status, headers)
        except UpstreamError as error:
            self._failure = error
            return
        coding = response.header(b"transfer-encoding")
        if coding is not None and coding.strip().lower() != b"chunked":
            self._failure = self._not_http("a transfer coding that was not asked for")
        elif not self._keep and not self._parser.get_http_version().startswith("1."):
            self._failure = self._not_http("not HTTP/1")
        else:
            self._until_eof = not self._keep and coding is None and response.header(b"content-length") is None
            self._response = response

    def _finish(self, response: UpstreamResponse) -> None:
        """The answer is here wholly: its consumer may take its time, the connection is free."""
        self._response = None
        response.completed()
        if self._context is not None:
            self._context.remember(self._transport.get_extra_info("ssl_object"))
            self._context = None
        if self._left_to_send and self._transport.get_write_buffer_size():
            self._keep = False  # it answered before it had read the request: the rest is not sent any more
        self._left_to_send = 0
        if not self._keep or self._extra or self.closed:
            self.abort()
            return
        if self._paused:
            self.set_reading(True)
        self.pool.give(self)

    def _break(self, error: UpstreamError) -> None:
        """End the answer under way with an error."""
        response, waiter = self._response, self._waiter
        self.abort()
        if waiter is not None:
            if not waiter.done():
                waiter.set_exception(error)
        elif response is not None:
            response.failed(error)

    def _lost(self, exc: Exception | None) -> None:
        self.closed = True
        if self._response is not None:
            if self._until_eof and exc is None:
                self._finish(self._response)
            else:
                self._break(UpstreamError("its answer broke off", f"({in_words(exc)})" if exc else ""))
        elif self._waiter is not None:
            detail = f"({in_words(exc)})" if exc else ""
            self._break(Unanswered("it closed the connection without an answer", detail))
        else:
            self._transport.abort()

    def _unasked(self) -> None:
        """Bytes without a request: whatever they are, the next answer would be read from the wrong place."""
        self.abort()

    def _not_http(self, why: str) -> UpstreamError:
        if self._response is not None:
            return UpstreamError("its answer broke off", f"({why})")
        return UpstreamError(f"its answer is not HTTP ({why[:200]})")
