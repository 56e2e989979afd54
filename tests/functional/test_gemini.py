"""The real Claude Code client through the gateway to Gemini: a session in which a tool writes a file."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.fakes.claude import ClaudeCode, needs_claude
from tests.fakes.gemini import KEY, Gemini, Step, gemini
from tests.functional.product import Product

pytestmark = [pytest.mark.functional, pytest.mark.parametrize("product", ["sqlite"], indirect=True)]

NAME = "to-gemini"
SIGNATURE = "CiQB0e2Kb8+/x1Zs9h0hFhA4bJo="


@pytest.fixture(scope="module")
def google() -> Iterator[Gemini]:
    with gemini() as fake:
        yield fake


@pytest.fixture(scope="module")
def _applied(product: Product, google: Gemini) -> None:
    product.settings["GEMINI_TEST_KEY"] = KEY
    told = {
        "name": "gemini",
        "kind": "gemini",
        "base_url": google.url,
        "models": {"claude-*": "gemini-3.8-flash"},
        "credentials": [{"name": "main", "secret_env": "GEMINI_TEST_KEY"}],
    }
    keys = [{"name": NAME, "providers": [{"name": "gemini"}]}]
    product.apply(
        {
            "providers": [told],
            "customers": [{"name": "gemini customer", "teams": [{"name": "gemini team", "keys": keys}]}],
        }
    )
    deadline = time.monotonic() + 5
    while httpx.get(f"{product.base_url}/v1/models", headers=product.headers(NAME)).status_code != 200:
        assert time.monotonic() < deadline
        time.sleep(0.05)


@pytest.fixture
def fake(google: Gemini, _applied: None) -> Gemini:
    google.forget()
    return google


@pytest.mark.claude
@needs_claude
def test_claude_code_works_with_gemini(product: Product, fake: Gemini, tmp_path: Path) -> None:
    claude = ClaudeCode(
        tmp_path / "home", product.base_url, key="", environment={"ANTHROPIC_AUTH_TOKEN": product.secrets[NAME]}
    )
    path = claude.work / "hello.txt"
    write = {"name": "Write", "args": {"file_path": str(path), "content": "line 1\nline 2\n"}, "id": "fc-1"}
    fake.steps += [
        Step(
            [
                {"text": "I write it.", "thought": True},
                {"text": "Here it comes."},
                {"functionCall": write, "thoughtSignature": SIGNATURE},
            ],
            prompt=20_000,
            thoughts=30,
            output=70,
        ),
        Step([{"text": "Writ"}, {"text": "ten."}], prompt=21_000, cached=20_000, output=3),
    ]
    done = claude.run("Write the file", "--permission-mode", "acceptEdits", "--allowedTools", "Write")
    assert (done["is_error"], done["result"]) == (False, "Written."), done
    assert path.read_text() == "line 1\nline 2\n"
    last = fake.seen[-1].json["contents"]
    calls = [part for content in last for part in content["parts"] if "functionCall" in part]
    assert [call["thoughtSignature"] for call in calls] == [SIGNATURE]
    deadline = time.monotonic() + 10
    while len(rows := [row for row in product.rows(session_id=done["session_id"]) if row["stream"]]) < 2:
        assert time.monotonic() < deadline
        time.sleep(0.1)
    assert {(row["provider"], row["status"], row["model"]) for row in rows} == {
        ("gemini", "success", "gemini-3.8-flash")
    }
    assert sorted((row["input_tokens"], row["cache_read_tokens"], row["output_tokens"]) for row in rows) == [
        (1_000, 20_000, 3),
        (20_000, 0, 100),
    ]
    assert {row["cost_quality"] for row in rows} == {"unpriced"}


def test_what_only_claude_has_is_refused_with_a_sentence(product: Product, fake: Gemini) -> None:
    answer = product.post("x", key=NAME, tools=[{"type": "web_search_20250305", "name": "web_search"}])
    assert answer.status_code == 400
    assert "runs at Anthropic" in answer.json()["error"]["message"]


def test_a_wrong_key_of_ours_is_not_the_clients(product: Product, fake: Gemini) -> None:
    fake.steps.append(Step(status=403, message="Forbidden."))
    answer = product.post("x", key=NAME)
    assert (answer.status_code, answer.json()["error"]["type"]) == (503, "api_error")
