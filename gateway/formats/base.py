"""What a client's format has to know: how it is told an answer, an error, and that a stream is alive."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from gateway.wire.forms import Form

HeaderList = list[tuple[bytes, bytes]]


class Encoder(Protocol):
    """Puts one stream of Anthropic's events into the client's format."""

    def feed(self, events: bytes) -> bytes:
        """What the client gets for a part of the stream, cut anywhere; whole frames of its format only."""
        ...

    def finish(self) -> bytes:
        """What ends the client's stream after the last event; nothing where `feed` has ended it."""
        ...


class Format(Protocol):
    """One client format. An instance may be one exchange's own: what a request asks for decides how it is answered."""

    @property
    def form(self) -> Form: ...

    @property
    def stream_headers(self) -> Sequence[tuple[bytes, bytes]]:
        """Of a stream that the gateway begins by itself: `content-type` and what goes with it."""
        ...

    @property
    def ping(self) -> bytes:
        """What keeps a silent stream alive; empty where the format has nothing of the kind."""
        ...

    @property
    def broken_off(self) -> bytes:
        """What ends a half event so that the next can be read; empty where only whole frames are ever written."""
        ...

    def messages(self, body: bytes) -> bytes:
        """A request's body as a Claude Messages body; itself where it is one. Raises peek.BadBody with a sentence."""
        ...

    def encoder(self, model: str) -> Encoder | None:
        """None where clients read Anthropic's events as they are. `model` is what the client asked for."""
        ...

    def whole(self, body: bytes, model: str) -> bytes:
        """A JSON message of Anthropic's in the client's format."""
        ...

    def count(self, body: bytes) -> bytes:
        """The answer to a count of tokens, `{"input_tokens": 12}`, in the client's format."""
        ...

    def error(self, status: int, body: bytes) -> tuple[HeaderList, bytes]:
        """An error in Anthropic's envelope as (headers beside the length, body) of an answer with this status."""
        ...

    def error_event(self, body: bytes) -> bytes:
        """The same inside a stream that has begun: its last bytes."""
        ...
