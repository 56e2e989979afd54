"""What a body says of single turns can be left out; the rest keeps its bytes."""

from __future__ import annotations

import json

import pytest

from gateway.wire.turns import without_turn_config

PLAIN = b'{"role":"user" , "content":"\\u2603"}'
QUOTED = b'{"role":"user","content":[{"type":"text","text":"\\"output_config\\""}]}'


@pytest.mark.parametrize(
    "body",
    [
        b'{"messages" : [' + PLAIN + b"]}",
        b'{"output_config":{"effort":"low"}, "messages":[' + PLAIN + b"]}",
        b'{"output_config":{}}',
    ],
)
def test_nothing_to_leave_out(body: bytes) -> None:
    assert without_turn_config(body) is body


def test_of_the_messages_that_have_one() -> None:
    own = b'{"role":"system","output_config":{"effort":"low"},"content":"x"}'
    body = b'{"model":"m","output_config":{"effort":"high"},"messages":[' + PLAIN + b"," + own + b"," + QUOTED + b"]}"
    made = without_turn_config(body)
    assert PLAIN in made
    assert QUOTED in made
    assert json.loads(made)["messages"][1] == {"role": "system", "content": "x"}
    assert json.loads(made)["output_config"] == {"effort": "high"}
