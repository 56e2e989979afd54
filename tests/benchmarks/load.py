"""A load client at native speed: keeps N connections busy, or sends at a fixed rate; writes latencies as JSON.

`python -m tests.benchmarks.load '{"url_host": "127.0.0.1", "port": 1, "path": "/x", ...}'`
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from pathlib import Path
from typing import Any, cast

import uvloop


class Client(asyncio.Protocol):
    """One connection that sends the same request again and again; `done(client, seconds, first byte, ok)` each time."""

    def __init__(self, request: bytes, done: Any) -> None:
        self._request = request
        self._done = done
        self._transport: asyncio.Transport | None = None
        self._head = bytearray()
        self._left: int | None = None
        self._chunked = False
        self._tail = b""
        self._ok = False
        self._sent = self._first = 0.0
        self.connected: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's transports are no subclass of asyncio.Transport.
        self._transport = cast(asyncio.Transport, transport)
        self.connected.set_result(None)

    def connection_lost(self, exc: Exception | None) -> None:
        if self._sent:
            self._done(self, None, None, False)

    def send(self) -> None:
        assert self._transport is not None
        self._first, self._left, self._chunked, self._tail = 0.0, None, False, b""
        self._sent = time.perf_counter()
        self._transport.write(self._request)

    def close(self) -> None:
        self._sent = 0.0
        if self._transport is not None:
            self._transport.close()

    def data_received(self, data: bytes) -> None:
        if self._left is None and not self._chunked:
            self._head += data
            end = self._head.find(b"\r\n\r\n")
            if end < 0:
                return
            head, data = bytes(self._head[:end]).lower(), bytes(self._head[end + 4 :])
            self._head.clear()
            self._ok = head.startswith(b"http/1.1 200")
            self._chunked = b"transfer-encoding: chunked" in head
            if not self._chunked:
                position = head.find(b"\r\ncontent-length:")
                self._left = int(head[position + 17 :].split(b"\r\n", 1)[0]) if position >= 0 else 0
        if data and not self._first:
            self._first = time.perf_counter()
        if self._chunked:
            self._tail = (self._tail + data)[-7:]
            if not self._tail.endswith(b"\r\n0\r\n\r\n"):
                return
        else:
            assert self._left is not None
            self._left -= len(data)
            if self._left > 0:
                return
        now = time.perf_counter()
        sent, self._sent = self._sent, 0.0
        self._done(self, now - sent, (self._first or now) - sent, self._ok)


def _request(job: dict[str, Any]) -> bytes:
    text = "word " * (job["body_bytes"] // 5)
    body = json.dumps(
        {
            "model": "claude-haiku-5-5",
            "max_tokens": 1024,
            "stream": job.get("stream", False),
            "messages": [{"role": "user", "content": text}],
            "metadata": {"user_id": json.dumps({"device_id": "d" * 64, "session_id": "bench-session"})},
        }
    ).encode()
    head = (
        f"POST {job['path']} HTTP/1.1\r\nhost: 127.0.0.1\r\ncontent-type: application/json\r\n"
        f"authorization: Bearer {job.get('secret', 'none')}\r\nanthropic-version: 2023-06-01\r\n"
        "user-agent: claude-cli/2.1.330 (external, cli)\r\nx-claude-code-session-id: bench-session\r\n"
        f"content-length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body


async def run(job: dict[str, Any]) -> dict[str, Any]:
    """`connections` busy for `seconds`, or one request every `1 / rate` seconds where `rate` is given."""
    loop = asyncio.get_running_loop()
    totals: list[float] = []
    firsts: list[float] = []
    failed = 0
    finished: asyncio.Future[None] = loop.create_future()
    idle: list[Client] = []
    deadline = time.perf_counter() + job["seconds"]
    active = 0
    rate = job.get("rate")

    def done(client: Client, total: float | None, first: float | None, ok: bool) -> None:
        nonlocal active, failed
        active -= 1
        if total is None or first is None or not ok:
            failed += 1
        else:
            totals.append(total)
            firsts.append(first)
        if time.perf_counter() >= deadline:
            if active == 0 and not finished.done():
                finished.set_result(None)
        elif rate or total is None:
            idle.append(client)
        else:
            active += 1
            client.send()

    clients = []
    for _ in range(job["connections"]):
        _, client = await loop.create_connection(lambda: Client(_request(job), done), job["host"], job["port"])
        clients.append(client)
    began = time.perf_counter()
    if rate:
        idle = list(clients)
        number = 0
        while time.perf_counter() < deadline:
            await asyncio.sleep(max(0.0, began + number / rate - time.perf_counter()))
            number += 1
            if idle:
                active += 1
                idle.pop().send()
    else:
        for client in clients:
            active += 1
            client.send()
    if active:
        await asyncio.wait_for(finished, job["seconds"] + 60)
    elapsed = time.perf_counter() - began
    for client in clients:
        client.close()
    return {"requests": len(totals), "failed": failed, "seconds": elapsed, "total": totals, "first": firsts}


if __name__ == "__main__":
    job = json.loads(sys.argv[1])
    Path(job["output"]).write_text(json.dumps(uvloop.run(run(job))))
