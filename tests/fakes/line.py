"""A client's line without a socket: gives a body, keeps what is written; `paused` is the test's to set."""

from __future__ import annotations

from collections.abc import Callable, Sequence


class FakeLine:
    """See `gateway.line.base.Line`."""

    def __init__(
        self,
        body: bytes = b"",
        headers: Sequence[tuple[bytes, bytes]] = (),
        *,
        path: str = "/anthropic/v1/messages",
        query: bytes = b"",
    ) -> None:
        self.method = "POST"
        self.path = path
        self.query = query
        self.headers = headers
        self.client: str | None = "127.0.0.1"
        self.on_gone: Callable[[], None] | None = None
        self.on_writable: Callable[[], None] | None = None
        self.paused = False
        self.status: int | None = None
        self.answered: Sequence[tuple[bytes, bytes]] = ()
        self.written: list[bytes] = []
        self.ended = False
        self._body = body

    async def body(self, limit: int) -> bytes:
        return self._body

    def start(self, status: int, headers: Sequence[tuple[bytes, bytes]]) -> None:
        self.status, self.answered = status, headers

    def write(self, chunk: bytes) -> None:
        self.written.append(chunk)

    def end(self, chunk: bytes = b"") -> None:
        self.written.append(chunk)
        self.ended = True

    def drop(self) -> None:
        if self.on_gone is not None:
            self.on_gone()

    async def finish(self) -> None:
        pass
