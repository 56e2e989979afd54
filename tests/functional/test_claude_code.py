"""The real Claude Code client through the gateway: what a developer sees, and that both sides count the same money."""

from __future__ import annotations

import json
import time
from decimal import Decimal
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.fakes.claude import ClaudeCode, needs_claude
from tests.functional.product import Product, configuration

pytestmark = [
    pytest.mark.functional,
    pytest.mark.claude,
    needs_claude,
    pytest.mark.parametrize("product", ["sqlite"], indirect=True),
]


def client(product: Product, tmp_path: Path, key: str) -> ClaudeCode:
    return ClaudeCode(
        tmp_path / "home", product.base_url, key="", environment={"ANTHROPIC_AUTH_TOKEN": product.secrets[key]}
    )


def ready(product: Product, name: str, **options: Any) -> str:
    product.apply(configuration(name, **options))
    deadline = time.monotonic() + 5
    while httpx.get(f"{product.base_url}/v1/models", headers=product.headers(name), timeout=10).status_code != 200:
        assert time.monotonic() < deadline
    return name


def session_rows(product: Product, session: str, count: int = 1) -> list[dict[str, Any]]:
    """The session's rows; the last one is written a quarter of a second after its answer."""
    deadline = time.monotonic() + 10
    while True:
        rows = product.rows(session_id=session)
        if len(rows) >= count or time.monotonic() > deadline:
            return rows
        time.sleep(0.1)


def test_a_plain_prompt_is_attributed(product: Product, tmp_path: Path) -> None:
    key = ready(product, "claude-plain")
    done = client(product, tmp_path, key).run('say [[sim: text="the answer" input_tokens=100 output_tokens=7]]')
    assert (done["is_error"], done["result"]) == (False, "the answer")
    (row,) = session_rows(product, done["session_id"])
    assert row["client"].startswith("claude-cli/2.1.")
    assert row["virtual_key"] == key
    assert row["session_id"] == done["session_id"]
    assert row["model"] == "claude-sonnet-5-5"
    assert row["status"] == "success"
    assert row["stream"] is True


def test_a_tool_writes_a_file_a_subagent_answers_and_the_session_goes_on(product: Product, tmp_path: Path) -> None:
    key = ready(product, "claude-tools")
    claude = client(product, tmp_path, key)
    path = claude.work / "hello.txt"
    prompt = (
        f'[[sim: tool=Write file_path={path} content="line 1\\nline 2\\n" input_tokens=1000'
        " cache_write_5m=3000 output_tokens=200]]"
        "[[sim: tool=Agent description=count subagent_type=general-purpose run_in_background=false"
        ' prompt="[[sim: text=\\"two lines\\" input_tokens=70 output_tokens=7]]"'
        " input_tokens=5 cache_read=4000 output_tokens=90]]"
        '[[sim: text="Written and counted." input_tokens=10 cache_read=4000 cache_write_1h=500 output_tokens=20]]'
    )
    done = claude.run(prompt, "--permission-mode", "acceptEdits", "--allowedTools", "Write,Agent")
    assert (done["is_error"], done["result"]) == (False, "Written and counted.")
    assert path.read_text() == "line 1\nline 2\n"
    rows = session_rows(product, done["session_id"], 4)
    assert len(rows) == 4
    assert sum(row["tool_calls"].get("Write", 0) for row in rows) == 1
    assert sum(row["lines_added"] for row in rows) == 2
    assert [bool(row["agent_id"]) for row in rows].count(True) == 1
    assert same_money(done, rows)

    again = claude.run('[[sim: text="resumed" input_tokens=3 output_tokens=4]]', "--resume", done["session_id"])
    assert (again["result"], again["session_id"]) == ("resumed", done["session_id"])
    assert same_money(again, session_rows(product, done["session_id"], 5))


_CACHED = "cache_read=59000 cache_write_5m=600 cache_write_1h=400"
PRICED = {
    "opus": "input_tokens=12345 output_tokens=678 cache_read=54321 cache_write_5m=77 cache_write_1h=33 web_searches=3",
    "sonnet": "input_tokens=4321 output_tokens=99 cache_read=11111 cache_write_5m=5 cache_write_1h=7 web_searches=1",
    "haiku-at-the-tier": f"input_tokens=40000 output_tokens=51 {_CACHED} web_searches=2",
    "haiku-above-it": f"input_tokens=40001 output_tokens=51 {_CACHED} web_searches=2",
    "fable": "input_tokens=999 output_tokens=1001 cache_read=7 cache_write_5m=13 cache_write_1h=17 web_searches=1",
    "opus-fast": "input_tokens=1000 output_tokens=10 cache_read=33 speed=fast",
    "sonnet-us": "input_tokens=1000 output_tokens=10 cache_read=33 geo=us",
}


@pytest.mark.parametrize("case", PRICED)
def test_both_sides_count_the_same_money(product: Product, tmp_path: Path, case: str) -> None:
    key = ready(product, "claude-money")
    model = case.partition("-")[0]
    done = client(product, tmp_path, key).run(f"[[sim: text=paid {PRICED[case]}]]", model=model)
    assert done["is_error"] is False
    rows = session_rows(product, done["session_id"])
    assert same_money(done, rows)
    assert all(row["cost_quality"] == "exact" for row in rows)


def same_money(done: dict[str, Any], rows: list[dict[str, Any]]) -> bool:
    """The client's total, a sum of floats, is our sum of whole nano-dollars."""
    ours = sum(row["cost_nano_usd"] for row in rows)
    theirs = Decimal(repr(done["total_cost_usd"])) * 10**9
    assert ours > 0
    assert round(theirs) == ours, (theirs, ours, json.dumps(done["modelUsage"]))
    assert abs(theirs - ours) < Decimal("0.001")
    return True


def test_an_exhausted_budget_ends_at_once_with_our_sentence(product: Product, tmp_path: Path) -> None:
    key = ready(product, "claude-broke", budgets=[{"limit_usd": "0.000001", "period": "month"}])
    claude = client(product, tmp_path, key)
    claude.run("[[sim: text=first input_tokens=1000 output_tokens=10]]")
    product.simulator("POST", "reset")
    began = time.monotonic()
    done = claude.run("second")
    assert time.monotonic() - began < 30
    assert done["is_error"] is True
    for part in ("claude-broke team", "is used up", "resets on"):
        assert part in done["result"]
    rows = session_rows(product, done["session_id"])
    assert [row["error_type"] for row in rows] == ["billing_error"]
    assert product.simulator("GET", "stats")["received"] == 0


def test_a_revoked_key_ends_at_once(product: Product, tmp_path: Path) -> None:
    key = ready(product, "claude-revoked")
    found = next(k for k in product.api("GET", "keys/", params={"page_size": "200"})["results"] if k["name"] == key)
    product.api("POST", f"keys/{found['id']}/revoke/", json={"reason": "left the company"})
    deadline = time.monotonic() + 5
    while httpx.get(f"{product.base_url}/v1/models", headers=product.headers(key), timeout=10).status_code == 200:
        assert time.monotonic() < deadline
    done = client(product, tmp_path, key).run("hello")
    assert done["is_error"] is True
    assert "was revoked" in done["result"]
    rows = session_rows(product, done["session_id"])
    assert [row["http_status"] for row in rows] == [401]


def test_context_counts_tokens_without_a_charge(product: Product, tmp_path: Path) -> None:
    key = ready(product, "claude-context")
    client(product, tmp_path, key).start("/context")
    rows = [row for row in product.rows(virtual_key=key) if row["request_class"] == "count_tokens"]
    assert {row["status"] for row in rows} <= {"success"}
    assert sum(row["cost_nano_usd"] for row in rows) == 0
