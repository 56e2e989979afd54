"""The usage tap: golden answers, every cut of them, and everything that may be wrong with an answer."""

from __future__ import annotations

import json
import random
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.wire import usage as usage_module
from gateway.wire.usage import Meter, Metered, metered_whole
from governance.domain.usage import Usage
from tests.gateway.wire import golden
from tests.gateway.wire.golden import meter, without_bytes


@pytest.mark.parametrize("name", golden.STREAMS)
def test_golden(name: str) -> None:
    assert without_bytes(meter(golden.stream(name))) == golden.expected(name)


@pytest.mark.parametrize("name", golden.STREAMS)
def test_every_single_cut_meters_the_same(name: str) -> None:
    raw = golden.stream(name)
    whole = meter(raw)
    for cut in range(len(raw) + 1):
        assert meter(raw[:cut], raw[cut:]) == whole, cut
    assert meter(*(raw[i : i + 1] for i in range(len(raw)))) == whole


@pytest.mark.parametrize("name", golden.STREAMS)
def test_chunks_as_they_come_meter_the_same(name: str) -> None:
    """One event a chunk is how a live stream arrives; bursts and random cuts follow."""
    raw = golden.stream(name)
    whole = meter(raw)
    for separator in (b"\n\n", b"\r\n\r\n", b"\r\r"):
        assert meter(*(part + separator for part in raw.split(separator)[:-1]), raw.split(separator)[-1]) == whole
    draw = random.Random(name)
    for _ in range(200):
        places = [0, *sorted(draw.randrange(len(raw)) for _ in range(draw.randrange(20))), len(raw)]
        assert meter(*(raw[a:b] for a, b in pairwise(places))) == whole


@pytest.mark.parametrize("name", golden.STREAMS)
def test_a_stream_that_ends_anywhere_is_metered_as_far_as_it_came(name: str) -> None:
    raw, whole = golden.stream(name), golden.expected(name)
    final = whole.usage
    assert final is not None
    stop = max(raw.rfind(b"message_stop"), 0)
    for end in range(len(raw)):
        cut = meter(raw[:end])
        assert not (cut.complete and end < stop), end
        if cut.usage is not None:
            assert cut.usage.cache_read_tokens == final.cache_read_tokens
            assert cut.usage.output_tokens <= final.output_tokens


def test_an_event_that_lacks_only_its_line_end_counts() -> None:
    raw = golden.stream("plain")
    assert meter(raw.rstrip(b"\n")) == meter(raw)
    assert meter(raw[: raw.index(b"event: message_stop")].rstrip(b"\n")).output_final


def test_first_content_is_known_when_it_passes() -> None:
    raw = golden.stream("plain")
    tap = Meter(stream=True)
    first = raw.index(b"\n\n", raw.index(b"event: content_block_delta")) + 2
    tap.feed(raw[: first - 1])
    assert not tap.first_content
    tap.feed(raw[first - 1 : first])
    assert tap.first_content
    assert not tap.complete
    tap.feed(raw[first:])
    assert tap.complete


def test_a_tool_call_is_content_before_its_arguments() -> None:
    tap = Meter(stream=True)
    tap.feed(event("content_block_start", index=0, content_block={"type": "text", "text": ""}))
    assert not tap.first_content
    tap.feed(event("content_block_start", index=1, content_block={"type": "tool_use", "name": "Read"}))
    assert tap.first_content


def test_content_bytes_are_about_the_text() -> None:
    text = "some words of an answer " * 4
    chunks = [event("content_block_delta", index=0, delta={"type": "text_delta", "text": text}) for _ in range(50)]
    assert meter(start(), *chunks).content_bytes == 50 * len(text)


def event(name: str, **fields: Any) -> bytes:
    data = json.dumps({"type": name, **fields}, separators=(",", ":"))
    return f"event: {name}\ndata: {data}\n\n".encode()


def start(**usage: Any) -> bytes:
    return event("message_start", message={"id": "m", "model": "claude-opus-5-5", "usage": usage})


def delta(**usage: Any) -> bytes:
    return event("message_delta", delta={"stop_reason": "end_turn"}, usage=usage)


@pytest.mark.parametrize(
    ("chunks", "usage"),
    [
        # Cumulative: the last one stands.
        ([start(input_tokens=5, output_tokens=1), delta(output_tokens=10), delta(output_tokens=30)], Usage(5, 30)),
        # Null and zero in a later event change nothing.
        ([start(input_tokens=5, output_tokens=1), delta(input_tokens=0, output_tokens=None)], Usage(5, 1)),
        (
            [start(input_tokens=5, cache_read_input_tokens=7), delta(cache_read_input_tokens=0)],
            Usage(5, cache_read_tokens=7),
        ),
        # A larger later input stands (web search results enter the prompt).
        ([start(input_tokens=5), delta(input_tokens=900, output_tokens=2)], Usage(900, 2)),
        # Writes without a split count as 5m.
        ([start(cache_creation_input_tokens=40)], Usage(cache_write_5m_tokens=40)),
        # The split of the start is kept when the total is told again.
        (
            [
                start(
                    cache_creation_input_tokens=40,
                    cache_creation={"ephemeral_1h_input_tokens": 30, "ephemeral_5m_input_tokens": 10},
                ),
                delta(cache_creation_input_tokens=40, output_tokens=1),
            ],
            Usage(output_tokens=1, cache_write_5m_tokens=10, cache_write_1h_tokens=30),
        ),
        # A total that grew: what no split explains is 5m. One that shrank: the 1h part stands first.
        (
            [
                start(
                    cache_creation_input_tokens=40,
                    cache_creation={"ephemeral_1h_input_tokens": 30, "ephemeral_5m_input_tokens": 10},
                ),
                delta(cache_creation_input_tokens=100),
            ],
            Usage(cache_write_5m_tokens=70, cache_write_1h_tokens=30),
        ),
        (
            [
                start(
                    cache_creation_input_tokens=40,
                    cache_creation={"ephemeral_1h_input_tokens": 30, "ephemeral_5m_input_tokens": 10},
                ),
                delta(cache_creation_input_tokens=35),
            ],
            Usage(cache_write_5m_tokens=5, cache_write_1h_tokens=30),
        ),
        (
            [
                start(cache_creation_input_tokens=40, cache_creation={"ephemeral_1h_input_tokens": 40}),
                delta(cache_creation_input_tokens=25),
            ],
            Usage(cache_write_1h_tokens=25),
        ),
        # Only a split and no total.
        ([start(cache_creation={"ephemeral_1h_input_tokens": 30})], Usage(cache_write_1h_tokens=30)),
        # Speed, tier and geography are kept from the start.
        (
            [start(input_tokens=1, speed="fast", service_tier="priority", inference_geo="us"), delta(output_tokens=2)],
            Usage(1, 2, speed="fast", service_tier="priority", inference_geo="us"),
        ),
        # Odd types hide nothing but themselves.
        (
            [
                start(
                    input_tokens="5",
                    output_tokens=3,
                    cache_creation=7,
                    server_tool_use=[],
                    service_tier=9,
                    iterations={"a": 1},
                )
            ],
            Usage(output_tokens=3),
        ),
        (
            [start(input_tokens=-5, output_tokens=True, cache_read_input_tokens=8.0, iterations=[1, None])],
            Usage(cache_read_tokens=8),
        ),
        # What no answer can have used would cost more than a column holds.
        ([start(input_tokens=2**40, output_tokens=1)], Usage(output_tokens=1)),
        # Nothing told is unknown, not zero; told zero is zero.
        ([event("message_start", message={"id": "m"})], None),
        ([start()], None),
        ([start(input_tokens=None)], None),
        ([start(input_tokens=0)], Usage()),
        ([delta(output_tokens=3)], Usage(output_tokens=3)),
    ],
)
def test_usage_is_merged_by_the_rules(chunks: list[bytes], usage: Usage | None) -> None:
    assert meter(*chunks).usage == usage


def test_a_delta_inside_another_event_is_no_event_of_its_own() -> None:
    inner = event("content_block_delta", index=0, delta={"type": "text_delta", "text": "x"})
    chunks = [start(input_tokens=1), b"event: message_stop\n", inner, b'data: {"type": "x"}\n\n']
    assert meter(*chunks) == meter(b"".join(chunks))
    assert not meter(*chunks).complete


def test_a_placeholder_is_not_a_final_count() -> None:
    assert not meter(start(input_tokens=1, output_tokens=1)).output_final
    assert not meter(start(output_tokens=1), event("message_delta", delta={"stop_reason": "x"})).output_final
    assert meter(start(output_tokens=1), delta(output_tokens=1)).output_final


@pytest.mark.parametrize(
    "broken",
    [
        b"event: message_start\ndata: {\n\n",
        b"event: message_start\ndata: [1]\n\n",
        b'event: message_start\ndata: {"message": 3}\n\n',
        b'event: message_delta\ndata: {"delta": [], "usage": 7}\n\n',
        b"event: message_delta\ndata: " + b"[" * 100_000 + b"\n\n",
        b'event: content_block_start\ndata: {"index": "x"}\n\n',
        b'event: content_block_stop\ndata: {"index": 99}\n\n',
        b"event: error\ndata: nope\n\n",
        b"data: \xff\xfe\n\n",
        b"data: 7\n\n",
        b'data: {"type": 7}\n\n',
        b"event: message_stop_\ndata: {}\n\n",
    ],
)
def test_a_broken_event_hides_no_other(broken: bytes) -> None:
    raw = golden.stream("write_tool")
    for at in (0, raw.index(b"\n\n") + 2, raw.index(b"event: message_delta")):
        assert without_bytes(meter(raw[:at] + broken + raw[at:])) == golden.expected("write_tool")


@given(st.lists(st.binary(max_size=80), max_size=10), st.booleans())
def test_garbage_never_raises(chunks: list[bytes], is_stream: bool) -> None:
    assert meter(*chunks, is_stream=is_stream).usage is None


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                [
                    "type",
                    "message",
                    "usage",
                    "delta",
                    "index",
                    "content_block",
                    "content",
                    "name",
                    "error",
                    "input_tokens",
                    "iterations",
                    "cache_creation",
                    "partial_json",
                    "input",
                ]
            ),
            inner,
            max_size=5,
        )
    ),
    max_leaves=20,
)
_NAMES = [
    "message_start",
    "content_block_start",
    "content_block_delta",
    "content_block_stop",
    "message_delta",
    "error",
    "",
]


@given(st.lists(st.tuples(st.sampled_from(_NAMES), _JSON), max_size=6))
@settings(max_examples=300)
def test_odd_events_never_raise(events: list[tuple[str, Any]]) -> None:
    opened = event("content_block_start", index=0, content_block={"type": "tool_use", "name": "Edit"})
    chunks = [f"event: {name}\ndata: {json.dumps(data)}\n\n".encode() for name, data in events]
    assert isinstance(meter(opened, *chunks, event("content_block_stop", index=0)), Metered)
    for _, data in events:
        assert isinstance(meter(json.dumps(data).encode(), is_stream=False), Metered)


def test_json_answer() -> None:
    raw = (golden.FOLDER / "messages" / "message.json").read_bytes()
    whole = meter(raw, is_stream=False)
    assert whole.usage == Usage(
        900, 44, 4, 3, cache_write_5m_tokens=50, service_tier="standard", inference_geo="not_available"
    )
    assert (whole.model, whole.message_id, whole.stop_reason) == ("claude-sonnet-5", "msg_01Json", "tool_use")
    assert (whole.tool_calls, whole.lines_added, whole.lines_removed) == ({"Write": 1}, 2, 0)
    assert whole.has_content
    assert whole.complete
    assert whole.output_final
    assert meter(raw[:100], raw[100:], is_stream=False) == whole
    assert meter(raw[:-3], is_stream=False) == Metered()


def test_json_error() -> None:
    raw = b'{"type":"error","error":{"type":"overloaded_error","message":"Over\\u0000loaded"},"request_id":"r"}'
    whole = meter(raw, is_stream=False)
    assert (whole.error_type, whole.error_message, whole.usage, whole.complete) == (
        "overloaded_error",
        "Over loaded",
        None,
        False,
    )


def test_json_refusal_without_content_has_none() -> None:
    raw = json.dumps(
        {"type": "message", "content": [], "stop_reason": "refusal", "usage": {"input_tokens": 3}}
    ).encode()
    assert not meter(raw, is_stream=False).has_content


def test_a_json_answer_beyond_the_bound_is_unknown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(usage_module, "MAX_JSON_BYTES", 1_000)
    tap = Meter(stream=False)
    raw = (golden.FOLDER / "messages" / "message.json").read_bytes() + b" " * 1_000
    tap.feed(raw)
    tap.feed(raw)
    assert tap._body is None
    assert tap.finish() == Metered()


def test_arguments_beyond_the_bound_are_not_held() -> None:
    tap = Meter(stream=True)
    tap.feed(event("content_block_start", index=0, content_block={"type": "tool_use", "name": "Write"}))
    piece = event("content_block_delta", index=0, delta={"partial_json": "x" * 1_000_000})
    for _ in range(6):
        tap.feed(piece)
    assert not tap._drafts
    assert tap.finish().tool_calls == {"Write": 1}


def test_names_are_bounded_and_clean() -> None:
    chunks = [
        event("content_block_start", index=i, content_block={"type": "tool_use", "name": f"t{i}\u0000" + "n" * 500})
        for i in range(300)
    ]
    calls = meter(*chunks).tool_calls
    assert len(calls) == 128
    assert all(len(name) <= 64 and "\0" not in name for name in calls)


counts = st.one_of(st.integers(0, 10**7), st.sampled_from([None, -1, 2.0, "7", True, 1 << 41]))
usage_objects = st.fixed_dictionaries(
    {"input_tokens": counts, "output_tokens": counts},
    optional={
        "cache_read_input_tokens": counts,
        "cache_creation_input_tokens": counts,
        "cache_creation": st.fixed_dictionaries(
            {}, optional={"ephemeral_5m_input_tokens": counts, "ephemeral_1h_input_tokens": counts}
        ),
        "output_tokens_details": st.fixed_dictionaries({}, optional={"thinking_tokens": counts}),
        "server_tool_use": st.fixed_dictionaries({}, optional={"web_search_requests": counts}),
        "service_tier": st.sampled_from([None, "standard", "batch", 3]),
        "speed": st.sampled_from([None, "fast"]),
        "inference_geo": st.sampled_from([None, "us", ""]),
        "iterations": st.sampled_from([None, [], [{"type": "message", "input_tokens": 1, "output_tokens": 1}]]),
        "novelty": st.just({"a": 1}),
    },
)
blocks = st.sampled_from(
    [
        {"type": "text", "text": "hi"},
        {"type": "text", "text": ""},
        {"type": "thinking", "thinking": "hm", "signature": "s"},
        {"type": "tool_use", "name": "Write", "input": {"file_path": "a", "content": "one\ntwo\n"}},
        {"type": "novelty"},
        "no block",
    ]
)
answers = st.fixed_dictionaries(
    {
        "type": st.sampled_from(["message", "error", None]),
        "usage": usage_objects,
        "content": st.lists(blocks, max_size=3),
    },
    optional={
        "id": st.sampled_from(["msg_1", None]),
        "model": st.sampled_from(["claude-opus-5-5", 7]),
        "stop_reason": st.sampled_from(["end_turn", "refusal", None]),
        "error": st.sampled_from([None, {"type": "overloaded_error", "message": "no"}]),
    },
)


@given(answer=answers)
def test_a_whole_answer_is_metered_as_in_pieces(answer: dict[str, Any]) -> None:
    body = json.dumps(answer).encode()
    meter = Meter(stream=False)
    meter.feed(body[:10])
    meter.feed(body[10:])
    assert metered_whole(body) == meter.finish()


@pytest.mark.parametrize("body", [b"", b"[]", b"{", b'{"type":"message"', b"\xff", b'"text"'])
def test_what_is_no_message_is_metered_as_unknown(body: bytes) -> None:
    assert metered_whole(body).usage is None
    assert not metered_whole(body).complete


@pytest.mark.parametrize(
    ("usage", "input_told", "output_final"),
    [
        ('{"input_tokens": 5, "output_tokens": 7}', True, True),
        ('{"input_tokens": 0, "output_tokens": 0}', True, True),
        ('{"output_tokens": 7}', False, True),
        ('{"input_tokens": 1e24, "output_tokens": 7}', False, True),
        ('{"input_tokens": 5, "output_tokens": null}', True, False),
        ('{"input_tokens": 5, "output_tokens": "7"}', True, False),
    ],
)
def test_a_count_that_nobody_told_is_known_to_be_unknown(usage: str, input_told: bool, output_final: bool) -> None:
    raw = f'{{"type":"message","model":"m","content":[{{"type":"text","text":"x"}}],"usage":{usage}}}'.encode()
    for found in (metered_whole(raw), meter(raw, is_stream=False)):
        assert (found.complete, found.input_told, found.output_final) == (True, input_told, output_final)


def test_a_stream_whose_last_count_is_none_has_no_final_one() -> None:
    began = b'{"type":"message_start","message":{"usage":{"input_tokens":5,"output_tokens":1}}}'
    start = b"event: message_start\ndata: " + began + b"\n\n"
    last = b'event: message_delta\ndata: {"type":"message_delta","delta":{},"usage":{"output_tokens":1e24}}\n\n'
    stop = b'event: message_stop\ndata: {"type":"message_stop"}\n\n'
    found = meter(start, last, stop)
    assert (found.complete, found.output_final) == (True, False)
