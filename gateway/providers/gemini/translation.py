"""One answer of Gemini's put into Anthropic's form."""

from __future__ import annotations

from gateway.providers.base import Untranslatable
from gateway.wire.gemini.answer import counted, whole
from gateway.wire.gemini.stream import Stream
from gateway.wire.openai.answer import Names
from gateway.wire.openai.dialect import BadAnswer


class GeminiTranslation:
    """`names` gives the names of the tools that the request offered; `counts` says that it counts tokens."""

    def __init__(self, names: Names, *, counts: bool) -> None:
        self._names = names
        self._counts = counts
        self._stream = Stream(names)

    def whole(self, body: bytes) -> bytes:
        try:
            return counted(body) if self._counts else whole(body, self._names)
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
