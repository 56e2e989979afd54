"""The soak's client, as cheap as can be: one JSON line of orders on standard input, progress and results on output.

In: `{"port", "secret", "requests", "streams", "connections"}`. Out: `progress N` lines, then one JSON line: how many of
each kind were sent, and what came that must not have come.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from collections import Counter
from dataclasses import dataclass, field

import uvloop

from tests.functional.soak.mix import KINDS, Kind, schedule

TAIL_BYTES = 2_048
PROGRESS_EVERY = 250
PATIENCE_SECONDS = 60.0
LEAVE_SECONDS = 0.4
"""So long after its request a client leaves: the provider has it by then, also from a busy gateway."""
SLOW_STEPS, SLOW_SECONDS = 10, 0.05


@dataclass
class Run:
    """What is left to send, and what came of what was sent."""

    port: int
    secret: str
    names: list[str]
    sent: Counter[str] = field(default_factory=Counter)
    wrong: list[str] = field(default_factory=list)
    ready: dict[str, bytes] = field(default_factory=dict)
    next: int = 0

    def take(self) -> Kind | None:
        """The next request's kind; None at the end."""
        if self.next == len(self.names):
            return None
        name = self.names[self.next]
        self.next += 1
        self.sent[name] += 1
        if self.next % PROGRESS_EVERY == 0:
            print(f"progress {self.next}", flush=True)
        return KINDS[name]

    def bytes(self, kind: Kind) -> bytes:
        """The whole request of a kind."""
        if kind.name not in self.ready:
            body = json.dumps({
                "model": "claude-opus-5-5",
                "max_tokens": 500,
                "stream": kind.stream,
                "messages": [{"role": "user", "content": "hello " * (kind.size // 6)}],
            }).encode()  # fmt: skip
            if kind.name == "no-json":
                body = body[:-1]
            path = "/v1/nothing" if kind.name == "no-path" else "/v1/messages"
            secret = f"sk-cmp-{'0' * 8}-{'0' * 43}" if kind.name == "no-key" else self.secret
            self.ready[kind.name] = (
                f"POST /anthropic{path} HTTP/1.1\r\nhost: soak\r\nauthorization: Bearer {secret}\r\n"
                f"content-type: application/json\r\nx-soak: {kind.name}\r\ncontent-length: {len(body)}\r\n\r\n"
            ).encode() + body
        return self.ready[kind.name]


class Worker(asyncio.Protocol):
    """One connection: sends a request, reads its answer, sends the next; leaves where the kind says so."""

    _transport: asyncio.Transport

    def __init__(self, run: Run, done: asyncio.Future[None]) -> None:
        self._run = run
        self._done = done
        self._kind: Kind | None = None
        self._head = bytearray()
        self._status = 0
        self._left = -1
        """Bytes of the body to come; -1 where it is chunked."""
        self._tail = b""
        self._steps = 0
        self._asked_at = 0.0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport  # type: ignore[assignment]
        self._next()

    def data_received(self, data: bytes) -> None:
        if not self._status:
            self._head += data
            end = self._head.find(b"\r\n\r\n")
            if end < 0:
                return
            head, data = bytes(self._head[:end]).lower(), bytes(self._head[end + 4 :])
            self._head.clear()
            self._status = int(head[9:12])
            place = head.find(b"content-length: ")
            self._left = int(head[place + 16 :].split(b"\r\n", 1)[0]) if place >= 0 else -1
        self._tail = (self._tail + data)[-TAIL_BYTES:]
        if self._left >= 0:
            self._left -= len(data)
        kind = self._kind
        if kind is not None and kind.name == "leaves-stream":
            self._leave()
        elif self._left == 0 or (self._left < 0 and self._tail.endswith(b"0\r\n\r\n")):
            self._check()
            self._next()
        elif kind is not None and kind.name == "slow-reader" and self._steps < SLOW_STEPS:
            self._steps += 1
            self._transport.pause_reading()
            asyncio.get_running_loop().call_later(SLOW_SECONDS, self._read_on)

    def connection_lost(self, exc: Exception | None) -> None:
        if self._kind is not None:
            self._wrong(f"the connection ended ({exc})")
            self._kind = None
        if not self._done.done():
            self._done.set_result(None)

    def is_stuck(self) -> bool:
        return self._kind is not None and time.monotonic() - self._asked_at > PATIENCE_SECONDS

    def give_up(self) -> None:
        self._wrong("no answer")
        self._kind = None
        self._transport.abort()

    def _next(self) -> None:
        self._kind = kind = self._run.take()
        self._status, self._left, self._tail, self._steps = 0, -1, b"", 0
        if kind is None:
            self._transport.close()
            return
        self._asked_at = time.monotonic()
        data = self._run.bytes(kind)
        if kind.name == "leaves-body":
            self._transport.write(data[: len(data) // 2])
            asyncio.get_running_loop().call_later(0.05, self._leave)
            return
        self._transport.write(data)
        if kind.name == "leaves-message":
            asyncio.get_running_loop().call_later(LEAVE_SECONDS, self._leave)

    def _leave(self) -> None:
        """FIN and RST by turns."""
        self._kind = None
        if self._run.next % 2:
            self._transport.abort()
        else:
            self._transport.close()

    def _read_on(self) -> None:
        if not self._transport.is_closing():
            self._transport.resume_reading()

    def _check(self) -> None:
        kind = self._kind
        if kind is not None and (self._status != kind.status or kind.ends not in self._tail):
            self._wrong(f"status {self._status}, {self._tail[-300:]!r}")

    def _wrong(self, what: str) -> None:
        name = self._kind.name if self._kind else "?"
        if len(self._run.wrong) < 20:
            self._run.wrong.append(f"{name}: {what}")


async def work(run: Run) -> None:
    """One client: a new connection whenever the last one ended."""
    loop = asyncio.get_running_loop()
    while run.next < len(run.names):
        done: asyncio.Future[None] = loop.create_future()
        _, worker = await loop.create_connection(lambda done=done: Worker(run, done), "127.0.0.1", run.port)  # type: ignore[misc]
        while not done.done():
            await asyncio.wait([done], timeout=5)
            if worker.is_stuck():
                worker.give_up()


async def main() -> None:
    orders = json.loads(sys.stdin.readline())
    run = Run(orders["port"], orders["secret"], schedule(orders["requests"], orders["streams"]))
    began = time.monotonic()
    await asyncio.gather(*(work(run) for _ in range(orders["connections"])))
    print(json.dumps({"sent": run.sent, "wrong": run.wrong, "seconds": time.monotonic() - began}), flush=True)


if __name__ == "__main__":
    uvloop.run(main())
