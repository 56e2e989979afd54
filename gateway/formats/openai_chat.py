"""OpenAI's chat completions."""

from __future__ import annotations

import time

from gateway.formats.openai import OpenAIFormat
from gateway.wire.forms import Form
from gateway.wire.openai_clients import chat_answer, chat_request
from gateway.wire.openai_clients.events import message_of


class OpenAIChat(OpenAIFormat):
    """`POST /v1/chat/completions`."""

    form = Form.OPENAI_CHAT

    def messages(self, body: bytes) -> bytes:
        translated = chat_request.to_messages(body)
        self._echo = translated.echo
        return translated.body

    def encoder(self, model: str) -> chat_answer.ChatStream:
        return chat_answer.ChatStream(model, int(time.time()), self._echo)

    def whole(self, body: bytes, model: str) -> bytes:
        return chat_answer.completion(message_of(body), model, int(time.time()), self._echo)

    def error_event(self, body: bytes) -> bytes:
        return chat_answer.failed(body)
