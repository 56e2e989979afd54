"""Event streams become Anthropic's events, however their bytes are cut, and broken ones are told from whole ones."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.providers.base import Untranslatable
from gateway.providers.bedrock.answer import Counted, Invoked
from gateway.wire import sse
from gateway.wire.usage import Meter
from tests.fakes.bedrock import chunk_frame, exception_frame, raw_frame

GOLDEN = Path(__file__).parents[3] / "golden"
NAMES = ["plain", "thinking", "tool_use", "refusal", "refusal_after_content", "iterations", "web_search", "unicode"]


def events(name: str) -> list[sse.Event]:
    return sse.Decoder().feed((GOLDEN / "streams" / f"{name}.sse").read_bytes())


def packed(found: list[sse.Event]) -> bytes:
    return b"".join(chunk_frame(event.data) for event in found)


def read(translation: Invoked, *parts: bytes) -> bytes:
    return b"".join([*map(translation.feed, parts), translation.finish()])


@pytest.mark.parametrize("name", NAMES)
def test_golden_streams_keep_their_data_byte_for_byte(name: str) -> None:
    found = events(name)
    assert len(found) > 2
    wanted = b"".join(sse.encode(event.name.decode(), event.data) for event in found)
    assert read(Invoked(), packed(found)) == wanted


@pytest.mark.parametrize("name", NAMES)
def test_the_meter_reads_what_it_reads_of_anthropics(name: str) -> None:
    meter = Meter(stream=True)
    meter.feed(read(Invoked(), packed(events(name))))
    own = Meter(stream=True)
    own.feed((GOLDEN / "streams" / f"{name}.sse").read_bytes())
    assert meter.finish() == own.finish()


def test_a_recorded_stream_is_read_the_same_at_every_cut() -> None:
    """Recorded once: frames with padding, a guardrail's event, the metrics in the last one."""
    whole = (GOLDEN / "providers" / "bedrock" / "streams" / "tool_use.eventstream").read_bytes()
    wanted = (GOLDEN / "providers" / "bedrock" / "streams" / "tool_use.sse").read_bytes()
    assert b"amazon-bedrock-invocationMetrics" in wanted
    for cut in range(len(whole) + 1):
        translation = Invoked()
        before = translation.feed(whole[:cut])
        assert wanted.startswith(before)
        assert before + translation.feed(whole[cut:]) == wanted
        assert translation.at_boundary
    translation = Invoked()
    assert read(translation, *(whole[at : at + 1] for at in range(len(whole)))) == wanted


@given(st.lists(st.integers(1, 400), min_size=1, max_size=40))
def test_boundaries_are_where_frames_end(sizes: list[int]) -> None:
    frames = [chunk_frame(event.data) for event in events("tool_use")]
    whole, ends, at = b"".join(frames), {0}, 0
    for frame in frames:
        ends.add(max(ends) + len(frame))
    translation = Invoked()
    for size in sizes:
        translation.feed(whole[at : at + size])
        at = min(at + size, len(whole))
        assert translation.at_boundary is (at in ends)


@pytest.mark.parametrize("bit", range(0, 64, 7))
def test_a_wrong_bit_is_found(bit: int) -> None:
    first, second = (chunk_frame(event.data) for event in events("plain")[:2])
    place = len(second) * bit // 64
    broken = second[:place] + bytes([second[place] ^ 4]) + second[place + 1 :]
    translation = Invoked()
    # The whole frame before it says what was used: it is not lost.
    assert translation.feed(first + broken).count(b"event: ") == 1
    with pytest.raises(Untranslatable, match="broken frame"):
        translation.finish()


def test_a_broken_first_frame_is_no_answer() -> None:
    with pytest.raises(Untranslatable, match="broken frame"):
        Invoked().feed(b"event: message_start\ndata: {}\n\n")


@pytest.mark.parametrize(
    "payload", [b"{}", b"[]", b'{"bytes":"!"}', b'{"bytes":""}', b'{"bytes":"e30="}', b'{"bytes":"bm8="}', b"\xff"]
)
def test_a_chunk_without_an_event_is_no_answer(payload: bytes) -> None:
    kinds = {":event-type": "chunk", ":content-type": "application/json", ":message-type": "event"}
    with pytest.raises(Untranslatable, match="not an event"):
        Invoked().feed(raw_frame(kinds, payload))


def error_in(events_: bytes) -> Any:
    (event,) = sse.Decoder().feed(events_)
    assert event.name == b"error"
    return json.loads(event.data)["error"]


def test_exceptions_are_error_events() -> None:
    said = Invoked().feed(exception_frame("ThrottlingException", "Too many tokens, please wait."))
    assert error_in(said) == {"type": "rate_limit_error", "message": "Too many tokens, please wait."}
    unknown = {":message-type": "error", ":error-code": "InternalFailure", ":error-message": "Oh."}
    assert error_in(Invoked().feed(raw_frame(unknown, b""))) == {"type": "api_error", "message": "Oh."}


def test_frames_of_kinds_to_come_are_read_over() -> None:
    kinds = {":event-type": "somethingNew", ":message-type": "event"}
    assert Invoked().feed(raw_frame(kinds, b"{}")) == b""
    with pytest.raises(Untranslatable, match="'other'"):
        Invoked().feed(raw_frame({":message-type": "other"}, b"{}"))


def test_line_ends_between_values_do_not_end_an_event() -> None:
    pretty = json.dumps({"type": "ping", "more": "a\nb"}, indent=1).encode()
    assert Invoked().feed(chunk_frame(pretty)) == b'event: ping\ndata: {"type":"ping","more":"a\\nb"}\n\n'


def test_a_message_as_a_whole_is_anthropics_already() -> None:
    body = (GOLDEN / "messages" / "message.json").read_bytes()
    assert Invoked().whole(body) is body


def test_counts() -> None:
    assert Counted().whole(b'{"inputTokens":12}') == b'{"input_tokens":12}'
    with pytest.raises(Untranslatable):
        Counted().whole(b'{"input_tokens":12}')
