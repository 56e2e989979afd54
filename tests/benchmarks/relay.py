"""The floor of the gateway's own parts: uvicorn and a client passing bytes on, with no key, budget, price or log.

`MOCK_URL=http://127.0.0.1:1 python -m tests.benchmarks.relay PORT [CLIENT]`: what `make bench` measures the gateway
against. CLIENT is `own` for the gateway's client towards providers, or `aiohttp`.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Awaitable, Callable
from typing import Any

import uvicorn

_NOT_SENT = {b"host", b"content-length", b"connection"}
Headers = list[tuple[str, str]]
Start = Callable[[int, bytes], Awaitable[None]]
Part = Callable[[bytes], Awaitable[None]]
_made: dict[str, Any] = {}


async def through_aiohttp(url: str, headers: Headers, body: bytes, start: Start, part: Part) -> None:
    """aiohttp as it is set up for the least work: no pool limit, cookies or decompression."""
    import aiohttp
    from yarl import URL

    session: aiohttp.ClientSession | None = _made.get("aiohttp")
    if session is None:
        session = _made["aiohttp"] = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=0),
            auto_decompress=False,
            cookie_jar=aiohttp.DummyCookieJar(),
            read_bufsize=256 * 1024,
        )
    async with session.post(URL(url, encoded=True), data=body, headers=headers) as answer:
        await start(answer.status, answer.headers["content-type"].encode())
        while chunk := await answer.content.readany():
            await part(chunk)


async def through_own(url: str, headers: Headers, body: bytes, start: Start, part: Part) -> None:
    """The client that the gateway itself uses."""
    if not _made:
        import django

        django.setup()
        from gateway.providers.base import UpstreamRequest
        from gateway.upstream import Upstream

        _made["request"] = UpstreamRequest
        _made["own"] = Upstream(connect_timeout=10, read_timeout=600, allow_private=True)
    raw = [(name.encode(), value.encode()) for name, value in headers]
    answer = await _made["own"].open(_made["request"](url, raw, body))
    try:
        await start(answer.status, answer.header(b"content-type") or b"")
        while chunk := await answer.read():
            await part(chunk)
    finally:
        answer.close()


CLIENTS = {"own": through_own, "aiohttp": through_aiohttp}
client = through_own


async def app(
    scope: dict[str, Any],
    receive: Callable[[], Awaitable[dict[str, Any]]],
    send: Callable[[dict[str, Any]], Awaitable[None]],
) -> None:
    parts = []
    more = True
    while more:
        message = await receive()
        parts.append(message.get("body", b""))
        more = message.get("more_body", False)
    headers = [(name.decode(), value.decode()) for name, value in scope["headers"] if name not in _NOT_SENT]

    async def start(status: int, kind: bytes) -> None:
        await send({"type": "http.response.start", "status": status, "headers": [(b"content-type", kind)]})

    async def part(chunk: bytes) -> None:
        await send({"type": "http.response.body", "body": chunk, "more_body": True})

    url = f"{os.environ['MOCK_URL']}{scope['path']}?{scope['query_string'].decode()}"
    await client(url, headers, b"".join(parts), start, part)
    await send({"type": "http.response.body", "body": b""})


if __name__ == "__main__":
    if len(sys.argv) > 2:
        client = CLIENTS[sys.argv[2]]
    uvicorn.run(
        app,
        port=int(sys.argv[1]),
        loop="uvloop",
        http="httptools",
        lifespan="off",
        access_log=False,
        log_level="error",
        proxy_headers=False,
        backlog=4096,
        timeout_keep_alive=75,
    )
