"""One answer of Chat Completions put into Anthropic's form."""

from __future__ import annotations

from gateway.providers.base import Untranslatable
from gateway.wire.openai.answer import Names, whole
from gateway.wire.openai.dialect import BadAnswer
from gateway.wire.openai.stream import Stream


class ChatTranslation:
    """`names` gives the names of the tools that the request offered."""

    def __init__(self, names: Names) -> None:
        self._names = names
        self._stream = Stream(names)

    def whole(self, body: bytes) -> bytes:
        try:
            return whole(body, self._names)
        except BadAnswer as error:
            raise Untranslatable(str(error)) from None

    def feed(self, chunk: bytes) -> bytes:
        try:
            return self._stream.feed(chunk)
        except BadAnswer as error:
            raise Untranslatable(str(error)) from None

    def finish(self) -> bytes:
        return self._stream.finish()

    @property
    def at_boundary(self) -> bool:
        return self._stream.at_boundary
