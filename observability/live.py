"""The live log's sender: batches of finished requests become frames of the Channels group `live-log`.

The recorder's thread calls `publish` with each committed batch. Nothing here waits: rows go into a bounded buffer, the
event loop sends what it finds there as one frame, and what does not fit is counted and shown to the people who watch.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
import threading
from collections import deque
from collections.abc import Iterable
from datetime import datetime
from typing import Any

import msgspec
from channels.layers import InMemoryChannelLayer, get_channel_layer

from observability.records import RequestRecord

logger = logging.getLogger(__name__)

GROUP = "live-log"
CAPACITY = 2000
"""Rows that wait for the event loop; older ones are dropped first, since the page shows the newest."""
FRAME_ROWS = 500
"""Rows in one frame: as many as the page shows."""
COLUMNS = (
    "id", "started_at", "finished_at", "status", "http_status", "error_type",
    "customer", "customer_id", "team", "team_id", "developer", "virtual_key", "virtual_key_id", "project",
    "model", "model_requested", "session_id", "stream",
    "input_tokens", "output_tokens", "cache_read_tokens", "cache_write_5m_tokens", "cache_write_1h_tokens",
    "cost_nano_usd", "cost_quality", "latency_ms", "ttft_ms",
)  # fmt: skip
"""What a live row tells, by the log's own names."""


def row(record: Any) -> dict[str, Any]:
    """One live row of a `RequestRecord` or a `Request`; times as ISO text in UTC."""
    values = {name: getattr(record, name) for name in COLUMNS}
    for name in ("started_at", "finished_at"):
        if isinstance(values[name], datetime):
            values[name] = values[name].isoformat()
    return values


class Broadcaster:
    """One for each process. `publish` may be called from any thread; frames are sent by the bound event loop."""

    def __init__(self) -> None:
        self.listeners = 0
        """Live-log sockets of this process; kept by the consumer, read to skip work that nobody sees."""
        self._origin = secrets.token_hex(4)
        self._lock = threading.Lock()
        self._rows: deque[dict[str, Any]] = deque()
        self._dropped = 0
        self._sequence = 0
        self._scheduled = False
        self._loop: asyncio.AbstractEventLoop | None = None
        self._task: asyncio.Task[None] | None = None
        self._nobody_elsewhere = True
        self.cut_off = False
        """Whether requests are served by another process than this one's pages, and no Redis lies between them."""

    def bind(self, loop: asyncio.AbstractEventLoop) -> None:
        """Send through this loop from now on: the one that serves the sockets, where the in-memory layer lives."""
        with self._lock:
            self._loop, self._scheduled = loop, False
        self._nobody_elsewhere = self.is_local

    @property
    def is_local(self) -> bool:
        """Without Redis every listener sits in the process that serves the sockets: none there means none at all."""
        return isinstance(get_channel_layer(), InMemoryChannelLayer)

    def unbind(self) -> None:
        """Stop sending; called at shutdown, before the loop closes."""
        with self._lock:
            self._loop, self._scheduled = None, False
            self._rows.clear()

    def publish(self, batch: Iterable[RequestRecord]) -> None:
        """Hand a committed batch over. Never blocks and never raises: the log is written whether anybody watches."""
        loop = self._loop
        if loop is None or (self._nobody_elsewhere and not self.listeners):
            return
        rows = [row(record) for record in batch]
        with self._lock:
            self._rows.extend(rows)
            while len(self._rows) > CAPACITY:
                self._rows.popleft()
                self._dropped += 1
            if self._scheduled or not self._rows:
                return
            self._scheduled = True
        try:
            loop.call_soon_threadsafe(self._start)
        except RuntimeError:
            # The loop closed between the look and the call: the process is shutting down and nobody watches.
            self.unbind()

    def _start(self) -> None:
        self._task = asyncio.ensure_future(self._send())

    async def _send(self) -> None:
        while True:
            with self._lock:
                rows = list(self._rows)
                self._rows.clear()
                dropped, self._dropped = self._dropped, 0
                if not rows:
                    self._scheduled = False
                    return
            layer = get_channel_layer()
            if layer is None:
                continue
            dropped += max(0, len(rows) - FRAME_ROWS)
            self._sequence += 1
            # The body is one text: the in-memory layer deep-copies a message once for each socket.
            body = msgspec.json.encode(rows[-FRAME_ROWS:]).decode()
            frame = {"type": "log.rows", "origin": self._origin, "sequence": self._sequence}
            try:
                await layer.group_send(GROUP, {**frame, "body": body, "dropped": dropped})
            except Exception:
                # Fails open: the rows are in the database, and the page reads them when its socket comes back.
                logger.warning("The live log could not send %d rows", len(rows), exc_info=True)


broadcaster = Broadcaster()
bind = broadcaster.bind
unbind = broadcaster.unbind
publish = broadcaster.publish
