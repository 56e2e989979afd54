"""Bodies as Bedrock takes them: golden ones byte for byte, and the fake Bedrock refuses none of them."""

from __future__ import annotations

import json
from base64 import b64decode
from pathlib import Path

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from gateway.providers.base import CannotCall, Operation
from gateway.providers.bedrock.body import accepted, body_of
from gateway.wire.forms import Form
from tests.fakes.bedrock import judge
from tests.gateway.providers.bedrock.calls import call, provider

GOLDEN = Path(__file__).parents[3] / "golden" / "providers" / "bedrock" / "requests"
CASES = sorted(path.stem for path in GOLDEN.glob("*.betas"))


def betas(case: str) -> tuple[str, ...]:
    return tuple((GOLDEN / f"{case}.betas").read_text().strip().split(","))


@pytest.mark.parametrize("case", CASES)
def test_anthropics_bodies_become_bedrocks(case: str) -> None:
    body, wanted = (GOLDEN / f"{case}.json").read_bytes(), (GOLDEN / f"{case}.bedrock.json").read_bytes()
    assert body_of(call(body, betas=betas(case))) == wanted
    judge(json.loads(wanted), {})


@pytest.mark.parametrize("case", CASES)
def test_a_bedrock_clients_body_stays_byte_for_byte(case: str) -> None:
    body = json.dumps(json.loads((GOLDEN / f"{case}.bedrock.json").read_bytes()), indent=1).encode()
    assert body_of(call(body, form=Form.BEDROCK)) is body
    other = provider(options={"unsupported_betas": ["never-asked-for"]})
    assert body_of(call(body, form=Form.BEDROCK, at=other)) is body


def test_a_conversation_that_grows_keeps_its_beginning() -> None:
    """The prompt cache is found by the bytes before a mark: what is added comes behind them."""
    first = json.loads((GOLDEN / "claude_code.json").read_bytes())
    longer = {**first, "messages": [*first["messages"], {"role": "user", "content": "more"}]}
    short, long = (body_of(call(json.dumps(each).encode(), betas=betas("claude_code"))) for each in (first, longer))
    end = short.index(b'"another string"')
    assert long[:end] == short[:end]


def test_what_is_not_touched_keeps_its_bytes() -> None:
    odd = b'{"max_tokens" : 9, "messages": [ {"role":"user", "content":"\\u00e4 \\/"} ], "top_p": 0.50}'
    sent = body_of(call(odd))
    assert b'[ {"role":"user", "content":"\\u00e4 \\/"} ]' in sent
    assert b'"top_p":0.50' in sent


def test_betas_have_bedrocks_names_and_come_once() -> None:
    asked = ["advanced-tool-use-2025-11-20", "tool-search-tool-2025-10-19", "a-new-one-2027-01-01", "oauth-2025-04-20"]
    assert accepted(asked) == ["tool-search-tool-2025-10-19", "a-new-one-2027-01-01"]
    assert accepted(asked, ["a-new-one-2027-01-01", "tool-search-tool-2025-10-19"]) == []


def test_the_administrator_may_leave_betas_out_of_any_body() -> None:
    at = provider(options={"unsupported_betas": ["dangerous-tool-use-2026-09-03"]})
    sent = json.loads(body_of(call((GOLDEN / "auto_mode.json").read_bytes(), betas=betas("auto_mode"), at=at)))
    assert sent["anthropic_beta"] == ["claude-code-20250219"]
    assert "safeguards" not in sent

    own = {"safeguards": [], "anthropic_beta": ["dangerous-tool-use-2026-09-03", "x"], "max_tokens": 1}
    assert json.loads(body_of(call(json.dumps(own).encode(), form=Form.BEDROCK, at=at))) == {
        "anthropic_beta": ["x"],
        "max_tokens": 1,
    }
    own["anthropic_beta"] = ["dangerous-tool-use-2026-09-03"]
    assert json.loads(body_of(call(json.dumps(own).encode(), form=Form.BEDROCK, at=at))) == {"max_tokens": 1}


def test_a_vertex_clients_body_becomes_bedrocks() -> None:
    body = b'{"anthropic_version":"vertex-2023-10-16","messages":[],"max_tokens":5,"stream":true}'
    sent = body_of(call(body, form=Form.VERTEX, betas=("effort-2025-11-24",)))
    assert json.loads(sent) == {
        "anthropic_version": "bedrock-2023-05-31",
        "anthropic_beta": ["effort-2025-11-24"],
        "messages": [],
        "max_tokens": 5,
    }


@pytest.mark.parametrize(
    ("fields", "added"),
    [
        ({}, {"max_tokens": 1}),
        ({"thinking": {"type": "enabled", "budget_tokens": 2048}}, {"max_tokens": 2049}),
        ({"max_tokens": 7}, {}),
    ],
)
def test_a_count_is_packed_into_its_own_body(fields: dict[str, object], added: dict[str, object]) -> None:
    asked = {"model": "claude-haiku-5-5", "messages": [{"role": "user", "content": "x"}], "tools": [], **fields}
    sent = body_of(
        call(
            json.dumps(asked).encode(),
            operation=Operation.COUNT_TOKENS,
            betas=("claude-code-20250219", "interleaved-thinking-2025-05-14"),
        )
    )
    packed = json.loads(b64decode(json.loads(sent)["input"]["invokeModel"]["body"]))
    assert packed == {
        "anthropic_version": "bedrock-2023-05-31",
        "anthropic_beta": ["claude-code-20250219"],
        "messages": asked["messages"],
        **fields,
        **added,
    }
    judge(packed, {})


@pytest.mark.parametrize("body", [b"", b"[]", b"{", b"\xff", b'"x"', b"[" * 100_000])
@pytest.mark.parametrize("operation", list(Operation))
def test_what_is_no_object_cannot_be_sent(body: bytes, operation: Operation) -> None:
    with pytest.raises(CannotCall) as refused:
        body_of(call(body, operation=operation))
    assert refused.value.client_error


_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=8,
)


@given(
    st.dictionaries(st.sampled_from(["messages", "system", "context_management", "thinking", "new", "tags"]), _VALUES)
)
def test_any_object_is_sent_with_what_is_not_known_here(body: dict[str, object]) -> None:
    try:
        sent = json.loads(body_of(call(json.dumps(body).encode(), betas=("compact-2026-01-12",))))
    except CannotCall as refused:
        assume(not refused.client_error)
        raise
    assert sent.pop("anthropic_version") == "bedrock-2023-05-31"
    assert {name: sent[name] for name in body if name in {"system", "thinking", "new"}} == {
        name: value for name, value in body.items() if name in {"system", "thinking", "new"}
    }
    assert "tags" not in sent
