"""The real `openai` SDK through the gateway: its streaming, tool and parsing helpers, and its exceptions."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from typing import Any, TypeVar

import openai
import pytest
from openai.lib.responses_tool_runner import RegisteredFunction, ResponsesToolRunner
from pydantic import BaseModel

from tests.functional.product import Product, configuration

pytestmark = pytest.mark.functional
T = TypeVar("T")
MODEL = "claude-opus-5-5"
ASKED = '[[sim: text="one two three" chunks=3 thinking="hm" input_tokens=1000 output_tokens=200 cache_read=5000]]'
COST = 4_000_000 + 1_000_000 + 4_000_000
"""Nano-dollars of `ASKED` on opus 5.5: 1000 × $4 + 5000 × $0.20 + 200 × $20 per million."""
CALLS = '[[sim: tool=weather city=Oslo input_tokens=10 output_tokens=10]] [[sim: text="It rains in Oslo."]]'
FUNCTION = {
    "name": "weather",
    "description": "The weather of a city",
    "parameters": {
        "type": "object",
        "properties": {"city": {"type": "string"}},
        "required": ["city"],
        "additionalProperties": False,
    },
    "strict": True,
}


class Weather(BaseModel):
    """What the structured answers are parsed into."""

    city: str
    degrees: int


@pytest.fixture(scope="module")
def key(product: Product) -> str:
    product.apply(configuration("sdk-openai"))
    return "sdk-openai"


@pytest.fixture
def client(product: Product, key: str) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(
        base_url=f"{product.url}/openai/v1",
        api_key=product.secrets[key],
        default_headers={"x-session-id": "session-of-the-test"},
        timeout=30,
    ) as made:
        yield made


def _check_row(product: Product, request_id: str | None, *, cost: int = COST, **expected: Any) -> dict[str, Any]:
    """The request's row is as complete as that of a Messages call."""
    assert request_id is not None
    row = product.row(request_id)
    assert (row["status"], row["cost_nano_usd"], row["cost_quality"]) == ("success", cost, "exact")
    assert (row["customer"], row["team"], row["virtual_key"]) == (
        "sdk-openai customer",
        "sdk-openai team",
        "sdk-openai",
    )
    assert (row["model"], row["provider"]) == (MODEL, "simulated")
    assert row["client"].startswith(("OpenAI/Python", "AsyncOpenAI/Python"))
    for name, value in {"session_id": "session-of-the-test", **expected}.items():
        assert row[name] == value, name
    return row


# --- chat completions ------------------------------------------------------------------------------------------
def test_a_chat_completion_is_answered_and_priced(product: Product, client: openai.OpenAI) -> None:
    answer = client.chat.completions.create(
        model=f"anthropic/{MODEL}",
        messages=[{"role": "developer", "content": "Be brief."}, {"role": "user", "content": ASKED}],
        temperature=0.2,
        max_completion_tokens=500,
    )
    choice = answer.choices[0]
    assert (choice.message.content, choice.finish_reason) == ("one two three", "stop")
    assert choice.message.reasoning_content == "hm"  # type: ignore[attr-defined]  # not of OpenAI's own schema
    assert answer.usage is not None
    assert answer.usage.prompt_tokens_details is not None
    assert (answer.usage.prompt_tokens, answer.usage.completion_tokens) == (6000, 200)
    assert answer.usage.prompt_tokens_details.cached_tokens == 5000
    row = _check_row(product, answer._request_id, stream=False, input_tokens=1000, output_tokens=200)
    assert row["cache_read_tokens"] == 5000
    sent = _received(product, row)
    assert sent["system"] == [{"type": "text", "text": "Be brief."}]
    assert (sent["model"], sent["max_tokens"]) == (MODEL, 500)
    assert "temperature" not in sent


def test_chunks_come_one_by_one(product: Product, client: openai.OpenAI) -> None:
    stream = client.chat.completions.create(
        model=MODEL,
        messages=[{"role": "user", "content": ASKED}],
        stream=True,
        stream_options={"include_usage": True},
    )
    request_id = stream.response.headers["x-request-id"]
    assert stream.response.headers["request-id"] == request_id
    chunks = list(stream)
    texts = [chunk.choices[0].delta.content for chunk in chunks if chunk.choices and chunk.choices[0].delta.content]
    assert "".join(texts) == "one two three"
    assert len(texts) == 3
    assert [chunk.choices[0].finish_reason for chunk in chunks if chunk.choices][-1] == "stop"
    assert chunks[-1].usage is not None
    assert (chunks[-1].choices, chunks[-1].usage.prompt_tokens) == ([], 6000)
    _check_row(product, request_id, stream=True, output_tokens=200, stop_reason="end_turn")


def test_the_streaming_helper_gives_the_tool_calls_whole(product: Product, client: openai.OpenAI) -> None:
    messages: list[Any] = [{"role": "user", "content": CALLS}]
    tools: Any = [{"type": "function", "function": FUNCTION}]
    with client.chat.completions.stream(model=MODEL, messages=messages, tools=tools) as stream:
        kinds = {event.type for event in stream}
        message = stream.get_final_completion().choices[0].message
    assert "tool_calls.function.arguments.delta" in kinds
    assert message.tool_calls is not None
    call = message.tool_calls[0]
    assert (call.function.name, call.function.parsed_arguments) == ("weather", {"city": "Oslo"})
    messages += [message, {"role": "tool", "tool_call_id": call.id, "content": "rain"}]
    final = client.chat.completions.create(model=MODEL, messages=messages, tools=tools)
    assert final.choices[0].message.content == "It rains in Oslo."
    sent = _received(product, product.row(final._request_id or ""))
    result = {"type": "tool_result", "tool_use_id": call.id, "content": [{"type": "text", "text": "rain"}]}
    assert sent["messages"][-1] == {"role": "user", "content": [result]}


def test_a_structured_answer_is_parsed(client: openai.OpenAI) -> None:
    answer = client.chat.completions.parse(
        model=MODEL, messages=[{"role": "user", "content": "The weather of Oslo?"}], response_format=Weather
    )
    assert answer.choices[0].message.parsed == Weather(city="Simulated", degrees=0)


async def test_the_async_client_streams_too(product: Product, key: str) -> None:
    async with openai.AsyncOpenAI(base_url=f"{product.url}/openai/v1", api_key=product.secrets[key]) as client:
        async with client.chat.completions.stream(
            model=MODEL, messages=[{"role": "user", "content": ASKED}], prompt_cache_key="session-of-the-body"
        ) as stream:
            text = "".join([event.delta async for event in stream if event.type == "content.delta"])
        async with client.responses.stream(model=MODEL, input=ASKED) as responses:
            final = await responses.get_final_response()
    assert text == final.output_text == "one two three"
    row = _until(lambda: product.rows(session_id="session-of-the-body"))[0]
    _check_row(product, row["id"], session_id="session-of-the-body", stream=True)


def test_a_name_of_openais_may_stand_for_a_claude_model(product: Product) -> None:
    """The model behind an alias gets only what it takes: this one refuses a temperature."""
    product.apply(configuration("sdk-aliased", model_aliases={"gpt-*": "claude-sonnet-5-5"}))
    with openai.OpenAI(base_url=f"{product.url}/openai/v1", api_key=product.secrets["sdk-aliased"]) as aliased:
        answer = aliased.chat.completions.create(
            model="gpt-6", messages=[{"role": "user", "content": '[[sim: text="hi"]]'}], temperature=0.2
        )
    assert answer.choices[0].message.content == "hi"
    row = product.row(answer._request_id or "")
    assert (row["model_requested"], row["model"]) == ("gpt-6", "claude-sonnet-5-5")
    sent = _received(product, row)
    assert sent["model"] == "claude-sonnet-5-5"
    assert "temperature" not in sent


# --- responses --------------------------------------------------------------------------------------------------
def test_a_response_is_answered_and_priced(product: Product, client: openai.OpenAI) -> None:
    answer = client.responses.create(model=MODEL, input=ASKED, instructions="Be brief.", max_output_tokens=500)
    assert (answer.status, answer.output_text) == ("completed", "one two three")
    assert [item.type for item in answer.output] == ["reasoning", "message"]
    assert answer.usage is not None
    assert (answer.usage.input_tokens, answer.usage.output_tokens) == (6000, 200)
    assert answer.usage.input_tokens_details.cached_tokens == 5000
    assert (answer.instructions, answer.max_output_tokens) == ("Be brief.", 500)
    row = _check_row(product, answer._request_id, stream=False)
    assert _received(product, row)["system"] == [{"type": "text", "text": "Be brief."}]


def test_the_responses_helper_streams(product: Product, client: openai.OpenAI) -> None:
    with client.responses.stream(model=MODEL, input=ASKED, reasoning={"effort": "high", "summary": "auto"}) as stream:
        events = list(stream)
        final = stream.get_final_response()
    kinds = [event.type for event in events]
    assert kinds[:2] == ["response.created", "response.in_progress"]
    assert kinds[-1] == "response.completed"
    assert [event.sequence_number for event in events] == list(range(len(events)))
    assert "response.reasoning_summary_text.delta" in kinds
    assert "".join(event.delta for event in events if event.type == "response.output_text.delta") == "one two three"
    assert final.output_text == "one two three"
    # A reasoning item that is sent back is Claude's thought again, with its signature.
    again = client.responses.create(
        model=MODEL,
        input=[*[item.to_dict() for item in final.output], {"role": "user", "content": ASKED}],  # type: ignore[list-item]
    )
    sent = _received(product, product.row(again._request_id or ""))
    assert sent["messages"][0]["content"][0] == {"type": "thinking", "thinking": "hm", "signature": "c2ltdWxhdGVk"}


@pytest.mark.parametrize("stream", [False, True])
def test_the_tool_runner_runs_to_its_end(client: openai.OpenAI, stream: bool) -> None:
    asked: list[object] = []

    def weather(arguments: Any, *_: object) -> str:
        asked.append(arguments)
        return "rain"

    function = RegisteredFunction({"type": "function", **FUNCTION}, weather)  # type: ignore[typeddict-item, arg-type]
    runner = ResponsesToolRunner(functions=[function])
    final = runner.run(client, {"model": MODEL, "input": CALLS, "store": False}, max_steps=3, stream=stream)
    assert final.output_text == "It rains in Oslo."
    assert [json.loads(each) if isinstance(each, str) else each for each in asked] == [{"city": "Oslo"}]


def test_a_structured_response_is_parsed(client: openai.OpenAI) -> None:
    answer = client.responses.parse(model=MODEL, input="The weather of Oslo?", text_format=Weather)
    assert answer.output_parsed == Weather(city="Simulated", degrees=0)


# --- refusals and failures ----------------------------------------------------------------------------------------
def test_the_models_of_the_key_are_listed(product: Product, client: openai.OpenAI) -> None:
    product.apply(configuration("sdk-listed", models=["claude-haiku-*"]))
    with openai.OpenAI(base_url=f"{product.url}/openai/v1", api_key=product.secrets["sdk-listed"]) as limited:
        ids = [model.id for model in limited.models.list()]
        assert ids
        assert all(name.startswith("claude-haiku-") for name in ids)
        assert limited.models.retrieve(ids[0]).id == ids[0]
        with pytest.raises(openai.NotFoundError):
            limited.models.retrieve(MODEL)
        with pytest.raises(openai.BadRequestError, match="is not allowed for the virtual key 'sdk-listed'"):
            limited.responses.create(model=MODEL, input="x")
    assert MODEL in [model.id for model in client.models.list()]


def test_a_used_up_budget_ends_it_at_once(product: Product) -> None:
    name = "sdk-poor"
    product.apply(configuration(name, budgets=[{"limit_usd": "0.10", "period": "month"}]))
    with openai.OpenAI(base_url=f"{product.url}/openai/v1", api_key=product.secrets[name]) as client:
        client.responses.create(model=MODEL, input="[[sim: input_tokens=0 output_tokens=5000]]")
        with pytest.raises(openai.RateLimitError) as refused:
            client.chat.completions.create(model=MODEL, messages=[{"role": "user", "content": "x"}])
    assert (refused.value.code, refused.value.type) == ("insufficient_quota", "insufficient_quota")
    assert "$0.10 of $0.10" in refused.value.message
    product.row(refused.value.request_id or "")
    assert [row["status"] for row in product.rows(virtual_key=name)].count("refused") == 1


def test_a_revoked_key_is_told_so(product: Product) -> None:
    product.apply(configuration("sdk-revoked"))
    secret = product.secrets["sdk-revoked"]
    key_id = product.api("GET", "keys/", params={"name": "sdk-revoked"})["results"][0]["id"]
    product.api("POST", f"keys/{key_id}/revoke/")
    client = openai.OpenAI(base_url=f"{product.url}/openai/v1", api_key=secret)
    # A revocation takes up to a second to reach the gateway.
    with client, pytest.raises(openai.AuthenticationError) as refused:
        _until(lambda: client.models.list() and None)
    assert refused.value.code == "invalid_api_key"
    assert "revoked" in refused.value.message


def test_what_cannot_be_translated_is_refused_in_words(product: Product, client: openai.OpenAI) -> None:
    with pytest.raises(openai.BadRequestError, match="`n` must be 1"):
        client.chat.completions.create(model=MODEL, messages=[{"role": "user", "content": "x"}], n=2)
    with pytest.raises(openai.BadRequestError, match="stores no responses") as refused:
        client.responses.create(model=MODEL, input="x", previous_response_id="resp_1")
    row = product.row(refused.value.request_id or "")
    assert (row["status"], row["http_status"], row["team"]) == ("refused", 400, "sdk-openai team")


@pytest.mark.parametrize("told", ["error_event=overloaded_error error_after=4", "cut_after=4"])
def test_a_stream_that_breaks_raises(client: openai.OpenAI, told: str) -> None:
    prompt = f'[[sim: text="one two three" chunks=3 {told}]]'
    stream = client.chat.completions.create(model=MODEL, messages=[{"role": "user", "content": prompt}], stream=True)
    with pytest.raises(openai.APIError):
        list(stream)
    events = client.responses.create(model=MODEL, input=prompt, stream=True)
    if told.startswith("cut"):
        with pytest.raises(openai.APIError):
            list(events)
    else:
        last = list(events)[-1]
        assert last.type == "response.failed"
        assert last.response.error is not None
        assert last.response.error.code == "overloaded"


def test_a_providers_own_refusal_keeps_its_words(client: openai.OpenAI) -> None:
    told = '[[sim: status=400 error_type=invalid_request_error message="prompt is too long: 9 tokens > 8 maximum"]]'
    with pytest.raises(openai.BadRequestError) as refused:
        client.chat.completions.create(model=MODEL, messages=[{"role": "user", "content": told}])
    assert refused.value.code == "context_length_exceeded"
    assert "prompt is too long: 9 tokens > 8 maximum" in refused.value.message


def _received(product: Product, row: dict[str, Any]) -> dict[str, Any]:
    """The body that the provider got for the request of this row."""
    requests = product.simulator("GET", "requests")["requests"]
    number = next(each["sequence"] for each in requests if each["request_id"] == row["provider_request_id"])
    found: dict[str, Any] = product.simulator("GET", f"requests/{number}/body")
    return found


def _until(found: Callable[[], T | None], seconds: float = 10) -> T:
    """What a function finds, once it finds something."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if result := found():
            return result
        time.sleep(0.05)
    raise AssertionError("nothing was found in time")
