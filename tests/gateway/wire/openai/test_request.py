"""A Messages body as a request for Chat Completions: golden bodies, stable beginnings, and what cannot be carried."""

from __future__ import annotations

import json
from itertools import pairwise
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.wire.openai.answer import whole
from gateway.wire.openai.dialect import CannotTranslate, Dialect
from gateway.wire.openai.names import id_for_client, id_for_provider, name_for_client, name_for_provider
from gateway.wire.openai.passthrough import spliced
from gateway.wire.openai.request import translate
from tests.fakes.openai import refused
from tests.gateway.wire.openai import golden
from tests.gateway.wire.openai.golden import asked, sent

CACHED = {"type": "ephemeral", "ttl": "1h"}


@pytest.mark.parametrize("name", golden.REQUESTS)
def test_golden(name: str) -> None:
    expected = json.loads(golden.file("requests", f"{name}.chat.json"))
    made = json.loads(sent(asked(name), name))
    assert made == expected
    assert list(made) == list(expected)
    assert list(made)[-1] == "messages"


@pytest.mark.parametrize("name", sorted(set(golden.REQUESTS) - {"thinking_history"}))
def test_openais_own_types_and_rules_accept_it(name: str) -> None:
    assert refused(json.loads(sent(asked(name), name))) is None


@pytest.mark.parametrize("name", golden.REQUESTS)
def test_nothing_of_anthropics_own_goes_along(name: str) -> None:
    made = sent(asked(name), name).decode()
    for word in (
        "cache_control",
        "signature",
        "billing-header",
        "device_id",
        "safeguards",
        "context_management",
        "speed",
    ):
        assert word not in made
    assert "redacted" not in made


def conversation(turns: int) -> list[dict[str, Any]]:
    """As Claude Code writes it: the cache mark moves to the last message, which is a list of blocks for it."""
    said: list[dict[str, Any]] = []
    for turn in range(turns):
        said.append({"role": "user", "content": f"Question {turn} with ☃"})
        if turn % 2:
            said.append({"role": "system", "content": f"Reminder {turn}"})
        call = {"type": "tool_use", "id": f"toolu_{turn}", "name": "Read", "input": {"n": turn, "x": [1, {"é": None}]}}
        thought = {"type": "thinking", "thinking": f"Thought {turn}", "signature": "c2ln"}
        said.append({"role": "assistant", "content": [thought, {"type": "text", "text": f"Word {turn}"}, call]})
        image = {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "AAAA"}}
        content = [{"type": "text", "text": "found"}, image] if turn % 3 == 0 else "found"
        said.append(
            {"role": "user", "content": [{"type": "tool_result", "tool_use_id": call["id"], "content": content}]}
        )
        said.append({"role": "assistant", "content": f"Answer {turn}"})
    said.append({"role": "user", "content": "The last one"})
    last = said[-1]
    last["content"] = [{"type": "text", "text": last["content"], "cache_control": CACHED}]
    return said


@pytest.mark.parametrize("reasoning_field", ["", "reasoning_content"])
def test_a_request_begins_with_the_one_before(reasoning_field: str) -> None:
    body = asked("claude_code")
    requests = []
    for turns in range(1, 12):
        body["messages"] = conversation(turns)
        body["system"][0]["text"] = f"x-anthropic-billing-header: cc_version=2.1.{turns}; cch={turns:05x};"
        dialect = Dialect(reasoning_field=reasoning_field, efforts=("high",))
        requests.append(translate(json.dumps(body).encode(), model="gpt-5", stream=True, dialect=dialect))
    for earlier, later in pairwise(requests):
        before_last_message = earlier[: earlier.rindex(b'{"role":"user"')]
        assert later.startswith(before_last_message)
        assert len(before_last_message) > 1000


def test_the_same_text_is_the_same_bytes_as_a_string_and_as_a_block() -> None:
    as_string = asked("plain")
    as_block = asked("plain")
    for message in as_block["messages"]:
        message["content"] = [{"type": "text", "text": message["content"], "cache_control": CACHED}]
    as_block["system"] = [{"type": "text", "text": as_block["system"], "cache_control": CACHED}]
    assert sent(as_string) == sent(as_block)


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)
_NAMES = st.text("abcXYZ019_-.", min_size=1, max_size=128)


@given(st.lists(st.tuples(_NAMES, st.dictionaries(st.text(), _JSON, max_size=3)), min_size=1, max_size=4))
def test_a_tool_call_comes_back_as_it_was(calls: list[tuple[str, dict[str, Any]]]) -> None:
    names = [name for name, _ in calls]
    used = [
        {"type": "tool_use", "id": f"toolu_{number}", "name": name, "input": given}
        for number, (name, given) in enumerate(calls)
    ]
    body = {
        "tools": [{"name": name, "input_schema": {"type": "object"}} for name in names],
        "messages": [{"role": "user", "content": "Go."}, {"role": "assistant", "content": used}],
    }
    there = json.loads(sent(body))["messages"][-1]
    assert all(len(call["function"]["name"]) <= 64 for call in there["tool_calls"])
    answer = {"id": "a", "model": "m", "choices": [{"index": 0, "message": there, "finish_reason": "tool_calls"}]}
    back = json.loads(whole(json.dumps(answer).encode(), lambda: names))
    assert back["content"] == used
    assert back["stop_reason"] == "tool_use"


@given(st.text(min_size=1))
def test_every_id_of_a_provider_comes_back_to_it(given_id: str) -> None:
    shown = id_for_client(given_id)
    assert shown.replace("_", "").replace("-", "").isascii()
    assert shown.replace("_", "").replace("-", "").isalnum() or not shown.replace("_", "").replace("-", "")
    assert id_for_provider(shown) == given_id


@given(st.text(min_size=41, max_size=200), st.text(min_size=41, max_size=200))
def test_long_ids_stay_different(one: str, other: str) -> None:
    short = id_for_provider(one, 40)
    assert len(short) <= 40
    assert short == id_for_provider(one, 40)
    assert (short == id_for_provider(other, 40)) is (one == other)


@given(st.lists(_NAMES, unique=True, max_size=6))
def test_every_name_is_found_again(names: list[str]) -> None:
    for name in names:
        assert name_for_client(name_for_provider(name), names) == name


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"tools": [{"type": "web_search_20250305", "name": "web_search"}]}, "web_search_20250305 runs at Anthropic"),
        (
            {
                "tools": [{"type": "web_search_20250305", "name": "web_search"}, {"name": "Read", "input_schema": {}}],
                "tool_choice": {"type": "tool", "name": "web_search"},
            },
            "routed to a provider of Claude",
        ),
        ({"mcp_servers": [{"type": "url", "url": "https://mcp.example.com", "name": "m"}]}, "MCP servers"),
        ({"messages": [{"role": "user", "content": [{"type": "container_upload", "file_id": "f"}]}]}, "uploaded file"),
        (
            {
                "messages": [
                    {"role": "user", "content": [{"type": "image", "source": {"type": "file", "file_id": "f"}}]}
                ]
            },
            "An image is kept at Anthropic",
        ),
        (
            {
                "messages": [
                    {
                        "role": "user",
                        "content": [
                            {"type": "document", "source": {"type": "url", "url": "https://example.com/a.pdf"}}
                        ],
                    }
                ]
            },
            "https://example.com/a.pdf",
        ),
        ({"messages": [{"role": "user", "content": 7}]}, "not a request of the Messages API"),
        ({"tools": [{"name": "Read", "input_schema": []}]}, "input_schema"),
    ],
)
def test_what_cannot_be_carried_is_refused_with_a_sentence(change: dict[str, Any], says: str) -> None:
    with pytest.raises(CannotTranslate, match=says):
        sent({**asked("plain"), **change})


def test_a_body_of_endless_depth_is_refused() -> None:
    depth = 100_000
    body = b'{"messages":[{"role":"user","content":' + b"[" * depth + b"]" * depth + b"}]}"
    with pytest.raises(CannotTranslate):
        translate(body, model="m", stream=False, dialect=Dialect())


@pytest.mark.parametrize(
    ("efforts", "change", "sent_effort"),
    [
        (("low", "medium", "high"), {"output_config": {"effort": "max"}}, "high"),
        (("low", "medium", "high"), {"output_config": {"effort": "medium"}}, "medium"),
        (("low", "medium", "high"), {"thinking": {"type": "adaptive"}}, None),
        (("low", "medium", "high"), {"thinking": {"type": "disabled"}, "output_config": {"effort": "high"}}, "low"),
        (("none", "low"), {"thinking": {"type": "disabled"}}, "none"),
        (("low", "medium", "high"), {"thinking": {"type": "enabled", "budget_tokens": 31_999}}, "high"),
        (("low", "medium", "high"), {"thinking": {"type": "enabled", "budget_tokens": 1_024}}, "low"),
        (("high",), {"output_config": {"effort": "low"}}, "high"),
        ((), {"output_config": {"effort": "high"}}, None),
        (("low",), {"output_config": {"effort": "a new one"}}, None),
    ],
)
def test_effort(efforts: tuple[str, ...], change: dict[str, Any], sent_effort: str | None) -> None:
    body = {**asked("claude_code"), "thinking": None, "output_config": None, **change}
    made = translate(json.dumps(body).encode(), model="m", stream=False, dialect=Dialect(efforts=efforts))
    assert json.loads(made).get("reasoning_effort") == sent_effort


def test_late_system_messages_take_the_role_that_the_server_allows() -> None:
    dialect = Dialect(system_role="developer", late_system_role="user")
    made = json.loads(translate(json.dumps(asked("claude_code")).encode(), model="m", stream=False, dialect=dialect))
    assert [message["role"] for message in made["messages"]] == [
        "developer",
        "user",
        "user",
        "assistant",
        "tool",
        "user",
    ]
    assert made["messages"][-1]["content"] == "<system-reminder>\nMind the tests.\n</system-reminder>"


def test_the_effort_of_requests_with_tools_is_the_servers_own() -> None:
    dialect = Dialect(efforts=("none", "low", "high"), effort_with_tools="none")
    for body, effort in ((asked("claude_code"), "none"), ({**asked("claude_code"), "tools": []}, "high")):
        made = json.loads(translate(json.dumps(body).encode(), model="m", stream=False, dialect=dialect))
        assert made["reasoning_effort"] == effort


def test_a_client_of_the_same_format_has_its_own_bytes_sent() -> None:
    body = b'{ "messages" : [{"role":"user", "content":"\\u2603 1.0"}],"model":"claude-sonnet-5-5", "n" : 1.50}'
    assert spliced(body, "gpt-5") == b'{"messages":[{"role":"user", "content":"\\u2603 1.0"}],"model":"gpt-5","n":1.50}'
    streamed = json.loads(spliced(b'{"model":"m","stream":true,"stream_options":{"include_obfuscation":false}}', "m"))
    assert streamed["stream_options"] == {"include_obfuscation": False, "include_usage": True}
    told = b'{"model":"m","stream":true,"stream_options":{"include_usage":true}}'
    assert spliced(told, "m") == told
    with pytest.raises(msgspec.MsgspecError):
        spliced(b"[]", "m")


def test_a_client_does_not_choose_among_models_that_it_may_not_use() -> None:
    sent = spliced(b'{"model":"a","models":["b","c"],"messages":[],"odd" : 1.0}', "a")
    assert b"models" not in sent
    assert b'"odd":1.0' in sent


def test_a_client_does_not_choose_the_tier_of_the_account() -> None:
    assert spliced(b'{"model":"x","service_tier":"priority","n":1.50}', "m") == b'{"model":"m","n":1.50}'


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        ({"web_search_options": {}}, "`web_search_options` has a fee"),
        ({"plugins": [{"id": "web"}]}, "`plugins` has a fee"),
        ({"tools": [{"type": "function", "function": {"name": "a"}}, {"type": "web_search"}]}, r"`tools\[1\]` is run"),
    ],
)
def test_what_has_a_fee_that_is_not_metered_is_refused(given: dict[str, Any], sentence: str) -> None:
    with pytest.raises(CannotTranslate, match=sentence):
        spliced(json.dumps({"model": "m", "messages": [], **given}).encode(), "m")


@pytest.mark.parametrize(
    ("given", "sent"),
    [
        ({}, {"max_completion_tokens": 100}),
        ({"max_tokens": 50}, {"max_tokens": 50}),
        ({"max_tokens": 500}, {"max_tokens": 100}),
        ({"max_completion_tokens": 500, "max_tokens": 50}, {"max_completion_tokens": 100, "max_tokens": 50}),
    ],
)
def test_a_request_that_passes_may_not_answer_longer_than_was_admitted(
    given: dict[str, int], sent: dict[str, int]
) -> None:
    body = json.dumps({"model": "m", "messages": [], **given}).encode()
    found = json.loads(spliced(body, "m", b'{"max_tokens":100,"messages":[]}'))
    assert {name: value for name, value in found.items() if name.startswith("max_")} == sent


@pytest.mark.parametrize("required", [7, [["a"]], {"a": 1}, "a"])
def test_a_schema_whose_required_is_none_is_not_strict(required: object) -> None:
    schema = {"type": "object", "properties": {"a": {}}, "additionalProperties": False, "required": required}
    body = {"messages": [], "max_tokens": 1, "output_config": {"format": {"type": "json_schema", "schema": schema}}}
    made = json.loads(translate(json.dumps(body).encode(), model="m", stream=False, dialect=Dialect()))
    assert made["response_format"]["json_schema"] == {"name": "answer", "schema": schema}
