"""Clients of Vertex AI: their answers are Anthropic's own bytes; only a count has its model in the body."""

from __future__ import annotations

import json

import pytest

from gateway.formats.vertex import VERTEX, VERTEX_COUNT
from gateway.wire.forms import Form
from tests.gateway.wire.golden import STREAMS, stream

COUNT = b'{"model":"claude-haiku-4-5@20251001", "messages":[ {"role":"user","content":"\\u2603"} ]}'


@pytest.mark.parametrize("name", STREAMS)
def test_answers_are_the_same_bytes(name: str) -> None:
    assert VERTEX.form is Form.VERTEX
    # No encoder: what comes is what goes.
    assert VERTEX.encoder("claude-opus-5-5") is None
    raw = stream(name)
    assert VERTEX.whole(raw, "claude-opus-5-5") is raw
    assert VERTEX.count(raw) is raw
    assert VERTEX.error(429, raw) == ([(b"content-type", b"application/json")], raw)


def test_a_message_keeps_its_body() -> None:
    assert VERTEX.messages(COUNT) is COUNT


def test_a_count_names_its_model_as_anthropic_does() -> None:
    made = VERTEX_COUNT.messages(COUNT)
    assert json.loads(made)["model"] == "claude-haiku-4-5-20251001"
    assert b'[ {"role":"user","content":"\\u2603"} ]' in made


@pytest.mark.parametrize("body", [b'{"model":"claude-opus-5-5"}', b"{}", b'{"model":1}', b"nonsense", b"", b"\xff"])
def test_what_needs_no_other_name_stays(body: bytes) -> None:
    assert VERTEX_COUNT.messages(body) is body
