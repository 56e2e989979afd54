"""Claude's event stream decoded for translation: each event's JSON, whatever way the bytes were cut."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

import msgspec

from gateway.wire.openai_clients.fields import JsonObject
from gateway.wire.sse import Decoder

_UNREADABLE: Final = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)
_decode = msgspec.json.Decoder(JsonObject).decode


class Events:
    """Bytes in, (type, fields) out. What cannot be read is passed over: clients of Claude's own format do so too."""

    def __init__(self) -> None:
        self._decoder = Decoder()

    def feed(self, chunk: bytes) -> Iterator[tuple[str, JsonObject]]:
        """The events that this part completed."""
        for event in self._decoder.feed(chunk):
            try:
                fields = _decode(event.data)
            except _UNREADABLE:
                continue
            yield event.name.decode("ascii", "replace") or str(fields.get("type", "")), fields


def inner(fields: JsonObject, name: str) -> JsonObject:
    """An object inside; an empty one where it is something else."""
    value: Any = fields.get(name)
    return value if isinstance(value, dict) else {}


def words(fields: JsonObject, name: str) -> str:
    """A string inside; an empty one where it is something else."""
    value = fields.get(name)
    return value if isinstance(value, str) else ""


def message_of(body: bytes) -> JsonObject:
    """A whole answer: the meter has read it as a message before."""
    return _decode(body)
