"""OpenAI's Responses API."""

from __future__ import annotations

import time

from gateway.formats.openai import OpenAIFormat
from gateway.wire.forms import Form
from gateway.wire.openai_clients import responses_answer, responses_request, responses_stream
from gateway.wire.openai_clients.events import message_of


class OpenAIResponses(OpenAIFormat):
    """`POST /v1/responses`."""

    form = Form.OPENAI_RESPONSES

    def messages(self, body: bytes) -> bytes:
        translated = responses_request.to_messages(body)
        self._echo = translated.echo
        return translated.body

    def encoder(self, model: str) -> responses_stream.ResponsesStream:
        return responses_stream.ResponsesStream(model, int(time.time()), self._echo)

    def whole(self, body: bytes, model: str) -> bytes:
        return responses_answer.whole_response(message_of(body), model, int(time.time()), self._echo)

    def error_event(self, body: bytes) -> bytes:
        return responses_stream.failed(body)
