"""The steps on the way to a budget's limit, with real processes: a cheaper model, then few requests at once."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import httpx
import pytest

from tests.functional.product import Product, configuration, sse_events

pytestmark = pytest.mark.functional
DEAR, CHEAP = "claude-opus-5-5", "claude-haiku-4-5"


def _used(product: Product, key: str, share: float, limit: float) -> None:
    """Spend a share of a budget: output tokens of the dear model cost $20 a million."""
    tokens = round(share * limit / 20 * 1_000_000)
    answer = product.post(f"[[sim: text=ok input_tokens=0 output_tokens={tokens}]]", key=key, model=DEAR)
    assert answer.status_code == 200, answer.text
    product.row(answer.headers["request-id"])
    time.sleep(0.3)  # the process hears of its batch a moment after the row is there


def _price(product: Product) -> None:
    """What the tests lean on."""
    rows = product.api("GET", "prices/", params={"model_id": DEAR})["results"]
    assert float(rows[0]["output"]) == 20


def test_from_a_share_on_a_cheaper_model_answers(product: Product) -> None:
    budget = {"limit_usd": 10, "period": "month", "downgrade_at": 50, "downgrade": {"claude-opus-*": CHEAP}}
    product.apply(configuration("ladder", budgets=[budget]))
    _price(product)
    before = product.post("hello", key="ladder", model=DEAR)
    assert before.json()["model"] == DEAR
    assert "x-comptroller-downgraded-from" not in before.headers
    _used(product, "ladder", 0.55, 10)

    after = product.post("hello", key="ladder", model=DEAR, temperature=0.5)
    assert after.status_code == 200
    assert after.json()["model"] == CHEAP
    assert after.headers["x-comptroller-model"] == CHEAP
    assert after.headers["x-comptroller-downgraded-from"] == DEAR
    newest = max(entry["sequence"] for entry in product.simulator("GET", "requests")["requests"])
    sent = product.simulator("GET", f"requests/{newest}/body")
    assert sent["model"] == CHEAP
    assert (sent["temperature"], list(sent)) == (0.5, ["model", "max_tokens", "messages", "temperature"])

    row = product.row(after.headers["request-id"])
    assert (row["model_requested"], row["model"]) == (DEAR, CHEAP)
    assert "50 %" in row["route_rule"]

    streamed = product.post("hello", key="ladder", model=DEAR, stream=True)
    assert streamed.headers["x-comptroller-downgraded-from"] == DEAR
    assert sse_events(streamed.text)[0][1]["message"]["model"] == CHEAP
    other = product.post("hello", key="ladder", model="claude-sonnet-5-5")
    assert other.json()["model"] == "claude-sonnet-5-5"


def test_a_key_that_may_not_use_the_cheaper_model_goes_on(product: Product) -> None:
    budget = {"limit_usd": 10, "period": "month", "downgrade_at": 50, "downgrade": {"claude-opus-*": CHEAP}}
    product.apply(configuration("dearonly", budgets=[budget], models=["claude-opus-*"]))
    _used(product, "dearonly", 0.6, 10)
    answer = product.post("hello", key="dearonly", model=DEAR)
    assert answer.json()["model"] == DEAR
    assert "x-comptroller-downgraded-from" not in answer.headers


def test_from_a_share_on_few_run_at_once(product: Product) -> None:
    budget = {"limit_usd": 10, "period": "month", "throttle_at": 50, "throttle_concurrent": 1}
    product.apply(configuration("throttled", budgets=[budget]))
    _used(product, "throttled", 0.55, 10)

    async def run() -> tuple[list[int], float]:
        async with httpx.AsyncClient(timeout=30) as client:

            async def call(prompt: str) -> int:
                body: dict[str, Any] = {
                    "model": CHEAP,
                    "max_tokens": 5,
                    "messages": [{"role": "user", "content": prompt}],
                }
                headers = product.headers("throttled")
                return (await client.post(f"{product.base_url}/v1/messages", json=body, headers=headers)).status_code

            began = time.monotonic()
            statuses = await asyncio.gather(*[call("[[sim: text=ok ttft_ms=400]]") for _ in range(3)])
            return list(statuses), time.monotonic() - began

    statuses, seconds = asyncio.run(run())
    assert statuses == [200, 200, 200]
    assert seconds > 1.2, "they ran side by side"
