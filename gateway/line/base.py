"""What the data plane needs of a client's connection, whoever holds it: uvicorn's protocol or an ASGI server."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Sequence
from typing import Any, Protocol


class ClientGone(Exception):
    """The client closed its connection before it had sent the whole request."""


class BodyTooLarge(Exception):
    """The body is longer than what is taken in."""


class BodyOverdue(Exception):
    """The body stopped coming. The connection is closed with the answer: the rest may still come on it."""


class Line(Protocol):
    """One request of a client and the way back for its answer.

    Only `body` and `finish` wait. What is written goes into the connection's buffer: whoever streams looks at `paused`
    and stops until `on_writable` is called. Nothing happens any more once the client has left.
    """

    method: str
    path: str
    """Decoded, with the surface's prefix."""
    query: bytes
    headers: Sequence[tuple[bytes, bytes]]
    """Names in lower case, in the order they came."""
    client: str | None
    """The address of the peer."""
    on_gone: Callable[[], None] | None
    """Called once when the client closes the connection before its answer has ended."""
    on_writable: Callable[[], None] | None
    """Called when a paused line takes more."""

    @property
    def paused(self) -> bool:
        """Whether the client reads more slowly than is written."""
        ...

    async def body(self, limit: int) -> bytes:
        """The whole body. Raises BodyTooLarge beyond `limit` bytes, ClientGone or BodyOverdue where it never comes."""
        ...

    def start(self, status: int, headers: Sequence[tuple[bytes, bytes]]) -> None:
        """Status and headers; they leave with the first bytes of the body. Raises ValueError for a broken header."""
        ...

    def write(self, chunk: bytes) -> None:
        """A part of the body."""
        ...

    def end(self, chunk: bytes = b"") -> None:
        """The last part of the body."""
        ...

    def drop(self) -> None:
        """Close the connection at once, whatever waits in it: the client takes nothing. `on_gone` follows."""
        ...

    async def finish(self) -> None:
        """Wait until the server has taken over everything written, where it does not at once."""
        ...


Surface = Callable[[Line], Coroutine[Any, Any, None]]
"""Answers every request under one prefix."""

_surfaces: dict[str, Surface] = {}


def register(prefix: str, surface: Surface) -> None:
    """Have `surface` answer what lies under a prefix of one segment, such as `/anthropic`."""
    _surfaces[prefix.strip("/")] = surface


def find(path: str) -> Surface | None:
    """The surface that answers a path; None where the path is not the data plane's."""
    return _surfaces.get(path[1:].partition("/")[0])
