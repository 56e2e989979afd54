"""Gemini's answers as Anthropic's: golden streams cut at every byte, whole answers, usage, and what fails."""

from __future__ import annotations

import json
from typing import Any

import pytest

from gateway.wire.gemini.answer import counted, whole
from gateway.wire.gemini.stream import Stream
from gateway.wire.openai.dialect import BadAnswer
from gateway.wire.openai.names import name_for_provider
from gateway.wire.usage import Meter, metered_whole
from tests.gateway.wire.gemini import golden


def events(*chunks: bytes, names: list[str] | None = None) -> bytes:
    stream = Stream(lambda: names or [])
    return b"".join(stream.feed(chunk) for chunk in chunks) + stream.finish()


@pytest.mark.parametrize("name", golden.STREAMS)
def test_golden_cut_at_every_byte(name: str) -> None:
    raw, expected = golden.file("streams", f"{name}.gemini.sse"), golden.file("streams", f"{name}.events.sse")
    assert events(raw) == expected
    for at in range(1, len(raw)):
        assert events(raw[:at], raw[at:]) == expected
    assert events(*(raw[at : at + 1] for at in range(len(raw)))) == expected


@pytest.mark.parametrize("name", golden.STREAMS)
def test_line_ends_do_not_matter(name: str) -> None:
    raw, expected = golden.file("streams", f"{name}.gemini.sse"), golden.file("streams", f"{name}.events.sse")
    assert events(raw.replace(b"\r\n", b"\n")) == expected


@pytest.mark.parametrize("name", sorted(set(golden.STREAMS) - {"cut"}))
def test_a_stream_that_breaks_off_has_no_end(name: str) -> None:
    raw = golden.file("streams", f"{name}.gemini.sse")
    last = raw.rindex(b"data: ")
    made = events(raw[: last + 20])
    assert b"message_stop" not in made


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("plain", {"input_tokens": 40, "cache_read_tokens": 60, "output_tokens": 4}),
        ("thinking", {"input_tokens": 100, "output_tokens": 42, "thinking_tokens": 40}),
        ("tools", {"input_tokens": 100, "output_tokens": 40, "thinking_tokens": 9}),
    ],
)
def test_the_meter_reads_its_usage(name: str, expected: dict[str, int]) -> None:
    meter = Meter(stream=True)
    meter.feed(golden.file("streams", f"{name}.events.sse"))
    metered = meter.finish()
    assert metered.complete
    assert metered.output_final
    assert metered.model == golden.MODEL
    assert metered.usage is not None
    assert {field: getattr(metered.usage, field) for field in expected} == expected


def test_usage_that_was_not_told_is_unknown() -> None:
    meter = Meter(stream=True)
    meter.feed(golden.file("streams", "no_usage.events.sse"))
    assert meter.finish().usage is None


def test_at_the_boundary() -> None:
    stream = Stream(list)
    raw = golden.file("streams", "plain.gemini.sse").replace(b"\r\n", b"\n")
    end = raw.index(b"\n\n") + 2
    stream.feed(raw[: end - 1])
    assert not stream.at_boundary
    stream.feed(raw[end - 1 : end])
    assert stream.at_boundary


@pytest.mark.parametrize("name", golden.ANSWERS)
def test_whole_answers(name: str) -> None:
    made = whole(golden.file("answers", f"{name}.gemini.json"), list)
    assert json.loads(made) == json.loads(golden.file("answers", f"{name}.message.json"))
    assert metered_whole(made).complete


def answered(**candidate: Any) -> bytes:
    return json.dumps({"candidates": [candidate], "usageMetadata": {"promptTokenCount": 1}}).encode()


def test_a_shortened_name_is_the_clients_again() -> None:
    long = "mcp__server" + "_server" * 10 + "__tool"
    call = {"functionCall": {"name": name_for_provider(long), "args": {}}}
    made = json.loads(whole(answered(content={"parts": [call]}, finishReason="STOP"), lambda: [long]))
    assert made["content"][0]["name"] == long
    assert made["content"][0]["id"].startswith("toolu_g_")
    frame = b"data: " + answered(content={"parts": [call]}, finishReason="STOP") + b"\n\n"
    assert json.dumps(long).encode() in events(frame, names=[long])


@pytest.mark.parametrize(
    ("body", "says"),
    [
        (b"<html>", "not one of Gemini's answers"),
        (b'{"error": {"code": 500, "message": "broken"}}', "broken"),
        (b'{"candidates": []}', "without a candidate"),
        (answered(finishReason="MALFORMED_FUNCTION_CALL", finishMessage="print("), r"MALFORMED_FUNCTION_CALL: print\("),
        (answered(finishReason="TOO_MANY_TOOL_CALLS"), "TOO_MANY_TOOL_CALLS"),
    ],
)
def test_what_is_no_answer(body: bytes, says: str) -> None:
    with pytest.raises(BadAnswer, match=says):
        whole(body, list)


def test_a_stream_of_something_else() -> None:
    with pytest.raises(BadAnswer, match="not one of Gemini's answers"):
        events(b"data: nonsense\n\n")


def test_counts() -> None:
    assert json.loads(counted(b'{"totalTokens": 31, "cachedContentTokenCount": 5}')) == {"input_tokens": 31}
    with pytest.raises(BadAnswer):
        counted(b"{}")
