"""Claude's answers as OpenAI's clients get them: the same for every cut, at once, and as their SDK reads them."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from openai._models import validate_type
from openai.lib.streaming.chat._completions import ChatCompletionStreamState
from openai.types.chat import ChatCompletion, ChatCompletionChunk
from openai.types.responses import Response, ResponseStreamEvent

from gateway.wire import sse
from gateway.wire.openai_clients.chat_answer import DONE, ChatStream, completion, failed
from gateway.wire.openai_clients.failures import failure_body
from gateway.wire.openai_clients.responses_stream import failed as failed_response
from gateway.wire.openai_clients.translated import Echo
from tests.gateway.wire.golden import stream
from tests.gateway.wire.openai_clients import golden

WHOLE = [case for case in golden.ANSWERS if case[1] not in {"cut", "error_midstream", "unknown_events"}]
SEEN = [
    block + b"\n\n" for name in ("web_search", "thinking", "tool_use") for block in stream(name).split(b"\n\n") if block
]


def message(name: str) -> dict[str, Any]:
    """The whole message that a stream of Claude's adds up to."""
    found: dict[str, Any] = {}
    partial: dict[int, str] = {}
    for event in sse.Decoder().feed(stream(name) + b"\n\n"):
        data = json.loads(event.data)
        match data.get("type"):
            case "message_start":
                found = data["message"]
            case "content_block_start":
                found["content"].append(data["content_block"])
            case "content_block_delta":
                block, delta = found["content"][data["index"]], data["delta"]
                match delta["type"]:
                    case "text_delta":
                        block["text"] += delta["text"]
                    case "thinking_delta":
                        block["thinking"] += delta["thinking"]
                    case "signature_delta":
                        block["signature"] += delta["signature"]
                    case "citations_delta":
                        block["citations"].append(delta["citation"])
                    case "input_json_delta":
                        partial[data["index"]] = partial.get(data["index"], "") + delta["partial_json"]
            case "content_block_stop" if partial.get(data["index"]):
                found["content"][data["index"]]["input"] = json.loads(partial[data["index"]])
            case "message_delta":
                found.update(data["delta"])
                found["usage"].update({key: value for key, value in data["usage"].items() if value is not None})
    return found


def frames(raw: bytes) -> list[Any]:
    """The JSON of each frame, without the end mark."""
    return [json.loads(event.data) for event in sse.Decoder().feed(raw) if event.data != b"[DONE]"]


@pytest.mark.parametrize("case", golden.ANSWERS, ids="/".join)
def test_the_golden_streams(case: golden.Case) -> None:
    assert golden.encoded(case) == golden.answer_file(case).read_bytes()


@pytest.mark.parametrize("case", golden.ANSWERS, ids="/".join)
def test_every_cut_gives_the_same(case: golden.Case) -> None:
    raw, expected = stream(case[1]), golden.answer_file(case).read_bytes()
    for cut in range(1, len(raw)):
        assert golden.encoded(case, raw[:cut], raw[cut:]) == expected
    assert golden.encoded(case, *[raw[at : at + 1] for at in range(len(raw))]) == expected


@given(st.sampled_from(golden.ANSWERS), st.lists(st.integers(1, 400), max_size=30))
def test_any_cuts_give_the_same(case: golden.Case, sizes: list[int]) -> None:
    raw, chunks = stream(case[1]), []
    for size in sizes:
        chunks.append(raw[:size])
        raw = raw[size:]
    assert golden.encoded(case, *[chunk for chunk in [*chunks, raw] if chunk]) == golden.answer_file(case).read_bytes()


@pytest.mark.parametrize("case", golden.ANSWERS, ids="/".join)
def test_each_part_gives_its_frames_at_once(case: golden.Case) -> None:
    """A delta is not held back for what follows it, and only whole frames go out."""
    encoder = golden.ENCODERS[case[0]]("asked-for", golden.CREATED, golden.ECHO)
    for block in stream(case[1]).replace(b"\r\n", b"\n").replace(b"\r", b"\n").split(b"\n\n"):
        out = encoder.feed(block + b"\n\n")
        assert out == b"" or out.endswith(b"\n\n")
        if b"text_delta" in block:
            assert out


@pytest.mark.parametrize("case", WHOLE, ids="/".join)
def test_openais_sdk_adds_the_stream_up_to_the_whole_answer(case: golden.Case) -> None:
    kind, name = case
    whole = json.loads(golden.WHOLES[kind](message(name), "asked-for", golden.CREATED, golden.ECHO))
    told = frames(golden.encoded(case))
    if kind == "openai_chat":
        chunks = [validate_type(type_=ChatCompletionChunk, value=each) for each in told]
        state = ChatCompletionStreamState()
        for chunk in chunks:
            state.handle_chunk(chunk)
        final = state.current_completion_snapshot.to_dict()
        validate_type(type_=ChatCompletion, value=whole)
        assert _plain_chat(final) == _plain_chat(whole)
    else:
        for each in told:
            validate_type(type_=ResponseStreamEvent, value=each)  # type: ignore[arg-type]
        assert [each["sequence_number"] for each in told] == list(range(len(told)))
        validate_type(type_=Response, value=whole)
        items = {each["output_index"]: each["item"] for each in told if each["type"] == "response.output_item.done"}
        assert [items[index] for index in sorted(items)] == told[-1]["response"]["output"]
        assert _with_arguments_read(told[-1]["response"]) == _with_arguments_read(whole)


def _plain_chat(found: dict[str, Any]) -> dict[str, Any]:
    said = {key: value for key, value in found["choices"][0]["message"].items() if value and key != "parsed"}
    for call in said.get("tool_calls", []):
        call.pop("index", None)
        call["function"].pop("parsed_arguments", None)
        call["function"]["arguments"] = json.loads(call["function"]["arguments"] or "{}")
    for block in said.get("thinking_blocks", []):
        block.pop("index", None)
    return {
        "said": said,
        "finish_reason": found["choices"][0]["finish_reason"],
        **{key: found[key] for key in ("id", "model", "created", "usage")},
    }


def _with_arguments_read(found: dict[str, Any]) -> dict[str, Any]:
    for item in found["output"]:
        if "arguments" in item:
            item["arguments"] = json.loads(item["arguments"])
    return found


def test_counts_come_only_where_they_are_asked_for() -> None:
    encoder = ChatStream("asked-for", golden.CREATED, Echo())
    told = encoder.feed(stream("plain"))
    assert told.endswith(DONE)
    assert not any("usage" in chunk or not chunk["choices"] for chunk in frames(told))


def test_a_client_of_the_older_form_gets_a_function_call() -> None:
    echo = Echo(functions=True)
    whole = json.loads(completion(message("tool_use"), "asked-for", golden.CREATED, echo))
    choice = whole["choices"][0]
    assert choice["finish_reason"] == "function_call"
    assert choice["message"]["function_call"]["name"] == "Read"
    told = frames(ChatStream("asked-for", golden.CREATED, echo).feed(stream("tool_use")))
    pieces = [chunk["choices"][0]["delta"].get("function_call", {}) for chunk in told]
    assert pieces[2] == {"name": "Read", "arguments": ""}
    assert told[-1]["choices"][0]["finish_reason"] == "function_call"


@pytest.mark.parametrize(
    ("kind", "message", "type_", "code"),
    [
        ("billing_error", "The budget is used up.", "insufficient_quota", "insufficient_quota"),
        ("rate_limit_error", "Too many.", "rate_limit_error", "rate_limit_exceeded"),
        ("authentication_error", "No key.", "invalid_request_error", "invalid_api_key"),
        ("invalid_request_error", "`n` must be 1.", "invalid_request_error", None),
        ("invalid_request_error", "prompt is too long: 9 > 8", "invalid_request_error", "context_length_exceeded"),
        ("overloaded_error", "Busy.", "server_error", "overloaded"),
        ("from_the_future", "What?", "server_error", "from_the_future"),
    ],
)
def test_an_error_keeps_its_words_and_gets_openais_code(kind: str, message: str, type_: str, code: str | None) -> None:
    body = json.dumps({"type": "error", "error": {"type": kind, "message": message}, "request_id": "r"}).encode()
    expected = {"message": message, "type": type_, "param": None, "code": code}
    assert json.loads(failure_body(body)) == {"error": expected}
    assert frames(failed(body)) == [{"error": expected}]
    assert frames(failed_response(body)) == [
        {"type": "error", "sequence_number": 0, "code": code, "message": message, "param": None, "error": expected}
    ]


@pytest.mark.parametrize("body", [b"", b"<html>", b"[]", b'{"error":5}', b'{"error":{"message":5}}'])
def test_an_error_that_is_none_of_anthropics_is_a_servers(body: bytes) -> None:
    assert json.loads(failure_body(body))["error"]["type"] == "server_error"


@given(st.lists(st.sampled_from(SEEN), max_size=20), st.sampled_from(list(golden.ENCODERS)))
def test_events_in_any_order_break_nothing(events: list[bytes], kind: str) -> None:
    """Providers translate into these events too; a stream that makes no sense must not end in an exception."""
    encoder = golden.ENCODERS[kind]("asked-for", golden.CREATED, golden.ECHO)
    told = b"".join([encoder.feed(event) for event in events]) + encoder.finish()
    frames(told)
