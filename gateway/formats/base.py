"""What a client's format has to know: how it is told an answer, an error, and that a stream is alive."""

from __future__ import annotations

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
    """One client format. Stateless: what belongs to one answer is in its encoder."""

    form: Form
    stream_headers: tuple[tuple[bytes, bytes], ...]
    """Of a stream that the gateway begins by itself: `content-type` and what goes with it."""
    ping: bytes
    """What keeps a silent stream alive; empty where the format has nothing of the kind."""
    broken_off: bytes
    """What ends a half event so that the next one can be read."""

    def encoder(self, model: str) -> Encoder | None:
        """None where clients read Anthropic's events as they are. `model` is what the client asked for."""
        ...

    def whole(self, body: bytes, model: str) -> bytes:
        """A JSON message of Anthropic's in the client's format."""
        ...

    def error(self, status: int, body: bytes) -> tuple[HeaderList, bytes]:
        """An error in Anthropic's envelope as (headers beside the length, body) of an answer with this status."""
        ...

    def error_event(self, body: bytes) -> bytes:
        """The same inside a stream that has begun: its last bytes."""
        ...
