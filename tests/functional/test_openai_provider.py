"""The real Claude Code client through the gateway to a server of OpenAI's Chat Completions: it edits a file with it."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import anthropic
import httpx
import openai
import pytest

from tests.fakes.claude import ClaudeCode, needs_claude
from tests.fakes.openai import KEY, MODEL, SERVED, FakeOpenAI, fake_openai, script
from tests.functional.product import Product, configuration, sse_events

pytestmark = [pytest.mark.functional]

RATES = {"input": "1.25", "output": "10", "cache_read": "0.125", "cache_write_5m": "1.25", "cache_write_1h": "1.25"}
"""USD per million tokens, as a person would enter them for a model without a charge for cache writes."""


@pytest.fixture(scope="module")
def server() -> Iterator[FakeOpenAI]:
    with fake_openai() as fake:
        yield fake


CURRENT = "gpt-5.6-sol"
"""A model that takes tools and an effort together only through the Responses API."""


@pytest.fixture(scope="module")
def gateway(server: FakeOpenAI, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Product]:
    """A gateway with two providers at the server and a price for the model of each: a key uses one of them."""
    product = Product(tmp_path_factory.mktemp("openai"), settings={"TEST_OPENAI_KEY": KEY}).prepare()
    for name, model, api in (("openai", MODEL, "chat"), ("current", CURRENT, "responses")):
        provider = {
            "name": name,
            "kind": "openai",
            "base_url": server.url,
            "models": {"claude-*": model},
            "options": {"efforts": ["low", "medium", "high"], "api": api},
            "credentials": [{"name": "main", "secret_env": "TEST_OPENAI_KEY"}],
        }
        tenants = configuration(f"{name}-key", providers=[{"name": name}])["customers"]
        product.apply({"providers": [provider], "customers": tenants})
    try:
        product.start_server()
        for model in (MODEL, CURRENT):
            product.api("POST", "prices/", json={"platform": "openai", "model_id": model, **RATES, "web_search": "0"})
        deadline = time.monotonic() + 5
        while ask(product, "Hi").json().get("usage") is None:
            assert time.monotonic() < deadline
        yield product
    finally:
        product.stop()


def ask(product: Product, prompt: str, **body: Any) -> httpx.Response:
    return product.post(prompt, key="openai-key", **body)


def text_of(answer: httpx.Response) -> str:
    """The text of a message, streamed or not."""
    if not answer.headers["content-type"].startswith("text/event-stream"):
        return "".join(block["text"] for block in answer.json()["content"])
    deltas = [event["delta"] for name, event in sse_events(answer.text) if name == "content_block_delta"]
    return "".join(delta["text"] for delta in deltas)


def client(product: Product, tmp_path: Path, key: str = "openai-key") -> ClaudeCode:
    secret = product.secrets[key]
    return ClaudeCode(tmp_path / "home", product.base_url, key="", environment={"ANTHROPIC_AUTH_TOKEN": secret})


def session_rows(product: Product, session: str, count: int) -> list[dict[str, Any]]:
    deadline = time.monotonic() + 10
    while len(rows := product.rows(session_id=session)) < count and time.monotonic() < deadline:
        time.sleep(0.1)
    return rows


def cost_nano_usd(row: dict[str, Any]) -> int:
    """By the rates above, as MONEY.md has it: rounded once."""
    usd = (
        row["input_tokens"] * Decimal(RATES["input"])
        + row["output_tokens"] * Decimal(RATES["output"])
        + row["cache_read_tokens"] * Decimal(RATES["cache_read"])
    )
    return round(usd * 1000)


@pytest.mark.claude
@needs_claude
@pytest.mark.parametrize(("provider", "served"), [("openai", SERVED), ("current", f"{CURRENT}-2026-07-01")])
def test_the_real_client_edits_a_file(
    gateway: Product, server: FakeOpenAI, tmp_path: Path, provider: str, served: str
) -> None:
    claude = client(gateway, tmp_path, f"{provider}-key")
    claude.work.mkdir(parents=True)
    path = claude.work / "notes.txt"
    path.write_text("x = 1\ny = 2\n")
    edit = {"file_path": str(path), "old_string": "x = 1", "new_string": "x = 3\nz = 4"}
    prompt = script(
        {
            "text": "I read it.",
            "reasoning": "Read first.",
            "calls": [{"name": "Read", "arguments": {"file_path": str(path)}}],
        },
        {"calls": [{"name": "Edit", "arguments": edit}]},
        {"text": "Edited."},
    )
    before = len(server.bodies)
    done = claude.run(prompt, "--permission-mode", "acceptEdits", "--allowedTools", "Read,Edit")
    assert (done["is_error"], done["result"]) == (False, "Edited."), server.bodies[before:]
    assert path.read_text() == "x = 3\nz = 4\ny = 2\n"

    turns = [body.get("messages") or body["input"] for body in server.bodies[before:]]
    results = [item for item in turns[-1] if item.get("role") == "tool" or item.get("type") == "function_call_output"]
    assert "y = 2" in str(results[0])
    assert len(results) == 2
    if provider == "current":
        assert next(item["type"] for item in turns[-1] if item.get("type")) == "reasoning"
    for raw in server.raw[before:]:
        for word in (b"billing-header", b"cache_control", b"device_id", gateway.secrets[f"{provider}-key"].encode()):
            assert word not in raw
    for headers in server.headers[before:]:
        assert not [
            name for name in headers if name.startswith(("anthropic-", "x-claude-code-", "x-stainless-", "x-app"))
        ]

    rows = session_rows(gateway, done["session_id"], 3)
    main = [row for row in rows if row["status"] == "success"]
    assert len(main) == len(rows) >= 3
    assert {row["provider"] for row in rows} == {provider}
    assert {row["model"] for row in rows} == {served}
    called: dict[str, int] = {}
    for row in rows:
        for name, count in row["tool_calls"].items():
            called[name] = called.get(name, 0) + count
        assert row["cost_quality"] == "exact"
        assert row["cost_nano_usd"] == cost_nano_usd(row) > 0
    assert called == {"Read": 1, "Edit": 1}
    assert sum(row["lines_added"] for row in rows) == 2
    assert sum(row["thinking_tokens"] for row in rows) > 0
    # The turns after the first begin like it: nearly everything comes from the provider's cache.
    cached = sorted(row["cache_read_tokens"] / (row["cache_read_tokens"] + row["input_tokens"]) for row in rows)
    assert cached[-2] > 0.9, cached


@pytest.mark.claude
@needs_claude
def test_a_server_that_tells_no_usage_is_charged_by_estimate(
    gateway: Product, server: FakeOpenAI, tmp_path: Path
) -> None:
    server.usage = False
    try:
        done = client(gateway, tmp_path).run("Hi " + script({"text": "Hello, nobody counts."}))
    finally:
        server.usage = True
    assert (done["is_error"], done["result"]) == (False, "Hello, nobody counts.")
    (row,) = session_rows(gateway, done["session_id"], 1)
    assert row["cost_quality"] == "estimated"
    assert row["input_tokens"] > 1_000
    assert row["cost_nano_usd"] > 0


@pytest.mark.claude
@needs_claude
def test_a_prompt_that_is_too_long_reaches_the_client_as_such(
    gateway: Product, server: FakeOpenAI, tmp_path: Path
) -> None:
    message = "This model's maximum context length is 4097 tokens. However, your messages resulted in 35569 tokens."
    error = {
        "message": message,
        "type": "invalid_request_error",
        "code": "context_length_exceeded",
        "param": "messages",
    }
    server.failures.extend([(400, {"error": error})] * 12)
    try:
        done = client(gateway, tmp_path).run("Hi")
    finally:
        server.failures.clear()
    assert done["is_error"] is True
    assert "too long" in done["result"].lower()
    row = session_rows(gateway, done["session_id"], 1)[0]
    assert row["error_type"] == "invalid_request_error"
    assert "35569 tokens > 4097 maximum" in row["error_message"]


@pytest.mark.parametrize("stream", [False, True])
def test_a_message_and_its_row(gateway: Product, server: FakeOpenAI, stream: bool) -> None:
    usage = {"prompt_tokens": 2006, "cached_tokens": 1920, "completion_tokens": 300}
    answer = ask(gateway, script({"text": "Counted.", "usage": usage}), stream=stream)
    assert answer.status_code == 200
    assert text_of(answer) == "Counted."
    row = gateway.row(answer.headers["request-id"])
    assert (row["input_tokens"], row["cache_read_tokens"], row["output_tokens"]) == (86, 1920, 300)
    assert row["cost_nano_usd"] == 86 * 1250 + 1920 * 125 + 300 * 10_000
    assert row["model_requested"] == "claude-opus-5-5"
    assert row["provider_request_id"].startswith("req_")
    assert server.bodies[-1]["model"] == MODEL


@pytest.mark.parametrize("counted", [True, False])
def test_anthropics_sdk_streams_a_tool_call(gateway: Product, server: FakeOpenAI, counted: bool) -> None:
    """Also where the provider tells no usage: the counts are null then, and the SDK reads over them."""
    call = {"name": "lookup", "arguments": {"word": "été"}}
    step = {"reasoning": "I look it up.", "text": "Wait.", "calls": [call], **({} if counted else {"usage": False})}
    tool: Any = {"name": "lookup", "input_schema": {"type": "object", "properties": {"word": {"type": "string"}}}}
    with (
        anthropic.Anthropic(
            base_url=gateway.base_url, auth_token=gateway.secrets["openai-key"], max_retries=0
        ) as client,
        client.messages.stream(
            model="claude-opus-5-5",
            max_tokens=1000,
            tools=[tool],
            messages=[{"role": "user", "content": script(step)}],
        ) as stream,
    ):
        text = "".join(stream.text_stream)
        final = stream.get_final_message()
    assert text == "Wait."
    assert [block.type for block in final.content] == ["thinking", "text", "tool_use"]
    (used,) = [block for block in final.content if block.type == "tool_use"]
    assert (used.name, used.input) == ("lookup", {"word": "été"})
    assert final.stop_reason == "tool_use"
    assert (final.usage.input_tokens is not None) is counted


def test_a_count_of_tokens_is_not_found(gateway: Product) -> None:
    answer = ask(gateway, "Hi", path="/v1/messages/count_tokens")
    assert answer.status_code == 404
    assert "cannot count" in answer.json()["error"]["message"]


def test_a_tool_that_runs_at_anthropic_is_refused(gateway: Product) -> None:
    answer = ask(gateway, "Hi", tools=[{"type": "web_search_20250305", "name": "web_search"}])
    assert answer.status_code == 400
    assert "runs at Anthropic" in answer.json()["error"]["message"]


def test_a_stream_that_breaks_ends_well_formed(gateway: Product) -> None:
    text = "A long answer that breaks in its middle."
    for fault in ("cut_after", "error_after"):
        answer = ask(gateway, script({"text": text, fault: 3}), stream=True)
        events = [line for line in answer.text.splitlines() if line.startswith("event: ")]
        assert events[-1] == "event: error"
        row = gateway.row(answer.headers["request-id"])
        assert row["status"] == "error"
        assert row["cost_nano_usd"] > 0


@pytest.mark.parametrize("stream", [False, True])
def test_a_client_of_openai_has_its_own_bytes_sent(gateway: Product, server: FakeOpenAI, stream: bool) -> None:
    messages: Any = [{"role": "user", "content": script({"text": "As it is."})}]
    with openai.OpenAI(
        base_url=f"{gateway.url}/openai/v1", api_key=gateway.secrets["openai-key"], max_retries=0
    ) as client:
        raw = client.chat.completions.with_raw_response.create(model=MODEL, messages=messages, seed=7, stream=stream)
        parsed: Any = raw.parse()
        if stream:
            text = "".join(chunk.choices[0].delta.content or "" for chunk in parsed if chunk.choices)
        else:
            text = parsed.choices[0].message.content
    assert text == "As it is."
    assert not [name for name in raw.headers if name.startswith(("x-ratelimit-", "openai-"))]
    body = server.bodies[-1]
    assert (body["model"], body["seed"]) == (MODEL, 7)
    assert body["messages"] == messages
    assert json.loads(server.raw[-1]).get("stream_options") == ({"include_usage": True} if stream else None)
    row = gateway.row(raw.headers["x-request-id"])
    assert row["output_tokens"] > 0
    assert row["cost_quality"] == "exact"
