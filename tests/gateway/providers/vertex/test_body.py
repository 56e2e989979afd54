"""What Vertex AI is sent for a Messages body: golden requests, what is left out, and what stays byte for byte."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import msgspec
import pytest

from gateway.providers.base import CannotCall, Operation
from gateway.providers.vertex.body import accepted, body_of
from gateway.wire.forms import Form
from tests.fakes.vertex import judged
from tests.gateway.providers.vertex.helpers import call, configured

FOLDER = Path(__file__).parents[3] / "golden" / "providers" / "vertex"
GOLDEN = sorted(path.name.removesuffix(".messages.json") for path in FOLDER.glob("*.messages.json"))
OWN = b'{"anthropic_version":"vertex-2023-10-16","max_tokens" : 5, "messages":[ ],  "stream":true,"new":1.0}'


def made(name: str, **more: Any) -> tuple[bytes, tuple[str, ...]]:
    asked = json.loads((FOLDER / f"{name}.messages.json").read_text())
    body = asked["body"]
    asking = call(configured(), body, betas=tuple(asked["betas"]), stream=bool(body.get("stream")), **more)
    return body_of(asking, "claude-x"), accepted(asking)


@pytest.mark.parametrize("name", GOLDEN)
def test_golden(name: str) -> None:
    body, betas = made(name)
    expected = json.loads((FOLDER / f"{name}.vertex.json").read_text())
    assert json.loads(body) == expected["body"]
    assert list(json.loads(body)) == list(expected["body"])
    assert list(betas) == expected["betas"]


@pytest.mark.parametrize("name", sorted(set(GOLDEN) - {"claude_code", "betas_left_out"}))
def test_vertex_accepts_it(name: str) -> None:
    body, betas = made(name)
    judged(body, {"anthropic-beta": ",".join(betas)}, counts=False)


def test_what_stays_is_byte_for_byte() -> None:
    asked = (
        b'{"model":"claude-opus-5-5","max_tokens" :5, "messages":[{"role":"user","content":"\\u2603 ", "x":1.0}],'
        b'"tools":[ {"name":"a"} ],"stream":true}'
    )
    body = body_of(call(configured(), asked, stream=True), "claude-opus-5-5")
    for part in (b'[{"role":"user","content":"\\u2603 ", "x":1.0}]', b'[ {"name":"a"} ]'):
        assert part in body
    assert body.startswith(b'{"anthropic_version":"vertex-2023-10-16"')


def test_turns_without_a_configuration_keep_their_bytes() -> None:
    kept = b'{"role":"user" , "content":"say \\"output_config\\""}'
    asked = (
        b'{"model":"m","max_tokens":5,"messages":['
        + kept
        + b',{"role":"system","content":"s","output_config":{"effort":"low"}}]}'
    )
    body = body_of(call(configured(), asked), "m")
    assert kept in body
    assert json.loads(body)["messages"][1] == {"role": "system", "content": "s"}


def test_a_clients_own_body_is_itself() -> None:
    asking = call(configured(), OWN, form=Form.VERTEX, client_form=Form.VERTEX, stream=True)
    assert body_of(asking, "claude-x") is OWN
    left = call(
        configured(options={"unsupported_betas": ["x-1"]}),
        OWN,
        form=Form.VERTEX,
        client_form=Form.VERTEX,
        stream=True,
        betas=("x-1", "web-fetch-2025-09-10"),
    )
    assert accepted(left) == ("web-fetch-2025-09-10",)
    assert body_of(left, "claude-x") is OWN


@pytest.mark.parametrize("form", [Form.ANTHROPIC, Form.VERTEX])
def test_thinking_of_other_models_is_left_out(form: Form) -> None:
    content = [{"type": "thinking", "thinking": "Hm.", "signature": "comptroller"}, {"type": "text", "text": "x"}]
    asked = {"max_tokens": 5, "messages": [{"role": "assistant", "content": content}]}
    body = body_of(call(configured(), asked, form=form, client_form=form), "m")
    assert json.loads(body.replace(b" ", b""))["messages"][0]["content"] == [{"type": "text", "text": "x"}]


def test_the_configuration_leaves_out_more() -> None:
    provider = configured(options={"unsupported_betas": ["dangerous-tool-use-2026-09-03", "a-1"]})
    asked = {"model": "m", "max_tokens": 5, "messages": [], "safeguards": {"x": 1}}
    asking = call(provider, asked, betas=("a-1", "b-1", "dangerous-tool-use-2026-09-03"))
    assert accepted(asking) == ("b-1",)
    assert "safeguards" not in json.loads(body_of(asking, "m"))


@pytest.mark.parametrize("form", [Form.ANTHROPIC, Form.VERTEX])
def test_a_count_has_its_model_in_the_body(form: Form) -> None:
    asked = {"model": "claude-haiku-4-5", "messages": [], "tools": [], "max_tokens": 5, "stream": True}
    asking = call(configured(), asked, operation=Operation.COUNT_TOKENS, form=form, client_form=form)
    body = json.loads(body_of(asking, "claude-haiku-4-5@20251001"))
    assert body.pop("anthropic_version", "vertex-2023-10-16") == "vertex-2023-10-16"
    assert body == {"model": "claude-haiku-4-5@20251001", "messages": [], "tools": []}


def test_what_is_no_object_cannot_be_sent() -> None:
    asking = msgspec.structs.replace(call(configured(), {}), body=b"[1]")
    with pytest.raises(CannotCall, match="not a JSON object") as raised:
        body_of(asking, "m")
    assert raised.value.client_error
