"""A provider's event stream on its way into Anthropic's events, cut anywhere: what all of them read alike."""

from __future__ import annotations

from abc import ABC, abstractmethod

from gateway.wire import sse
from gateway.wire.openai.dialect import BadAnswer


class Incoming(ABC):
    """Gives each whole event to `_block`, which says what becomes of it."""

    def __init__(self) -> None:
        self._splitter = sse.Splitter()

    @property
    def at_boundary(self) -> bool:
        """Whether what came so far ends with a whole event."""
        return self._splitter.at_boundary

    def feed(self, chunk: bytes) -> bytes:
        """Whole events, perhaps none. Raises BadAnswer."""
        return b"".join([self._block(block) for block in self._splitter.feed(chunk)])

    def _rest(self) -> bytes:
        """What an event says that lacks only its last line end; half of one says that the stream was cut."""
        try:
            return self._block(self._splitter.rest)
        except BadAnswer:
            return b""

    @abstractmethod
    def _block(self, block: bytes) -> bytes:
        """The events that a raw event of the provider's becomes."""
