"""OpenAI's Responses for its current models: requests, answers, and thinking that finds its way back to the model."""

from __future__ import annotations

import json
from itertools import pairwise
from typing import Any

import pytest
from msgspec.structs import replace

from gateway.wire.openai import responses_answer, responses_request
from gateway.wire.openai.dialect import BadAnswer, Dialect
from gateway.wire.openai.responses_answer import ResponsesStream
from gateway.wire.usage import Meter, metered_whole
from tests.fakes import openai_responses as fake
from tests.gateway.wire.openai import golden
from tests.gateway.wire.openai.golden import asked, message, parsed
from tests.gateway.wire.openai.test_request import conversation

LATER = Dialect(responses=True, seal="ours", efforts=("none", "low", "medium", "high", "xhigh"), most_id_characters=40)
TOLD: dict[str, Any] = {
    "prompt_tokens": 2006,
    "completion_tokens": 300,
    "total_tokens": 2306,
    "prompt_tokens_details": {"cached_tokens": 1920},
    "completion_tokens_details": {"reasoning_tokens": 64},
}
READ = {"name": "Read", "arguments": {"file_path": "/a"}}
STEPS: dict[str, dict[str, Any]] = {
    "text": {"text": "Hello ☃, how are you?"},
    "everything": {
        "reasoning": "First.|Second, longer.",
        "text": "I read.",
        "calls": [READ, {**READ, "arguments": {}}],
    },
    "silent_thought": {"reasoning": "", "calls": [READ]},
    "length": {"text": "Half a", "finish": "length"},
    "filtered": {"text": "No", "finish": "content_filter"},
    "failed": {"text": "Half a sentence", "error_after": 6},
}


def sent(body: dict[str, Any], dialect: Dialect = LATER) -> dict[str, Any]:
    made: dict[str, Any] = json.loads(
        responses_request.translate(json.dumps(body).encode(), model="gpt-5.6", stream=True, dialect=dialect)
    )
    return made


def raw(step: dict[str, Any]) -> bytes:
    head = fake.head("resp_1", "gpt-5.6", {})
    events = fake.events(step, head, TOLD)
    return b"".join(f"event: {e['type']}\ndata: {json.dumps(e)}\n\n".encode() for e in events)


def events(*chunks: bytes) -> bytes:
    stream = ResponsesStream(golden.offered, "ours")
    return b"".join([*map(stream.feed, chunks), stream.finish()])


def whole(step: dict[str, Any]) -> dict[str, Any]:
    body = json.dumps(fake.whole(step, fake.head("resp_1", "gpt-5.6", {}), TOLD)).encode()
    made: dict[str, Any] = json.loads(responses_answer.whole(body, golden.offered, "ours"))
    return made


@pytest.mark.parametrize("name", golden.REQUESTS)
def test_openais_own_types_and_rules_accept_every_golden_request(name: str) -> None:
    body = asked(name)
    body.pop("temperature", None), body.pop("top_p", None)  # its models refuse them
    made = sent(body)
    assert fake.refused(made) is None
    assert list(made)[-1] == "input"
    assert made["store"] is False
    text = json.dumps(made)
    for word in ("cache_control", "billing-header", "device_id", "safeguards"):
        assert word not in text


def test_a_request_of_claude_code() -> None:
    made = sent(asked("claude_code"))
    assert made["reasoning"] == {"effort": "xhigh"}
    assert made["max_output_tokens"] == 64_000
    assert made["tools"][0]["name"] == "Read"
    assert made["tools"][0]["strict"] is False
    assert [item.get("role") or item["type"] for item in made["input"]] == [
        *("system", "user", "system", "assistant", "function_call", "function_call_output", "system")
    ]
    assert made["input"][4]["arguments"] == '{"file_path": "/a b", "offset": 1.0}'


def test_images_choice_and_form_stand_where_this_api_has_them() -> None:
    (said,) = [item for item in sent(asked("results"))["input"] if "Attached" in str(item)]
    assert [part["type"] for part in said["content"]] == ["input_text", "input_image", "input_text"]
    files = sent(asked("documents"))["input"][0]["content"]
    assert {"type": "input_file", "filename": "plan.pdf"}.items() <= files[1].items()
    forced = {**asked("claude_code"), "tool_choice": {"type": "tool", "name": "Read"}}
    assert sent(forced)["tool_choice"] == {"type": "function", "name": "Read"}
    form = sent(asked("structured"))["text"]["format"]
    assert (form["type"], form["name"], form["strict"]) == ("json_schema", "answer", True)
    assert sent({**asked("plain"), "max_tokens": 1})["max_output_tokens"] == 16


@pytest.mark.parametrize("name", STEPS)
def test_every_single_cut_gives_the_same(name: str) -> None:
    stream = raw(STEPS[name])
    expected = events(stream)
    for cut in range(0, len(stream) + 1, 3):
        assert events(stream[:cut], stream[cut:]) == expected, cut
    assert events(*(stream[i : i + 1] for i in range(len(stream)))) == expected


@pytest.mark.parametrize("name", sorted(set(STEPS) - {"failed"}))
def test_a_stream_and_a_whole_answer_are_one_message(name: str) -> None:
    streamed = message(events(raw(STEPS[name])))
    answered = whole(STEPS[name])
    assert streamed["content"] == answered["content"]
    assert streamed["stop_reason"] == answered["stop_reason"]
    assert answered["usage"] == {
        "input_tokens": 86,
        "cache_creation_input_tokens": 0,
        "cache_read_input_tokens": 1920,
        "output_tokens": 300,
        "output_tokens_details": {"thinking_tokens": 64},
        "service_tier": "standard",
    }
    expected = {"length": "max_tokens", "filtered": "refusal", "text": "end_turn"}.get(name, "tool_use")
    assert answered["stop_reason"] == expected
    assert metered_whole(json.dumps(answered).encode()).usage is not None


def test_what_the_blocks_are() -> None:
    content = whole(STEPS["everything"])["content"]
    assert [block["type"] for block in content] == ["thinking", "text", "tool_use", "tool_use"]
    assert content[0]["thinking"] == "First.\n\nSecond, longer."
    assert [block["input"] for block in content[2:]] == [{"file_path": "/a"}, {}]


def test_a_failure_in_the_middle_is_an_error_event_and_a_cut_is_no_end() -> None:
    last = parsed(events(raw(STEPS["failed"])))[-1]
    assert last == {"type": "error", "error": {"type": "api_error", "message": "The server had an error."}}
    assert b"message_stop" not in events(raw(STEPS["text"])[:-700])
    meter = Meter(stream=True)
    meter.feed(events(raw(STEPS["text"])[:-1500]))
    assert meter.finish().usage is None


@pytest.mark.parametrize("name", ["everything", "silent_thought"])
def test_thinking_goes_back_to_the_model_in_its_place(name: str) -> None:
    content = message(events(raw(STEPS[name])))["content"]
    results = [
        {"type": "tool_result", "tool_use_id": b["id"], "content": "x"} for b in content if b["type"] == "tool_use"
    ]
    body = {
        "messages": [
            {"role": "user", "content": "Go."},
            {"role": "assistant", "content": content},
            {"role": "user", "content": results},
        ]
    }
    made = sent(body)
    assert fake.refused(made) is None
    assert made["input"][1] == {
        "type": "reasoning",
        "id": "rs_resp_1",
        "summary": [],
        "encrypted_content": fake.sealed("rs_resp_1"),
    }
    other = sent(body, replace(LATER, seal="another account"))
    assert fake.refused(other) is None
    assert "encrypted_content" not in other["input"][1]
    cut = {"messages": [body["messages"][0], {"role": "assistant", "content": content[:1]}]}
    assert [item.get("type") for item in sent(cut)["input"]] == [None]


@pytest.mark.parametrize(
    ("body", "says"),
    [
        (b"<html>", "not a response"),
        (b'{"error":{"message":"Boom","code":"server_error"}}', "Boom"),
        (b'{"status":"failed","output":[],"error":{"message":"Boom"}}', "Boom"),
        (b"{}", "no output"),
    ],
)
def test_what_is_no_answer_is_named(body: bytes, says: str) -> None:
    with pytest.raises(BadAnswer, match=says):
        responses_answer.whole(body, golden.offered, "ours")
    with pytest.raises(BadAnswer, match="not a response"):
        ResponsesStream(golden.offered, "ours").feed(b"data: <html>\n\n")


def test_a_request_begins_with_the_one_before() -> None:
    body = asked("claude_code")
    requests = []
    for turns in range(1, 8):
        body["messages"] = conversation(turns)
        requests.append(responses_request.translate(json.dumps(body).encode(), model="m", stream=True, dialect=LATER))
    for earlier, later in pairwise(requests):
        before_last_message = earlier[: earlier.rindex(b'{"role":"user"')]
        assert later.startswith(before_last_message)
        assert len(before_last_message) > 1000
