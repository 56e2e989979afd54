"""What both of OpenAI's formats share: one instance for each exchange, since a request says how it is answered."""

from __future__ import annotations

from gateway.formats.base import HeaderList
from gateway.wire.openai_clients.failures import failure_body
from gateway.wire.openai_clients.translated import Echo


class OpenAIFormat:
    """Server-sent events without names that clients would go by, and errors in OpenAI's envelope."""

    stream_headers = ((b"content-type", b"text/event-stream; charset=utf-8"), (b"cache-control", b"no-cache"))
    ping = b": ping\n\n"
    broken_off = b"\n\n"
    """Clients go by the data: half an event, of a stream that passes unchanged, is an error of its own."""

    def __init__(self) -> None:
        self._echo = Echo()
        """What of the request its answer repeats or goes by."""

    def count(self, body: bytes) -> bytes:
        return body

    def error(self, status: int, body: bytes) -> tuple[HeaderList, bytes]:
        return [(b"content-type", b"application/json")], failure_body(body)
