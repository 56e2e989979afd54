"""What the real Claude Code makes of the simulated provider's answers."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.fakes.claude import ClaudeCode, needs_claude
from tests.fakes.processes import SimulatedProvider

pytestmark = [pytest.mark.claude, needs_claude]

FILE_AND_SUBAGENT = (
    '[[sim: tool=Write file_path="{path}" content="line 1\\nline 2\\n"'
    " input_tokens=1000 cache_write_5m=3000 output_tokens=200]]"
    "[[sim: tool=Agent description=count subagent_type=general-purpose run_in_background=false"
    ' prompt="[[sim: text=\\"two lines\\" input_tokens=70 output_tokens=7]]"'
    " input_tokens=5 cache_read=4000 output_tokens=90]]"
    '[[sim: text="Written and counted." input_tokens=10 cache_read=4000 cache_write_1h=500 output_tokens=20]]'
)


@pytest.fixture
def claude(tmp_path: Path, simulator: SimulatedProvider) -> ClaudeCode:
    return ClaudeCode(tmp_path / "home", simulator.url)


def test_a_plain_prompt_and_its_resumption(claude: ClaudeCode, simulator: SimulatedProvider) -> None:
    first = claude.run("say hello")
    assert not first["is_error"]
    assert first["result"].startswith("(simulated provider)")
    second = claude.run('and again [[sim: text="resumed"]]', "--resume", first["session_id"])
    assert (second["result"], second["session_id"]) == ("resumed", first["session_id"])
    usages = [request["usage"] for request in simulator.messages()]
    assert usages[0]["cache_creation_input_tokens"] > 1000
    assert usages[1]["cache_read_input_tokens"] >= usages[0]["cache_creation_input_tokens"]


def test_a_file_a_subagent_and_the_sum_of_it_all(claude: ClaudeCode, simulator: SimulatedProvider) -> None:
    path = claude.work / "hello.txt"
    done = claude.run(
        FILE_AND_SUBAGENT.format(path=path), "--permission-mode", "acceptEdits", "--allowedTools", "Write,Agent"
    )
    assert (done["is_error"], done["result"]) == (False, "Written and counted.")
    assert path.read_text() == "line 1\nline 2\n"
    assert done["subagent_stats"]["completed"] == 1
    agents = [dict(request["headers"]).get("x-claude-code-agent-id") for request in simulator.messages()]
    assert [agent is not None for agent in agents] == [False, False, True, False]
    [usage] = done["modelUsage"].values()
    tokens = simulator.stats()["tokens"]
    assert tokens == {"input": 1085, "output": 317, "cache_read": 8000, "cache_write_5m": 3000, "cache_write_1h": 500}
    assert (usage["inputTokens"], usage["outputTokens"], usage["cacheReadInputTokens"]) == (1085, 317, 8000)
    assert (usage["cacheCreationEphemeral5mInputTokens"], usage["cacheCreationEphemeral1hInputTokens"]) == (3000, 500)


@pytest.mark.parametrize(
    ("model", "directive", "usd"),
    [
        ("opus", "input_tokens=1000 output_tokens=10", 0.0042),
        ("opus", "input_tokens=1000 output_tokens=10 speed=fast", 0.0084),
        ("sonnet", "input_tokens=1000 output_tokens=10 geo=us", 0.00231),
        ("haiku", "input_tokens=100001 output_tokens=50 thinking_tokens=20 web_searches=2", 0.0701255),
        (
            "fable",
            "input_tokens=100000 cache_write_1h=1000 cache_write_5m=10 cache_read=33 output_tokens=50",
            0.8181066,
        ),
    ],
)
def test_usage_as_scripted_is_priced_by_the_client(claude: ClaudeCode, model: str, directive: str, usd: float) -> None:
    done = claude.run(f'[[sim: text="x" {directive}]]', model=model)
    assert not done["is_error"]
    assert done["total_cost_usd"] == pytest.approx(usd, abs=1e-12)


def test_it_comes_through_an_overload_and_a_broken_stream(claude: ClaudeCode, simulator: SimulatedProvider) -> None:
    simulator.script(
        [
            {"answer": {"status": 529, "retry_after": 0}, "times": 1},
            {"answer": {"error_event": "overloaded_error"}, "times": 1},
        ]
    )
    done = claude.run("hello")
    assert (done["is_error"], done["result"][:20]) == (False, "(simulated provider)")
    assert [(request["status"], request["stream"]) for request in simulator.messages()] == [
        (529, True),
        (200, True),
        (200, False),
    ]


def test_a_refusal_for_good_is_shown_at_once(claude: ClaudeCode, simulator: SimulatedProvider) -> None:
    done = claude.run('[[sim: status=429 should_retry=false message="the budget is spent"]]')
    assert done["is_error"]
    assert "the budget is spent" in done["result"]
    assert len(simulator.messages()) == 1
