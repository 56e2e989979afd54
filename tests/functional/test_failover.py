"""A primary that fails in every way, with Bedrock and Vertex behind it: no client sees it, every attempt is paid."""

from __future__ import annotations

import asyncio
import json
import statistics
import time
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import chain
from typing import Any

import httpx
import pytest

from tests.fakes.bedrock import ACCESS_KEY, REGION, SECRET_KEY, bedrock
from tests.fakes.storm import WAYS, Storm
from tests.fakes.vertex import PROJECT, vertex
from tests.fakes.vertex import REGION as VERTEX_REGION
from tests.fakes.wire_provider import EVENTS, LAST_CHUNK, Wire, WireProvider, chunk, head, wire_provider
from tests.functional.product import Product, database, sse_events

pytestmark = pytest.mark.functional

REQUESTS = 2_000
STRAIGHT = 150
"""Requests that meet no failure, to compare with."""
AT_ONCE = 12
SESSIONS = 50
READ_SECONDS = 1
ANSWER = '[[sim: text="from the other side" input_tokens=1000 output_tokens=300]]'


@dataclass
class World:
    """A product whose first provider is a port that plays a script, with others behind it."""

    product: Product
    wire: WireProvider

    def primary(
        self,
        name: str,
        script: Any,
        *,
        fallbacks: bool = True,
        only_fallbacks: bool = False,
        budgets: Any = (),
        **key: Any,
    ) -> str:
        """A key of its own over a primary that plays this script; returns the key's name."""
        line = self.wire.line(name, script)
        providers = [
            {
                "name": name,
                "kind": "anthropic",
                "base_url": f"http://127.0.0.1:{line.port}",
                "credentials": [{"name": "main", "secret_env": "PRIMARY_KEY"}],
            }
        ]
        access = [{"name": name}] if not only_fallbacks else []
        access += [{"name": "bedrock"}, {"name": "vertex"}] if fallbacks else []
        self.product.apply(
            {
                "providers": providers,
                "customers": [
                    {
                        "name": f"{name} customer",
                        "teams": [
                            {
                                "name": f"{name} team",
                                "budgets": list(budgets),
                                "keys": [{"name": name, "providers": access, **key}],
                            }
                        ],
                    }
                ],
            }
        )
        return name

    def rule(self, name: str, condition: str, **action: Any) -> None:
        """A routing rule, in force when this returns."""
        self.product.apply({"routes": [{"name": name, "condition": condition, **action}]})
        time.sleep(1.0)  # a change of more than keys is read beside the traffic; nothing tells when


@pytest.fixture(scope="module", params=["sqlite", "postgres"])
def world(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    with database(request.param) as url, wire_provider() as wire, bedrock() as amazon, vertex() as google:
        settings = {
            "PRIMARY_KEY": "sk-ant-primary",
            "BEDROCK_SECRET": SECRET_KEY,
            "VERTEX_ACCOUNT": google.service_account,
            "COMPTROLLER_UPSTREAM_READ_TIMEOUT": str(READ_SECONDS),
        }
        product = Product(tmp_path_factory.mktemp("failover"), url, settings)
        try:
            product.prepare().start()
            account = {"name": "main", "method": "google_service_account", "secret_env": "VERTEX_ACCOUNT"}
            aws = {"name": "main", "method": "aws_static", "identifier": ACCESS_KEY, "secret_env": "BEDROCK_SECRET"}
            product.apply(
                {
                    "providers": [
                        {
                            "name": "bedrock",
                            "kind": "bedrock",
                            "rank": 1,
                            "region": REGION,
                            "base_url": amazon.url,
                            "credentials": [aws],
                        },
                        {
                            "name": "vertex",
                            "kind": "vertex",
                            "rank": 1,
                            "region": VERTEX_REGION,
                            "project": PROJECT,
                            "base_url": google.url,
                            "credentials": [account],
                        },
                    ]
                }
            )
            yield World(product, wire)
        finally:
            product.stop()


@pytest.mark.parametrize("way", WAYS)
def test_each_way_to_fail_before_content_goes_on_to_the_next(world: World, way: str) -> None:
    key = world.primary(way, Storm({way: 1}).play)
    answer = world.product.post(ANSWER, key=key, stream=True)
    assert answer.status_code == 200, answer.text
    names = [name for name, _ in sse_events(answer.text)]
    assert (names[0], names[-1]) == ("message_start", "message_stop")
    row = world.product.row(answer.headers["request-id"])
    assert row["status"] == "success"
    first, last = row["attempts"]
    assert (first["provider"], last["provider"]) == (way, row["provider"])
    assert first["reason"]
    charged = {"timeout", "cut after the start"}
    assert (first["cost_nano_usd"] > 0) is (way in charged)
    assert row["cost_nano_usd"] == first["cost_nano_usd"] + last["cost_nano_usd"]


def test_without_a_stream_it_is_the_same(world: World) -> None:
    key = world.primary("whole", Storm({"529": 1}).play)
    answer = world.product.post(ANSWER, key=key)
    assert answer.json()["content"][0]["text"] == "from the other side"


def test_nobody_left_is_one_error_of_ours(world: World) -> None:
    key = world.primary("alone", Storm({"500": 1}).play, fallbacks=False)
    answer = world.product.post(ANSWER, key=key, stream=True)
    assert (answer.status_code, answer.headers["x-should-retry"]) == (503, "false")


async def _one(client: httpx.AsyncClient, world: World, key: str, number: int) -> tuple[int, str, float]:
    """(status, last event, seconds to the first byte) of one streamed request."""
    headers = world.product.headers(key, **{"x-claude-code-session-id": f"{key}-{number % SESSIONS}"})
    body = {
        "model": "claude-opus-5-5",
        "max_tokens": 400,
        "stream": True,
        "messages": [{"role": "user", "content": f"{ANSWER} {number}"}],
    }
    began = time.monotonic()
    async with client.stream("POST", f"{world.product.base_url}/v1/messages", json=body, headers=headers) as answer:
        parts = aiter(answer.aiter_text())
        text = await anext(parts)
        first = time.monotonic() - began
        async for part in parts:
            text += part
    if answer.status_code != 200:
        return answer.status_code, json.loads(text)["error"]["type"], first
    return 200, sse_events(text)[-1][0], first


async def _all(world: World, key: str, count: int, at_once: int = AT_ONCE) -> list[tuple[int, str, float]]:
    numbers = iter(range(count))

    async def work(client: httpx.AsyncClient) -> list[tuple[int, str, float]]:
        return [await _one(client, world, key, number) for number in numbers]

    async with httpx.AsyncClient(timeout=60, limits=httpx.Limits(max_connections=at_once)) as client:
        return list(chain(*await asyncio.gather(*(work(client) for _ in range(at_once)))))


def test_a_storm(world: World, record_property: Any) -> None:
    """2,000 requests; of those to the primary more than half fail, a twentieth of them by a time-out."""
    storm = Storm({"ok": 10, "429": 3, "529": 3, "500": 3, "cut": 3, "overloaded event": 2, "timeout": 0.5})
    hard = {"limit_usd": 1000, "period": "month", "enforcement": "hard"}
    key = world.primary("storm", storm.play, budgets=[hard])
    found = asyncio.run(_all(world, key, REQUESTS))
    assert [(status, last) for status, last, _ in found if (status, last) != (200, "message_stop")] == []
    rows = _rows(world, key)
    assert len(rows) == REQUESTS
    moved = [row for row in rows if len(row["attempts"]) > 1]
    print(f"{dict(storm.met)}; {len(moved)} requests went on, {REQUESTS - len(moved)} had one attempt")
    assert len(moved) > 100
    _every_attempt_is_priced(rows, world, key)
    _sessions_stay(rows, key)


def test_a_failover_adds_next_to_nothing_to_the_attempt_that_failed(world: World) -> None:
    """One request at a time: what is measured is the gateway, not what waits in the fakes for the interpreter."""
    behind = world.primary("behind", None, only_fallbacks=True)
    failing = world.primary("failing", Storm({"ok": 2, "529": 1, "500": 1, "cut": 1}).play)
    for key, count in ((behind, STRAIGHT), (failing, 3 * STRAIGHT)):
        asyncio.run(_all(world, key, count, at_once=1))
    _added_time(_rows(world, failing, 3 * STRAIGHT), _rows(world, behind, STRAIGHT))


def _rows(world: World, key: str, count: int = REQUESTS) -> list[dict[str, Any]]:
    deadline = time.monotonic() + 20
    while True:
        page = world.product.api("GET", "requests/", params={"page_size": "1000", "virtual_key": key})
        rows = list(page["results"])
        while page["next"]:
            page = world.product.api("GET", page["next"].partition("/api/v1/")[2])
            rows += page["results"]
        if len(rows) >= count or time.monotonic() > deadline:
            return rows
        time.sleep(0.2)


def _every_attempt_is_priced(rows: list[dict[str, Any]], world: World, key: str) -> None:
    for row in rows:
        assert row["cost_nano_usd"] == sum(attempt["cost_nano_usd"] for attempt in row["attempts"])
        for attempt in row["attempts"]:
            # Unknown is never zero: a time-out had the whole prompt.
            assert (attempt["cost_nano_usd"] > 0) is (attempt.get("reason") in {None, "timeout"}), attempt
    (budget,) = [b for b in world.product.api("GET", "budgets/")["results"] if b["target"] == f"{key} team"]
    spent = round(float(budget["spent_usd"]) * 10**9)
    assert spent == sum(row["cost_nano_usd"] for row in rows)
    assert float(budget["spent_usd"]) <= float(budget["limit_usd"])


def _sessions_stay(rows: list[dict[str, Any]], key: str) -> None:
    """Outside failures a session is where it was: the primary, or the one behind it that is this session's own."""
    behind: dict[str, set[str]] = defaultdict(set)
    for row in rows:
        if row["provider"] != key:
            behind[row["session_id"]].add(row["provider"])
    assert {len(providers) for providers in behind.values()} == {1}
    assert len(set.union(*behind.values())) == 2


def _added_time(rows: list[dict[str, Any]], asked_at_once: list[dict[str, Any]]) -> None:
    """The time to the first byte that a failover adds beyond the attempt that failed."""
    straight: dict[str, list[float]] = defaultdict(list)
    after: dict[str, list[float]] = defaultdict(list)
    for row in asked_at_once:
        straight[row["provider"]].append(row["ttft_ms"])
    for row in rows:
        attempts = row["attempts"]
        if len(attempts) == 2 and attempts[0]["reason"] != "timeout":
            after[row["provider"]].append(row["ttft_ms"] - attempts[0]["latency_ms"])
    added = {name: statistics.median(after[name]) - statistics.median(straight[name]) for name in after}
    print("added by a failover, p50 in ms:", {name: round(ms, 2) for name, ms in added.items()})
    assert len(added) == 2
    assert max(added.values()) <= 5


# --- what rules say about it ----------------------------------------------------------------------------------------
def test_a_rule_may_hand_a_rate_limit_to_the_client(world: World) -> None:
    key = world.primary("relayed", Storm({"429": 1}).play)
    world.rule("relay 429", f'key == "{key}"', on_rate_limit="relay")
    answer = world.product.post(ANSWER, key=key, stream=True)
    assert (answer.status_code, answer.json()["error"]["type"]) == (429, "rate_limit_error")
    assert len(world.product.row(answer.headers["request-id"])["attempts"]) == 1


def test_a_silent_target_is_overtaken_and_both_are_paid(world: World) -> None:
    key = world.primary("hedged", Storm({"timeout": 1}).play)
    world.rule("hedge", f'key == "{key}"', hedge_ms=200)
    answer = world.product.post(ANSWER, key=key, stream=True)
    assert answer.status_code == 200, answer.text
    assert sse_events(answer.text)[-1][0] == "message_stop"
    row = world.product.row(answer.headers["request-id"])
    silent, quick = row["attempts"]
    assert (silent["provider"], quick["hedge"]) == (key, True)
    assert silent["error"] == "given up: another target answered first"
    assert row["provider"] == quick["provider"]
    assert row["cost_quality"] == "estimated"
    assert row["cost_nano_usd"] == silent["cost_nano_usd"] + quick["cost_nano_usd"] > quick["cost_nano_usd"] > 0


def test_a_target_that_is_overtaken_late_may_still_win(world: World) -> None:
    async def slow(wire: Wire) -> None:
        await wire.request()
        await wire.pause(0.4)
        await wire.send(head(), *(chunk(each) for each in EVENTS), LAST_CHUNK)

    key = world.primary("slow", slow)
    world.rule("hedge the slow", f'key == "{key}"', hedge_ms=100)
    answer = world.product.post("[[sim: delay_ms=3000]]", key=key, stream=True)
    assert "one " in answer.text
    row = world.product.row(answer.headers["request-id"])
    *late, won = row["attempts"]
    assert {(each["hedge"], each["reason"]) for each in late} == {(True, "hedged")}
    assert (won["provider"], row["provider"]) == (key, key)
    assert (row["status"], row["stop_reason"], row["output_tokens"] >= 300) == ("success", "end_turn", True)


def test_a_rule_sends_to_another_model_and_holds_the_dearest(world: World) -> None:
    """Haiku first, Opus behind it: a hard budget that Opus would not fit into refuses before anything is sent."""
    hard = {"limit_usd": "0.02", "period": "month", "enforcement": "hard"}
    key = world.primary("dearest", Storm({"ok": 1}).play, budgets=[hard])
    world.rule(
        "haiku, then opus",
        f'key == "{key}"',
        targets=[{"provider": "bedrock", "model": "claude-haiku-5-5"}],
        fallbacks=[{"provider": "vertex", "model": "claude-opus-5-5"}],
    )
    cheap = {"model": "claude-haiku-5-5", "max_tokens": 500}
    assert world.product.post(ANSWER, key=key, stream=True, **cheap).status_code == 200
    refused = world.product.post(ANSWER, key=key, stream=True, **cheap | {"max_tokens": 1000})
    assert (refused.status_code, refused.json()["error"]["type"]) == (429, "billing_error")
