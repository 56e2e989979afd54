"""One request from its first byte to its last: the state that the steps of `pipeline.py` fill, and the client's socket.

The exchange owns the request's record. Whatever happens, `settle.finish` completes it once.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from gateway.errors import Answer
from gateway.wire import sse
from gateway.wire.headers import Headers
from gateway.wire.peek import Peek
from gateway.wire.usage import Metered
from governance.domain.access import Access, Grant, ProjectRef
from governance.domain.book import Hold
from governance.domain.ids import new_ulid
from governance.snapshot import CredentialConfig, ProviderConfig, Snapshot
from observability.records import RequestRecord

if TYPE_CHECKING:
    from gateway.runtime import Gateway

Scope = dict[str, Any]
Receive = Callable[[], Awaitable[Mapping[str, Any]]]
Send = Callable[[Mapping[str, Any]], Awaitable[None]]


WATCH_AFTER_SECONDS = 0.2


class ClientGone(Exception):
    """The client closed its connection before it had sent the whole request."""


@dataclass(frozen=True, slots=True)
class Target:
    """One provider and credential that a request may be sent to, and the key's configuration that allows it."""

    provider: ProviderConfig
    credential: CredentialConfig
    access: Access


@dataclass(slots=True)
class Attempt:
    """One try at one target. Times in seconds of the monotonic clock."""

    target: Target
    platform: str
    started: float
    ended: float = 0.0
    status: int | None = None
    error: str = ""
    provider_request_id: str = ""
    metered: Metered | None = None
    """What the provider said it used; None where it gave no answer that could be charged."""


@dataclass(slots=True)
class Exchange:
    """The state of one request."""

    gateway: Gateway
    snapshot: Snapshot
    scope: Scope
    receive: Receive
    send: Send
    headers: Headers
    record: RequestRecord
    path: str
    """Below the surface's prefix, for example `/v1/messages`."""
    started: float = field(default_factory=time.monotonic)
    body: bytes = b""
    peek: Peek | None = None
    grant: Grant | None = None
    project: ProjectRef | None = None
    candidates: tuple[Access, ...] = ()
    holds: list[Hold] = field(default_factory=list)
    worst_nano_usd: int = 0
    worst_tokens: int = 0
    targets: Sequence[Target] = ()
    attempts: list[Attempt] = field(default_factory=list)
    downgraded_from: str = ""
    """The model that was asked for, where a budget's ladder put a cheaper one in its place."""
    steps: tuple[str, ...] = ()
    """Keys of the budgets with a ladder that count this request as running."""
    billable: bool = True
    """False for what is free by definition (token counting)."""
    waited_seconds: float = 0.0
    """Time spent waiting for the provider, the client and the next try: the rest is the gateway's own."""
    answered_status: int | None = None
    first_content: float | None = None
    client_gone: bool = False
    on_client_gone: Callable[[], None] | None = None
    recorded: bool = True
    """False for the repeat of a request whose refusal is in the log already."""
    finished: bool = False
    _timer: asyncio.TimerHandle | None = None
    _watcher: asyncio.Task[None] | None = None

    @classmethod
    def open(cls, gateway: Gateway, scope: Scope, receive: Receive, send: Send, path: str) -> Exchange:
        """Begin an exchange: it gets its id, which the client sees as `request-id`, now."""
        record = RequestRecord(id=new_ulid(), started_at=datetime.now(UTC), endpoint=path[:64])
        return cls(gateway, gateway.snapshot, scope, receive, send, Headers(scope["headers"]), record, path)

    @property
    def model(self) -> str:
        """The model that the provider is asked for: a budget's ladder may have put it in the place of another."""
        return self.peek.model if self.peek else self.record.model_requested

    async def start(self, status: int, headers: Sequence[tuple[bytes, bytes]]) -> None:
        """Send the status line and headers; `request-id` is added here, on every answer."""
        self.answered_status = status
        await self.send(
            {
                "type": "http.response.start",
                "status": status,
                "headers": [(b"request-id", self.record.id.encode()), *headers],
            }
        )

    async def write(self, chunk: bytes) -> None:
        """Send a part of the body; waits while the client reads slowly. Nothing happens once the client is gone."""
        if not self.client_gone:
            await self.send({"type": "http.response.body", "body": chunk, "more_body": True})

    async def end(self, chunk: bytes = b"") -> None:
        """Send the last part of the body; the record must be finished before.

        The race: the server reports the client as gone right after this part, as if it had left early.
        """
        if not self.client_gone:
            await self.send({"type": "http.response.body", "body": chunk})

    async def answer(self, answer: Answer) -> None:
        """End with an error: as a response of its own, or, where the stream has begun, as an `error` event in it."""
        body = answer.body(self.record.id)
        if self.answered_status is None:
            headers = [
                (b"content-type", b"application/json"),
                (b"content-length", str(len(body)).encode()),
                *answer.headers,
            ]
            await self.start(answer.status, headers)
            await self.end(body)
        else:
            await self.end(sse.encode("error", body))

    async def watch_client(self) -> None:
        """Wait until the client closes the connection; run as a task beside the answer."""
        while (await self.receive())["type"] != "http.disconnect":
            pass
        if not self.finished:
            self.leave()

    def leave(self) -> None:
        """The client is gone, or takes no byte any more: nothing is sent from now on."""
        self.client_gone = True
        if self.on_client_gone is not None:
            self.on_client_gone()

    def watch(self) -> None:
        """Watch for the client's leave from a moment on: most answers end before and need no task for it."""
        self._timer = asyncio.get_running_loop().call_later(WATCH_AFTER_SECONDS, self._start_watching)

    def unwatch(self) -> None:
        """End the watch; harmless where there is none."""
        if self._timer is not None:
            self._timer.cancel()
        if self._watcher is not None:
            self._watcher.cancel()

    def _start_watching(self) -> None:
        self._watcher = asyncio.get_running_loop().create_task(self.watch_client())
