"""A cap changes what it must, and no other byte."""

from __future__ import annotations

import json

import pytest

from gateway.wire.cap import capped, capped_as_sent, exceeds
from gateway.wire.forms import Form
from gateway.wire.peek import peek


def test_only_max_tokens_changes() -> None:
    raw = b'{"model":"m","max_tokens":64000,"messages":[{"role":"user","content":"\\u00e9  x"}],"zz": 1.50}'
    assert exceeds(peek(raw), 8_000)
    assert capped(raw, peek(raw), 8_000) == raw.replace(b"64000", b"8000").replace(b'"zz": 1.50', b'"zz":1.50')


@pytest.mark.parametrize(("asked", "over"), [(None, True), (8_001, True), (8_000, False), (5, False)])
def test_when_a_request_exceeds(asked: int | None, over: bool) -> None:
    body = {"model": "m", "messages": [], **({} if asked is None else {"max_tokens": asked})}
    assert exceeds(peek(json.dumps(body).encode()), 8_000) is over


@pytest.mark.parametrize(
    ("thinking", "most", "becomes"),
    [
        ({"type": "enabled", "budget_tokens": 31_999}, 8_000, {"type": "enabled", "budget_tokens": 7_999}),
        ({"type": "enabled", "budget_tokens": 4_000}, 8_000, {"type": "enabled", "budget_tokens": 4_000}),
        ({"type": "enabled", "budget_tokens": 4_000}, 1_024, {"type": "disabled"}),
        ({"type": "adaptive", "display": "x"}, 100, {"type": "adaptive", "display": "x"}),
    ],
)
def test_a_thinking_budget_stays_below_the_cap(thinking: dict[str, object], most: int, becomes: object) -> None:
    raw = json.dumps({"model": "m", "max_tokens": 32_000, "messages": [], "thinking": thinking}).encode()
    made = json.loads(capped(raw, peek(raw), most))
    assert (made["max_tokens"], made["thinking"]) == (most, becomes)


@pytest.mark.parametrize(
    ("form", "body", "becomes"),
    [
        (Form.OPENAI_CHAT, {"max_tokens": 9}, {"max_tokens": 5}),
        (
            Form.OPENAI_CHAT,
            {"max_completion_tokens": 9, "max_tokens": 9},
            {"max_completion_tokens": 5, "max_tokens": 5},
        ),
        (Form.OPENAI_CHAT, {}, {"max_completion_tokens": 5}),
        (Form.OPENAI_RESPONSES, {}, {"max_output_tokens": 5}),
        (Form.GEMINI, {"a": 1}, {"a": 1}),
    ],
)
def test_what_a_client_of_another_format_sent_is_capped_too(form: Form, body: object, becomes: object) -> None:
    assert json.loads(capped_as_sent(json.dumps(body).encode(), form, 5)) == becomes
