"""The Gemini API as a provider, over real sockets against the fake: a conversation with tools, counts, errors."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from gateway.providers.base import Call, CannotCall, Operation, Untranslatable, Verdict
from gateway.providers.gemini import Gemini
from gateway.wire.forms import Form
from gateway.wire.headers import Headers
from governance.snapshot import CredentialConfig, ProviderConfig
from tests.fakes.gemini import KEY, Step, gemini
from tests.fakes.gemini import Gemini as Fake

GEMINI = Gemini()
MODEL = "gemini-3.8-flash"
SIGNATURE = "CiQB0e2Kb8+/x1Zs9h0hFhA4bJo="
TOOLS = [{"name": "Read", "description": "d", "input_schema": {"type": "object", "properties": {}}}]


@pytest.fixture(scope="module")
def running() -> Iterator[Fake]:
    with gemini() as fake:
        yield fake


@pytest.fixture
def fake(running: Fake) -> Fake:
    running.forget()
    return running


def call(fake: Fake, messages: list[dict[str, Any]], *, secret: str = KEY, **more: Any) -> Call:
    provider = ProviderConfig(
        1, "google", "gemini", fake.url, 0, (), model_map=(("claude-*", MODEL),), options=more.pop("options", {})
    )
    body = {"model": "claude-haiku-5-5", "max_tokens": 100, "messages": messages, "tools": TOOLS}
    fields: dict[str, Any] = {
        "provider": provider,
        "credential": CredentialConfig("main", 1.0, secret),
        "operation": Operation.MESSAGES,
        "model": "claude-haiku-5-5",
        "stream": False,
        "form": Form.ANTHROPIC,
        "body": json.dumps({**body, **more.pop("fields", {})}).encode(),
        "headers": Headers([(b"authorization", b"Bearer sk-cmp-secret"), (b"x-goog-user-project", b"theirs")]),
        **more,
    }
    return Call(**fields)


async def sent(asking: Call) -> httpx.Response:
    request = await GEMINI.request(asking)
    return httpx.post(request.url, headers=list(request.headers), content=request.body, timeout=20)


HELLO = [{"role": "user", "content": "Hello"}]


@pytest.mark.parametrize("stream", [True, False])
async def test_a_step_with_a_tool_and_the_next(fake: Fake, stream: bool) -> None:
    fake.steps += [
        Step(
            [
                {"text": "I look.", "thought": True},
                {"functionCall": {"name": "Read", "args": {"path": "/a"}, "id": "fc-1"}, "thoughtSignature": SIGNATURE},
                {"functionCall": {"name": "Read", "args": {}, "id": "fc-2"}},
            ],
            thoughts=5,
        ),
        Step([{"text": "Done."}], cached=40),
    ]
    asking = call(fake, HELLO, stream=stream)
    content = translated(asking, await sent(asking))
    assert [block["type"] for block in content] == ["thinking", "tool_use", "tool_use"]
    results = [
        {"type": "tool_result", "tool_use_id": block["id"], "content": "r"}
        for block in content
        if block["type"] == "tool_use"
    ]
    history = [*HELLO, {"role": "assistant", "content": content}, {"role": "user", "content": results}]
    again = call(fake, history, stream=stream)
    assert translated(again, await sent(again)) == [{"type": "text", "text": "Done."}]
    parts = fake.seen[-1].json["contents"][1]["parts"]
    assert parts[0] == {
        "functionCall": {"id": "fc-1", "name": "Read", "args": {"path": "/a"}},
        "thoughtSignature": SIGNATURE,
    }
    assert "thoughtSignature" not in parts[1]


def translated(asking: Call, answer: httpx.Response) -> list[dict[str, Any]]:
    """The content of an answer, out of Anthropic's message or events."""
    assert answer.status_code == 200, answer.text
    translation = GEMINI.translation(asking)
    if not asking.stream:
        content: list[dict[str, Any]] = json.loads(translation.whole(answer.content))["content"]
        return content
    events = (translation.feed(answer.content) + translation.finish()).decode()
    blocks: list[dict[str, Any]] = []
    for data in (json.loads(line.removeprefix("data: ")) for line in events.splitlines() if line.startswith("data: ")):
        match data:
            case {"type": "content_block_start", "content_block": block}:
                blocks.append(block)
            case {"delta": {"type": "input_json_delta", "partial_json": part}}:
                blocks[-1]["input"] = json.loads(part)
            case {"delta": {"text": part}}:
                blocks[-1]["text"] += part
    assert events.rstrip().endswith('{"type":"message_stop"}')
    return blocks


async def test_nothing_of_the_clients_headers_goes_along(fake: Fake) -> None:
    await sent(call(fake, HELLO))
    seen = fake.seen[-1]
    assert seen.path == f"/v1beta/models/{MODEL}:generateContent"
    assert seen.headers["x-goog-api-key"] == KEY
    assert "authorization" not in seen.headers
    assert "x-goog-user-project" not in seen.headers


async def test_the_same_request_is_the_same_bytes(fake: Fake) -> None:
    assert (await GEMINI.request(call(fake, HELLO))).body == (await GEMINI.request(call(fake, HELLO))).body


async def test_a_count(fake: Fake) -> None:
    asking = call(fake, HELLO, operation=Operation.COUNT_TOKENS)
    answer = await sent(asking)
    counted = json.loads(GEMINI.translation(asking).whole(answer.content))
    assert counted["input_tokens"] > 0
    assert fake.seen[-1].path.endswith(":countTokens")


@pytest.mark.parametrize(("option", "expected"), [({}, 65_536), ({"max_output_tokens": "8192"}, 8192)])
async def test_the_size_of_answers(fake: Fake, option: dict[str, str], expected: int) -> None:
    asking = call(fake, HELLO, options=option, fields={"max_tokens": 128_000})
    assert json.loads((await GEMINI.request(asking)).body)["generationConfig"]["maxOutputTokens"] == expected


async def test_what_cannot_be_translated_is_the_clients_to_change(fake: Fake) -> None:
    search = [{"type": "web_search_20250305", "name": "web_search"}]
    with pytest.raises(CannotCall, match="runs at Anthropic") as raised:
        await GEMINI.request(call(fake, HELLO, fields={"tools": search}))
    assert raised.value.client_error


@pytest.mark.parametrize(
    ("step", "verdict"),
    [
        (Step(status=400, message="Bad."), Verdict.RELAY),
        (Step(status=429), Verdict.RATE_LIMITED),
        (Step(status=500), Verdict.FAILED),
        (Step(status=503), Verdict.OVERLOADED),
        (Step(status=403), Verdict.CREDENTIAL),
        (Step(status=404), Verdict.MODEL),
    ],
)
async def test_what_its_errors_mean(fake: Fake, step: Step, verdict: Verdict) -> None:
    fake.steps.append(step)
    answer = await sent(call(fake, HELLO))
    assert answer.status_code == step.status
    assert GEMINI.classify(answer.status_code, answer.content) is verdict


async def test_a_wrong_key_is_ours_to_mend(fake: Fake) -> None:
    answer = await sent(call(fake, HELLO, secret="wrong"))
    assert answer.status_code == 400
    assert GEMINI.classify(400, answer.content) is Verdict.CREDENTIAL
    assert GEMINI.classify(404, b"<html>") is Verdict.FAILED
    assert GEMINI.classify(403, b"<html>") is Verdict.FAILED
    named = b'{"error": {"code": 400, "message": "properties[API key]: wrong", "status": "INVALID_ARGUMENT"}}'
    assert GEMINI.classify(400, named) is Verdict.RELAY
    precondition = b'{"error":{"code":400,"message":"No billing.","status":"FAILED_PRECONDITION"}}'
    assert GEMINI.classify(400, precondition) is Verdict.CREDENTIAL


def test_a_prompt_that_is_too_long_is_said_in_the_words_that_the_client_knows() -> None:
    body = {
        "error": {
            "code": 400,
            "message": "The input token count (1200000) exceeds the maximum number of tokens allowed (1048576).",
            "status": "INVALID_ARGUMENT",
        }
    }
    said = json.loads(GEMINI.error(400, json.dumps(body).encode()))["error"]
    assert said == {
        "type": "invalid_request_error",
        "message": "prompt is too long: 1200000 tokens > 1048576 maximum",
    }
    assert json.loads(GEMINI.error(502, b"<html>"))["error"]["message"] == "Gemini answered with status 502."


async def test_streams_that_fail(fake: Fake) -> None:
    fake.steps += [Step([{"text": "Be"}, {"text": "gun"}], error_after=1), Step([{"text": "Be"}, {"text": "x"}], None)]
    asking = call(fake, HELLO, stream=True)
    translation = GEMINI.translation(asking)
    answer = await sent(asking)
    events = translation.feed(answer.content) + translation.finish()
    assert b"overloaded_error" in events
    assert b"message_stop" not in events
    translation = GEMINI.translation(asking)
    answer = await sent(asking)
    assert translation.at_boundary is False
    assert translation.feed(answer.content)
    assert translation.finish() == b""
    with pytest.raises(Untranslatable):
        GEMINI.translation(asking).feed(b"data: nonsense\n\n")


def test_models_and_prices(fake: Fake) -> None:
    provider = call(fake, HELLO).provider
    assert GEMINI.models(provider, CredentialConfig("main", 1.0, KEY))[0] == "gemini-2.5-flash"
    assert GEMINI.model_id(provider, "models/gemini-2.5-pro") == "gemini-2.5-pro"
    assert GEMINI.priced_as(provider, "claude-haiku-5-5", "") == (MODEL, "")
    assert GEMINI.priced_as(provider, "gemini-2.0-flash", "gemini-2.0-flash-001") == ("gemini-2.0-flash", "")
    assert GEMINI.priced_as(provider, "gemini-flash-latest", MODEL) == (MODEL, "")
