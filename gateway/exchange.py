"""One request from its first byte to its last: the state that the steps of `pipeline.py` fill, and the client's line.

The exchange owns the request's record. Whatever happens, `settle.finish` completes it once.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import msgspec

from gateway.availability import Turn
from gateway.errors import Answer
from gateway.formats.anthropic import ANTHROPIC
from gateway.formats.base import Format
from gateway.line import ClientGone, Line
from gateway.providers.base import Operation, Provider
from gateway.wire.forms import OPENAI
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

__all__ = ["Attempt", "Candidate", "ClientGone", "Exchange", "Planned", "Target"]

# Structs of msgspec: made for each request, where a dataclass of so many fields costs several times as much.


class Planned(msgspec.Struct, frozen=True):
    """Where a routing rule wants a request to go."""

    model: str
    provider_id: int | None = None
    """None for every provider that serves the model."""
    tier: int = 0
    """All of a lower tier are tried before those of a higher one."""
    weight: float = 1.0


class Candidate(msgspec.Struct, frozen=True):
    """A provider that the key may use, and the model that it would be asked for."""

    access: Access
    model: str
    tier: int = 0
    rank: int = 0
    """Inside a tier: the provider's, where nobody chose the provider."""
    weight: float = 1.0


class Target(msgspec.Struct, frozen=True):
    """One provider, credential and model that a request may be sent to, and what of the key's allows it."""

    provider: ProviderConfig
    credential: CredentialConfig
    access: Access
    model: str


class Attempt(msgspec.Struct):
    """One try at one target. Times in seconds of the monotonic clock."""

    target: Target
    platform: str
    started: float
    ended: float = 0.0
    status: int | None = None
    error: str = ""
    provider_request_id: str = ""
    hedge: bool = False
    """Whether it was started beside another that had been silent for too long."""
    failed: str = ""
    """Why it did not answer, in one word for metrics."""
    noted: bool = False
    """Whether the request was noted: from then on its bytes may be on their way."""
    turn: Turn | None = None
    """What its outcome is told to."""
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
    format: Format = ANTHROPIC
    """How the client speaks and is answered."""
    path_model: str = ""
    """The model where the client's format names it in the path, as Anthropic spells it."""
    path_stream: bool | None = None
    """Whether to stream, where the client's format says it in the path."""
    own_model: str = ""
    """The model as the client wrote it, where that is not how Anthropic spells it."""
    operation: Operation = Operation.MESSAGES
    place: int | None = None
    """Bytes that its place in the gate holds for the body; None without a place."""
    body: bytes = b""
    """A Messages body in one of the Claude formats."""
    untranslated: bytes = b""
    """What the client sent, where that was not a Claude format."""
    peek: Peek | None = None
    grant: Grant | None = None
    project: ProjectRef | None = None
    plan: tuple[Planned, ...] = ()
    """What a routing rule decided; empty where none did."""
    candidates: tuple[Candidate, ...] = ()
    holds: list[Hold] = []
    prompt_estimate: int | None = None
    """Tokens that the prompt probably has, once somebody needed to know."""
    worst_nano_usd: int = 0
    worst_tokens: int = 0
    targets: Sequence[Target] = ()
    extra_headers: tuple[tuple[bytes, bytes], ...] = ()
    """What routing rules add to the request to the provider."""
    relay_rate_limits: bool = False
    """Whether a provider's 429 goes to the client, by a rule, instead of the request to the next target."""
    hedge_seconds: float | None = None
    """After how long without a first token the next target is asked, too, by a rule."""
    attempts: list[Attempt] = []
    aliased_from: str = ""
    """The model that was asked for, where an alias of the key or team put another in its place."""
    downgraded_from: str = ""
    """The model that was to be asked for, where a budget's ladder put a cheaper one in its place."""
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
    def open(cls, gateway: Gateway, line: Line, path: str, spoken: Format = ANTHROPIC) -> Exchange:
        """Begin an exchange: it gets its id, which the client sees as `request-id`, now."""
        record = RequestRecord(id=new_ulid(), started_at=datetime.now(UTC), endpoint=path[:64])
        exchange = cls(gateway, gateway.snapshot, line, Headers(line.headers), record, path, time.monotonic(), spoken)
        line.on_gone = exchange.leave
        return exchange

    @property
    def model(self) -> str:
        """The model that is asked for first; another target may be asked for another."""
        if self.candidates:
            return self.candidates[0].model
        return self.peek.model if self.peek else self.record.model_requested

    def called(self, provider: Provider, model: str) -> str:
        """The model as a provider is asked for it: the client's own spelling, which says a region, a version or an
        inference profile, where both speak one format and nothing put another model in its place.
        """
        unchanged = self.peek is not None and model == self.peek.model
        return self.own_model if self.own_model and unchanged and provider.form is self.format.form else model

    def start(self, status: int, headers: Sequence[tuple[bytes, bytes]]) -> None:
        """Begin the answer; `request-id` is added here, on every answer."""
        self.answered_status = status
        if self.client_gone:
            return
        own = (b"request-id", self.record.id.encode())
        if self.format.form in OPENAI:
            # Where the SDKs of this format look for it; a provider of the format sent its own.
            headers = [(b"x-request-id", own[1]), *(field for field in headers if field[0] != b"x-request-id")]
        self.line.start(status, [own, *headers])

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
        """End with an error: as a response of its own, or, where the stream has begun, as an error event in it."""
        body = answer.body(self.record.id)
        if self.answered_status is None:
            own, body = self.format.error(answer.status, body)
            self.start(answer.status, [*own, (b"content-length", str(len(body)).encode()), *answer.headers])
            self.end(body)
        else:
            self.end(self.format.error_event(body))

    def cut(self, answer: Answer) -> None:
        """End in the middle: what was written last may have stopped inside an event."""
        if self.answered_status is not None:
            self.break_off()
        self.answer(answer)

    def break_off(self) -> None:
        """End the event that what was written last may have stopped inside of."""
        self.write(self.format.broken_off)

    def leave(self) -> None:
        """The client is gone, or takes no byte any more: nothing is sent from now on."""
        if self.finished or self.client_gone:
            return
        self.client_gone = True
        if self.on_client_gone is not None:
            self.on_client_gone()
