"""The fake server is one by OpenAI's own SDK, and what we send it and make of its answers is right by Anthropic's."""

from __future__ import annotations

import json
from typing import Any

import httpx
import openai
import pytest

from gateway.wire.openai.answer import whole
from gateway.wire.openai.dialect import Dialect
from gateway.wire.openai.request import translate
from gateway.wire.openai.stream import Stream
from gateway.wire.usage import Meter
from tests.fakes.openai import KEY, MODEL, SERVED, FakeOpenAI, fake_openai, script
from tests.gateway.wire.openai.golden import message

READ: Any = {
    "type": "function",
    "function": {
        "name": "Read",
        "description": "Read a file.",
        "parameters": {"type": "object", "properties": {"file_path": {"type": "string"}}, "required": ["file_path"]},
    },
}
CALL = {"name": "Read", "arguments": {"file_path": "/a"}}


def sdk(fake: FakeOpenAI, key: str = KEY) -> openai.OpenAI:
    return openai.OpenAI(base_url=fake.url, api_key=key, max_retries=0)


def test_openais_sdk_plays_a_whole_conversation_with_tools() -> None:
    with fake_openai() as fake, sdk(fake) as client:
        prompt = script({"text": "I read.", "calls": [CALL]}, {"text": "It is short.", "reasoning": "Hm, hm."})
        said: list[Any] = [{"role": "user", "content": prompt}]
        first = client.chat.completions.create(model=MODEL, messages=said, tools=[READ])
        (call,) = first.choices[0].message.tool_calls or ()
        assert first.choices[0].finish_reason == "tool_calls"
        assert call.type == "function"
        assert json.loads(call.function.arguments) == {"file_path": "/a"}
        said += [
            first.choices[0].message.model_dump(exclude_none=True, exclude={"annotations"}),
            {"role": "tool", "tool_call_id": call.id, "content": "x = 1"},
        ]
        with client.chat.completions.stream(
            model=MODEL, messages=said, tools=[READ], stream_options={"include_usage": True}
        ) as stream:
            kinds = {event.type for event in stream}
            final = stream.get_final_completion()
        assert "content.delta" in kinds
        assert final.choices[0].message.content == "It is short."
        assert final.model == SERVED
        assert final.usage is not None
        assert final.usage.prompt_tokens > 0
        assert [model.id for model in client.models.list()] == [MODEL, "gpt-4o"]


def test_openais_sdk_raises_its_own_errors() -> None:
    with fake_openai() as fake:
        said: Any = [{"role": "user", "content": "Hi"}]
        with sdk(fake, "wrong") as stranger, pytest.raises(openai.AuthenticationError):
            stranger.chat.completions.create(model=MODEL, messages=said)
        with sdk(fake) as client:
            with pytest.raises(openai.BadRequestError, match="Unrecognized"):
                client.chat.completions.create(model=MODEL, messages=said, extra_body={"thinking": True})
            lone: Any = [{"role": "tool", "tool_call_id": "call_1", "content": ""}]
            with pytest.raises(openai.BadRequestError, match="preceeding"):
                client.chat.completions.create(model=MODEL, messages=lone)
            fake.failures.append(
                (429, {"error": {"message": "Slow down", "type": "requests", "code": "rate_limit_exceeded"}})
            )
            with pytest.raises(openai.RateLimitError):
                client.chat.completions.create(model=MODEL, messages=said)
            broken: Any = [{"role": "user", "content": script({"text": "a long answer", "error_after": 2})}]
            with pytest.raises(openai.APIError, match="server had an error"):
                list(client.chat.completions.create(model=MODEL, messages=broken, stream=True))


def test_a_prompt_that_begins_like_an_earlier_one_is_read_from_the_cache() -> None:
    with fake_openai() as fake, sdk(fake) as client:
        said: list[Any] = [{"role": "system", "content": "x" * 8_000}, {"role": "user", "content": "Hi"}]
        cached = []
        for _ in range(2):
            answer = client.chat.completions.create(model=MODEL, messages=said)
            assert answer.usage is not None
            assert answer.usage.prompt_tokens_details is not None
            cached.append(answer.usage.prompt_tokens_details.cached_tokens)
            said += [{"role": "assistant", "content": "ok"}, {"role": "user", "content": "More"}]
        assert cached[0] == 0
        assert cached[1] >= 1_920


def ask(fake: FakeOpenAI, body: dict[str, Any], *, stream: bool) -> bytes:
    """A Messages body by way of our translation, the answer as it came."""
    sent = translate(json.dumps(body).encode(), model=MODEL, stream=stream, dialect=Dialect(most_id_characters=40))
    answer = httpx.post(f"{fake.url}/chat/completions", content=sent, headers={"authorization": f"Bearer {KEY}"})
    assert answer.status_code == 200, answer.text
    return answer.content


@pytest.mark.parametrize("stream", [False, True])
def test_both_ways_of_answering_say_the_same(stream: bool) -> None:
    step = {"text": "I read twice.", "reasoning": "Two files.", "calls": [CALL, {**CALL, "arguments": {}}]}
    tools = [{"name": "Read", "description": "Read a file.", "input_schema": READ["function"]["parameters"]}]
    with fake_openai() as fake:
        body: dict[str, Any] = {
            "messages": [{"role": "user", "content": script(step, {"text": "Done."})}],
            "tools": tools,
        }
        for turn in range(2):
            came = ask(fake, body, stream=stream)
            made = _streamed(came) if stream else json.loads(whole(came, list))
            said = [block.get("text") or block.get("thinking") or block.get("input") for block in made["content"]]
            if turn == 0:
                assert said == ["Two files.", "I read twice.", {"file_path": "/a"}, {}]
                assert made["stop_reason"] == "tool_use"
                body["messages"].append({"role": "assistant", "content": made["content"]})
                results = [
                    {"type": "tool_result", "tool_use_id": block["id"], "content": "x" * 5_000}
                    for block in made["content"]
                    if block["type"] == "tool_use"
                ]
                body["messages"].append({"role": "user", "content": results})
            else:
                assert said == ["Done."]
                assert made["stop_reason"] == "end_turn"
            assert made["usage"]["input_tokens"] > 0
            assert made["model"] == SERVED


def _streamed(came: bytes) -> dict[str, Any]:
    stream, meter = Stream(list), Meter(stream=True)
    events = stream.feed(came) + stream.finish()
    meter.feed(events)
    assert meter.finish().complete
    return message(events)
