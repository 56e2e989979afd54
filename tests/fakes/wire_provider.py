"""A provider on loopback whose every byte and every failure is scripted: one port for each script.

A script is an async function that gets one connection and does what it likes with it: read the request or not, answer
with these bytes, wait at a gate until the test opens it, close, reset. What a port saw is counted on its `Line`.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
import struct
import threading
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

INPUT_TOKENS, OUTPUT_TOKENS = 1000, 300
"""What every whole answer says it used."""
PATIENCE_SECONDS = 20.0
"""No script waits longer for anything: a test that went wrong ends."""
_RESET = struct.pack("ii", 1, 0)


@dataclass
class Line:
    """One port. `reached` is set where a script waits at its gate, `gate` lets it go on."""

    name: str
    port: int
    connections: int = 0
    requests: int = 0
    """Whole requests that were read."""
    lost: int = 0
    """Connections that the gateway gave up while a script still used them."""
    reached: threading.Event = field(default_factory=threading.Event)
    ended: threading.Event = field(default_factory=threading.Event)
    """Set when a connection's script is over."""
    sent: int = 0
    """Bytes of answers that were taken, where a script counts them."""
    waiting: int = 0
    """Scripts at the gate now."""
    _gate: asyncio.Event = field(default_factory=asyncio.Event)
    _loop: asyncio.AbstractEventLoop | None = None
    _wires: set[Wire] = field(default_factory=set)
    _server: asyncio.Server | None = None

    def open_gate(self) -> None:
        """Let every script that waits, or comes to the gate later, go on."""
        assert self._loop is not None
        self._loop.call_soon_threadsafe(self._gate.set)

    def hang_up(self) -> None:
        """Close every connection of this port; kept-alive ones too."""
        assert self._loop is not None
        done = threading.Event()

        def close() -> None:
            for wire in list(self._wires):
                wire.close()
            done.set()

        self._loop.call_soon_threadsafe(close)
        assert done.wait(5)


class Wire:
    """One connection, for the script that plays on it."""

    def __init__(self, line: Line, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.line = line
        self.reader = reader
        self._writer = writer

    async def head(self) -> dict[str, str]:
        """Read a request's head: header values by lower-case name. Raises IncompleteReadError at the end."""
        text = (await self.reader.readuntil(b"\r\n\r\n")).decode("latin-1")
        return {
            name.strip().lower(): value.strip()
            for name, _, value in (line.partition(":") for line in text.split("\r\n")[1:])
        }

    async def request(self) -> bytes:
        """Read a whole request; gives its body."""
        length = int((await self.head())["content-length"])
        body = await self.reader.readexactly(length)
        self.line.requests += 1
        return body

    async def send(self, *parts: bytes) -> None:
        self._writer.write(b"".join(parts))
        await self._writer.drain()

    async def pause(self, seconds: float) -> None:
        await asyncio.sleep(seconds)

    async def at_gate(self) -> None:
        """Tell the test that this point is reached, and go on when it says so."""
        self.line.waiting += 1
        self.line.reached.set()
        try:
            await asyncio.wait_for(self.line._gate.wait(), PATIENCE_SECONDS)
        finally:
            self.line.waiting -= 1

    async def silence(self) -> None:
        """Say nothing until the other side goes away."""
        with contextlib.suppress(ConnectionError, TimeoutError):
            await asyncio.wait_for(self._until_gone(), PATIENCE_SECONDS)
        self.line.lost += 1

    async def _until_gone(self) -> None:
        while await self.reader.read(65536):
            pass

    def reset(self) -> None:
        """RST instead of FIN: what was sent and not read yet is lost."""
        self._writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
        self._writer.transport.abort()

    def stop_reading(self) -> None:
        """Take no byte from now on: the other side's writes stall."""
        self._writer.transport.pause_reading()  # type: ignore[attr-defined]

    def close(self) -> None:
        self._writer.close()


Script = Callable[[Wire], Awaitable[None]]


async def accepts_nothing(wire: Wire) -> None:
    """Stands for a port whose queue of connections is full: what is sent there is not even refused."""
    raise AssertionError("nobody gets here")


def _fill(listener: socket.socket) -> list[socket.socket]:
    """Connections that fill the queue of a listener that accepts none."""
    listener.listen(0)
    waiting = []
    for _ in range(4):
        each = socket.socket()
        each.setblocking(False)
        each.connect_ex(listener.getsockname())
        waiting.append(each)
    return waiting


class WireProvider:
    """All lines, on one event loop in a thread of its own."""

    def __init__(self) -> None:
        self.lines: dict[str, Line] = {}
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="wire provider", daemon=True)
        self._thread.start()
        self._deaf: list[socket.socket] = []

    def line(self, name: str, script: Script | None) -> Line:
        """A port that plays this script on every connection; None: nobody listens there."""
        if script is None or script is accepts_nothing:
            closed = socket.socket()
            closed.bind(("127.0.0.1", 0))
            self._deaf.append(closed)
            made = Line(name, closed.getsockname()[1])
            made._loop = self._loop
            if script is accepts_nothing:
                self._deaf += _fill(closed)
        else:
            made = asyncio.run_coroutine_threadsafe(self._listen(name, script), self._loop).result(10)
        self.lines[name] = made
        return made

    async def _listen(self, name: str, script: Script) -> Line:
        line = Line(name, 0)
        line._loop = self._loop

        async def play(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            wire = Wire(line, reader, writer)
            line.connections += 1
            line._wires.add(wire)
            try:
                await script(wire)
            except (ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
                # Cancelled where the provider itself is closed.
                line.lost += 1
            finally:
                line._wires.discard(wire)
                line.ended.set()
                writer.close()
                with contextlib.suppress(ConnectionError, asyncio.CancelledError):
                    await writer.wait_closed()

        line._server = await asyncio.start_server(play, "127.0.0.1", 0, limit=1 << 20)
        line.port = line._server.sockets[0].getsockname()[1]
        return line

    def close(self) -> None:
        asyncio.run_coroutine_threadsafe(self._close(), self._loop).result(10)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)
        self._loop.close()
        for each in self._deaf:
            each.close()

    async def _close(self) -> None:
        for line in self.lines.values():
            if line._server is not None:
                line._server.close()
        others = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
        for task in others:
            task.cancel()
        await asyncio.gather(*others, return_exceptions=True)


@contextlib.contextmanager
def wire_provider() -> Iterator[WireProvider]:
    provider = WireProvider()
    try:
        yield provider
    finally:
        provider.close()


# --- what a well-behaved provider says ----------------------------------------------------------------------------
def event(name: str, **data: Any) -> bytes:
    return f"event: {name}\ndata: {json.dumps({'type': name, **data})}\n\n".encode()


def chunk(data: bytes) -> bytes:
    """One part of a chunked body."""
    return b"%x\r\n%b\r\n" % (len(data), data)


def head(status: str = "200 OK", *headers: str, kind: str = "text/event-stream", length: int | None = None) -> bytes:
    """Status line and headers; chunked where no length is given."""
    framing = "transfer-encoding: chunked" if length is None else f"content-length: {length}"
    lines = [f"HTTP/1.1 {status}", f"content-type: {kind}", "request-id: req_wire", framing, *headers]
    return "\r\n".join([*lines, "", ""]).encode()


def text(words: str) -> bytes:
    return event("content_block_delta", index=0, delta={"type": "text_delta", "text": words})


_USAGE = {"input_tokens": INPUT_TOKENS, "output_tokens": 1, "service_tier": "standard"}
START = event(
    "message_start",
    message={
        "id": "msg_wire",
        "type": "message",
        "role": "assistant",
        "model": "claude-opus-5-5",
        "content": [],
        "stop_reason": None,
        "stop_sequence": None,
        "usage": _USAGE,
    },
)
BLOCK = event("content_block_start", index=0, content_block={"type": "text", "text": ""})
WORDS = [text(word) for word in ("one ", "two ", "three ")]
BLOCK_STOP = event("content_block_stop", index=0)
USED = event(
    "message_delta",
    delta={"stop_reason": "end_turn", "stop_sequence": None},
    usage={"output_tokens": OUTPUT_TOKENS},
)
STOP = event("message_stop")
EVENTS = [START, BLOCK, *WORDS, BLOCK_STOP, USED, STOP]
PING = event("ping")
LAST_CHUNK = b"0\r\n\r\n"


def error(kind: str, message: str = "The script said so.") -> bytes:
    """The error event of a stream."""
    return event("error", error={"type": kind, "message": message})


def error_body(kind: str, message: str = "The script said so.") -> bytes:
    return json.dumps({"type": "error", "error": {"type": kind, "message": message}}).encode()


MESSAGE = json.dumps({
    "id": "msg_wire",
    "type": "message",
    "role": "assistant",
    "model": "claude-opus-5-5",
    "content": [{"type": "text", "text": "one two three"}],
    "stop_reason": "end_turn",
    "stop_sequence": None,
    "usage": {**_USAGE, "output_tokens": OUTPUT_TOKENS},
}).encode()  # fmt: skip


def whole(body: bytes = MESSAGE, status: str = "200 OK", *headers: str) -> bytes:
    """A JSON answer with its length."""
    return head(status, *headers, kind="application/json", length=len(body)) + body
