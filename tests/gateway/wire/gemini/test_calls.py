"""Ids of tool calls: what Gemini signed comes back as it was, in letters that Anthropic allows."""

from __future__ import annotations

import re
from base64 import b64encode

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from gateway.wire.gemini.calls import for_gemini, id_for_client

ALLOWED = re.compile(r"[a-zA-Z0-9_-]+")
PLAIN = st.from_regex(r"[A-Za-z0-9-]{1,64}", fullmatch=True)


@given(PLAIN, st.binary(min_size=1, max_size=200))
def test_a_signature_comes_back(call: str, raw: bytes) -> None:
    signature = b64encode(raw).decode()
    made = id_for_client(call, "x", signature)
    assert ALLOWED.fullmatch(made)
    assert for_gemini(made) == (call, signature)


@example("a", "\u00e9===")
@example("a", "=")
@example("a", "a-b_")
@given(PLAIN, st.text(min_size=1, max_size=60).filter(lambda text: text.isprintable()))
def test_so_does_one_in_any_letters(call: str, signature: str) -> None:
    made = id_for_client(call, "x", signature)
    assert ALLOWED.fullmatch(made)
    assert for_gemini(made) == (call, signature)


@given(st.text(max_size=80))
def test_any_id_of_a_client_can_be_read(given_id: str) -> None:
    found = for_gemini(given_id)
    assert isinstance(found.id, str)


@pytest.mark.parametrize("odd", ["", "functions.Read:0", "a_b", "x" * 65])
def test_an_odd_id_is_replaced(odd: str) -> None:
    assert for_gemini(id_for_client(odd, "0a1b", "c2ln")) == ("0a1b", "c2ln")


def test_another_models_id_stays() -> None:
    assert for_gemini("toolu_01Abc") == ("toolu_01Abc", "")
    assert for_gemini(id_for_client("fc-1", "x", "")) == ("fc-1", "")
