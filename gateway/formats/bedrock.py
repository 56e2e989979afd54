"""Clients that speak Amazon Bedrock: InvokeModel's JSON, its event streams, its errors.

What comes from another provider is put into Bedrock's frames event by event; a message as a whole is the same in both.
"""

from __future__ import annotations

from base64 import b64decode, b64encode
from typing import Final

import msgspec

from gateway.formats.base import HeaderList
from gateway.wire import sse
from gateway.wire.eventstream import frame
from gateway.wire.forms import Form
from gateway.wire.peek import BadBody

STREAM_TYPE: Final = b"application/vnd.amazon.eventstream"
_CHUNK: Final = {":event-type": "chunk", ":content-type": "application/json", ":message-type": "event"}

_EXCEPTIONS: Final = {
    "invalid_request_error": "ValidationException",
    "authentication_error": "UnrecognizedClientException",
    "billing_error": "ThrottlingException",
    "permission_error": "AccessDeniedException",
    "not_found_error": "ResourceNotFoundException",
    "request_too_large": "ValidationException",
    "rate_limit_error": "ThrottlingException",
    "timeout_error": "ModelTimeoutException",
    "overloaded_error": "ServiceUnavailableException",
    "api_error": "InternalServerException",
}
"""Bedrock's names for Anthropic's types of errors."""
_IN_STREAM: Final = frozenset(
    {
        "InternalServerException",
        "ModelStreamErrorException",
        "ModelTimeoutException",
        "ServiceUnavailableException",
        "ThrottlingException",
        "ValidationException",
    }
)
"""Those that a stream can carry; source: `ResponseStream` in botocore's service model."""


class _Error(msgspec.Struct):
    type: str = "api_error"
    message: str = ""


class _Envelope(msgspec.Struct):
    error: _Error


class _Invoked(msgspec.Struct):
    body: str


class _Input(msgspec.Struct):
    invoked: _Invoked = msgspec.field(name="invokeModel")


class _ToCount(msgspec.Struct):
    input: _Input


class _Count(msgspec.Struct):
    input_tokens: int


_NOT_COUNTED: Final = frozenset({"max_tokens", "metadata", "stop_sequences", "temperature", "top_k", "top_p"})

_envelope = msgspec.json.Decoder(_Envelope).decode
_to_count = msgspec.json.Decoder(_ToCount).decode
_count = msgspec.json.Decoder(_Count).decode
_fields = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode
_encode = msgspec.json.Encoder().encode


class Chunks:
    """One stream of Anthropic's events as frames."""

    __slots__ = ("_events",)

    def __init__(self) -> None:
        self._events = sse.Decoder()

    def feed(self, events: bytes) -> bytes:
        return b"".join(map(_framed, self._events.feed(events)))

    def finish(self) -> bytes:
        return b""


class BedrockFormat:
    """What is invoked with a body, and answered with one or with frames."""

    form = Form.BEDROCK
    stream_headers = ((b"content-type", STREAM_TYPE), (b"x-amzn-bedrock-content-type", b"application/json"))
    broken_off = b""

    @property
    def ping(self) -> bytes:
        return _PING

    def messages(self, body: bytes) -> bytes:
        return body

    def encoder(self, model: str) -> Chunks:
        return Chunks()

    def whole(self, body: bytes, model: str) -> bytes:
        return body

    def count(self, body: bytes) -> bytes:
        """What came, where it is no count."""
        try:
            return b'{"inputTokens":%d}' % _count(body).input_tokens
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            return body

    def error(self, status: int, body: bytes) -> tuple[HeaderList, bytes]:
        kind, message = _read(body)
        headers = [(b"content-type", b"application/json"), (b"x-amzn-errortype", kind.encode())]
        return headers, _encode({"message": message})

    def error_event(self, body: bytes) -> bytes:
        return _exception(body)


class BedrockCountFormat(BedrockFormat):
    """CountTokens: the same, with the body that is to be counted packed into another."""

    def messages(self, body: bytes) -> bytes:
        """Without what an InvokeModel's body must say and a count does not take."""
        try:
            fields = _fields(b64decode(_to_count(body).input.invoked.body, validate=True))
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError, ValueError):
            raise BadBody(
                'A count takes {"input": {"invokeModel": {"body": "<the body in base64>"}}}; Converse is not served.'
            ) from None
        return _encode({name: raw for name, raw in fields.items() if name not in _NOT_COUNTED})


def _framed(event: sse.Event) -> bytes:
    if event.name == b"error":
        return _exception(event.data)
    return frame(_CHUNK, b'{"bytes":"%b"}' % b64encode(event.data))


def _exception(envelope: bytes) -> bytes:
    """The frame that ends a stream. Its names begin with a small letter there."""
    kind, message = _read(envelope)
    if kind not in _IN_STREAM:
        kind = "ModelStreamErrorException"
    headers = {
        ":exception-type": kind[0].lower() + kind[1:],
        ":content-type": "application/json",
        ":message-type": "exception",
    }
    return frame(headers, _encode({"message": message}))


def _read(envelope: bytes) -> tuple[str, str]:
    """(Bedrock's name, sentence) of an error in Anthropic's envelope."""
    try:
        error = _envelope(envelope).error
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        error = _Error(message=envelope.decode("utf-8", "replace")[:2000])
    return _EXCEPTIONS.get(error.type, "InternalServerException"), error.message


_PING: Final = _framed(sse.Event(b"ping", b'{"type": "ping"}'))
BEDROCK: Final = BedrockFormat()
BEDROCK_COUNT: Final = BedrockCountFormat()
