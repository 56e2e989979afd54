"""What OpenAI's clients ask for becomes a Messages body, or a sentence that names the field."""

from __future__ import annotations

import json
from itertools import pairwise
from typing import Any

import pytest
from anthropic.types.message_create_params import MessageCreateParamsNonStreaming, MessageCreateParamsStreaming
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter

from gateway.wire.openai_clients.claude import claude, without_prefix
from gateway.wire.openai_clients.fit import fitted
from gateway.wire.peek import BadBody, peek
from tests.gateway.wire.openai_clients import golden

MODEL = "claude-opus-5-5"
SAID = [{"role": "user", "content": "hi"}]


def chat(**fields: Any) -> dict[str, Any]:
    body = json.dumps({"model": MODEL, "messages": SAID, **fields}).encode()
    found: dict[str, Any] = json.loads(golden.TO_MESSAGES["openai_chat"](body).body)
    return found


def responses(**fields: Any) -> dict[str, Any]:
    body = json.dumps({"model": MODEL, "input": "hi", **fields}).encode()
    found: dict[str, Any] = json.loads(golden.TO_MESSAGES["openai_responses"](body).body)
    return found


@pytest.mark.parametrize("case", golden.REQUESTS, ids="/".join)
def test_the_golden_requests(case: golden.Case) -> None:
    assert golden.translated(case) == golden.request(case)["messages"]


@pytest.mark.parametrize("case", golden.REQUESTS, ids="/".join)
def test_anthropics_own_types_take_them(case: golden.Case) -> None:
    """By the SDK's schema, in which a sampling parameter no longer stands: those are for older models."""
    body = golden.translated(case)
    shape = MessageCreateParamsStreaming if body.get("stream") else MessageCreateParamsNonStreaming
    TypeAdapter(shape).validate_python(body)


@pytest.mark.parametrize(
    ("fields", "sentence"),
    [
        ({"n": 2}, "`n` must be 1"),
        ({"logprobs": True}, "`logprobs` are not available"),
        ({"modalities": ["text", "audio"]}, "`audio` is not something"),
        ({"logit_bias": {"1": 2}}, "`logit_bias` is not available"),
        ({"moderation": {"model": "m"}}, "`moderation` is not run here"),
        ({"messages": []}, "no message to answer"),
        ({"messages": "hi"}, "`messages` must be an array, not a string"),
        ({"messages": [5]}, r"`messages\[0\]` must be an object, not a number"),
        ({"messages": [{"role": "robot"}]}, r"`messages\[0\].role` is 'robot'"),
        ({"messages": [{"role": "tool", "content": "x"}]}, r"`messages\[0\].tool_call_id` must be a string, not null"),
        ({"messages": [{"role": "user", "content": 5}]}, r"`messages\[0\].content` must be a string or an array"),
        (
            {"messages": [{"role": "user", "content": [{"type": "input_audio"}]}]},
            r"`messages\[0\].content\[0\]` is audio",
        ),
        (
            {"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "http://x.test"}}]}]},
            r"`messages\[0\].content\[0\].image_url` must be an https:// address",
        ),
        (
            {"messages": [{"role": "user", "content": [{"type": "file", "file": {"file_id": "f"}}]}]},
            "names a stored file",
        ),
        (
            {"messages": [{"role": "system", "content": [{"type": "image_url", "image_url": "https://x.test"}]}]},
            "may hold only text",
        ),
        ({"max_tokens": 0}, "`max_tokens` must be a whole number of at least 1"),
        ({"temperature": 3}, "`temperature` must be a number from 0 to 2"),
        ({"stream": "yes"}, "`stream` must be true or false, not a string"),
        ({"stop": [1]}, "`stop` must be a string or an array of strings"),
        ({"reasoning_effort": "huge"}, "`reasoning_effort` must be one of none, minimal, low"),
        ({"response_format": {"type": "xml"}}, "`response_format.type` must be text, json_object or json_schema"),
        ({"tools": [{"type": "custom", "custom": {"name": "x"}}]}, r"`tools\[0\]` is of type 'custom'"),
        (
            {"tools": [{"type": "function", "function": {"name": "f"}}], "tool_choice": "sometimes"},
            "`tool_choice` must be auto, none, required",
        ),
        ({"model": None}, "`model` is missing. Name a model, for example"),
        ({"model": 5}, "`model` must be a string, not a number"),
    ],
)
def test_what_no_claude_model_does_is_refused_with_a_sentence(fields: dict[str, Any], sentence: str) -> None:
    with pytest.raises(BadBody, match=sentence):
        chat(**fields)


@pytest.mark.parametrize(
    ("fields", "sentence"),
    [
        ({"previous_response_id": "resp_1"}, "`previous_response_id` is not supported. This gateway stores no"),
        ({"conversation": "c"}, "`conversation` is not supported"),
        ({"background": True}, "`background` is not supported"),
        ({"prompt": {"id": "p"}}, "`prompt` is not supported"),
        ({"input": [{"type": "item_reference", "id": "x"}]}, r"`input\[0\]` refers to a stored item"),
        ({"input": [{"type": "computer_call_output"}]}, r"`input\[0\].type` is 'computer_call_output'"),
        ({"input": None}, "`input` is missing. This is the Responses API: send what to answer as `input`.$"),
        ({"input": None, "messages": []}, "`messages` belong to chat completions"),
        ({"input": []}, "no message to answer"),
        ({"tools": [{"type": "file_search"}]}, r"`tools\[0\]` is of type 'file_search', which only OpenAI runs"),
        ({"reasoning": "high"}, "`reasoning` must be an object, not a string"),
    ],
)
def test_what_needs_a_store_is_refused_with_a_sentence(fields: dict[str, Any], sentence: str) -> None:
    with pytest.raises(BadBody, match=sentence):
        responses(**fields)


@pytest.mark.parametrize("body", [b"", b"[]", b"{", b'"x"', b"\xff", b'{"model":"\xff"}', b"[" * 100_000])
@pytest.mark.parametrize("kind", list(golden.TO_MESSAGES))
def test_what_is_no_json_object_is_refused_with_a_sentence(kind: str, body: bytes) -> None:
    with pytest.raises(BadBody, match=r"^The body is .*Send (a|one|fewer) |Encode it as UTF-8"):
        golden.TO_MESSAGES[kind](body)


def test_a_schema_that_is_too_deep_to_walk_through_is_refused_with_a_sentence() -> None:
    levels = 600
    schema = json.loads('{"not":' * levels + "{}" + "}" * levels)
    form = {"type": "json_schema", "name": "x", "schema": schema}
    with pytest.raises(BadBody, match="nested too deeply"):
        chat(response_format={"type": "json_schema", "json_schema": form})
    with pytest.raises(BadBody, match="nested too deeply"):
        responses(text={"format": form})


@pytest.mark.parametrize("name", [["f"], {"a": 1}])
def test_an_allowed_tool_is_named_by_a_string(name: object) -> None:
    offered = [{"type": "function", "name": "f"}]
    allowed = {"type": "allowed_tools", "mode": "auto", "tools": [{"type": "function", "name": name}]}
    with pytest.raises(BadBody, match="must be a string"):
        responses(tools=offered, tool_choice=allowed)


def test_the_arguments_of_a_call_keep_their_bytes() -> None:
    """The provider's prompt cache compares them."""
    said = '{ "b":1.50,  "a":[1e3, 12345678901234567890] }'
    call = {"id": "c", "type": "function", "function": {"name": "f", "arguments": said}}
    messages = [
        *SAID,
        {"role": "assistant", "tool_calls": [call]},
        {"role": "tool", "tool_call_id": "c", "content": ""},
    ]
    body = golden.TO_MESSAGES["openai_chat"](json.dumps({"model": MODEL, "messages": messages}).encode()).body
    assert said.encode() in body


def test_a_longer_conversation_begins_with_the_bytes_of_the_shorter_one() -> None:
    def body(turns: int) -> bytes:
        said = [{"role": "system", "content": "S"}, *SAID]
        for turn in range(turns):
            said += [{"role": "assistant", "content": f"a{turn}"}, {"role": "user", "content": f"u{turn}"}]
        tools = [{"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}]
        given = {"messages": said, "model": MODEL, "tools": tools, "reasoning_effort": "high"}
        return golden.TO_MESSAGES["openai_chat"](json.dumps(given).encode()).body

    short = body(2)
    assert body(3).startswith(short.removesuffix(b"]}"))


@pytest.mark.parametrize(
    ("asked", "model"),
    [
        ("anthropic/claude-opus-5-5", "claude-opus-5-5"),
        ("openrouter/anthropic/claude-opus-5-5", "claude-opus-5-5"),
        ("bedrock/eu.anthropic.claude-opus-4-6-v1:0", "eu.anthropic.claude-opus-4-6-v1:0"),
        ("meta-llama/llama-5", "meta-llama/llama-5"),
        ("claude-opus-5-5", "claude-opus-5-5"),
    ],
)
def test_a_providers_prefix_is_taken_off_a_claude_model(asked: str, model: str) -> None:
    assert without_prefix(asked) == model


@pytest.mark.parametrize(
    ("model", "family", "version"),
    [
        ("claude-opus-5-5", "opus", (5, 5)),
        ("claude-sonnet-5", "sonnet", (5, 0)),
        ("claude-haiku-4-5-20251001", "haiku", (4, 5)),
        ("claude-opus-4-20250514", "opus", (4, 0)),
        ("claude-3-5-sonnet-20241022", "sonnet", (3, 5)),
        ("us.anthropic.claude-sonnet-4-6-v1:0", "sonnet", (4, 6)),
        ("claude-mythos-preview", "", (99, 0)),
    ],
)
def test_a_model_is_known_by_its_name(model: str, family: str, version: tuple[int, int]) -> None:
    assert (claude(model).family, claude(model).version) == (family, version)


# --- another model than the one that was asked for -------------------------------------------------------------
@pytest.mark.parametrize(
    "fields",
    [
        {"temperature": 0.5},
        {"temperature": 0.5, "reasoning_effort": "high"},
        {"reasoning_effort": "low"},
        {"reasoning_effort": "none"},
        {"messages": [*SAID, {"role": "system", "content": "Mind the gap."}]},
        {"response_format": {"type": "json_schema", "json_schema": {"schema": {"type": "object"}}}},
    ],
)
@pytest.mark.parametrize("asked", ["gpt-6", "claude-opus-5-5", "claude-haiku-4-5"])
@pytest.mark.parametrize("served", ["claude-opus-5-5", "claude-sonnet-5-5", "claude-sonnet-4-6", "claude-haiku-4-5"])
def test_an_aliased_model_gets_what_it_takes(asked: str, served: str, fields: dict[str, Any]) -> None:
    """What an alias puts there is refused nothing that it would not have been sent if it had been asked for."""
    given = {"messages": SAID, **fields}
    found = json.loads(
        fitted(golden.TO_MESSAGES["openai_chat"](json.dumps({"model": asked, **given}).encode()).body, served)
    )
    known = claude(served)
    thinking = found.get("thinking", {}).get("type", "")
    assert known.takes_sampling or not {"temperature", "top_p"} & found.keys()
    assert thinking in {"", known.off_switch, "adaptive" if known.thinks_adaptively else "enabled"}
    assert known.thinks_adaptively or "effort" not in found.get("output_config", {})
    assert known.takes_system_turns or [message["role"] for message in found["messages"]] == ["user"]
    direct = chat(**{**given, "model": served})
    assert found.get("output_config", {}).get("format") == direct.get("output_config", {}).get("format")
    if thinking in {"adaptive", "enabled"}:
        assert "temperature" not in found


# --- any JSON at all -------------------------------------------------------------------------------------------
_JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-5, 5) | st.text(max_size=5) | st.floats(0, 2),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)
_PART = st.fixed_dictionaries(
    {},
    optional={
        "type": st.sampled_from(
            ["text", "input_text", "image_url", "input_image", "file", "input_file", "refusal", "x"]
        ),
        "text": st.text(max_size=5) | _JSON,
        "image_url": st.just("data:image/png;base64,aGk=") | st.just({"url": "https://x.test"}) | _JSON,
        "file_data": st.just("data:text/plain;base64,aGk=") | _JSON,
        "cache_control": st.just({"type": "ephemeral"}) | _JSON,
    },
)
_CALLED = st.fixed_dictionaries({"name": st.text(max_size=3), "arguments": st.text(max_size=5)})
_CALL = st.fixed_dictionaries({}, optional={"id": st.text(max_size=3), "function": _CALLED | _JSON})
_MESSAGE = st.fixed_dictionaries(
    {},
    optional={
        "role": st.sampled_from(["system", "developer", "user", "assistant", "tool", "function"]) | _JSON,
        "type": st.sampled_from(["message", "function_call", "function_call_output", "reasoning"]),
        "content": st.text(max_size=5) | st.lists(_PART, max_size=3) | _JSON,
        "output": st.text(max_size=5) | st.lists(_PART, max_size=2),
        "tool_call_id": st.text(max_size=3),
        "call_id": st.text(max_size=3),
        "name": st.text(max_size=3),
        "arguments": st.text(max_size=5) | _JSON,
        "tool_calls": st.lists(_CALL, max_size=2),
        "encrypted_content": st.just("claude-thinking:x") | _JSON,
        "summary": st.lists(st.just({"type": "summary_text", "text": "x"})) | _JSON,
    },
)
_FIELDS = st.fixed_dictionaries(
    {"model": st.sampled_from([MODEL, "claude-haiku-4-5", "gpt-6"])},
    optional={
        "messages": st.lists(_MESSAGE, max_size=5) | _JSON,
        "input": st.lists(_MESSAGE, max_size=5) | st.text(max_size=5) | _JSON,
        "tools": st.lists(_JSON, max_size=2) | st.just([{"type": "function", "name": "f", "parameters": {}}]),
        "tool_choice": _JSON,
        "response_format": _JSON,
        "reasoning_effort": st.sampled_from(["none", "low", "high"]) | _JSON,
        "reasoning": _JSON,
        "text": _JSON,
        "prompt_cache_key": st.text(max_size=3) | _JSON,
        "user": _JSON,
        "metadata": _JSON,
        "stop": _JSON,
        "max_tokens": _JSON,
        "stream": st.booleans() | _JSON,
        "stream_options": _JSON,
        "temperature": _JSON,
    },
)


@given(_FIELDS, st.sampled_from(list(golden.TO_MESSAGES)))
def test_any_request_is_translated_or_refused_with_a_sentence(fields: dict[str, Any], kind: str) -> None:
    try:
        translated = golden.TO_MESSAGES[kind](json.dumps(fields).encode())
    except BadBody:
        return
    seen = peek(translated.body)
    assert seen.max_tokens is not None
    body = json.loads(translated.body)
    roles = [message["role"] for message in body["messages"]]
    assert all(before != after for before, after in pairwise(roles))
    fitted(translated.body, "claude-sonnet-4-5")
