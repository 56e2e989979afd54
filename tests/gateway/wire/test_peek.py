"""What is read out of a request body, what is tolerated, and what is refused with a sentence."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.wire.peek import UNSTATED_WEB_SEARCHES, BadBody, Peek, UserId, peek


def body(**fields: Any) -> bytes:
    return json.dumps({"model": "claude-opus-5-5", "messages": [], **fields}).encode()


def test_a_body_of_claude_code() -> None:
    user_id = {"device_id": "d1", "account_uuid": "", "session_id": "s1", "team": "core", "n": 5}
    found = peek(
        body(
            stream=True,
            max_tokens=64_000,
            speed="fast",
            service_tier="auto",
            thinking={"type": "enabled", "budget_tokens": 31_999},
            metadata={"user_id": json.dumps(user_id)},
            system=[{"type": "text", "text": "one"}],
            messages=[{"role": "user", "content": "hi"}, {"role": "system", "content": "two", "output_config": {}}],
            tools=[
                {"name": "Read", "input_schema": {}},
                {"name": "Own", "type": "custom", "input_schema": {}, "defer_loading": True},
                {"name": "web_search", "type": "web_search_20250305", "max_uses": 8},
                {"name": "bash", "type": "bash_20250124"},
            ],
            context_management={"edits": []},
            safeguards=[1],
        )
    )
    assert found == Peek(
        model="claude-opus-5-5",
        stream=True,
        max_tokens=64_000,
        speed="fast",
        service_tier="auto",
        thinking="enabled",
        thinking_budget_tokens=31_999,
        user_id=UserId("s1", "d1", "", {"team": "core"}),
        tool_count=4,
        web_search_max_uses=8,
        tool_types=("web_search_20250305", "bash_20250124"),
        system=found.system,
    )
    assert found.server_tools == ("web_search_20250305",)
    assert [bytes(raw) for raw in found.system] == [b'[{"type": "text", "text": "one"}]', b'"two"']


@pytest.mark.parametrize(
    ("raw", "says"),
    [
        (b"", "empty"),
        (b"{", "not valid JSON: input data was truncated"),
        (b'{"model": "a",}', "byte 14"),
        (b'{"model": "a"} x', "trailing characters"),
        (b"\xff\xfe", "not valid JSON"),
        (b"hello", "not valid JSON"),
        (b"[]", "not an object"),
        (b'"x"', "not an object"),
        (b"null", "not an object"),
        (b"{}", "`model` is missing"),
        (b'{"messages": []}', "`model` is missing"),
        (b'{"model": null}', "`model` must be a string, not null"),
        (b'{"model": 5}', "`model` must be a string, not a number"),
        (b'{"model": ["a"]}', "`model` must be a string, not an array"),
        (b'{"model": ""}', "`model` is empty"),
        (b'{"model": " "}', "`model` is empty"),
        (b'{"model": "a\\u0000b"}', "not a model id"),
        (b'{"model": "' + b"a" * 201 + b'"}', "not a model id"),
        (b'{"model": "a\xff"}', "UTF-8"),
        (b'{"model": "a", "stream": 1}', "`stream` must be true or false, not a number"),
        (b'{"model": "a", "stream": "true"}', "`stream` must be true or false, not a string"),
        (b'{"model": "a", "max_tokens": "9"}', "`max_tokens` must be a whole number, not a string"),
        (b'{"model": "a", "max_tokens": 1.5}', "`max_tokens` must be a whole number, not a number with a fraction"),
        (b'{"model": "a", "max_tokens": true}', "`max_tokens` must be a whole number, not a boolean"),
        (b'{"model": "a", "max_tokens": {}}', "`max_tokens` must be a whole number, not an object"),
        (b'{"model": "a", "max_tokens": -1}', "`max_tokens` is negative"),
        (b'{"model": "a", "x": ' + b"[" * 100_000, "nested too deeply"),
        (b'{"model": "a", "x": ' + b"[" * 100_000 + b"]" * 100_000 + b"}", "nested too deeply"),
        (b'{"model": ' + b'{"a":' * 100_000 + b"1" + b"}" * 100_001, "nested too deeply"),
        (b"[" * 100_000, "not an object"),
    ],
)
def test_what_cannot_be_used_is_refused_with_a_sentence(raw: bytes, says: str) -> None:
    with pytest.raises(BadBody) as caught:
        peek(raw)
    assert says in str(caught.value)
    assert str(caught.value).endswith(".")


@pytest.mark.parametrize(
    "odd",
    [
        {"metadata": 5},
        {"metadata": {"user_id": {"session_id": "s"}}},
        {"metadata": {"user_id": "not json"}},
        {"metadata": {"user_id": "{broken"}},
        {"metadata": {"user_id": '{"session_id": ["x"], "project": {"a": 1}}'}},
        {"thinking": "adaptive"},
        {"thinking": {"type": 5, "budget_tokens": "many"}},
        {"tools": {"a": 1}},
        {"tools": [1, "x", None, {"name": 5, "type": 7, "max_uses": "x"}]},
        {"messages": "hello"},
        {"messages": [5, {"role": 7}, {"role": "user"}, {"content": None}]},
        {"messages": None, "tools": None, "system": None, "metadata": None, "stream": None, "max_tokens": None},
        {"speed": 5, "service_tier": [], "inference_geo": {}},
        {"system": 5, "container": None, "mcp_servers": []},
        {"from_the_next_release": [{"deep": [[[[]]]]}]},
    ],
)
def test_everything_else_is_tolerated(odd: dict[str, Any]) -> None:
    found = peek(body(**odd, stream=odd.get("stream", True)) if "stream" not in odd else body(**odd))
    assert found.model == "claude-opus-5-5"
    assert found.user_id.session_id == ""
    assert not found.remote


def test_one_odd_field_hides_no_other() -> None:
    found = peek(body(metadata=5, tools=[7, {"type": "web_search_20250305", "max_uses": 2}], stream=True, max_tokens=9))
    assert (found.stream, found.max_tokens, found.web_search_max_uses) == (True, 9, 2)
    found = peek(
        body(tools="x", messages=[1, {"role": "system", "content": "here"}], metadata={"user_id": '{"session_id":"s"}'})
    )
    assert [bytes(raw) for raw in found.system] == [b'"here"']
    assert found.user_id.session_id == "s"


def test_a_key_given_twice_counts_with_its_last_value() -> None:
    found = peek(
        b'{"model": "a", "max_tokens": 1, "mod\\u0065l": "b", "max_tokens": 2, "stream": true, "stream": false}'
    )
    assert (found.model, found.max_tokens, found.stream) == ("b", 2, False)


def test_bytes_that_policy_does_not_read_are_the_provider_s_to_judge() -> None:
    assert peek(b'{"model": "a", "messages": [{"role": "user", "content": "\xff"}]}').model == "a"


def test_web_searches_without_a_limit_are_not_free() -> None:
    tool = {"type": "web_search_20260209", "name": "web_search"}
    assert peek(body(tools=[tool, {**tool, "max_uses": 3}])).web_search_max_uses == UNSTATED_WEB_SEARCHES + 3
    assert peek(body(tools=[{**tool, "max_uses": -3}])).web_search_max_uses == UNSTATED_WEB_SEARCHES


def test_what_brings_in_text() -> None:
    assert peek(body(mcp_servers=[{"url": "https://example.org"}])).remote
    assert peek(body(container="c_1")).remote
    assert not peek(body(mcp_servers=[], container=None)).remote


def test_user_id_is_bounded() -> None:
    extra = {f"k{i}": "v" * 500 for i in range(100)}
    found = peek(body(metadata={"user_id": json.dumps({**extra, "session_id": "s" * 500 + "\u0000"})}))
    assert len(found.user_id.session_id) == 64 or found.user_id == UserId()
    found = peek(
        body(metadata={"user_id": json.dumps({"session_id": "s" * 500, **{f"k{i}": "v" * 200 for i in range(40)}})})
    )
    assert len(found.user_id.session_id) == 64
    assert len(found.user_id.extra) == 16
    assert all(len(value) == 120 for value in found.user_id.extra.values())
    assert peek(body(metadata={"user_id": "{" + "x" * 20_000})).user_id == UserId()


def test_the_repr_shows_no_prompt() -> None:
    assert "sesame" not in repr(peek(body(system="sesame")))


@given(st.binary(max_size=100))
def test_anything_is_read_or_refused(raw: bytes) -> None:
    with pytest.raises(BadBody):
        peek(raw)


_KEYS = ["stream", "max_tokens", "metadata", "thinking", "tools", "messages", "system", "speed", "container", "x"]
_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["role", "type", "user_id", "content", "max_uses"]), inner)
    ),
    max_leaves=10,
)


@given(st.dictionaries(st.sampled_from(_KEYS), _JSON))
def test_any_object_is_read_or_refused(fields: dict[str, Any]) -> None:
    try:
        found = peek(json.dumps({"model": "m", **fields}).encode())
    except BadBody:
        return
    assert found.model == "m"
