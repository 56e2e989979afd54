"""Anthropic's Messages API: what every other format is translated from and to."""

from __future__ import annotations

from gateway.formats.base import HeaderList
from gateway.wire import sse
from gateway.wire.forms import Form


class AnthropicFormat:
    """Clients that read Anthropic's answers as they are."""

    form = Form.ANTHROPIC
    stream_headers = ((b"content-type", b"text/event-stream; charset=utf-8"), (b"cache-control", b"no-cache"))
    ping = sse.PING
    broken_off = sse.BROKEN_OFF

    def messages(self, body: bytes) -> bytes:
        return body

    def encoder(self, model: str) -> None:
        return None

    def whole(self, body: bytes, model: str) -> bytes:
        return body

    def count(self, body: bytes) -> bytes:
        return body

    def error(self, status: int, body: bytes) -> tuple[HeaderList, bytes]:
        return [(b"content-type", b"application/json")], body

    def error_event(self, body: bytes) -> bytes:
        return sse.encode("error", body)


ANTHROPIC = AnthropicFormat()
