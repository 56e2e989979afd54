"""Bedrock's answers in Anthropic's form: the messages are Anthropic's already, only their packing differs.

Each `chunk` frame of a stream carries one of Anthropic's events as base64. Its JSON passes as it came, with what
Bedrock adds to the last one (`amazon-bedrock-invocationMetrics`): clients read over fields that they do not know, and
Anthropic's own SDKs pass it on in the same way. Bedrock sends no pings.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import Any, Final

import msgspec
from botocore.eventstream import EventStreamBuffer, ParserError

from gateway.providers.base import Untranslatable
from gateway.providers.bedrock import errors
from gateway.wire import sse


class _Chunk(msgspec.Struct):
    data: bytes = msgspec.field(name="bytes")
    """Base64 on the wire."""


class _Event(msgspec.Struct):
    type: str


class _Count(msgspec.Struct):
    input_tokens: int = msgspec.field(name="inputTokens")


_chunk = msgspec.json.Decoder(_Chunk).decode
_event = msgspec.json.Decoder(_Event).decode
_count = msgspec.json.Decoder(_Count).decode
_UNREADABLE: Final = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)


class Invoked:
    """One answer of InvokeModel or InvokeModelWithResponseStream."""

    def __init__(self) -> None:
        self._frames = EventStreamBuffer()
        self._rest = 0
        """Bytes of the frame that has not ended."""
        self._broken = ""

    def whole(self, body: bytes) -> bytes:
        return body

    def feed(self, chunk: bytes) -> bytes:
        """What came whole before a broken frame is still given: it says what was used. The next call raises."""
        self._check()
        self._frames.add_data(chunk)
        self._rest += len(chunk)
        events: list[bytes] = []
        try:
            for message in self._whole_frames():
                events.append(_translated(message))  # noqa: PERF401 - what came before an error is kept
        except Untranslatable as error:
            self._broken = str(error)
            if not events:
                raise
        return b"".join(events)

    def finish(self) -> bytes:
        self._check()
        return b""

    @property
    def at_boundary(self) -> bool:
        return self._rest == 0

    def _check(self) -> None:
        if self._broken:
            raise Untranslatable(self._broken)

    def _whole_frames(self) -> Iterator[Any]:
        try:
            for message in self._frames:
                self._rest -= message.prelude.total_length
                yield message
        except (ParserError, struct.error, UnicodeDecodeError, KeyError) as error:
            # Whatever a broken frame makes of botocore's parser: a checksum says first that it is broken.
            raise Untranslatable(f"it sent a broken frame of its event stream ({error})") from None


class Counted(Invoked):
    """The answer of CountTokens."""

    def whole(self, body: bytes) -> bytes:
        try:
            return b'{"input_tokens":%d}' % _count(body).input_tokens
        except _UNREADABLE:
            raise Untranslatable("it answered something that is not a count of tokens") from None


def _translated(message: Any) -> bytes:
    headers = message.headers
    match headers.get(":message-type"):
        case "event" if headers.get(":event-type") == "chunk":
            return _as_sse(message.payload)
        case "event":
            # Of a kind that came after this was written.
            return b""
        case "exception":
            return sse.encode("error", errors.in_stream(str(headers.get(":exception-type")), message.payload))
        case "error":
            code, text = headers.get(":error-code", ""), headers.get(":error-message", "")
            return sse.encode("error", errors.unmodelled(str(code), str(text)))
    raise Untranslatable(f"it sent a frame of the kind {headers.get(':message-type')!r}")


def _as_sse(payload: bytes) -> bytes:
    try:
        data = _chunk(payload).data
        name = _event(data).type
    except _UNREADABLE as error:
        raise Untranslatable(f"it sent a chunk that is not an event ({error})") from None
    if b"\n" in data or b"\r" in data:
        # White space between the values: inside of a string a line end is escaped.
        data = msgspec.json.format(data, indent=-1)
    return sse.encode(name, data)
