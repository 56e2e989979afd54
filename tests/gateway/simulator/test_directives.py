"""Directives in prompts."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.simulator.answer import BIG_EVENT_BYTES, BadScript, answer
from gateway.simulator.directives import directives, without


def test_words_flags_and_quotes() -> None:
    [found] = directives("""Hi [[sim: text="a \\"b\\"\\n" input_tokens=5 gzip thinking='say "x"' ttft_ms=1.5]] there""")
    assert found == {"text": 'a "b"\n', "input_tokens": 5, "gzip": True, "thinking": 'say "x"', "ttft_ms": 1.5}


def test_every_directive_is_a_step() -> None:
    assert directives("[[sim: text=one]] and [[sim:text=two]]") == [{"text": "one"}, {"text": "two"}]
    assert without("say [[sim: text=one]] and [[sim: text=two]] please") == "say  and  please"


def test_a_directive_inside_a_quote_belongs_to_the_subagent() -> None:
    [found] = directives('[[sim: tool=Agent description=x prompt="do [[sim: text=\\"inner\\"]]"]]')
    assert found == {"tool": "Agent", "input": {"description": "x", "prompt": 'do [[sim: text="inner"]]'}}
    assert directives(found["input"]["prompt"]) == [{"text": "inner"}]


def test_words_that_are_no_field_go_to_the_tool() -> None:
    [found] = directives('[[sim: tool=Write file_path=/x content="[1]" input.text=7 text=talk output_tokens=9]]')
    assert found == {
        "tool": "Write",
        "text": "talk",
        "output_tokens": 9,
        "input": {"file_path": "/x", "content": "[1]", "text": 7},
    }


def test_json_fields() -> None:
    [found] = directives("""[[sim: iterations='[{"type":"message"}]' headers="{\\"a\\":\\"b\\"}"]]""")
    assert found == {"iterations": [{"type": "message"}], "headers": {"a": "b"}}
    with pytest.raises(BadScript, match="iterations must be JSON"):
        directives("[[sim: iterations=no]]")


def test_big_event_has_a_size_of_its_own() -> None:
    assert directives("[[sim: big_event]]") == [{"big_event": BIG_EVENT_BYTES}]
    assert directives("[[sim: big_event=10]]") == [{"big_event": 10}]


@pytest.mark.parametrize(
    "text", ["[[sim: text=", '[[sim: text="open]]', "[[sim: text=x", "[[sim: =x]]", "[[sim: ! ]]", "[[sim: a='b'c]]"]
)
def test_unreadable(text: str) -> None:
    with pytest.raises(BadScript, match="unreadable directive"):
        directives(text)


@pytest.mark.parametrize("text", ["", "no directive", "[[wiki]] link", "[sim: text=x]", "a[[simulate: x]]"])
def test_what_is_no_directive(text: str) -> None:
    assert directives(text) == []
    assert without(text) == text


@given(st.text())
def test_any_text_survives_json_quoting(text: str) -> None:
    assert directives(f"before [[sim: text={json.dumps(text, ensure_ascii=False)}]] after") == [{"text": text}]


@pytest.mark.parametrize(
    ("fields", "message"),
    [({"colour": 1}, "colour"), ({"input_tokens": "many"}, "input_tokens"), ({"status": 42}, "status 42")],
)
def test_an_answer_that_cannot_be(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(BadScript, match=message):
        answer(fields)
