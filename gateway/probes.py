"""`/healthz` and `/readyz` beside Django, whose middleware hops between threads: each hop waits while the loop is busy.

The same answers as `observability.views`, which serve them under any other server.
"""

from __future__ import annotations

import asyncio
import json
from concurrent.futures import ThreadPoolExecutor

from gateway.line.asgi import Receive, Scope, Send
from observability import health

_checker = ThreadPoolExecutor(1, "probes")
"""Of its own: pages that wait in the pool for everybody must not hold a probe up."""
_running: asyncio.Future[tuple[health.Status, dict[str, dict[str, object]]]] | None = None


async def healthz(scope: Scope, receive: Receive, send: Send) -> None:
    """The process is alive; nothing is asked of anything else."""
    await _answer(scope, send, 200, b"text/plain", b"ok\n")


async def readyz(scope: Scope, receive: Receive, send: Send) -> None:
    """200 when requests may be sent here, else 503. Probes that come at once share one round of checks."""
    global _running
    if _running is None or _running.done():
        _running = asyncio.get_running_loop().run_in_executor(_checker, health.report)
    status, checks = await asyncio.shield(_running)
    body = json.dumps({"status": status, "checks": checks}).encode()
    await _answer(scope, send, status.http, b"application/json", body)


PROBES = {"/healthz": healthz, "/readyz": readyz}


async def _answer(scope: Scope, send: Send, status: int, kind: bytes, body: bytes) -> None:
    allowed = scope["method"] in {"GET", "HEAD"}
    headers = [(b"content-type", kind), (b"cache-control", b"no-store")]
    if not allowed:
        status, body, headers = 405, b"", [(b"allow", b"GET, HEAD")]
    await send(
        {
            "type": "http.response.start",
            "status": status,
            "headers": [*headers, (b"content-length", str(len(body)).encode())],
        }
    )
    await send({"type": "http.response.body", "body": b"" if scope["method"] == "HEAD" else body})
