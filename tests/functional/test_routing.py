"""Routing rules and aliases with real processes: where requests go, what the client is told, what the row explains."""

from __future__ import annotations

import time
from typing import Any

import httpx
import pytest

from tests.functional.product import Product, configuration

pytestmark = pytest.mark.functional
OPUS, SONNET, HAIKU = "claude-opus-5-5", "claude-sonnet-5-5", "claude-haiku-4-5"
SUBAGENT = {"x-claude-code-agent-id": "a-1"}


def _rules(product: Product, name: str, *routes: dict[str, Any], **key: Any) -> None:
    """A customer of its own with these rules, once the process follows them."""
    whose = {"customer": f"{name} customer"}
    named = [{**whose, "name": f"{name}: {number}", **route} for number, route in enumerate(routes)]
    product.apply({**configuration(name, **key), "routes": named})
    time.sleep(1)  # a process looks every quarter of a second; keys are there before the rules are


def _sent(product: Product) -> dict[str, Any]:
    newest = max(entry["sequence"] for entry in product.simulator("GET", "requests")["requests"])
    body: dict[str, Any] = product.simulator("GET", f"requests/{newest}/body")
    return body


def test_subagents_go_to_another_model_and_the_row_says_why(product: Product) -> None:
    _rules(
        product,
        "steered",
        {"condition": 'headers["x-nobody-sends"] == "1"', "deny": "Never."},
        {"condition": "turns >= 1", "max_tokens": 500, "set_headers": {"x-lane": "steered"}},
        {
            "condition": 'request_class == "subagent" && complexity < 60',
            "targets": [{"model": HAIKU, "provider": "simulated"}],
            "fallbacks": [{"model": SONNET}, {"model": "claude-fable-5"}],
        },
    )
    main = product.post("hello", key="steered", model=OPUS)
    assert main.json()["model"] == OPUS
    assert product.row(main.headers["request-id"])["route_rule"] == ""

    answer = product.post("hello", key="steered", model=OPUS, temperature=0.5, headers=SUBAGENT)
    assert (answer.status_code, answer.json()["model"]) == (200, HAIKU)
    sent = _sent(product)
    assert (sent["model"], sent["max_tokens"], list(sent)) == (
        HAIKU, 500, ["model", "max_tokens", "messages", "temperature"],
    )  # fmt: skip
    row = product.row(answer.headers["request-id"])
    assert (row["model_requested"], row["model"], row["route_rule"]) == (OPUS, HAIKU, "steered: 2")
    routing = row["routing"]
    assert (routing["rule"], routing["looked"], routing["max_tokens"]) == ("steered: 2", 3, {"from": 1024, "to": 500})
    assert [(step["rule"], step.get("failed", False)) for step in routing["steps"]] == [
        ("steered: 0", True), ("steered: 1", False), ("steered: 2", False),
    ]  # fmt: skip
    assert "x-nobody-sends" in routing["steps"][0]["told"]
    assert routing["complexity"]["score"] == sum(part["points"] for part in routing["complexity"]["parts"])
    assert [(target["model"], target["tier"]) for target in routing["targets"]] == [
        (HAIKU, 0), (SONNET, 1), ("claude-fable-5", 2),
    ]  # fmt: skip


def test_a_rule_that_fails_is_counted_and_alerted(product: Product) -> None:
    _rules(product, "failing", {"condition": 'tags["team"] == "x"', "deny": "Never."})
    answer = product.post("hello", key="failing")
    assert answer.status_code == 200
    product.row(answer.headers["request-id"])
    metrics = httpx.get(f"{product.url}/metrics", timeout=20).text
    assert 'comptroller_routing_rule_errors_total{rule="failing: 0"} 1.0' in metrics
    product.python("from observability.rollups import roll_up; roll_up()")
    alerts = product.api("GET", "alerts/", params={"kind": "routing"})["results"]
    mine = [alert for alert in alerts if alert["customer"] == "failing customer"]
    assert len(mine) == 1, alerts
    assert "failing: 0" in str(mine[0])


def test_a_denial_reaches_the_client_as_its_sentence(product: Product) -> None:
    sentence = "No Opus for this team; use /model sonnet."
    _rules(product, "denied", {"condition": 'model.startsWith("claude-opus-")', "deny": sentence})
    answer = product.post("hello", key="denied", model=OPUS)
    assert answer.status_code == 400
    error = answer.json()["error"]
    assert (error["type"], error["message"]) == ("invalid_request_error", f"{sentence} (Routing rule 'denied: 0'.)")
    row = product.row(answer.headers["request-id"])
    assert (row["status"], row["route_rule"], row["routing"]["steps"][0]["told"]) == ("refused", "denied: 0", "refused")
    assert product.post("hello", key="denied", model=SONNET).status_code == 200


def test_a_rule_allows_nothing_that_the_key_may_not(product: Product) -> None:
    _rules(product, "narrow", {"condition": "true", "targets": [{"model": HAIKU}]}, models=["claude-opus-*"])
    answer = product.post("hello", key="narrow", model=OPUS)
    assert answer.json()["model"] == OPUS
    row = product.row(answer.headers["request-id"])
    routing = row["routing"]
    assert (row["route_rule"], routing["targets"], "rule" in routing) == ("", [], False)
    assert [(out["model"], out["why"]) for out in routing["left_out"]] == [
        (HAIKU, "the key may not use this model there")
    ]


def test_a_used_budget_moves_everything_to_a_cheaper_model(product: Product) -> None:
    name = "spent"
    route = {"condition": "budget_used_percent >= 50", "targets": [{"model": HAIKU}], "customer": f"{name} customer"}
    budget = {"limit_usd": 10, "period": "month"}
    product.apply({**configuration(name, budgets=[budget]), "routes": [{"name": "half is spent", **route}]})
    time.sleep(1)
    first = product.post("[[sim: text=ok input_tokens=0 output_tokens=300000]]", key=name, model=OPUS)
    assert first.json()["model"] == OPUS
    product.row(first.headers["request-id"])
    time.sleep(0.3)
    assert product.post("hello", key=name, model=OPUS).json()["model"] == HAIKU


def test_an_alias_is_shown_in_header_and_log_and_rules_see_it(product: Product) -> None:
    _rules(
        product,
        "aliased",
        {"condition": f'model == "{SONNET}"', "max_tokens": 77},
        model_aliases={"claude-opus-*": SONNET},
    )
    answer = product.post("hello", key="aliased", model=OPUS)
    assert (answer.json()["model"], answer.headers["x-comptroller-aliased-from"]) == (SONNET, OPUS)
    assert _sent(product)["max_tokens"] == 77
    row = product.row(answer.headers["request-id"])
    assert row["route_rule"] == f"alias claude-opus-* → {SONNET}"
    assert row["routing"]["alias"] == {"pattern": "claude-opus-*", "from": OPUS, "to": SONNET}


def test_a_rate_limit_goes_to_the_client_or_to_the_next_target_as_the_rule_says(product: Product) -> None:
    for name, choice, tries in (("relayed", "relay", 1), ("moved on", "fallback", 2)):
        _rules(
            product,
            name,
            {
                "condition": "true",
                "targets": [{"model": OPUS}],
                "fallbacks": [{"model": SONNET}],
                "on_rate_limit": choice,
            },
        )
        limited = "[[sim: status=429 error_type=rate_limit_error retry_after=3]]"
        answer = product.post(limited, key=name, model=OPUS)
        assert answer.status_code == 429
        attempts = product.row(answer.headers["request-id"])["attempts"]
        assert [attempt["status"] for attempt in attempts] == [429] * tries


def test_a_silent_target_is_overtaken_where_a_rule_says_so(product: Product) -> None:
    slow = "[[sim: text=late ttft_ms=1500]]"
    _rules(
        product,
        "hedged",
        {"condition": "true", "targets": [{"model": OPUS}], "fallbacks": [{"model": SONNET}], "hedge_ms": 200},
    )
    answer = product.post(slow, key="hedged", model=OPUS, stream=True)
    assert answer.status_code == 200
    row = product.row(answer.headers["request-id"])
    # The attempt that answered comes last: the first target, which had 200 ms more.
    assert [attempt.get("hedge", False) for attempt in row["attempts"]] == [True, False]
