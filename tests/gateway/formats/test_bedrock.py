"""What a client of Bedrock is told, read by botocore's own parsers."""

from __future__ import annotations

import json
from base64 import b64encode
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from botocore.eventstream import EventStream, EventStreamBuffer
from botocore.exceptions import EventStreamError
from botocore.loaders import Loader
from botocore.model import ServiceModel
from botocore.parsers import EventStreamJSONParser
from hypothesis import given
from hypothesis import strategies as st

from gateway.formats.bedrock import BEDROCK, BEDROCK_COUNT
from gateway.providers.bedrock.answer import Invoked
from gateway.wire import sse
from gateway.wire.eventstream import frame
from gateway.wire.peek import BadBody

GOLDEN = Path(__file__).parents[2] / "golden" / "streams"
WHOLE = ["plain", "thinking", "tool_use", "refusal", "iterations", "web_search", "unicode", "pings", "crlf"]
SERVICE = ServiceModel(Loader().load_service_model("bedrock-runtime", "service-2"))


class Raw:
    """A response's body as botocore reads it."""

    def __init__(self, data: bytes) -> None:
        self._data = data

    def stream(self) -> Iterator[bytes]:
        yield self._data


def parsed(data: bytes) -> list[Any]:
    """The events that botocore's client gives its user. Raises EventStreamError."""
    shape = SERVICE.shape_for("ResponseStream")
    found = EventStream(Raw(data), shape, EventStreamJSONParser(), "InvokeModelWithResponseStream")
    return [json.loads(part["chunk"]["bytes"]) for part in found]


def encoded(*parts: bytes) -> bytes:
    encoder = BEDROCK.encoder("claude-opus-5-5")
    return b"".join([*map(encoder.feed, parts), encoder.finish()])


@pytest.mark.parametrize("name", WHOLE)
def test_botocore_reads_every_event(name: str) -> None:
    source = (GOLDEN / f"{name}.sse").read_bytes()
    wanted = [json.loads(event.data) for event in sse.Decoder().feed(source)]
    assert parsed(encoded(source)) == wanted


@pytest.mark.parametrize("name", ["tool_use", "crlf"])
def test_every_cut_gives_the_same_frames(name: str) -> None:
    source = (GOLDEN / f"{name}.sse").read_bytes()
    whole = encoded(source)
    for cut in range(len(source)):
        assert encoded(source[:cut], source[cut:]) == whole
    assert encoded(*(source[at : at + 1] for at in range(len(source)))) == whole


@pytest.mark.parametrize("name", ["thinking", "tool_use", "iterations"])
def test_there_and_back_again(name: str) -> None:
    source = (GOLDEN / f"{name}.sse").read_bytes()
    wanted = b"".join(sse.encode(event.name.decode(), event.data) for event in sse.Decoder().feed(source))
    assert Invoked().feed(encoded(source)) == wanted


def test_a_ping_is_an_event_of_its_own() -> None:
    assert parsed(BEDROCK.ping) == [{"type": "ping"}]


@pytest.mark.parametrize(
    ("kind", "in_stream", "named"),
    [
        ("overloaded_error", "serviceUnavailableException", "ServiceUnavailableException"),
        ("rate_limit_error", "throttlingException", "ThrottlingException"),
        ("billing_error", "throttlingException", "ThrottlingException"),
        ("api_error", "internalServerException", "InternalServerException"),
        ("invalid_request_error", "validationException", "ValidationException"),
        ("not_found_error", "modelStreamErrorException", "ResourceNotFoundException"),
        ("authentication_error", "modelStreamErrorException", "UnrecognizedClientException"),
        ("of_a_new_kind", "internalServerException", "InternalServerException"),
    ],
)
def test_errors_have_bedrocks_names(kind: str, in_stream: str, named: str) -> None:
    body = json.dumps({"type": "error", "error": {"type": kind, "message": "It is so. ü"}, "request_id": "x"}).encode()
    for data in (BEDROCK.error_event(body), encoded(sse.encode("error", body))):
        with pytest.raises(EventStreamError, match=rf"\({in_stream}\).*It is so\. ü"):
            parsed(data)
    headers, told = BEDROCK.error(429, body)
    assert json.loads(told) == {"message": "It is so. ü"}
    assert (b"x-amzn-errortype", named.encode()) in headers
    # botocore has a class for each of them, but for what stands before the service.
    assert named in SERVICE.shape_names or named == "UnrecognizedClientException"


def test_what_is_no_envelope_is_told_as_it_is() -> None:
    assert json.loads(BEDROCK.error(500, b"<html>")[1]) == {"message": "<html>"}


def test_messages_pass_and_counts_have_bedrocks_name() -> None:
    body = b'{"type":"message"}'
    assert BEDROCK.whole(body, "x") is body
    assert BEDROCK.messages(body) is body
    assert BEDROCK.count(b'{"input_tokens":7}') == b'{"inputTokens":7}'


@pytest.mark.parametrize("body", [b"{}", b"", b"[]", b'{"input_tokens":"7"}', b"\xff"])
def test_what_is_no_count_is_told_as_it_came(body: bytes) -> None:
    assert BEDROCK.count(body) is body


def test_what_is_counted_is_unpacked() -> None:
    inner = {"anthropic_version": "bedrock-2023-05-31", "max_tokens": 1, "messages": [], "temperature": 1}
    packed = {"input": {"invokeModel": {"body": b64encode(json.dumps(inner).encode()).decode()}}}
    assert json.loads(BEDROCK_COUNT.messages(json.dumps(packed).encode())) == {
        "anthropic_version": "bedrock-2023-05-31",
        "messages": [],
    }


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{}",
        b'{"input":{"converse":{}}}',
        b'{"input":{"invokeModel":{"body":"%"}}}',
        b'{"input":{"invokeModel":{"body":"W10="}}}',
        b'{"input":{"invokeModel":{"body":7}}}',
        b"[" * 100_000,
    ],
)
def test_what_cannot_be_counted_is_told_how_it_should_look(body: bytes) -> None:
    with pytest.raises(BadBody, match="invokeModel"):
        BEDROCK_COUNT.messages(body)


@given(
    st.dictionaries(st.text(min_size=1, max_size=20), st.text(max_size=40), max_size=5),
    st.binary(max_size=200),
)
def test_botocore_reads_any_frame(headers: dict[str, str], payload: bytes) -> None:
    buffer = EventStreamBuffer()
    buffer.add_data(frame(headers, payload) * 2)
    for message in (next(buffer), next(buffer)):
        assert (message.headers, message.payload) == (headers, payload)
    with pytest.raises(StopIteration):
        next(buffer)
