"""Budgets, limits and keys as a client meets them: what is refused, with which words and headers, and when."""

from __future__ import annotations

import asyncio
import time
from datetime import UTC, datetime
from typing import Any

import httpx
import pytest

from tests.functional.product import Product, configuration

pytestmark = pytest.mark.functional
PRICE = "[[sim: input_tokens=0 output_tokens=5000]]"
"""5,000 output tokens of opus 5.5 at $20 per million: exactly $0.10."""


def _ready(product: Product, key: str) -> None:
    """Wait until the gateway knows a key that was just made."""
    deadline = time.monotonic() + 5
    while time.monotonic() < deadline:
        if httpx.get(f"{product.base_url}/v1/models", headers=product.headers(key), timeout=10).status_code == 200:
            return
    raise AssertionError(f"the key {key} stayed unknown")


def _setup(product: Product, name: str, **options: Any) -> None:
    product.apply(configuration(name, **options))
    _ready(product, name)


def test_a_used_up_budget_is_refused_with_everything_the_client_needs(product: Product) -> None:
    _setup(product, "refused", budgets=[{"limit_usd": "0.20", "period": "month"}])
    for _ in range(2):
        assert product.post(PRICE, key="refused").status_code == 200
    answer = product.post(PRICE, key="refused")
    assert answer.status_code == 429
    error = answer.json()["error"]
    assert error["type"] == "billing_error"
    for part in ("refused team", "$0.20 of $0.20", "resets on", "Ask"):
        assert part in error["message"]
    headers = answer.headers
    assert headers["x-should-retry"] == "false"
    now = datetime.now(UTC)
    month = now.month % 12 + 1
    reset = datetime(now.year + (month == 1), month, 1, tzinfo=UTC)
    assert abs(int(headers["retry-after"]) - (reset - now).total_seconds()) < 5
    prefix = "anthropic-ratelimit-unified-"
    unified = {name.removeprefix(prefix): value for name, value in headers.items() if name.startswith(prefix)}
    assert unified == {
        "status": "rejected",
        "reset": str(int(reset.timestamp())),
        "overage-reset": str(int(reset.timestamp())),
        "overage-utilization": "1",
        "overage-surpassed-threshold": "1",
        "overage-period": "monthly",
        "overage-disabled-reason": "org_spend_cap_reached",
        "overage-scope": "group_pool",
    }
    row = product.row(headers["request-id"])
    assert (row["status"], row["error_type"], row["cost_nano_usd"]) == ("refused", "billing_error", 0)


def test_a_key_with_a_budget_sees_where_it_stands(product: Product) -> None:
    _setup(product, "standing", budgets=[{"limit_usd": "0.40", "period": "month"}])
    _setup(product, "unlimited")

    def told(key: str, **how: Any) -> dict[str, str]:
        prefix = "anthropic-ratelimit-unified-"
        headers = product.post(PRICE, key=key, **how).headers
        return {name.removeprefix(prefix): value for name, value in headers.items() if name.startswith(prefix)}

    first = told("standing")
    assert (first["status"], first["overage-status"], first["representative-claim"]) == (
        "allowed",
        "allowed",
        "overage",
    )
    assert int(first["reset"]) == int(first["overage-reset"]) > datetime.now(UTC).timestamp()
    assert "overage-surpassed-threshold" not in first
    # A stream's headers leave before its cost is known; those of a whole answer count it.
    second, third = told("standing", stream=True), told("standing")
    assert (second["overage-status"], second["overage-utilization"]) == ("allowed", "0.25")
    assert (third["status"], third["overage-utilization"]) == ("allowed_warning", "0.75")
    fourth = told("standing", stream=True)
    assert (fourth["status"], fourth["overage-utilization"]) == ("allowed_warning", "0.75")
    assert fourth["overage-surpassed-threshold"] == "0.75"
    assert told("unlimited") == {}


def test_a_hundred_at_once_never_start_after_the_limit(product: Product) -> None:
    """Room for ten: whatever the interleaving, nothing is admitted once settled spend has reached the limit."""
    _setup(product, "hundred", budgets=[{"limit_usd": "1.00", "period": "day"}])

    async def run() -> list[tuple[float, float, httpx.Response]]:
        limits = httpx.Limits(max_connections=100)
        async with httpx.AsyncClient(limits=limits, timeout=60) as client:

            async def one(number: int) -> tuple[float, float, httpx.Response]:
                await asyncio.sleep(number * 0.01)
                started = time.monotonic()
                answer = await client.post(
                    f"{product.base_url}/v1/messages",
                    json={
                        "model": "claude-opus-5-5",
                        "max_tokens": 9000,
                        "messages": [
                            {"role": "user", "content": "[[sim: input_tokens=0 output_tokens=5000 ttft_ms=50]]"}
                        ],
                    },
                    headers=product.headers("hundred"),
                )
                return started, time.monotonic(), answer

            return await asyncio.gather(*(one(number) for number in range(100)))

    results = asyncio.run(run())
    answered = [(started, ended) for started, ended, answer in results if answer.status_code == 200]
    refused = [answer for _, _, answer in results if answer.status_code == 429]
    assert len(answered) + len(refused) == 100
    assert 10 <= len(answered) < 60
    tenth = sorted(ended for _, ended in answered)[9]
    assert not [started for started, _ in answered if started > tenth + 0.05]
    assert all(answer.json()["error"]["type"] == "billing_error" for answer in refused)
    for answer in refused:
        assert "resets on" in answer.json()["error"]["message"]
    budget = next(
        b
        for b in product.api("GET", "budgets/", params={"page_size": "200"})["results"]
        if b["target"] == "hundred team"
    )
    assert float(budget["spent_usd"]) == pytest.approx(0.1 * len(answered))


def test_a_hard_budget_refuses_by_worst_case(product: Product) -> None:
    _setup(product, "hard", budgets=[{"limit_usd": "0.30", "period": "month", "enforcement": "hard"}])
    too_much = product.post(PRICE, key="hard", max_tokens=20_000)  # $0.40 of output alone
    assert too_much.status_code == 429
    assert "could cost up to" in too_much.json()["error"]["message"]
    assert product.post(PRICE, key="hard", max_tokens=6_000).status_code == 200


def test_an_observed_budget_only_tells(product: Product) -> None:
    _setup(product, "observed", budgets=[{"limit_usd": "0.01", "period": "month", "enforcement": "observe"}])
    for _ in range(2):
        assert product.post(PRICE, key="observed").status_code == 200


def test_a_budget_narrowed_to_models_leaves_the_others_alone(product: Product) -> None:
    _setup(product, "narrow", budgets=[{"limit_usd": "0.05", "period": "month", "models": ["claude-opus-*"]}])
    assert product.post(PRICE, key="narrow").status_code == 200
    assert product.post(PRICE, key="narrow").status_code == 429
    assert product.post(PRICE, key="narrow", model="claude-haiku-5-5").status_code == 200


def test_a_raised_limit_counts_within_a_second(product: Product) -> None:
    _setup(product, "raised", budgets=[{"limit_usd": "0.05", "period": "month"}])
    assert product.post(PRICE, key="raised").status_code == 200
    assert product.post(PRICE, key="raised").status_code == 429
    budget = next(
        b
        for b in product.api("GET", "budgets/", params={"page_size": "200"})["results"]
        if b["target"] == "raised team"
    )
    product.api("PATCH", f"budgets/{budget['id']}/", json={"limit_usd": "5.00"})
    changed = time.monotonic()
    while product.post(PRICE, key="raised").status_code != 200:
        assert time.monotonic() - changed < 1.5


def test_requests_per_minute(product: Product) -> None:
    configured = configuration("perminute")
    configured["customers"][0]["teams"][0]["rate_limits"] = [
        {"requests": 3, "per": "hour"},
        {"tokens": 10**9, "per": "hour"},
    ]
    product.apply(configured)
    _ready(product, "perminute")
    statuses = [product.post(PRICE, key="perminute").status_code for _ in range(4)]
    assert statuses == [200, 200, 200, 429]
    answer = product.post(PRICE, key="perminute")
    assert answer.json()["error"]["type"] == "rate_limit_error"
    assert 1 <= int(answer.headers["retry-after"]) <= 3600


def test_requests_at_once(product: Product) -> None:
    configured = configuration("atonce")
    configured["customers"][0]["teams"][0]["rate_limits"] = [{"concurrent": 1}]
    product.apply(configured)
    _ready(product, "atonce")

    async def run() -> tuple[int, int, int]:
        async with httpx.AsyncClient(timeout=30) as client:

            async def call(prompt: str) -> int:
                body = {"model": "claude-opus-5-5", "max_tokens": 5, "messages": [{"role": "user", "content": prompt}]}
                answer = await client.post(
                    f"{product.base_url}/v1/messages", json=body, headers=product.headers("atonce")
                )
                return answer.status_code

            received = product.simulator("GET", "stats")["received"]
            held = asyncio.create_task(call("[[sim: hold=atonce]]"))
            await asyncio.to_thread(product.simulator, "GET", f"stats?until=received:{received + 1}")
            second = await call("hi")
            await asyncio.to_thread(product.simulator, "POST", "release/atonce")
            return await held, second, await call("hi")

    assert asyncio.run(run()) == (200, 429, 200)


def test_a_revoked_key_is_refused_within_a_second_and_at_once(product: Product) -> None:
    _setup(product, "revoked")
    assert product.post("hi", key="revoked").status_code == 200
    key = next(k for k in product.api("GET", "keys/", params={"page_size": "200"})["results"] if k["name"] == "revoked")
    product.api("POST", f"keys/{key['id']}/revoke/", json={"reason": "laptop lost"})
    revoked = time.monotonic()
    while (answer := product.post("hi", key="revoked")).status_code == 200:
        assert time.monotonic() - revoked < 1.0
    assert answer.status_code == 401
    assert answer.headers["x-should-retry"] == "false"
    assert "was revoked" in answer.json()["error"]["message"]


def test_a_rotated_key_works_beside_the_old_one(product: Product) -> None:
    _setup(product, "rotated")
    key = next(k for k in product.api("GET", "keys/", params={"page_size": "200"})["results"] if k["name"] == "rotated")
    product.secrets["rotated-new"] = product.api("POST", f"keys/{key['id']}/rotate/", json={"overlap_seconds": 3600})[
        "secret"
    ]
    _ready(product, "rotated-new")
    assert product.post("hi", key="rotated").status_code == 200
    product.api("POST", f"keys/{key['id']}/rotate/", json={"overlap_seconds": 0})
    deadline = time.monotonic() + 5
    while (answer := product.post("hi", key="rotated-new")).status_code == 200:
        assert time.monotonic() < deadline
    assert "was replaced" in answer.json()["error"]["message"]


def test_models_and_addresses_that_are_not_allowed(product: Product) -> None:
    _setup(product, "models", models=["claude-haiku-*"])
    answer = product.post("hi", key="models")
    assert answer.status_code == 400
    message = answer.json()["error"]["message"]
    assert "claude-haiku-5-5" in message
    assert "claude-sonnet" not in message
    session = {"x-claude-code-session-id": "0b1c2d3e-0000-4000-8000-00000000000a"}
    for _ in range(3):
        assert product.post("hi", key="models", headers=session).status_code == 400
    assert product.post("hi", key="models", model="claude-haiku-5-5").status_code == 200
    product.row(product.post("hi", key="models", model="claude-haiku-5-5").headers["request-id"])
    # The client asks up to six times: one event in the log.
    assert len(product.rows(session_id=session["x-claude-code-session-id"])) == 1
    listed = httpx.get(f"{product.base_url}/v1/models", headers=product.headers("models"), timeout=20).json()["data"]
    assert {model["id"].rsplit("-", 2)[0] for model in listed} <= {"claude-haiku", "claude-haiku-4", "claude-haiku-4-5"}
    product.apply(configuration("addresses", allowed_ips=["10.0.0.0/8"]))
    deadline = time.monotonic() + 5
    while (answer := product.post("hi", key="addresses")).status_code == 401:
        assert time.monotonic() < deadline
    assert answer.status_code == 403
    assert "127.0.0.1" in answer.json()["error"]["message"]
    listed = httpx.get(f"{product.base_url}/v1/models", headers=product.headers("addresses"), timeout=20)
    assert (listed.status_code, listed.json()["error"]["type"]) == (403, "permission_error")


def test_a_model_without_a_price_is_charged_dearly_and_marked(product: Product) -> None:
    _setup(product, "unpriced")
    answer = product.post("[[sim: input_tokens=1000000 output_tokens=0]]", key="unpriced", model="claude-next-9")
    row = product.row(answer.headers["request-id"])
    assert row["cost_quality"] == "unpriced"
    assert row["cost_nano_usd"] > 10 * 10**9
