"""The bound on a prompt holds whatever the body is; the estimate errs upwards."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.wire.peek import peek
from gateway.wire.tokens import MAX_IMAGE_TOKENS, Bound, estimate_output, estimate_prompt, upper_bound

DATA = base64.b64encode(b"\x89PNG" + b"\0" * 300_000).decode()
IMAGE = {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": DATA}}
TINY_IMAGE = {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "iVBORw0KGgo="}}


def bound(**fields: Any) -> Bound:
    body = json.dumps({"model": "m", "max_tokens": 1, **fields}).encode()
    return upper_bound(body, peek(body))


def user(*blocks: dict[str, Any] | str) -> list[dict[str, Any]]:
    return [{"role": "user", "content": list(blocks)}]


@given(st.text(max_size=500))
def test_text_is_at_most_one_token_a_byte(text: str) -> None:
    raw = json.dumps({"model": "m", "messages": [{"role": "user", "content": text}]}, ensure_ascii=False)
    body = raw.encode("utf-8", "surrogatepass")
    if raw.isprintable():
        assert upper_bound(body, peek(body)) == Bound(len(body), open_ended=False, one_hour=False)
    assert upper_bound(body, peek(body)).tokens >= len(text.encode("utf-8", "surrogatepass"))


def test_an_image_costs_by_its_size_not_its_bytes() -> None:
    for found in (
        bound(messages=user(IMAGE)),
        bound(messages=user({"type": "tool_result", "tool_use_id": "t", "content": [IMAGE]})),
        bound(messages=user({"type": "document", "source": {"type": "content", "content": [IMAGE]}})),
    ):
        assert MAX_IMAGE_TOKENS < found.tokens < MAX_IMAGE_TOKENS + 400
        assert not found.open_ended
    assert bound(messages=user(IMAGE, IMAGE)).tokens > 2 * MAX_IMAGE_TOKENS
    assert bound(messages=user(TINY_IMAGE)).tokens > MAX_IMAGE_TOKENS
    assert (
        bound(messages=user({"type": "image", "source": {"type": "url", "url": "https://x.test"}})).tokens
        > MAX_IMAGE_TOKENS
    )


def test_what_only_looks_like_an_image_is_text() -> None:
    call = {"type": "tool_use", "id": "t", "name": "n", "input": IMAGE}
    assert bound(messages=user(call)).tokens >= len(DATA)
    assert bound(messages=user({"type": "text", "text": json.dumps(IMAGE)})).tokens >= len(DATA)
    assert bound(messages=user({"type": "text", "source": IMAGE["source"]})).open_ended


@pytest.mark.parametrize(
    "fields",
    [
        {
            "messages": user(
                {"type": "document", "source": {"type": "base64", "media_type": "application/pdf", "data": "JVBERi0="}}
            )
        },
        {"messages": user({"type": "document", "source": {"type": "url", "url": "https://x.test"}})},
        {"messages": user({"type": "document", "source": {"type": "file", "file_id": "f"}})},
        {"messages": user({"type": "container_upload", "file_id": "f"})},
        {"messages": user({"type": "image", "source": "odd"})},
        {"messages": user({"type": "tool_result", "content": [5]})},
        {"messages": 5},
        {"messages": [5]},
        {"tools": [{"type": "web_search_20250305", "name": "web_search"}]},
        {"tools": [{"type": "web_fetch_20250910", "name": "web_fetch"}]},
        {"tools": [{"type": "from_the_next_release", "name": "x"}]},
        {"mcp_servers": [{"url": "https://x.test"}]},
        {"container": {"skills": []}},
    ],
)
def test_what_the_body_points_to_is_open_ended(fields: dict[str, Any]) -> None:
    assert bound(**fields).open_ended


@pytest.mark.parametrize(
    "fields",
    [
        {"messages": user({"type": "text", "text": "hi"})},
        {"messages": user({"type": "document", "source": {"type": "text", "media_type": "text/plain", "data": "hi"}})},
        {
            "messages": user(
                {"type": "search_result", "source": "https://x.test", "content": [{"type": "text", "text": "x"}]}
            )
        },
        {"messages": user({"type": "from_the_next_release", "text": "x"})},
        {"tools": [{"name": "Read", "input_schema": {}}, {"type": "bash_20250124", "name": "bash"}]},
        {"system": [{"type": "text", "text": "x"}], "messages": [{"role": "system", "content": "y"}]},
    ],
)
def test_what_the_body_holds_is_not(fields: dict[str, Any]) -> None:
    assert not bound(**fields).open_ended


def test_tools_bring_definitions_of_the_provider() -> None:
    assert bound(tools=[{"name": "Read"}]).tokens > 1_000
    assert bound(tools=[{"name": "bash", "type": "bash_20250124"}]).tokens > 5_000


@pytest.mark.parametrize(
    "fields",
    [
        {"cache_control": {"type": "ephemeral", "ttl": "1h"}},
        {"system": [{"type": "text", "text": "x", "cache_control": {"type": "ephemeral", "ttl": "1h"}}]},
        {"tools": [{"name": "x", "cache_control": {"ttl": "1h"}}]},
        {"messages": user({"type": "text", "text": "x", "cache_control": {"ttl": "1h"}})},
        {"messages": user({"type": "tool_result", "content": [{"type": "text", "cache_control": {"ttl": "1h"}}]})},
        {"messages": 5},
    ],
)
def test_one_hour_writes(fields: dict[str, Any]) -> None:
    assert bound(**fields).one_hour


def test_five_minute_writes_are_not_one_hour() -> None:
    assert not bound(
        messages=user({"type": "text", "text": "1h", "cache_control": {"type": "ephemeral", "ttl": "5m"}})
    ).one_hour


def test_nesting_ends() -> None:
    block: dict[str, Any] = {"type": "text", "text": "x"}
    for _ in range(100):
        block = {"type": "tool_result", "content": [block]}
    assert bound(messages=user(block)).open_ended


def test_estimate() -> None:
    assert estimate_prompt(3_000) >= 3_000 // 4
    assert [estimate_output(n) for n in (-5, 0, 1, 3, 4, 3_000)] == [0, 0, 1, 1, 2, 1_000]
