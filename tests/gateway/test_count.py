"""The provider's count of a prompt, asked over real sockets: of the simulated provider, and of servers that fail."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import UTC, datetime
from decimal import Decimal
from types import SimpleNamespace
from typing import Any

import pytest

from gateway import count
from gateway.count import MARGIN_TOKENS, exact_prompt, might_fit, tighter_worst_case
from gateway.exchange import Candidate, Exchange, Target
from gateway.upstream import Upstream
from gateway.wire.peek import peek
from gateway.worst import worst_case
from governance.domain.access import Access, Grant
from governance.domain.pricing import PriceBook, PriceRow, Rates
from governance.snapshot import EMPTY, CredentialConfig, ProviderConfig
from tests.fakes.fixtures import simulator, simulator_process
from tests.fakes.line import FakeLine
from tests.fakes.processes import SimulatedProvider

__all__ = ["simulator", "simulator_process"]

MODEL = "claude-sonnet-4-5"
GRANT = Grant(1, "ada-laptop", 1, "Acme", 1, "Core")
RATES = Rates(Decimal(3), Decimal(15), Decimal("0.3"), Decimal("3.75"), Decimal(6))
ENDPOINT_TAKES = {
    "model", "messages", "system", "tools", "tool_choice", "thinking", "mcp_servers",
    "output_config", "output_format", "speed", "cache_control",
}  # fmt: skip
BODY: dict[str, Any] = {
    "model": MODEL,
    "max_tokens": 1000,
    "stream": True,
    "metadata": {"user_id": "u"},
    "temperature": 1,
    "system": [{"type": "text", "text": "You count."}],
    "tools": [{"name": "Read", "input_schema": {"type": "object"}}],
    "tool_choice": {"type": "auto"},
    "thinking": {"type": "adaptive"},
    "context_management": {"edits": [{"type": "clear_thinking_20251015"}]},
    "messages": [{"role": "user", "content": "one two " * 2_000}],
}


def credential(problem: str = "") -> CredentialConfig:
    return CredentialConfig("main", 1.0, "" if problem else "sk-ant-real", problem)


@contextlib.asynccontextmanager
async def upstream() -> AsyncIterator[Upstream]:
    client = Upstream(connect_timeout=2, read_timeout=30, allow_private=True)
    try:
        yield client
    finally:
        await client.close()


def exchange(url: str, client: Any, body: dict[str, Any] | bytes = BODY, problem: str = "") -> Exchange:
    provider = ProviderConfig(1, "p", "anthropic", url, 1, (credential(problem),))
    row = PriceRow(1, "anthropic", MODEL, datetime(2025, 1, 1, tzinfo=UTC), RATES, context_tokens=200_000)
    snapshot = replace(EMPTY, providers={1: provider}, prices=PriceBook([row]))
    gateway: Any = SimpleNamespace(snapshot=snapshot, upstream=client)

    headers = [(b"x-api-key", b"sk-cmp-secret"), (b"anthropic-beta", b"some-beta-2026"), (b"anthropic-version", b"1")]
    made = Exchange.open(gateway, FakeLine(headers=headers, query=b"beta=true"), "/v1/messages")
    made.body = body if isinstance(body, bytes) else json.dumps(body).encode()
    made.peek = peek(made.body)
    made.candidates = (Candidate(Access(1, 1), MODEL),)
    return made


def target(made: Exchange) -> Target:
    provider = made.snapshot.providers[1]
    return Target(provider, provider.credentials[0], made.candidates[0].access, MODEL)


async def counted(url: str, body: dict[str, Any] | bytes = BODY) -> int | None:
    async with upstream() as client:
        made = exchange(url, client, body)
        return await exact_prompt(made, target(made))


async def test_the_count_is_asked_with_what_the_endpoint_takes_and_nothing_else(simulator: SimulatedProvider) -> None:
    got = await counted(simulator.url)
    (seen,) = simulator.requests()
    sent = json.loads(simulator.body(seen["sequence"]))
    assert set(sent) <= ENDPOINT_TAKES
    assert sent == {key: BODY[key] for key in sent}
    assert {"model", "messages", "system", "tools", "tool_choice", "thinking"} <= set(sent)
    headers = {name.lower(): value for name, value in seen["headers"]}
    assert seen["path"] == "/v1/messages/count_tokens"
    assert (headers["x-api-key"], headers["anthropic-beta"]) == ("sk-ant-real", "some-beta-2026")
    assert not [value for value in headers.values() if "sk-cmp" in value]
    # The simulated provider counts four bytes a token; the margin is one in 32 and 64 tokens.
    assert got is not None
    assert 4_000 < got < 5_000


@contextlib.asynccontextmanager
async def server(answer: bytes | None) -> AsyncIterator[str]:
    """A provider that answers every request with these bytes; with None it says nothing."""
    held = asyncio.Event()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
            await reader.readuntil(b"\r\n\r\n")
            if answer is None:
                await held.wait()
            writer.write(answer or b"")
            await writer.drain()
        writer.close()

    listening = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with listening:
        yield f"http://127.0.0.1:{listening.sockets[0].getsockname()[1]}"
        held.set()


def response(body: bytes, status: str = "200 OK") -> bytes:
    return b"HTTP/1.1 %s\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n%s" % (
        status.encode(),
        len(body),
        body,
    )


async def test_the_margin() -> None:
    async with server(response(b'{"input_tokens": 3200, "context_management": null}')) as url:
        assert await counted(url) == 3_200 + 100 + MARGIN_TOKENS


@pytest.mark.parametrize(
    "answer",
    [
        response(b'{"type": "error", "error": {"type": "invalid_request_error"}}', "400 Bad Request"),
        response(b'{"input_tokens": 3200}', "429 Too Many Requests"),
        response(b'{"input_tokens": 3200}', "529 Overloaded"),
        response(b'{"input_tokens": "3200"}'),
        response(b'{"input_tokens": -1}'),
        response(b'{"input_tokens": 0}'),
        response(b"{}"),
        response(b"\xff\xfe"),
        response(b""),
        response(b'{"input_tokens": 3200}' + b" " * count.MAX_ANSWER_BYTES),
        b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\n{",
        b"SSH-2.0-OpenSSH\r\n\r\n",
        b"",
    ],
)
async def test_whatever_goes_wrong_there_is_no_count(answer: bytes) -> None:
    async with server(answer) as url:
        assert await counted(url) is None


async def test_nobody_answers() -> None:
    assert await counted("http://127.0.0.1:9") is None


async def test_the_wait_is_bounded_and_is_not_the_gateways_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(count, "COUNT_SECONDS", 0.3)
    async with server(None) as url, upstream() as client:
        made = exchange(url, client)
        began = asyncio.get_running_loop().time()
        assert await exact_prompt(made, target(made)) is None
        took = asyncio.get_running_loop().time() - began
    assert 0.25 < took < 5
    assert made.waited_seconds == pytest.approx(took, abs=0.1)


@pytest.mark.parametrize(
    "fields",
    [
        {"tools": [{"type": "web_search_20250305", "name": "web_search"}]},
        {"mcp_servers": [{"url": "https://x.test"}]},
        {"messages": [{"role": "user", "content": [{"type": "document", "source": {"type": "url", "url": "u"}}]}]},
        {"context_management": {"edits": [{"type": "compact_20260112"}]}},
    ],
)
async def test_a_count_that_would_not_bound_the_charge_is_not_asked(
    simulator: SimulatedProvider, fields: dict[str, Any]
) -> None:
    assert await counted(simulator.url, BODY | fields) is None
    async with upstream() as client:
        assert not might_fit(exchange(simulator.url, client, BODY | fields), 10**15)
    assert simulator.requests() == []


async def test_a_body_too_large_to_send_twice_is_not_counted(
    simulator: SimulatedProvider, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(count, "MAX_COUNTED_BYTES", 1_000)
    assert await counted(simulator.url) is None
    async with upstream() as client:
        assert not might_fit(exchange(simulator.url, client), 10**15)
    assert simulator.requests() == []


async def test_the_counted_worst_case_is_below_the_bounds_and_holds_the_answer() -> None:
    async with server(response(b'{"input_tokens": 4000}')) as url, upstream() as client:
        made = exchange(url, client)
        tighter = await tighter_worst_case(made, GRANT)
        bound = worst_case(made, made.candidates)
    # 4,000 counted, 125 and 64 of margin, at the dearest class asked for ($3.75), and 1,000 of output at $15.
    assert tighter is not None
    assert (4_000 + 125 + 64) * 3_750 + 1_000 * 15_000 <= tighter < bound


async def test_no_credential_no_count(simulator: SimulatedProvider) -> None:
    async with upstream() as client:
        made = exchange(simulator.url, client, problem="no secret is stored")
        assert await tighter_worst_case(made, GRANT) is None
    assert simulator.requests() == []


def test_it_is_asked_only_where_the_prompt_might_fit() -> None:
    bare = exchange("http://127.0.0.1:9", None)
    bound = worst_case(bare, bare.candidates)
    output = 1_000 * 15_000
    assert might_fit(bare, bound - 1)
    assert might_fit(bare, (bound + output) // 2)
    assert not might_fit(bare, output)
    assert not might_fit(bare, 0)
