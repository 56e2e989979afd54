"""One answer of OpenAI's put into Anthropic's form."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from gateway.providers.base import Untranslatable
from gateway.wire.openai.dialect import BadAnswer


class Events(Protocol):
    """A stream that becomes Anthropic's."""

    def feed(self, chunk: bytes) -> bytes: ...

    def finish(self) -> bytes: ...

    @property
    def at_boundary(self) -> bool: ...


class OpenAITranslation:
    """Of one of OpenAI's two APIs."""

    def __init__(self, events: Events, whole: Callable[[bytes], bytes]) -> None:
        self._events = events
        self._whole = whole

    def whole(self, body: bytes) -> bytes:
        try:
            return self._whole(body)
        except BadAnswer as error:
            raise Untranslatable(str(error)) from None

    def feed(self, chunk: bytes) -> bytes:
        try:
            return self._events.feed(chunk)
        except BadAnswer as error:
            raise Untranslatable(str(error)) from None

    def finish(self) -> bytes:
        return self._events.finish()

    @property
    def at_boundary(self) -> bool:
        return self._events.at_boundary
