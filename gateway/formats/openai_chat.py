"""OpenAI's chat completions: one for each exchange, since a request says how its answer is to be told."""

from __future__ import annotations

import time

from gateway.formats.base import HeaderList
from gateway.wire.forms import Form
from gateway.wire.openai_clients import chat_answer, chat_request
from gateway.wire.openai_clients.events import message_of
from gateway.wire.openai_clients.failures import failure_body
from gateway.wire.openai_clients.translated import Echo


class OpenAIChat:
    """`POST /v1/chat/completions`."""

    form = Form.OPENAI_CHAT
    stream_headers = ((b"content-type", b"text/event-stream; charset=utf-8"), (b"cache-control", b"no-cache"))
    ping = b": ping\n\n"
    broken_off = b"\n\n"
    """Frames have no name to be known by: half of one, of a stream that passes unchanged, is an error of its own."""

    def __init__(self) -> None:
        self._echo = Echo()

    def messages(self, body: bytes) -> bytes:
        translated = chat_request.to_messages(body)
        self._echo = translated.echo
        return translated.body

    def encoder(self, model: str) -> chat_answer.ChatStream:
        return chat_answer.ChatStream(model, int(time.time()), self._echo)

    def whole(self, body: bytes, model: str) -> bytes:
        return chat_answer.completion(message_of(body), model, int(time.time()), self._echo)

    def count(self, body: bytes) -> bytes:
        return body

    def error(self, status: int, body: bytes) -> tuple[HeaderList, bytes]:
        return [(b"content-type", b"application/json")], failure_body(body)

    def error_event(self, body: bytes) -> bytes:
        return chat_answer.failed(body)
