"""What rules may know of a request: no credential, and nothing that no rule reads."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

from gateway.facts import build, told_headers
from gateway.wire.headers import Headers
from gateway.wire.peek import peek
from governance.domain.access import Grant
from governance.domain.complexity import DEFAULT_WEIGHTS
from governance.domain.facts import VARIABLES, Facts
from observability.records import RequestRecord

EVERYTHING = frozenset(variable.name for variable in VARIABLES)
BODY = json.dumps({
    "model": "claude-opus-5-5", "max_tokens": 32_000, "stream": True,
    "thinking": {"type": "enabled", "budget_tokens": 9},
    "messages": [{"role": "user", "content": "Hello"}], "tools": [{"name": "Read"}], "output_config": {"effort": "low"},
}).encode()  # fmt: skip


def facts(names: frozenset[str] = EVERYTHING, **record: Any) -> Facts:
    return build(
        names,
        record=RequestRecord(id="x", started_at=datetime(2026, 11, 27, 23, 30, tzinfo=UTC), **record),
        peek=peek(BODY),
        body=BODY,
        headers=Headers([(b"x-lane", b"b"), (b"authorization", b"Bearer sk-cmp-12345678-x")]),
        grant=Grant(1, "ada-laptop", 2, "Acme", 3, "Core", developer_name="ada@acme.test"),
        model="claude-sonnet-5-5",
        prompt_tokens=1_000,
        used_percent=42,
        zone="Europe/Berlin",
        weights=DEFAULT_WEIGHTS,
    )


def test_everything_that_rules_may_read() -> None:
    found = facts(client="claude-cli/2.1.330", agent_id="a-1", project="billing", session_id="s", tags={"task": "docs"})
    assert (found.model, found.request_class, found.prompt_tokens, found.turns) == (
        "claude-sonnet-5-5", "subagent", 1_000, 1,
    )  # fmt: skip
    assert (found.tool_count, found.tool_names, found.effort) == (1, ["Read"], "low")
    assert (found.thinking, found.thinking_budget, found.max_tokens, found.stream) == ("enabled", 9, 32_000, True)
    # Half past eleven in the evening in UTC is Saturday in Berlin.
    assert (found.hour, found.weekday, found.budget_used_percent) == (0, "saturday", 42)
    assert (found.client, found.client_version, found.developer, found.key) == (
        "claude-cli", "2.1.330", "ada@acme.test", "ada-laptop",
    )  # fmt: skip
    assert (found.tags, found.headers) == ({"task": "docs"}, {"x-lane": "b"})
    assert found.score is not None
    assert found.complexity == found.score.value > 0


def test_what_no_rule_reads_is_not_worked_out() -> None:
    found = facts(frozenset({"model"}))
    assert (found.turns, found.effort, found.tool_names, found.headers, found.score) == (0, "", [], {}, None)


def test_the_class_is_the_clients_word_else_its_agents_id() -> None:
    assert facts().request_class == "main"
    assert facts(agent_id="a").request_class == "subagent"
    assert facts(agent_id="a", request_class="compaction").request_class == "compaction"
    assert facts(request_class="count_tokens").request_class == "main"


def test_no_credential_is_a_fact() -> None:
    raw = [
        (b"Authorization", b"Bearer x"), (b"x-api-key", b"y"), (b"cookie", b"z"), (b"x-comptroller-key", b"k"),
        (b"x-mine", b"sk-ant-api03-secret"), (b"X-Lane", b" one "), (b"x-lane", b"two"), (b"x-long", b"a" * 5_000),
    ]  # fmt: skip
    assert told_headers(Headers(raw)) == {"x-lane": "one", "x-long": "a" * 1_000}
