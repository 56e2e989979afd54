"""Thinking of other models is left out of what Claude is sent; the rest keeps its bytes."""

from __future__ import annotations

import json

import pytest

from gateway.wire.foreign import without_foreign_thinking

FOREIGN = b'{"type":"thinking","thinking":"Hm.","signature":"comptroller"}'
SEALED = b'{"type":"thinking","thinking":"Hm.","signature":"comptroller:a:b:c"}'
CLAUDES = b'{"type":"thinking","thinking":"","signature":"EoABCkYIARgCKkA="}'
TEXT = b'{"type":"text" , "text":"\\u2603 1.0"}'
CALL = b'{"type":"tool_use","id":"toolu_1","name":"Read","input":{"n":1.0}}'


def body(*blocks: bytes) -> bytes:
    content = b", ".join(blocks)
    return (
        b'{"model":"m", "messages":[{"role":"user","content":"a"},{"role":"assistant","content":[' + content + b"]}"
        b',{"role":"user","content":"b"}],"system":[ ]}'
    )


@pytest.mark.parametrize(
    "raw",
    [
        body(CLAUDES, TEXT, CALL),
        body(b'{"type":"text","text":"\\"signature\\":\\"comptroller\\""}'),
        body(b'{"type":"text","text":"x","signature":"comptroller"}'),
        b'{"messages":[{"role":"user","content":"comptroller"}]}',
        b'{"messages":[{"role":"user","content":"\\"comptroller\\""}]}',
        b'{"system":"\\"comptroller\\""}',
    ],
)
def test_nothing_to_leave_out(raw: bytes) -> None:
    assert without_foreign_thinking(raw) is raw


@pytest.mark.parametrize("foreign", [FOREIGN, SEALED])
def test_foreign_thinking_goes(foreign: bytes) -> None:
    made = without_foreign_thinking(body(foreign, CLAUDES, TEXT, foreign, CALL))
    assert json.loads(made) == json.loads(body(CLAUDES, TEXT, CALL))
    for kept in (CLAUDES, TEXT, CALL, b'"system":[ ]'):
        assert kept in made


def test_a_message_of_nothing_else_goes() -> None:
    made = json.loads(without_foreign_thinking(body(FOREIGN)))
    assert [message["role"] for message in made["messages"]] == ["user", "user"]


@pytest.mark.parametrize(
    "raw",
    [
        b'{"messages":7,"system":"comptroller"}',
        b'{"messages":["comptroller"]}',
        b'{"messages":[{"content":["comptroller"]}]}',
        b'["comptroller"]',
        b'"comptroller',
        b'{"messages":[{"role":"user","content":[{"signature":"comptroller","type":"\xff"}]}]}',
    ],
)
def test_what_is_no_messages_body_stays(raw: bytes) -> None:
    assert without_foreign_thinking(raw) is raw
