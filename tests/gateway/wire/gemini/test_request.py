"""A Messages body as a request for Gemini: golden bodies, stable beginnings, and what cannot be carried."""

from __future__ import annotations

import json
from itertools import pairwise
from typing import Any

import msgspec
import pytest

from gateway.wire.gemini.request import to_count, translate
from gateway.wire.openai.dialect import CannotTranslate
from tests.fakes.gemini import FOREIGN, Gemini
from tests.gateway.wire.gemini import golden
from tests.gateway.wire.gemini.golden import MODEL, asked
from tests.gateway.wire.openai.test_request import conversation

TOOL = {"name": "Read", "description": "d", "input_schema": {"type": "object", "properties": {}}}


def sent(model: str = MODEL, **body: Any) -> dict[str, Any]:
    fields = {"max_tokens": 100, "messages": [{"role": "user", "content": "Hi."}], **body}
    made: dict[str, Any] = json.loads(translate(json.dumps(fields).encode(), model=model))
    return made


@pytest.mark.parametrize("name", golden.REQUESTS)
def test_golden(name: str) -> None:
    made = translate(asked(name), model=MODEL)
    expected = json.loads(golden.file("requests", f"{name}.gemini.json"))
    assert json.loads(made) == expected
    assert list(json.loads(made)) == list(expected)
    assert list(expected)[-1] == "contents"
    assert made == translate(asked(name), model=MODEL)


@pytest.mark.parametrize("name", golden.REQUESTS)
def test_gemini_accepts_it(name: str) -> None:
    fake = Gemini()
    fake.signatures.add("CiQB0e2Kb8+/x1Zs9h0hFhA4bJo=")
    fake.judge(json.loads(translate(asked(name), model=MODEL)), MODEL)
    fake.judge(json.loads(translate(asked(name), model="gemini-2.5-flash")), "gemini-2.5-flash")


@pytest.mark.parametrize("name", golden.REQUESTS)
def test_nothing_of_anthropics_own_goes_along(name: str) -> None:
    made = translate(asked(name), model=MODEL).decode()
    for word in ("cache_control", "billing-header", "device_id", "safeguards", "context_management", "speed"):
        assert word not in made
    assert "redacted" not in made


def test_a_request_begins_with_the_one_before() -> None:
    requests = []
    for turns in range(1, 6):
        body = {"model": "m", "max_tokens": 9, "system": "s", "tools": [TOOL], "messages": conversation(turns)}
        requests.append(translate(msgspec.json.encode(body), model=MODEL))
    for shorter, longer in pairwise(requests):
        # Up to the last message, which the next request puts its answer behind.
        common = shorter[: shorter.rindex(b'{"text":"The last one"}')]
        assert longer.startswith(common)


def test_a_count_names_its_model() -> None:
    made = json.loads(to_count(asked("plain"), model=MODEL))
    assert made["generateContentRequest"].pop("model") == f"models/{MODEL}"
    assert made["generateContentRequest"] == json.loads(translate(asked("plain"), model=MODEL))


@pytest.mark.parametrize(
    ("model", "thinking", "effort", "expected"),
    [
        (MODEL, None, None, {"thinkingLevel": "low"}),
        (MODEL, {"type": "disabled"}, "high", {"thinkingLevel": "low"}),
        (MODEL, {"type": "adaptive"}, None, {"includeThoughts": True}),
        (MODEL, {"type": "adaptive"}, "medium", {"includeThoughts": True}),
        (MODEL, {"type": "adaptive"}, "low", {"thinkingLevel": "low", "includeThoughts": True}),
        (MODEL, {"type": "adaptive"}, "max", {"thinkingLevel": "high", "includeThoughts": True}),
        (MODEL, {"type": "adaptive", "display": "omitted"}, "high", {"thinkingLevel": "high"}),
        (MODEL, {"type": "enabled", "budget_tokens": 1024}, None, {"thinkingLevel": "low", "includeThoughts": True}),
        (MODEL, {"type": "enabled", "budget_tokens": 32000}, None, {"thinkingLevel": "high", "includeThoughts": True}),
        ("gemini-flash-latest", None, None, {"thinkingLevel": "low"}),
        ("gemini-2.5-flash", None, None, {"thinkingBudget": 0}),
        ("gemini-2.5-pro", None, None, {"thinkingBudget": 128}),
        ("gemini-2.5-pro", {"type": "adaptive"}, None, {"thinkingBudget": -1, "includeThoughts": True}),
        (
            "gemini-2.5-flash",
            {"type": "enabled", "budget_tokens": 2000},
            None,
            {"thinkingBudget": 2000, "includeThoughts": True},
        ),
    ],
)
def test_thinking(model: str, thinking: Any, effort: str | None, expected: dict[str, Any]) -> None:
    made = sent(model, thinking=thinking, output_config={"effort": effort})
    assert made["generationConfig"].get("thinkingConfig", {}) == expected


@pytest.mark.parametrize(
    ("choice", "expected"),
    [
        ({"type": "auto"}, None),
        ({"type": "any"}, {"mode": "ANY"}),
        ({"type": "none"}, {"mode": "NONE"}),
        ({"type": "tool", "name": "Read"}, {"mode": "ANY", "allowedFunctionNames": ["Read"]}),
    ],
)
def test_tool_choice(choice: dict[str, str], expected: dict[str, Any] | None) -> None:
    made = sent(tools=[TOOL], tool_choice=choice)
    assert made.get("toolConfig", {}).get("functionCallingConfig") == expected


def test_what_runs_at_anthropic_is_left_out_beside_other_tools_and_refused_alone() -> None:
    search = {"type": "web_search_20250305", "name": "web_search"}
    made = sent(tools=[search, TOOL])
    assert [each["name"] for each in made["tools"][0]["functionDeclarations"]] == ["Read"]
    with pytest.raises(CannotTranslate, match="web_search_20250305 runs at Anthropic"):
        sent(tools=[search])
    with pytest.raises(CannotTranslate, match="MCP servers"):
        sent(mcp_servers=[{"name": "x", "url": "https://mcp.example"}], tools=[TOOL])


def test_what_gemini_cannot_fetch_is_refused() -> None:
    image = {"type": "image", "source": {"type": "url", "url": "https://example.com/p.png"}}
    with pytest.raises(CannotTranslate, match="Send its content"):
        sent(messages=[{"role": "user", "content": [image]}])
    file = {"type": "document", "source": {"type": "file", "file_id": "file_1"}}
    with pytest.raises(CannotTranslate, match="kept at Anthropic"):
        sent(messages=[{"role": "user", "content": [file]}])
    with pytest.raises(CannotTranslate, match="not a request of the Messages API"):
        translate(b'{"messages": 1}', model=MODEL)


def step(call: str) -> list[dict[str, Any]]:
    return [
        {"role": "user", "content": "Go."},
        {"role": "assistant", "content": [{"type": "tool_use", "id": call, "name": "Read", "input": {"x": 1.0}}]},
        {"role": "user", "content": [{"type": "tool_result", "tool_use_id": call, "content": "r"}]},
    ]


def test_a_call_of_another_model_has_geminis_word_in_the_place_of_a_signature() -> None:
    made = sent(messages=step("toolu_01Claude"))
    assert made["contents"][1]["parts"][0]["thoughtSignature"] == FOREIGN
    older = sent("gemini-2.5-flash", messages=step("toolu_01Claude"))
    assert "thoughtSignature" not in older["contents"][1]["parts"][0]


def test_images_of_a_result_lie_beside_it_for_older_models() -> None:
    messages = step("toolu_1")
    image = {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "AAAA"}}
    messages[-1]["content"][0]["content"] = [image]
    older = sent("gemini-2.5-flash", messages=messages)["contents"][-1]["parts"]
    assert [list(part) for part in older] == [["functionResponse"], ["inlineData"]]
    newer = sent(messages=messages)["contents"][-1]["parts"]
    assert newer[0]["functionResponse"]["parts"] == [{"inlineData": {"mimeType": "image/png", "data": "AAAA"}}]


def test_the_answers_size_is_what_the_models_can_give() -> None:
    assert sent(max_tokens=128_000)["generationConfig"]["maxOutputTokens"] == 65_536
    body = b'{"max_tokens": 128000, "messages": [{"role": "user", "content": "x"}]}'
    made = json.loads(translate(body, model=MODEL, most_output=100_000))
    assert made["generationConfig"]["maxOutputTokens"] == 100_000
