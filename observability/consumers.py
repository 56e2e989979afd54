"""The live log's socket: rows a user may see, filtered here, in batches, with catch-up after a break.

Messages of the client (JSON): `{"type": "filter", "team", "key", "model", "status"}`, `{"type": "catch_up", "after"}`
(ISO time of the last row it has, or null for the newest), `{"type": "ping"}`.
Messages to the client: `hello`, `rows` (`rows`, `dropped`, `gap`), `catch_up` (`rows`, `truncated`), `filtered`,
`pong`, `error`.
A row that is sent twice has the same `id`; the client keeps one.
"""

from __future__ import annotations

import asyncio
from collections import deque
from datetime import UTC, datetime, timedelta
from importlib import import_module
from typing import Any

import msgspec
from channels.auth import get_user
from channels.db import database_sync_to_async
from channels.generic.websocket import AsyncWebsocketConsumer
from django.conf import settings
from django.utils.dateparse import parse_datetime

from observability import live
from observability.filters import BadFilter, LogFilter
from observability.models import Request
from observability.scope import Scope

PERMISSION = "observability.view_request"
RECHECK_SECONDS = 2.0
"""How long a user who lost access may go on seeing rows."""
QUEUE_ROWS = 1000
"""Rows that wait for one slow client; older ones are dropped first, counted, and told."""
CATCH_UP_ROWS = 500
NEWEST_ROWS = 50
OVERLAP = timedelta(seconds=5)
"""Batches of several processes are committed out of order: a catch-up looks back this much further."""
MAX_MESSAGE = 4096
MAX_REPLIES = 50
"""Answers that wait for one client; one that asks on without reading is cut off."""
FORBIDDEN, TOO_BIG, TOO_MANY = 4403, 1009, 1008


class LogConsumer(AsyncWebsocketConsumer):
    """One viewer of the live log."""

    groups = [live.GROUP]

    async def connect(self) -> None:
        self.filter = LogFilter()
        self.scope_seen: Scope | None = None
        self.waiting: deque[dict[str, Any]] = deque()
        self.replies: deque[dict[str, Any]] = deque()
        self.dropped = 0
        self.gap = False
        self.sequences: dict[str, int] = {}
        self.catching_up = False
        self.news = asyncio.Event()
        self.tasks: set[asyncio.Task[None]] = set()
        self.counted = False
        if not await self._recheck():
            await self.close(FORBIDDEN)
            return
        live.broadcaster.listeners += 1
        self.counted = True
        await self.accept()
        self._reply({"type": "hello", "last_request_at": await self._last_request_at(), "limit": CATCH_UP_ROWS})
        self._start(self._write())
        self._start(self._watch_permission())

    async def disconnect(self, code: int) -> None:
        if self.counted:
            live.broadcaster.listeners -= 1
            self.counted = False
        for task in self.tasks:
            task.cancel()
        await asyncio.gather(*self.tasks, return_exceptions=True)

    async def receive(self, text_data: str | None = None, bytes_data: bytes | None = None) -> None:
        if text_data is None or len(text_data) > MAX_MESSAGE:
            await self.close(TOO_BIG)
            return
        if len(self.replies) > MAX_REPLIES:
            await self.close(TOO_MANY)
            return
        try:
            message = msgspec.json.decode(text_data)
            if not isinstance(message, dict):
                raise BadFilter("A message must be a JSON object with a type.")
            await self._obey(message)
        except msgspec.DecodeError:
            self._reply({"type": "error", "message": "A message must be JSON."})
        except BadFilter as error:
            self._reply({"type": "error", "message": str(error)})

    async def _obey(self, message: dict[str, Any]) -> None:
        match message.get("type"):
            case "ping":
                self._reply({"type": "pong"})
            case "filter":
                self.filter = LogFilter.parse(message)
                self.waiting.clear()
                self._reply({"type": "filtered"})
            case "catch_up":
                if not self.catching_up:
                    await self._catch_up(_moment(message.get("after")))
            case other:
                raise BadFilter(f"Unknown message type {other!r}; use filter, catch_up or ping.")

    async def log_rows(self, event: dict[str, Any]) -> None:
        """A frame of the channel layer: keep what this user may see and asked for. Sending is the writer's work."""
        expected = self.sequences.get(event["origin"], event["sequence"] - 1) + 1
        self.sequences[event["origin"]] = event["sequence"]
        rows = msgspec.json.decode(event["body"])
        self.dropped += event["dropped"]
        # A frame that the layer threw away shows as a gap in the numbers: the client is told to catch up.
        self.gap = self.gap or event["sequence"] > expected
        seen = self.scope_seen
        if seen is None:
            return
        self.waiting.extend(row for row in rows if seen.covers(row) and self.filter.matches(row))
        while len(self.waiting) > QUEUE_ROWS:
            self.waiting.popleft()
            self.dropped += 1
        if self.waiting or self.dropped or self.gap:
            self.news.set()

    async def _write(self) -> None:
        """The one place that sends: a slow client holds up its own queue, and answers keep their order among rows."""
        while True:
            await self.news.wait()
            self.news.clear()
            while self.replies:
                await self._send(self.replies.popleft())
            if self.waiting or self.dropped or self.gap:
                message = {
                    "type": "rows",
                    "rows": list(self.waiting),
                    "dropped": self.dropped,
                    "gap": self.gap,
                }
                self.waiting.clear()
                self.dropped, self.gap = 0, False
                await self._send(message)

    async def _catch_up(self, after: datetime | None) -> None:
        self.catching_up = True
        try:
            rows, truncated = await self._stored(after)
            self._reply({"type": "catch_up", "rows": rows, "truncated": truncated})
        finally:
            self.catching_up = False

    @database_sync_to_async
    def _stored(self, after: datetime | None) -> tuple[list[dict[str, Any]], bool]:
        """Rows of the log in the order they ended, oldest first."""
        if self.scope_seen is None:
            return [], False
        rows = self.filter.apply(self.scope_seen.restrict(Request.objects.all()))
        limit = NEWEST_ROWS
        if after is not None:
            rows, limit = rows.filter(finished_at__gte=after - OVERLAP), CATCH_UP_ROWS
        found = list(rows.order_by("-finished_at", "-id").only(*live.COLUMNS)[: limit + 1])
        return [live.row(request) for request in reversed(found[:limit])], after is not None and len(found) > limit

    @database_sync_to_async
    def _last_request_at(self) -> str | None:
        if self.scope_seen is None:
            return None
        rows = self.scope_seen.restrict(Request.objects.all()).order_by("-finished_at")
        last = rows.values_list("finished_at", flat=True).first()
        return last.isoformat() if last else None

    async def _watch_permission(self) -> None:
        while True:
            await asyncio.sleep(RECHECK_SECONDS)
            if not await self._recheck():
                self.waiting.clear()
                await self.close(FORBIDDEN)
                return

    async def _recheck(self) -> bool:
        """Read user, permission and memberships again: a removed user, membership or session ends the stream."""
        scope = dict(self.scope)
        if scope.get("session") is not None:
            # A fresh store: the connection's own one keeps the data that it read when the socket opened.
            store = import_module(settings.SESSION_ENGINE).SessionStore
            user = await get_user({"session": store(session_key=scope["session"].session_key)})
        else:
            user = scope.get("user")
        self.scope_seen = await database_sync_to_async(Scope.of)(user, PERMISSION)
        return self.scope_seen is not None

    def _reply(self, message: dict[str, Any]) -> None:
        self.replies.append(message)
        self.news.set()

    async def _send(self, message: dict[str, Any]) -> None:
        await self.send(text_data=msgspec.json.encode(message).decode())

    def _start(self, coroutine: Any) -> None:
        task = asyncio.ensure_future(coroutine)
        self.tasks.add(task)
        task.add_done_callback(self.tasks.discard)


def _moment(value: Any) -> datetime | None:
    if value is None:
        return None
    try:
        moment = parse_datetime(value) if isinstance(value, str) else None
    except ValueError:
        moment = None
    if moment is None:
        raise BadFilter(f"after must be an ISO time such as 2026-11-22T14:02:00Z, not {value!r}.")
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)
