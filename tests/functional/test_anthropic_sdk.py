"""The real `anthropic` SDK through the gateway: its streaming and tool helpers, and its exceptions."""

from __future__ import annotations

from collections.abc import Iterator

import anthropic
import pytest
from anthropic import beta_tool

from tests.functional.product import Product, configuration

pytestmark = pytest.mark.functional
MODEL = "claude-opus-5-5"
ASKED = '[[sim: text="one two three" chunks=3 thinking="hm" input_tokens=1000 output_tokens=200 cache_read=5000]]'
COST = 4_000_000 + 1_000_000 + 4_000_000
"""Nano-dollars of `ASKED` on opus 5.5: 1000 × $4 + 5000 × $0.20 + 200 × $20 per million."""
CALLS = '[[sim: tool=weather city=Oslo input_tokens=10 output_tokens=10]] [[sim: text="It rains in Oslo."]]'


@pytest.fixture(scope="module")
def key(product: Product) -> str:
    product.apply(configuration("sdk-anthropic"))
    return "sdk-anthropic"


@pytest.fixture
def client(product: Product, key: str) -> Iterator[anthropic.Anthropic]:
    with anthropic.Anthropic(base_url=product.base_url, auth_token=product.secrets[key], timeout=30) as made:
        yield made


def _check_row(product: Product, request_id: str | None, *, stream: bool) -> None:
    assert request_id is not None
    row = product.row(request_id)
    assert (row["status"], row["cost_nano_usd"], row["cost_quality"]) == ("success", COST, "exact")
    assert (row["team"], row["virtual_key"], row["stream"]) == ("sdk-anthropic team", "sdk-anthropic", stream)
    assert (row["input_tokens"], row["output_tokens"], row["cache_read_tokens"]) == (1000, 200, 5000)


def test_a_message_is_answered_and_priced(product: Product, client: anthropic.Anthropic) -> None:
    answer = client.messages.create(model=MODEL, max_tokens=500, messages=[{"role": "user", "content": ASKED}])
    assert [block.type for block in answer.content] == ["thinking", "text"]
    assert (answer.usage.input_tokens, answer.usage.output_tokens) == (1000, 200)
    _check_row(product, answer._request_id, stream=False)


def test_the_streaming_helper_streams(product: Product, client: anthropic.Anthropic) -> None:
    with client.messages.stream(model=MODEL, max_tokens=500, messages=[{"role": "user", "content": ASKED}]) as stream:
        assert list(stream.text_stream) == ["one ", "two ", "three"]
        final = stream.get_final_message()
        request_id = stream.request_id
    assert final.usage.output_tokens == 200
    _check_row(product, request_id, stream=True)


async def test_the_async_client_streams_too(product: Product, key: str) -> None:
    async with (
        anthropic.AsyncAnthropic(base_url=product.base_url, auth_token=product.secrets[key]) as client,
        client.messages.stream(model=MODEL, max_tokens=500, messages=[{"role": "user", "content": ASKED}]) as stream,
    ):
        assert "".join([text async for text in stream.text_stream]) == "one two three"
        request_id = stream.request_id
    _check_row(product, request_id, stream=True)


@pytest.mark.parametrize("stream", [False, True])
def test_the_tool_runner_runs_to_its_end(client: anthropic.Anthropic, stream: bool) -> None:
    asked: list[str] = []

    @beta_tool
    def weather(city: str) -> str:
        """The weather of a city.

        Args:
            city: Its name.
        """
        asked.append(city)
        return "rain"

    runner = client.beta.messages.tool_runner(
        model=MODEL, max_tokens=500, tools=[weather], messages=[{"role": "user", "content": CALLS}], stream=stream
    )
    final = runner.until_done()
    assert asked == ["Oslo"]
    assert [block.text for block in final.content if block.type == "text"] == ["It rains in Oslo."]


def test_tokens_are_counted_for_free(product: Product, client: anthropic.Anthropic) -> None:
    counted = client.messages.with_raw_response.count_tokens(
        model=MODEL, messages=[{"role": "user", "content": "x" * 400}]
    )
    assert counted.parse().input_tokens >= 100
    row = product.row(counted.headers["request-id"])
    assert (row["request_class"], row["cost_nano_usd"] or 0) == ("count_tokens", 0)


def test_each_refusal_is_its_own_exception(product: Product, client: anthropic.Anthropic) -> None:
    said: list[anthropic.types.MessageParam] = [{"role": "user", "content": "x"}]
    product.apply(configuration("sdk-a-poor", budgets=[{"limit_usd": "0.10", "period": "month"}]))
    with anthropic.Anthropic(base_url=product.base_url, auth_token=product.secrets["sdk-a-poor"]) as poor:
        spend: list[anthropic.types.MessageParam] = [
            {"role": "user", "content": "[[sim: input_tokens=0 output_tokens=5000]]"}
        ]
        poor.messages.create(model=MODEL, max_tokens=5000, messages=spend)
        with pytest.raises(anthropic.RateLimitError) as exhausted:
            poor.messages.create(model=MODEL, max_tokens=5000, messages=said)
    assert exhausted.value.type == "billing_error"
    product.row(exhausted.value.request_id or "")
    assert [row["status"] for row in product.rows(virtual_key="sdk-a-poor")].count("refused") == 1
    stranger = anthropic.Anthropic(base_url=product.base_url, auth_token="sk-cmp-00000000-" + "0" * 43)
    with stranger, pytest.raises(anthropic.AuthenticationError):
        stranger.messages.create(model=MODEL, max_tokens=5, messages=said)
    with pytest.raises(anthropic.BadRequestError, match="`max_tokens` is negative"):
        client.messages.create(model=MODEL, max_tokens=-1, messages=said)
    with pytest.raises(anthropic.NotFoundError):
        client.messages.batches.list()
