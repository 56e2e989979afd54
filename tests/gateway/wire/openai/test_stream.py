"""Chunks of chat completions as Anthropic's events: golden streams, every cut of them, and deltas in any order."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.wire.openai.answer import whole
from gateway.wire.openai.dialect import BadAnswer
from gateway.wire.openai.stream import Stream
from gateway.wire.usage import Meter, metered_whole
from tests.gateway.wire.openai import golden
from tests.gateway.wire.openai.golden import events, message, offered, parsed

BROKEN = {"cut", "error", "error_first"}


def raw(name: str) -> bytes:
    return golden.file("streams", f"{name}.chat.sse")


@pytest.mark.parametrize("name", golden.STREAMS)
def test_golden(name: str) -> None:
    assert events(raw(name)) == golden.file("streams", f"{name}.events.sse")


@pytest.mark.parametrize("name", golden.STREAMS)
def test_every_single_cut_gives_the_same(name: str) -> None:
    stream = raw(name)
    expected = events(stream)
    for cut in range(len(stream) + 1):
        assert events(stream[:cut], stream[cut:]) == expected, cut
    assert events(*(stream[i : i + 1] for i in range(len(stream)))) == expected


@pytest.mark.parametrize("name", golden.STREAMS)
def test_a_stream_that_ends_anywhere_ends_in_peace_only_after_its_last_word(name: str) -> None:
    stream = raw(name)
    expected = events(stream)
    finish = stream.find(b'"finish_reason":"')
    for end in range(len(stream)):
        came = events(stream[:end])
        assert came.count(b"message_stop") <= 2 * (finish >= 0 and end > finish), end
        if b"message_stop" not in came:
            assert expected.startswith(came), end


@pytest.mark.parametrize("name", sorted(set(golden.STREAMS) - BROKEN - {"length"}))
def test_anthropics_sdk_reads_it(name: str) -> None:
    made = message(events(raw(name)))
    assert made["stop_reason"] in {"end_turn", "tool_use", "refusal", "stop_sequence"}
    assert all(block["type"] != "text" or block["text"].strip() for block in made["content"])


@pytest.mark.parametrize("name", golden.STREAMS)
def test_blocks_follow_one_another(name: str) -> None:
    open_block: int | None = None
    begun = -1
    for event in parsed(events(raw(name))):
        match event["type"]:
            case "content_block_start":
                assert open_block is None
                begun += 1
                assert event["index"] == begun
                open_block = begun
            case "content_block_delta":
                assert event["index"] == open_block
            case "content_block_stop":
                assert event["index"] == open_block
                open_block = None
    assert open_block is None or name in BROKEN


def test_usage_reaches_the_meter() -> None:
    meter = Meter(stream=True)
    meter.feed(events(raw("openrouter")))
    metered = meter.finish()
    assert metered.usage is not None
    assert metered.usage.prompt_tokens == 1000
    assert metered.usage.cache_read_tokens == 600
    assert metered.usage.cache_write_5m_tokens == 200
    assert (metered.usage.output_tokens, metered.usage.thinking_tokens) == (50, 10)
    assert metered.tool_calls == {"Bash": 1}
    assert metered.complete
    assert metered.output_final


@pytest.mark.parametrize("name", ["no_usage", "cut", "ollama"])
def test_usage_that_nobody_told_is_unknown_and_not_zero(name: str) -> None:
    meter = Meter(stream=True)
    meter.feed(events(raw(name)))
    metered = meter.finish()
    assert metered.usage is None
    assert metered.complete is (name != "cut")


@pytest.mark.parametrize("name", golden.ANSWERS)
def test_golden_answers(name: str) -> None:
    body = golden.file("answers", f"{name}.chat.json")
    made = whole(body, offered)
    assert json.loads(made) == json.loads(golden.file("answers", f"{name}.message.json"))
    assert metered_whole(made).complete
    assert (metered_whole(made).usage is None) is (name == "no_usage")


@pytest.mark.parametrize(
    ("body", "says"),
    [
        (b"<html>", "not a chat completion"),
        (b"[]", "not a chat completion"),
        (b'{"choices":[]}', "without a message"),
        (b'{"choices":[{"index":0,"finish_reason":"stop"}]}', "without a message"),
        (b'{"error":{"code":502,"message":"Provider returned error","metadata":{"raw":"boom"}}}', "boom"),
        (b'{"object":"error","message":"Out of memory","type":"internal"}', "Out of memory"),
    ],
)
def test_what_is_no_answer_is_named(body: bytes, says: str) -> None:
    with pytest.raises(BadAnswer, match=says):
        whole(body, offered)


def test_a_chunk_that_is_no_json_is_named() -> None:
    with pytest.raises(BadAnswer, match="not a chat completion"):
        Stream(offered).feed(b"data: <html>\n\n")


def test_what_comes_after_the_end_is_read_over() -> None:
    stream = raw("plain")
    assert events(stream, stream, b"data: nonsense\n\n") == events(stream)


_PIECES = st.lists(
    st.one_of(
        st.tuples(st.just("content"), st.text(max_size=6)),
        st.tuples(st.just("reasoning_content"), st.text(max_size=6)),
        st.tuples(st.integers(0, 3), st.dictionaries(st.text(max_size=4), st.text(max_size=6), max_size=2)),
    ),
    max_size=8,
)


@settings(max_examples=150, deadline=None)
@given(_PIECES, st.randoms(use_true_random=False))
def test_parts_of_calls_in_any_order_give_the_whole_calls(pieces: list[tuple[Any, Any]], draw: Any) -> None:
    """Calls are told in parts of any size and in turns; text comes in between."""
    calls: dict[int, dict[str, str]] = {key: given for key, given in pieces if isinstance(key, int)}
    waiting: dict[int, list[dict[str, Any]]] = {}
    for number, given_input in calls.items():
        text = json.dumps(given_input)
        places = sorted(draw.randrange(len(text) + 1) for _ in range(draw.randrange(4)))
        parts = [text[a:b] for a, b in zip([0, *places], [*places, len(text)], strict=True)]
        head = {"index": number, "id": f"call_{number}", "function": {"name": "Read", "arguments": parts[0]}}
        waiting[number] = [head, *({"index": number, "function": {"arguments": part}} for part in parts[1:])]
    deltas: list[dict[str, Any]] = [{key: text} for key, text in pieces if isinstance(key, str)]
    while waiting:
        number = draw.choice(sorted(waiting))
        deltas.insert(draw.randrange(len(deltas), len(deltas) + 1), {"tool_calls": [waiting[number].pop(0)]})
        if not waiting[number]:
            del waiting[number]
    chunks = [{"id": "c", "model": "m", "choices": [{"index": 0, "delta": delta}]} for delta in [{}, *deltas]]
    chunks.append({"id": "c", "model": "m", "choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]})
    made = message(events(*(b"data: " + json.dumps(chunk).encode() + b"\n\n" for chunk in chunks), b"data: [DONE]\n\n"))
    found = {block["id"]: block["input"] for block in made["content"] if block["type"] == "tool_use"}
    assert found == {f"call_{number}": given_input for number, given_input in calls.items()}
    said = "".join(block["text"] for block in made["content"] if block["type"] == "text")
    told = "".join(text for key, text in pieces if key == "content")
    assert "".join(said.split()) == "".join(told.split())  # white space alone is no block
    assert made["stop_reason"] == ("tool_use" if calls else "end_turn")
