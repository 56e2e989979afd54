"""A Claude body in another envelope: what the formats do not share changes, all else stays as it came."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.wire.forms import CLAUDE, Form, betas, continues_thread, reshape, with_fields

MESSAGES = (
    b'{ "system": [{"type":"text","text":"x","cache_control":{"type":"ephemeral","ttl":"1h"}}], "odd" : 1.50, '
    b'"messages":[{"role":"user","content":"caf\\u00e9"}],"max_tokens":5}'
)
"""Odd spacing, an escape, a number that a parser would write otherwise."""


def as_anthropic(stream: bool = False) -> bytes:
    head = b'{"model":"claude-opus-5-5",' + (b'"stream":true,' if stream else b"")
    return head + MESSAGES.strip()[1:]


def test_a_body_that_needs_no_change_is_the_same_object() -> None:
    body = as_anthropic()
    assert reshape(body, Form.ANTHROPIC, Form.ANTHROPIC, model="claude-opus-5-5", stream=False) is body
    for form in (Form.BEDROCK, Form.VERTEX):
        assert reshape(MESSAGES, form, form, model="any", stream=True) is MESSAGES


def test_another_model_takes_the_place_of_the_first_and_nothing_else_moves() -> None:
    body = reshape(as_anthropic(), Form.ANTHROPIC, Form.ANTHROPIC, model="claude-haiku-5-5", stream=False)
    assert list(msgspec.json.decode(body, type=dict[str, msgspec.Raw])) == [
        "model", "system", "odd", "messages", "max_tokens",
    ]  # fmt: skip
    assert json.loads(body)["model"] == "claude-haiku-5-5"
    assert b"1.50" in body
    assert b"caf\\u00e9" in body


def test_bedrock_says_version_and_betas_in_the_body_and_no_model_or_stream() -> None:
    body = reshape(
        as_anthropic(stream=True), Form.ANTHROPIC, Form.BEDROCK, model="x", stream=True, betas=["a-1", "b-2"]
    )
    found = json.loads(body)
    assert found["anthropic_version"] == "bedrock-2023-05-31"
    assert found["anthropic_beta"] == ["a-1", "b-2"]
    assert not {"model", "stream"} & set(found)


def test_vertex_keeps_stream_in_the_body_and_says_its_version() -> None:
    found = json.loads(reshape(as_anthropic(stream=True), Form.ANTHROPIC, Form.VERTEX, model="x", stream=True))
    assert (found["anthropic_version"], found["stream"]) == ("vertex-2023-10-16", True)
    assert "model" not in found


def test_from_bedrock_to_anthropic_the_body_gets_model_and_stream_and_loses_the_envelope() -> None:
    bedrock = b'{"anthropic_version":"bedrock-2023-05-31","anthropic_beta":["a-1"],' + MESSAGES.strip()[1:]
    found = json.loads(reshape(bedrock, Form.BEDROCK, Form.ANTHROPIC, model="claude-opus-5-5", stream=True))
    assert (found["model"], found["stream"]) == ("claude-opus-5-5", True)
    assert not {"anthropic_version", "anthropic_beta"} & set(found)


def test_what_a_receiver_refuses_is_left_out() -> None:
    found = json.loads(
        reshape(as_anthropic(), Form.ANTHROPIC, Form.BEDROCK, model="x", stream=False, drop=["odd", "absent"])
    )
    assert "odd" not in found
    assert "max_tokens" in found


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)


@given(st.dictionaries(st.text(max_size=8), JSON, max_size=6), st.sampled_from(sorted(CLAUDE)), st.booleans())
def test_there_and_back_everything_that_formats_share_is_as_it_was(
    shared: dict[str, Any], other: Form, stream: bool
) -> None:
    envelope = {"model", "stream", "anthropic_version", "anthropic_beta"}
    shared = {name: value for name, value in shared.items() if name not in envelope}
    body = json.dumps({"model": "claude-opus-5-5", **({"stream": True} if stream else {}), **shared}).encode()
    there = reshape(body, Form.ANTHROPIC, other, model="claude-opus-5-5", stream=stream, betas=["b"])
    back = json.loads(reshape(there, other, Form.ANTHROPIC, model="claude-opus-5-5", stream=stream))
    assert {name: value for name, value in back.items() if name not in envelope} == shared
    assert [name for name in back if name in shared] == list(shared)
    assert back["model"] == "claude-opus-5-5"
    assert back.get("stream", False) is stream


def test_the_beginning_of_a_conversation_is_the_same_bytes_in_every_turn() -> None:
    """So that the provider's prompt cache finds its prefix again."""
    first = json.dumps({"model": "m", "stream": True, "tools": [1], "system": "s", "messages": ["one"]}).encode()
    second = json.dumps(
        {"model": "m", "stream": True, "tools": [1], "system": "s", "messages": ["one", "two"]}
    ).encode()
    for form in (Form.BEDROCK, Form.VERTEX):
        a, b = (reshape(each, Form.ANTHROPIC, form, model="m", stream=True, betas=["x"]) for each in (first, second))
        common = a.index(b'"one"') + len(b'"one"')
        assert a[:common] == b[:common]


@pytest.mark.parametrize(
    ("form", "header", "body", "found"),
    [
        (Form.ANTHROPIC, "a-1, b-2 ,", b"{}", ("a-1", "b-2")),
        (Form.VERTEX, None, b'{"anthropic_beta":["x"]}', ()),
        (Form.BEDROCK, "a-1", b'{"anthropic_beta":["x",3]}', ("x", "a-1")),
        (Form.BEDROCK, None, b'{"anthropic_beta":"x"}', ()),
        (Form.BEDROCK, None, b"no json", ()),
    ],
)
def test_betas_are_where_the_format_has_them(
    form: Form, header: str | None, body: bytes, found: tuple[str, ...]
) -> None:
    assert betas(form, header, body) == found


def test_a_field_is_replaced_in_its_place_or_added_at_the_end() -> None:
    assert with_fields(b'{"a": 1.0, "max_tokens": 9, "z": [ ]}', max_tokens=5) == b'{"a":1.0,"max_tokens":5,"z":[ ]}'
    assert with_fields(b'{"a": 1}', max_tokens=5) == b'{"a":1,"max_tokens":5}'


@pytest.mark.parametrize(
    ("body", "continues"),
    [
        (b'{"messages":[{"role":"user","content":"\\"thread\\""}]}', False),
        (b'{"thread":null}', False),
        (b'{"thread":{"type":"continue","previous_message_id":"msg_1"},"messages":[]}', True),
        (b'{"thread":', False),
    ],
)
def test_a_body_tells_whether_a_conversation_is_held_elsewhere(body: bytes, continues: bool) -> None:
    assert continues_thread(body) is continues


@pytest.mark.parametrize("was", [Form.BEDROCK, Form.VERTEX])
@pytest.mark.parametrize("stream", [True, False])
def test_the_path_of_a_cloud_decides_whether_to_stream_whatever_its_body_says(was: Form, stream: bool) -> None:
    body = json.dumps({"anthropic_version": "x", "stream": not stream, "messages": []}).encode()
    assert json.loads(reshape(body, was, Form.ANTHROPIC, model="m", stream=stream)).get("stream", False) is stream
