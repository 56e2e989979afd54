"""The floor of the gateway's own parts: uvicorn and aiohttp passing bytes on, with no key, budget, price or log.

`MOCK_URL=http://127.0.0.1:1 python -m tests.benchmarks.relay PORT`: what `make bench` measures the gateway against.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Awaitable, Callable
from typing import Any

import aiohttp
import uvicorn

_NOT_SENT = {b"host", b"content-length", b"connection"}
_session: aiohttp.ClientSession | None = None


async def app(
    scope: dict[str, Any],
    receive: Callable[[], Awaitable[dict[str, Any]]],
    send: Callable[[dict[str, Any]], Awaitable[None]],
) -> None:
    global _session
    if _session is None:
        connector = aiohttp.TCPConnector(limit=0)
        _session = aiohttp.ClientSession(
            connector=connector, auto_decompress=False, cookie_jar=aiohttp.DummyCookieJar(), read_bufsize=256 * 1024
        )
    parts = []
    more = True
    while more:
        message = await receive()
        parts.append(message.get("body", b""))
        more = message.get("more_body", False)
    headers = [(name.decode(), value.decode()) for name, value in scope["headers"] if name not in _NOT_SENT]
    async with _session.post(os.environ["MOCK_URL"] + scope["path"], data=b"".join(parts), headers=headers) as answer:
        kind = answer.headers["content-type"].encode()
        await send({"type": "http.response.start", "status": answer.status, "headers": [(b"content-type", kind)]})
        while chunk := await answer.content.readany():
            await send({"type": "http.response.body", "body": chunk, "more_body": True})
    await send({"type": "http.response.body", "body": b""})


if __name__ == "__main__":
    uvicorn.run(
        app,
        port=int(sys.argv[1]),
        loop="uvloop",
        http="httptools",
        lifespan="off",
        access_log=False,
        log_level="error",
        proxy_headers=False,
    )
