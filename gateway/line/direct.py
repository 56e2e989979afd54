"""The data plane straight on uvicorn's connection, without the messages of ASGI in between.

Everything outside of the data plane takes uvicorn's own way. Measured at 2 KB, when it came in together with the
exchange as a struct: 0.36 instead of 0.42 ms of CPU a request.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Callable, Sequence
from http import HTTPStatus
from typing import Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from gateway.connections import CONNECTIONS
from gateway.framing import is_ambiguous
from gateway.line.base import BodyOverdue, BodyTooLarge, ClientGone, Surface, find

log = logging.getLogger(__name__)

MAX_HEAD_BYTES = 4 * 1024 * 1024
"""Most that is taken in of a request's head. Far above the gateway's own limit, which answers in Anthropic's form and
leaves a row; this one keeps a head without an end from filling the memory."""
UNASKED_BYTES = 64 * 1024
"""Of a body that nobody asked for yet."""
MAX_PIPELINED = 64
"""Requests that wait on one connection for the answer to an earlier one; no client of ours sends a second."""
MAX_DISCARDED_BYTES = 64 * 1024 * 1024
"""Of a body whose request is answered: what is longer is cut off with the connection."""
_HEAD_TOO_LARGE = b"HTTP/1.1 431 Request Header Fields Too Large\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"
_HEAD_OVERDUE = b"HTTP/1.1 408 Request Timeout\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"
_CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"
_NO_BODY = frozenset({204, 304})


def _envelope(status: bytes, kind: bytes, message: bytes, *headers: bytes) -> bytes:
    """A whole answer in Anthropic's form, for what is answered before there is a request."""
    body = b'{"type":"error","error":{"type":"%b","message":"%b"}}' % (kind, message)
    lines = [b"content-type: application/json", b"content-length: %d" % len(body), b"connection: close", *headers]
    return b"HTTP/1.1 %b\r\n%b\r\n\r\n%b" % (status, b"\r\n".join(lines), body)


_NO_ROOM = _envelope(
    b"503 Service Unavailable",
    b"overloaded_error",
    b"This gateway process holds as many connections as it may (COMPTROLLER_MAX_CONNECTIONS). Try again in a moment.",
    b"retry-after: 2",
)
_AMBIGUOUS = _envelope(
    b"400 Bad Request",
    b"invalid_request_error",
    b"The request's framing is not valid HTTP/1.1, or can be read in two ways.",
    b"x-should-retry: false",
)


def _status_lines() -> dict[int, bytes]:
    known = {status.value: status.phrase for status in HTTPStatus}
    return {code: f"HTTP/1.1 {code} {known.get(code, '')}\r\n".encode() for code in range(100, 600)}


_STATUS_LINES = _status_lines()


class DirectLine:
    """One request on a connection of uvicorn's; the same names as its own cycle where uvicorn looks at them."""

    __slots__ = (
        "_asked",
        "_awaits_continue",
        "_chunked",
        "_discarded",
        "_front",
        "_head",
        "_http_1_0",
        "_limit",
        "_overdue",
        "_parts",
        "_size",
        "_started",
        "_waiter",
        "_whole",
        "client",
        "disconnected",
        "headers",
        "keep_alive",
        "method",
        "on_gone",
        "on_writable",
        "path",
        "query",
        "response_complete",
        "surface",
    )

    def __init__(self, front: Front, surface: Surface, path: str, query: bytes) -> None:
        parser = front.parser
        version = parser.get_http_version()
        self.surface = surface
        self.method: str = parser.get_method().decode("ascii")
        self.path = path
        self.query = query
        self.headers: Sequence[tuple[bytes, bytes]] = front.headers
        self.client = front.client[0] if front.client else None
        self.keep_alive: bool = version != "1.0" and parser.should_keep_alive()
        self.on_gone: Callable[[], None] | None = None
        self.on_writable: Callable[[], None] | None = None
        self.disconnected = False
        self.response_complete = False
        self._front = front
        self._http_1_0 = version == "1.0"
        self._awaits_continue = front.expect_100_continue
        self._parts: list[bytes] = []
        self._size = self._limit = self._discarded = 0
        self._whole = self._asked = self._started = self._chunked = self._overdue = False
        self._waiter: asyncio.Future[None] | None = None
        self._head = b""

    # --- the request ------------------------------------------------------------------------------------------
    async def body(self, limit: int) -> bytes:
        self._asked, self._limit = True, limit
        if self._awaits_continue and not self._size and not self.disconnected:
            self._front.transport.write(_CONTINUE)
        if not self._whole and self._size <= limit and not self.disconnected:
            self._front.flow.resume_reading()
            self._waiter = self._front.loop.create_future()
            try:
                await self._waiter
            finally:
                self._waiter = None
        if self._size > limit:
            raise BodyTooLarge
        if not self._whole:
            raise BodyOverdue if self._overdue and not self.disconnected else ClientGone
        parts, self._parts = self._parts, []
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def on_body(self, part: bytes) -> None:
        if self.response_complete:
            self._discarded += len(part)
            if self._discarded > MAX_DISCARDED_BYTES:
                self._front.transport.close()
            return
        self._size += len(part)
        if self._asked and self._size > self._limit:
            # Nobody wants it any more: what still comes is thrown away once the refusal is written.
            self._parts.clear()
            self._wake()
            return
        self._parts.append(part)
        if not self._asked and self._size > UNASKED_BYTES:
            self._front.flow.pause_reading()

    def on_whole(self) -> None:
        self._whole = True
        self._wake()

    def on_overdue(self) -> None:
        """No byte of the body came for too long."""
        self._overdue, self.keep_alive = True, False
        self._wake()

    def on_disconnect(self) -> None:
        """The connection is gone."""
        if self.response_complete or self.disconnected:
            return
        self.disconnected = True
        self._wake()
        if self.on_gone is not None:
            self.on_gone()

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    # --- the answer -------------------------------------------------------------------------------------------
    @property
    def paused(self) -> bool:
        paused: bool = self._front.flow.write_paused
        return paused

    def start(self, status: int, headers: Sequence[tuple[bytes, bytes]]) -> None:
        front = self._front
        fields = b"".join([b"%b: %b\r\n" % field for field in (*front.server_state.default_headers, *headers)])
        lines = len(headers) + len(front.server_state.default_headers)
        if fields.count(b"\n") != lines or fields.count(b"\r") != lines:
            raise ValueError("A header of the answer holds a line end.")
        self._chunked = False
        if self._awaits_continue and not self._asked:
            # The body was not asked for: whether the client sends it all the same, nobody can know.
            self.keep_alive = False
        if self.method != "HEAD" and status not in _NO_BODY and b"content-length" not in [name for name, _ in headers]:
            if self._http_1_0:
                self.keep_alive = False
            else:
                self._chunked = True
                fields += b"transfer-encoding: chunked\r\n"
        if not self.keep_alive:
            fields += b"connection: close\r\n"
        self._head = _STATUS_LINES[status] + fields + b"\r\n"
        self._started = True

    def write(self, chunk: bytes) -> None:
        if self.disconnected or self.response_complete:
            return
        if self._chunked:
            chunk = b"%x\r\n%b\r\n" % (len(chunk), chunk) if chunk else b""
        if self._head:
            chunk, self._head = self._head + chunk, b""
        self._front.transport.write(chunk)

    def end(self, chunk: bytes = b"") -> None:
        if self.disconnected or self.response_complete:
            return
        if self.method == "HEAD":
            chunk = b""
        elif self._chunked:
            chunk = b"%x\r\n%b\r\n0\r\n\r\n" % (len(chunk), chunk) if chunk else b"0\r\n\r\n"
        front = self._front
        front.transport.write(self._head + chunk)
        self._head = b""
        self.response_complete = True
        self._parts.clear()
        if not self.keep_alive:
            front.transport.close()
        front.on_response_complete()

    @property
    def head_is_made(self) -> bool:
        """Whether the answer's head is written, with what it says of the connection."""
        return self._started

    @property
    def response_started(self) -> bool:
        """Whether a byte of the answer may be on its way."""
        return self._started and not self._head

    def drop(self) -> None:
        self._front.transport.abort()

    async def finish(self) -> None:
        """Nothing to wait for: the transport has it all."""

    def done(self, task: asyncio.Task[None]) -> None:
        """The surface has ended, in whatever way: an answer that is not whole must not look as if it were."""
        self._front.tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            log.error("A request ended with an error outside of the pipeline", exc_info=error)
        if not self.response_complete and not self.disconnected:
            self._front.transport.close()


class Front(HttpToolsProtocol):
    """uvicorn's protocol: takes requests of the data plane itself, leaves all others, bounds a request's head, and
    refuses what another HTTP parser on the way could have read differently. `CONNECTIONS` hears of every step.
    """

    cycle: Any
    """A `DirectLine`, or uvicorn's own."""
    pipeline: deque[tuple[Any, Any]]
    _head_bytes = 0
    _in_head = True
    _in_body = False
    _body_waits = False
    _turned_away = False
    _running: DirectLine | None = None
    """Whose answer is being written: with a pipelined request behind it, it is not the last one that came."""
    _owed = False
    """An answer waits for the client to read earlier ones: it gets no further one, and is asked nothing, until then."""
    _left = 0
    """Bytes of the last answer that had not been taken when it was looked at last."""

    def connection_made(self, transport: Any) -> None:
        super().connection_made(transport)
        self._turned_away = not CONNECTIONS.opened(self)

    def data_received(self, data: bytes) -> None:
        if self._turned_away:
            self._end_with(_NO_ROOM)
            return
        if self._in_head:
            self._head_bytes += len(data)
            if self._head_bytes > MAX_HEAD_BYTES:
                self._end_with(_HEAD_TOO_LARGE)
                return
        super().data_received(data)
        if self._in_head:
            CONNECTIONS.head_waits(self)
        elif self._in_body:
            self._body_waits = True
            CONNECTIONS.body_waits(self)

    def on_message_begin(self) -> None:
        # The scope of ASGI is made where it is needed.
        self._in_head = True
        self.url = b""
        self.expect_100_continue = False
        self.headers = []

    def on_header(self, name: bytes, value: bytes) -> None:
        self.headers.append((name.lower(), value))

    def on_headers_complete(self) -> None:
        expected = [value for name, value in self.headers if name == b"expect"]
        self.expect_100_continue = bool(expected) and expected[-1].lower() == b"100-continue"
        self._in_head, self._head_bytes, self._in_body = False, 0, True
        CONNECTIONS.asked(self)
        upgrade = self.parser.should_upgrade()
        if is_ambiguous(self.parser.get_method(), self.parser.get_http_version(), self.headers, upgrade=upgrade):
            raise ValueError("ambiguous framing")  # the parser stops, and `send_400_response` is called
        if self.transport.is_closing() or len(self.pipeline) >= MAX_PIPELINED:
            self._end_with(b"")
            raise ValueError("nothing further is read")
        surface = None
        path, _, query = self.url.partition(b"?")
        if path.startswith(b"/") and b"%" not in path and b"#" not in self.url and path.isascii():
            surface = find(path.decode("ascii"))
        if surface is None or upgrade:
            url, headers, expects = self.url, self.headers, self.expect_100_continue
            super().on_message_begin()
            self.url, self.expect_100_continue = url, expects
            self.headers.extend(headers)
            super().on_headers_complete()
            if (CONNECTIONS.draining or upgrade) and self.cycle is not None:
                # After an upgrade that we do not know the parser reads no further request.
                self.cycle.keep_alive = False
            return
        line, before = DirectLine(self, surface, path.decode("ascii"), query), self.cycle
        if CONNECTIONS.draining:
            line.keep_alive = False
        self.cycle = line
        if (before is None or before.response_complete) and not self._owed:
            self._begin(line)
        else:
            # The next request came before this one's answer: its turn comes.
            self.flow.pause_reading()
            self.pipeline.appendleft((line, None))

    def on_body(self, body: bytes) -> None:
        if isinstance(self.cycle, DirectLine):
            self.cycle.on_body(body)
        else:
            super().on_body(body)

    def on_message_complete(self) -> None:
        self._in_body = False
        if self._body_waits:
            self._body_waits = False
            CONNECTIONS.body_ended(self)
        if isinstance(self.cycle, DirectLine):
            self.cycle.on_whole()
        else:
            super().on_message_complete()
        if self.cycle is not None and self.cycle.response_complete:
            CONNECTIONS.idle(self)

    def on_response_complete(self) -> None:
        # As uvicorn's own, without a timer for each answer: the sweep ends idle connections.
        self.server_state.total_requests += 1
        if self.transport.is_closing():
            return
        if self.flow.write_paused:
            self._owed = True
            self.flow.pause_reading()
            CONNECTIONS.idle(self)
        else:
            self._go_on()

    def _go_on(self) -> None:
        """The next request of a pipeline; reading again only when there is none."""
        self._owed = False
        if self.pipeline:
            self._start_asgi_task(*self.pipeline.pop())
            return
        self.flow.resume_reading()
        if not self._in_head and not self._in_body and self.cycle.response_complete:
            CONNECTIONS.idle(self)

    def handle_websocket_upgrade(self) -> None:
        CONNECTIONS.closed(self)
        super().handle_websocket_upgrade()

    def send_400_response(self, msg: str) -> None:
        # Ours would be mixed up with an answer that is being written: then the close alone has to say it.
        running = self.cycle is not None and not self.cycle.response_complete
        self._end_with(b"" if running and self.cycle.response_started else _AMBIGUOUS)

    def _end_with(self, answer: bytes) -> None:
        if not self.transport.is_closing():
            if answer:
                self.transport.write(answer)
            self.transport.close()

    # --- what the bookkeeping of connections asks -----------------------------------------------------------
    def head_overdue(self) -> None:
        self._end_with(_HEAD_OVERDUE)

    def body_overdue(self) -> None:
        if self.flow.read_paused:
            # We, not the client, are what it waits for.
            CONNECTIONS.body_waits(self)
        elif isinstance(self.cycle, DirectLine):
            self.cycle.on_overdue()

    def end_keep_alive(self) -> None:
        # An answer whose head has gone out without saying so does not end its connection: the client may be sending the
        # next request on it already. The next answer says it, or the sweep closes what stays quiet.
        cycle = self.cycle
        if cycle is None or cycle.response_complete:
            return
        if not (cycle.head_is_made if isinstance(cycle, DirectLine) else cycle.response_started):
            cycle.keep_alive = False

    def close_unused(self) -> None:
        left = self.transport.get_write_buffer_size()
        takes = self.cycle is not None and (left != self._left or CONNECTIONS.draining)
        if left and takes and CONNECTIONS.idle(self):
            # It still takes its last answer. A drain has an end of its own.
            self._left = left
        elif left:
            # A close would wait for ever for a client that takes nothing.
            self.transport.abort()
        else:
            self.transport.close()

    def shutdown(self) -> None:
        """uvicorn would close idle connections now, with a request that is just coming in on them."""
        self.end_keep_alive()

    def connection_lost(self, exc: Exception | None) -> None:
        CONNECTIONS.closed(self)
        lines = [line for line, _ in self.pipeline if isinstance(line, DirectLine)]
        self.pipeline.clear()
        if isinstance(self.cycle, DirectLine):
            lines.append(self.cycle)
            self.cycle = None
        if self._running is not None:
            lines.append(self._running)
            self._running = None
        super().connection_lost(exc)
        for line in lines:
            line.on_disconnect()

    def resume_writing(self) -> None:
        super().resume_writing()
        if self._running is not None and self._running.on_writable is not None:
            self._running.on_writable()
        if self._owed:
            self._go_on()

    def _start_asgi_task(self, cycle: Any, app: Any) -> None:
        """Called for the next request of a pipeline, too."""
        if isinstance(cycle, DirectLine):
            self._begin(cycle)
        else:
            super()._start_asgi_task(cycle, app)

    def _begin(self, line: DirectLine) -> None:
        self._running = line
        task = self.loop.create_task(line.surface(line))
        self.tasks.add(task)
        task.add_done_callback(line.done)
