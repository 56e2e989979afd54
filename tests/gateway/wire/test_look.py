"""The second look: what a conversation looks like, in any shape that clients send."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.wire.look import MAX_TOOL_NAMES, Look, look

IMAGE = {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "aaaa"}}


def body(**fields: Any) -> bytes:
    return json.dumps({"model": "m", **fields}).encode()


def test_turns_images_tools_and_effort() -> None:
    messages = [
        {"role": "user", "content": "Look."},
        {"role": "assistant", "content": [{"type": "tool_use", "id": "t", "name": "Read", "input": {"type": "image"}}]},
        {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "t", "content": [IMAGE, IMAGE]}, IMAGE]},
        {"role": "system", "content": "More.", "output_config": {"effort": "high"}},
    ]
    tools = [
        {"name": "Read", "input_schema": {}},
        {"name": "Bash"},
        {"type": "web_search_20250305", "name": "web_search"},
    ]
    found = look(body(messages=messages, tools=tools))
    assert found == Look(turns=2, images=3, effort="high", tool_names=("Read", "Bash", "web_search"))


def test_the_bodys_own_effort_wins() -> None:
    messages = [{"role": "system", "content": "x", "output_config": {"effort": "low"}}]
    assert look(body(messages=messages, output_config={"effort": "max"})).effort == "max"


def test_a_text_that_speaks_of_images_is_none() -> None:
    text = json.dumps([IMAGE])
    assert look(body(messages=[{"role": "user", "content": [{"type": "text", "text": text}]}])).images == 0


def test_many_tools_are_bounded() -> None:
    assert len(look(body(tools=[{"name": f"t{n}"} for n in range(500)])).tool_names) == MAX_TOOL_NAMES


@pytest.mark.parametrize(
    "raw",
    [
        b"", b"[]", b'{"messages": 3}', b'{"messages": [3]}', b'{"messages": [], "tools": {"name": "x"}}',
        b'{"messages": [{"role": 1, "content": 2}], "output_config": []}', b'{"messages": [{"role": "user"',
        b'{"messages": [{"role": "system", "output_config": {"effort": 3}}]}', b"[" * 100_000,
    ],
)  # fmt: skip
def test_what_cannot_be_read_counts_as_not_there(raw: bytes) -> None:
    found = look(raw)
    assert (found.images, found.effort, found.tool_names) == (0, "", ())


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(st.sampled_from(["type", "content", "role", "name", "messages", "tools", "image"]), inner)
    ),
    max_leaves=20,
)


@given(JSON)
def test_any_json_is_looked_at_without_an_error(value: Any) -> None:
    found = look(json.dumps({"messages": value, "tools": value, "output_config": value}).encode())
    assert found.turns >= 0
    assert found.images >= 0
