"""The simulator's own count: every request it got, what became of it, and the tokens it reported."""

from __future__ import annotations

import asyncio
import time
from collections import Counter, deque
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Any

KEPT_REQUESTS = 1000
KEPT_BODY_BYTES = 128 * 1024 * 1024


@dataclass(slots=True)
class Entry:
    """One request; `outcome`: `open`, then `answered`, `cut` (by script) or `cancelled` (by the client)."""

    sequence: int
    method: str
    path: str
    query: str
    headers: list[tuple[bytes, bytes]] = field(repr=False)
    at: float
    body: bytes | None = field(default=None, repr=False)
    length: int = 0
    sha256: str = ""
    model: str = ""
    stream: bool = False
    request_id: str = ""
    status: int = 0
    outcome: str = "open"
    usage: dict[str, Any] | None = None

    def public(self) -> dict[str, Any]:
        """What the control endpoint tells, headers as received (lower-case names, wire order)."""
        return {
            "sequence": self.sequence,
            "method": self.method,
            "path": self.path,
            "query": self.query,
            "headers": [[name.decode("latin-1"), value.decode("latin-1")] for name, value in self.headers],
            "at": self.at,
            "length": self.length,
            "sha256": self.sha256,
            "model": self.model,
            "stream": self.stream,
            "request_id": self.request_id,
            "status": self.status,
            "outcome": self.outcome,
            "usage": self.usage,
        }


class Journal:
    """A ring of the newest requests, and counters since the last reset."""

    def __init__(self, kept: int = KEPT_REQUESTS, kept_bytes: int = KEPT_BODY_BYTES) -> None:
        self._kept_bytes = kept_bytes
        self._ring: deque[Entry] = deque(maxlen=kept)
        self._with_body: deque[Entry] = deque()
        self._body_bytes = 0
        self._sequence = 0
        self._changed: set[asyncio.Future[None]] = set()
        self._counts: Counter[str] = Counter()
        self._statuses: Counter[str] = Counter()
        self._tokens: Counter[str] = Counter()
        self._since = 0

    def reset(self) -> None:
        """Forget everything; sequence numbers go on, and what is still open is not counted when it ends."""
        self._ring.clear()
        self._with_body.clear()
        self._body_bytes = 0
        for counter in (self._counts, self._statuses, self._tokens):
            counter.clear()
        self._since = self._sequence
        self._notify()

    def open(self, scope: dict[str, Any]) -> Entry:
        self._sequence += 1
        entry = Entry(
            sequence=self._sequence,
            method=scope["method"],
            path=scope["path"],
            query=scope["query_string"].decode("latin-1"),
            headers=scope["headers"],
            at=time.time(),
            request_id=f"req_sim_{self._sequence:012d}",
        )
        self._ring.append(entry)
        self._counts["received"] += 1
        self._counts["open"] += 1
        self._notify()
        return entry

    def body(self, entry: Entry, body: bytes) -> None:
        """Note the whole body; old bodies go when all kept ones are too large together."""
        entry.length = len(body)
        if not self._ring.maxlen:
            return
        entry.sha256 = sha256(body).hexdigest()
        entry.body = body
        self._with_body.append(entry)
        self._body_bytes += len(body)
        while self._body_bytes > self._kept_bytes or len(self._with_body) > self._ring.maxlen:
            oldest = self._with_body.popleft()
            self._body_bytes -= oldest.length
            oldest.body = None

    def close(self, entry: Entry, outcome: str) -> None:
        entry.outcome = outcome
        if entry.sequence <= self._since:
            return
        self._counts["open"] -= 1
        self._counts[outcome] += 1
        if entry.status:
            self._statuses[str(entry.status)] += 1
        if outcome == "answered" and entry.usage is not None:
            self._counts["messages"] += 1
            self._count_tokens(entry.usage)
        self._notify()

    def requests(self, since: int) -> list[dict[str, Any]]:
        return [entry.public() for entry in self._ring if entry.sequence > since]

    def find(self, sequence: int) -> Entry | None:
        return next((entry for entry in self._ring if entry.sequence == sequence), None)

    def stats(self) -> dict[str, Any]:
        names = ("received", "open", "answered", "cut", "cancelled", "messages")
        return {
            **{name: self._counts[name] for name in names},
            "statuses": dict(self._statuses),
            "tokens": dict(self._tokens),
        }

    async def until(self, name: str, count: int, seconds: float) -> dict[str, Any]:
        """The counters as soon as `name` has reached `count`, or as they are after `seconds`."""
        ends = asyncio.get_running_loop().time() + seconds
        while self._counts[name] < count and (left := ends - asyncio.get_running_loop().time()) > 0:
            change: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self._changed.add(change)
            await asyncio.wait([change], timeout=left)
            self._changed.discard(change)
        return self.stats()

    def _count_tokens(self, usage: dict[str, Any]) -> None:
        self._tokens["input"] += usage["input_tokens"]
        self._tokens["output"] += usage["output_tokens"]
        self._tokens["cache_read"] += usage["cache_read_input_tokens"]
        self._tokens["cache_write_5m"] += usage["cache_creation"]["ephemeral_5m_input_tokens"]
        self._tokens["cache_write_1h"] += usage["cache_creation"]["ephemeral_1h_input_tokens"]

    def _notify(self) -> None:
        for change in self._changed:
            if not change.done():
                change.set_result(None)
