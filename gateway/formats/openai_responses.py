"""OpenAI's Responses API: one for each exchange, since a response repeats its request's settings."""

from __future__ import annotations

import time

from gateway.formats.base import HeaderList
from gateway.wire.forms import Form
from gateway.wire.openai_clients import responses_answer, responses_request, responses_stream
from gateway.wire.openai_clients.events import message_of
from gateway.wire.openai_clients.failures import failure_body
from gateway.wire.openai_clients.translated import Echo


class OpenAIResponses:
    """`POST /v1/responses`."""

    form = Form.OPENAI_RESPONSES
    stream_headers = ((b"content-type", b"text/event-stream; charset=utf-8"), (b"cache-control", b"no-cache"))
    ping = b": ping\n\n"
    broken_off = b"\n\n"
    """Clients go by the data: half an event, of a stream that passes unchanged, is an error of its own."""

    def __init__(self) -> None:
        self._echo = Echo()

    def messages(self, body: bytes) -> bytes:
        translated = responses_request.to_messages(body)
        self._echo = translated.echo
        return translated.body

    def encoder(self, model: str) -> responses_stream.ResponsesStream:
        return responses_stream.ResponsesStream(model, int(time.time()), self._echo)

    def whole(self, body: bytes, model: str) -> bytes:
        return responses_answer.whole_response(message_of(body), model, int(time.time()), self._echo)

    def count(self, body: bytes) -> bytes:
        return body

    def error(self, status: int, body: bytes) -> tuple[HeaderList, bytes]:
        return [(b"content-type", b"application/json")], failure_body(body)

    def error_event(self, body: bytes) -> bytes:
        return responses_stream.failed(body)
