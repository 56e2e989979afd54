"""One request from its first byte to its last: the state that the steps of `pipeline.py` fill, and the client's line.

The exchange owns the request's record. Whatever happens, `settle.finish` completes it once.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import msgspec

from gateway.errors import Answer
from gateway.line import ClientGone, Line
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

__all__ = ["Attempt", "ClientGone", "Exchange", "Target"]

# Structs of msgspec: made for each request, where a dataclass of so many fields costs several times as much.


class Target(msgspec.Struct, frozen=True):
    """One provider and credential that a request may be sent to, and the key's configuration that allows it."""

    provider: ProviderConfig
    credential: CredentialConfig
    access: Access


class Attempt(msgspec.Struct):
    """One try at one target. Times in seconds of the monotonic clock."""

    target: Target
    platform: str
    started: float
    ended: float = 0.0
    status: int | None = None
    error: str = ""
    provider_request_id: str = ""
    noted: bool = False
    """Whether the request was noted: from then on its bytes may be on their way."""
    metered: Metered | None = None
    """What the provider said it used; None where it gave no answer that could be charged."""


class Exchange(msgspec.Struct):
    """The state of one request."""

    gateway: Gateway
    snapshot: Snapshot
    line: Line
    headers: Headers
    record: RequestRecord
    path: str
    """Below the surface's prefix, for example `/v1/messages`."""
    started: float
    place: int | None = None
    """Bytes that its place in the gate holds for the body; None without a place."""
    body: bytes = b""
    peek: Peek | None = None
    grant: Grant | None = None
    project: ProjectRef | None = None
    candidates: tuple[Access, ...] = ()
    holds: list[Hold] = []
    prompt_estimate: int | None = None
    """Tokens that the prompt probably has, once somebody needed to know."""
    worst_nano_usd: int = 0
    worst_tokens: int = 0
    targets: Sequence[Target] = ()
    attempts: list[Attempt] = []
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

    @classmethod
    def open(cls, gateway: Gateway, line: Line, path: str) -> Exchange:
        """Begin an exchange: it gets its id, which the client sees as `request-id`, now."""
        record = RequestRecord(id=new_ulid(), started_at=datetime.now(UTC), endpoint=path[:64])
        exchange = cls(gateway, gateway.snapshot, line, Headers(line.headers), record, path, time.monotonic())
        line.on_gone = exchange.leave
        return exchange

    @property
    def model(self) -> str:
        """The model that the provider is asked for: a budget's ladder may have put it in the place of another."""
        return self.peek.model if self.peek else self.record.model_requested

    def start(self, status: int, headers: Sequence[tuple[bytes, bytes]]) -> None:
        """Begin the answer; `request-id` is added here, on every answer."""
        self.answered_status = status
        if not self.client_gone:
            self.line.start(status, [(b"request-id", self.record.id.encode()), *headers])

    def write(self, chunk: bytes) -> None:
        """Send a part of the body. Nothing happens once the client is gone."""
        if not self.client_gone:
            self.line.write(chunk)

    def end(self, chunk: bytes = b"") -> None:
        """Send the last part of the body; the record must be finished before.

        The race: the client may leave right after this part, and would look as if it had left early.
        """
        if not self.client_gone:
            self.line.end(chunk)

    def answer(self, answer: Answer) -> None:
        """End with an error: as a response of its own, or, where the stream has begun, as an `error` event in it."""
        body = answer.body(self.record.id)
        if self.answered_status is None:
            headers = [
                (b"content-type", b"application/json"),
                (b"content-length", str(len(body)).encode()),
                *answer.headers,
            ]
            self.start(answer.status, headers)
            self.end(body)
        else:
            self.end(sse.encode("error", body))

    def cut(self, answer: Answer) -> None:
        """End in the middle: what was written last may have stopped inside an event."""
        if self.answered_status is not None:
            self.write(sse.BROKEN_OFF)
        self.answer(answer)

    def leave(self) -> None:
        """The client is gone, or takes no byte any more: nothing is sent from now on."""
        if self.finished or self.client_gone:
            return
        self.client_gone = True
        if self.on_client_gone is not None:
            self.on_client_gone()
