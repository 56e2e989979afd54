"""Rules from files and from the control endpoint."""

from __future__ import annotations

from pathlib import Path

import httpx
import pytest

from gateway.simulator.answer import BadScript
from gateway.simulator.script import load
from tests.fakes.processes import SimulatedProvider
from tests.gateway.simulator.asking import answer, ask


def _statuses(client: httpx.Client, count: int) -> list[int]:
    return [client.post("/v1/messages", json=ask("x")).status_code for _ in range(count)]


def test_a_rule_answers_so_often_and_then_the_next_one(client: httpx.Client, simulator: SimulatedProvider) -> None:
    simulator.script([{"answer": {"status": 529}, "times": 2}, {"answer": {"status": 400}, "times": 1}])
    assert _statuses(client, 4) == [529, 529, 400, 200]


def test_only_the_nth_request(client: httpx.Client, simulator: SimulatedProvider) -> None:
    simulator.script([{"match": {"nth": 3}, "answer": {"status": 500}}])
    assert _statuses(client, 4) == [200, 200, 500, 200]


def test_what_a_rule_looks_at(client: httpx.Client, simulator: SimulatedProvider) -> None:
    simulator.script(
        [
            {"match": {"model": "claude-haiku-*"}, "answer": {"text": "by model"}},
            {"match": {"prompt_contains": "magic"}, "answer": {"text": "by prompt"}},
            {"match": {"credential": "sk-two"}, "answer": {"text": "by credential"}},
            {"match": {"headers": {"x-team": "core*"}}, "answer": {"text": "by header"}},
            {"match": {"stream": True}, "answer": {"status": 400, "message": "by stream"}},
        ]
    )

    def text(prompt: str = "x", **headers: str) -> str:
        response = client.post("/v1/messages", json=ask(prompt), headers=headers)
        found: str = response.json()["content"][0]["text"]
        return found

    assert answer(client, "magic", model="claude-haiku-5-5")["content"][0]["text"] == "by model"
    assert text("a magic word") == "by prompt"
    assert text(authorization="Bearer sk-two") == "by credential"
    assert text(**{"x-team": "core-2"}) == "by header"
    assert client.post("/v1/messages", json=ask("x", stream=True)).json()["error"]["message"] == "by stream"
    assert text().startswith("(simulated provider)")


def test_a_rule_outranks_directives_and_defaults_lie_under_both(
    client: httpx.Client, simulator: SimulatedProvider
) -> None:
    simulator.script(
        [{"match": {"prompt_contains": "rule"}, "answer": {"text": "rule"}}], defaults={"output_tokens": 77}
    )
    for prompt, text in (("rule [[sim: text=directive]]", "rule"), ("[[sim: text=directive]]", "directive")):
        message = answer(client, prompt)
        assert (message["content"][0]["text"], message["usage"]["output_tokens"]) == (text, 77)


def test_the_steps_of_a_rule_follow_the_conversation(client: httpx.Client, simulator: SimulatedProvider) -> None:
    simulator.script([{"answer": [{"tool": "Bash", "input": {"command": "ls"}}, {"text": "listed"}]}])
    first = answer(client, "go")
    assert first["content"][0]["input"] == {"command": "ls"}
    result = {"type": "tool_result", "tool_use_id": first["content"][0]["id"], "content": "a b"}
    second = answer(
        client,
        [
            {"role": "user", "content": "go"},
            {"role": "assistant", "content": first["content"]},
            {"role": "user", "content": [result]},
        ],
    )
    assert second["content"][0]["text"] == "listed"


def test_other_paths_can_fail_too(client: httpx.Client, simulator: SimulatedProvider) -> None:
    simulator.script([{"match": {"path": "/v1/models"}, "answer": {"status": 503}}])
    assert client.get("/v1/models").status_code == 503
    assert _statuses(client, 1) == [200]


def test_rules_can_be_added(client: httpx.Client, simulator: SimulatedProvider) -> None:
    simulator.script([{"answer": {"status": 400}, "times": 1}])
    simulator.script([{"answer": {"status": 500}}], append=True)
    assert _statuses(client, 2) == [400, 500]


def test_accepted_credentials(client: httpx.Client, simulator: SimulatedProvider) -> None:
    simulator.script(accept_credentials=["sk-good"])
    for headers, status in (
        ({}, 401),
        ({"x-api-key": "sk-bad"}, 401),
        ({"x-api-key": "sk-good"}, 200),
        ({"authorization": "Bearer sk-good"}, 200),
    ):
        assert client.post("/v1/messages", json=ask("x"), headers=headers).status_code == status


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("rules: [{answer: {colour: red}}]", "colour"),
        ("rules: [{match: {moon: full}}]", "moon"),
        ("rulez: []", "rulez"),
        ("rules: [{answer: {output_tokens: lots}}]", "output_tokens"),
        ("defaults: {status: 7}", "status 7"),
        ("[", "neither YAML nor JSON"),
        ("- a list", "wrong script"),
    ],
)
def test_a_wrong_file_is_named(tmp_path: Path, text: str, words: str) -> None:
    path = tmp_path / "script.yaml"
    path.write_text(text)
    with pytest.raises(BadScript, match=words):
        load(path)


def test_files_in_yaml_json_or_empty(tmp_path: Path) -> None:
    path = tmp_path / "script"
    path.write_text('{"rules":[{"times":1,"answer":{"text":"a"}}]}')
    assert load(path).rules[0].times == 1
    path.write_text("rules:\n- match: {model: claude-*}\n  answer:\n  - text: one\n  - text: two\n")
    assert load(path).rules[0].steps() == [{"text": "one"}, {"text": "two"}]
    path.write_text("")
    assert load(path).rules == []
    with pytest.raises(BadScript, match="cannot be read"):
        load(tmp_path / "missing")
