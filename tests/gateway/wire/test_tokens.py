"""The bound on a prompt holds whatever the body is; the estimate is near for what Claude Code sends.

`tests/golden/tokens.json` holds texts and the tokens that real tokenizers, and a reconstruction of Claude's, make of
them: the worst characters that a search over all of Unicode found are among them.
"""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.wire.peek import peek
from gateway.wire.tokens import LOOP_PASSES, MAX_IMAGE_TOKENS, Bound, estimate_output, estimate_prompt, upper_bound

GOLDEN = json.loads((Path(__file__).parents[2] / "golden" / "tokens.json").read_text(encoding="utf-8"))
SAMPLES: dict[str, tuple[str, int]] = {s["name"]: (s["text"], max(s["counts"])) for s in GOLDEN["samples"]}
"""Text and the most tokens that any of the tokenizers makes of it."""
TAGS = {"text": 0, "thinking": 15, "tool_use": 42, "tool_result": 47}
"""Tokens of the most verbose tags known around a block; a tool's arguments have 21 each, its definition 26."""
DATA = base64.b64encode(b"\x89PNG" + b"\0" * 300_000).decode()
IMAGE = {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": DATA}}
TINY_IMAGE = {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "iVBORw0KGgo="}}


def bound(**fields: Any) -> Bound:
    body = json.dumps({"model": "m", "max_tokens": 1, **fields}).encode()
    return upper_bound(body, peek(body))


def user(*blocks: dict[str, Any] | str) -> list[dict[str, Any]]:
    return [{"role": "user", "content": list(blocks)}]


@pytest.mark.parametrize("name", SAMPLES)
@pytest.mark.parametrize("escaped", [False, True])
def test_each_text_is_at_most_what_its_bytes_allow(name: str, escaped: bool) -> None:
    """The frame and the keys of the JSON are taken out: what is left bounds the text alone."""
    text, most = SAMPLES[name]

    def bytes_of(content: str) -> bytes:
        found = {"model": "m", "messages": [{"role": "user", "content": content}]}
        return json.dumps(found, ensure_ascii=escaped).encode()

    around = upper_bound(bytes_of(""), peek(bytes_of(""))).tokens
    assert upper_bound(bytes_of(text), peek(bytes_of(text))).tokens - around >= most


def test_one_token_a_byte_would_not_be_a_bound() -> None:
    """So that the samples could tell: several of them are more tokens than bytes."""
    assert sum(most > len(text.encode()) for text, most in SAMPLES.values()) >= 8


NAMES = st.sampled_from(sorted(SAMPLES))
BLOCKS = st.recursive(
    st.tuples(st.sampled_from(["text", "thinking", "search_result"]), NAMES)
    | st.tuples(st.just("tool_use"), st.lists(NAMES, max_size=4))
    | st.tuples(st.just("image"), st.sampled_from([4, 3_000, 300_000])),
    lambda inner: st.tuples(st.just("tool_result"), st.lists(inner, max_size=3)),
    max_leaves=4,
)


def written(block: tuple[str, Any]) -> tuple[dict[str, Any], int]:
    """The block as a client writes it, and its tokens: the text's by the samples, an image's by the size rule."""
    kind, what = block
    match kind:
        case "image":
            data = base64.b64encode(b"\x89" * what).decode()
            return {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": data}}, 4_784
        case "tool_use":
            texts = {f"a{n}": SAMPLES[name][0] for n, name in enumerate(what)}
            most = sum(SAMPLES[name][1] + 21 for name in what)
            return {"type": "tool_use", "id": "t", "name": "n", "input": texts}, most + TAGS["tool_use"]
        case "tool_result":
            blocks = [written(part) for part in what]
            most = sum(count for _, count in blocks)
            return {"type": "tool_result", "tool_use_id": "t", "content": [b for b, _ in blocks]}, most + 47
        case "search_result":
            text, most = SAMPLES[what]
            content = [{"type": "text", "text": text}]
            return {"type": "search_result", "source": "s", "title": "t", "content": content}, most + 47
    text, most = SAMPLES[what]
    return {"type": kind, kind: text}, most + TAGS[kind]


@given(
    system=st.lists(NAMES, max_size=2),
    messages=st.lists(st.lists(BLOCKS, min_size=1, max_size=4), max_size=4),
    tools=st.lists(NAMES, max_size=3),
    escaped=st.booleans(),
)
def test_a_request_of_every_kind_of_block_is_below_its_bound(
    system: list[str], messages: list[list[tuple[str, Any]]], tools: list[str], escaped: bool
) -> None:
    body: dict[str, Any] = {"model": "m", "max_tokens": 1, "messages": []}
    reference = 15
    if system:
        body["system"] = [{"type": "text", "text": SAMPLES[name][0]} for name in system]
        reference += sum(SAMPLES[name][1] for name in system)
    previous = 0
    for message in messages:
        blocks = [written(block) for block in message]
        body["messages"].append({"role": "user", "content": [block for block, _ in blocks]})
        reference += 12 + sum(count for _, count in blocks)
        data = json.dumps(body, ensure_ascii=escaped).encode()
        found = upper_bound(data, peek(data))
        assert found.tokens >= max(reference, previous)
        assert found.countable
        previous = found.tokens
    if tools:
        body["tools"] = [
            {"name": f"t{n}", "description": SAMPLES[name][0], "input_schema": {"type": "object", "properties": {}}}
            for n, name in enumerate(tools)
        ]
        # Documented for Claude 3 Opus, the most of any model, and what a definition's own JSON takes.
        reference += 530 + sum(SAMPLES[name][1] + 26 + 20 for name in tools)
    data = json.dumps(body, ensure_ascii=escaped).encode()
    assert upper_bound(data, peek(data)).tokens >= max(reference, previous)


@given(st.text(max_size=200), st.text(max_size=200))
def test_more_text_never_lowers_the_bound(before: str, after: str) -> None:
    less, more = (bound(messages=user({"type": "text", "text": text})) for text in (before, before + after))
    assert less.tokens <= more.tokens


@given(st.lists(st.sampled_from([1, 5, 1_000, 60_000]), min_size=1, max_size=5))
def test_more_images_never_lower_the_bound(sizes: list[int]) -> None:
    images = [
        {"type": "image", "source": {"type": "base64", "data": base64.b64encode(b"\xff" * size).decode()}}
        for size in sizes
    ]
    bounds = [bound(messages=user(*images[:n])).tokens for n in range(len(images) + 1)]
    assert bounds == sorted(bounds)
    assert bounds[-1] >= len(sizes) * MAX_IMAGE_TOKENS


def test_an_image_costs_by_its_size_not_its_bytes() -> None:
    for found in (
        bound(messages=user(IMAGE)),
        bound(messages=user({"type": "tool_result", "tool_use_id": "t", "content": [IMAGE]})),
        bound(messages=user({"type": "document", "source": {"type": "content", "content": [IMAGE]}})),
    ):
        assert MAX_IMAGE_TOKENS < found.tokens < MAX_IMAGE_TOKENS + 700
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
        {"thread": {"type": "continue", "previous_message_id": "msg_1"}},
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


@pytest.mark.parametrize(
    ("fields", "passes"),
    [
        ({}, 1),
        ({"tools": [{"name": "Read"}, {"type": "bash_20250124", "name": "bash"}]}, 1),
        ({"tools": [{"type": "web_search_20250305", "name": "web_search"}]}, LOOP_PASSES),
        ({"mcp_servers": [{"url": "https://x.test"}]}, LOOP_PASSES),
        ({"context_management": {"edits": [{"type": "clear_thinking_20251015"}]}}, 1),
        ({"context_management": {"edits": [{"type": "compact_20260112"}]}}, 2),
        (
            {
                "context_management": {"edits": [{"type": "compact_20260112"}]},
                "tools": [{"type": "web_search_20250305", "name": "web_search"}],
            },
            2 * LOOP_PASSES,
        ),
        ({"messages": 5}, 2 * LOOP_PASSES),
    ],
)
def test_how_often_the_provider_may_read_the_prompt(fields: dict[str, Any], passes: int) -> None:
    found = bound(**fields)
    assert found.passes == passes
    assert found.countable == (passes == 1)


@pytest.mark.parametrize(
    ("source", "countable"),
    [
        ({"type": "base64", "media_type": "application/pdf", "data": "JVBERi0="}, True),
        ({"type": "file", "file_id": "f"}, True),
        ({"type": "url", "url": "https://x.test"}, False),
        ({"type": "from_the_next_release"}, False),
    ],
)
def test_a_count_bounds_only_what_stays_the_same(source: dict[str, Any], countable: bool) -> None:
    found = bound(messages=user({"type": "document", "source": source}))
    assert (found.open_ended, found.countable) == (True, countable)


def test_small_arguments_have_room_for_their_tags() -> None:
    call = {"type": "tool_use", "id": "t", "name": "n", "input": {f"a{n}": n % 10 for n in range(200)}}
    assert bound(messages=user(call)).tokens >= bound(messages=user()).tokens + 42 + 200 * (21 + 3)


def test_each_block_has_room_beyond_its_own_json() -> None:
    block = {"type": "text", "text": ""}
    more = bound(messages=user(*[block] * 101)).tokens - bound(messages=user(block)).tokens
    assert more >= 100 * (len(json.dumps(block)) + 16)


def test_cited_documents_are_open_ended() -> None:
    source = {"type": "text", "media_type": "text/plain", "data": "One. Two."}
    document = {"type": "document", "source": source, "citations": {"enabled": True}}
    assert bound(messages=user(document)).open_ended
    assert not bound(messages=user({**document, "citations": {"enabled": False}})).open_ended


def test_each_reference_to_a_deferred_tool_may_bring_its_definition() -> None:
    tool = {"name": "Deploy", "description": "x" * 5_000, "input_schema": {}, "defer_loading": True}
    references = [{"type": "tool_reference", "tool_name": "Deploy"}] * 3
    result = {"type": "tool_result", "tool_use_id": "t", "content": references}
    more = bound(tools=[tool], messages=user(result)).tokens - bound(tools=[tool], messages=user()).tokens
    assert more >= 3 * 5_000


def test_a_set_of_tools_and_a_prescribed_format_bring_text_of_the_provider() -> None:
    one = bound(tools=[{"name": "computer", "type": "computer_20250124"}]).tokens
    assert bound(tools=[{"name": "computer", "type": "computer_toolset_20260801"}]).tokens > one + 10_000
    schema = {"type": "json_schema", "schema": {}}
    assert bound(output_config={"format": schema}).tokens > bound(output_config={"effort": "high"}).tokens + 1_000


def test_estimates() -> None:
    assert [estimate_prompt(n) for n in (-5, 0, 1, 5, 1_000)] == [0, 0, 1, 2, 400]
    assert [estimate_output(n) for n in (-5, 0, 1, 3, 4, 3_000)] == [0, 0, 1, 1, 2, 1_000]
    # Python, as the newer of Claude's tokenizers counts it.
    text, most = SAMPLES["Python"]
    found = bound(messages=user({"type": "text", "text": text * 40}))
    assert most * 40 * 0.8 < found.estimate < most * 40 * 1.5 < found.tokens
    assert bound(messages=user(IMAGE)).estimate < 1_700
