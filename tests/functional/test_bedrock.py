"""The real Claude Code client in its Bedrock mode, and in its usual one in front of Bedrock: sessions with tools.

Both ends of it: a client that speaks Bedrock is answered by any provider, and a fake Bedrock, which verifies every
signature and refuses what Bedrock refuses, answers any client.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from tests.fakes.bedrock import ACCESS_KEY, API_KEY, REGION, SECRET_KEY, Bedrock, Fault, bedrock
from tests.fakes.claude import ClaudeCode, needs_claude
from tests.functional.product import Product, configuration

pytestmark = [
    pytest.mark.functional,
    pytest.mark.claude,
    needs_claude,
    pytest.mark.parametrize("product", ["sqlite"], indirect=True),
]

SIGNED = {"method": "aws_static", "identifier": ACCESS_KEY, "secret": SECRET_KEY}
BEARER = {"method": "api_key", "secret": API_KEY}


@pytest.fixture(scope="module")
def running() -> Iterator[Bedrock]:
    with bedrock() as fake:
        yield fake


@pytest.fixture
def fake(running: Bedrock) -> Bedrock:
    running.forget()
    return running


def ready(product: Product, name: str, fake: Bedrock, credential: dict[str, str] = SIGNED, **options: Any) -> str:
    """A key that may use the fake Bedrock only."""
    at = f"{name} bedrock"
    product.python(
        "from governance.services import providers;"
        f"at = providers.create_provider(name={at!r}, kind='bedrock', region={REGION!r}, base_url={fake.url!r},"
        " actor=None);"
        f"providers.create_credential(provider=at, actor=None, **{credential!r})"
    )
    told = configuration(name, providers=[{"name": at, "models": ["claude-*"]}], **options)
    del told["providers"]
    product.apply(told)
    return name


def in_bedrock_mode(product: Product, home: Path, key: str, **more: str) -> ClaudeCode:
    environment = {
        "CLAUDE_CODE_USE_BEDROCK": "1",
        "ANTHROPIC_BEDROCK_BASE_URL": f"{product.url}/bedrock",
        "AWS_BEARER_TOKEN_BEDROCK": product.secrets[key],
        "AWS_REGION": "us-east-1",
        **more,
    }
    return ClaudeCode(home / "home", product.base_url, key="", environment=environment)


def in_usual_mode(product: Product, home: Path, key: str) -> ClaudeCode:
    return ClaudeCode(
        home / "home", product.base_url, key="", environment={"ANTHROPIC_AUTH_TOKEN": product.secrets[key]}
    )


def edits_a_file(claude: ClaudeCode) -> dict[str, Any]:
    """A session of two tools."""
    path = claude.work / "hello.txt"
    prompt = (
        f'[[sim: thinking="so be it" tool=Write file_path={path} content="line 1\\nline 2\\n" input_tokens=1000'
        " cache_write_5m=3000 output_tokens=200]]"
        '[[sim: tool=Bash command="cat hello.txt" description=read input_tokens=5 cache_read=4000 output_tokens=90]]'
        '[[sim: text="Written and read." input_tokens=10 cache_read=4000 cache_write_1h=500 output_tokens=20]]'
    )
    done = claude.run(prompt, "--permission-mode", "acceptEdits", "--allowedTools", "Write,Bash")
    assert (done["is_error"], done["result"]) == (False, "Written and read."), done
    assert path.read_text() == "line 1\nline 2\n"
    return done


def regional(rows: list[dict[str, Any]], done: dict[str, Any]) -> bool:
    """The client counts the global rate; an inference profile of a geography costs a tenth more."""
    ours = sum(row["cost_nano_usd"] for row in rows)
    theirs = Decimal(repr(done["total_cost_usd"])) * 10**9
    assert ours == round(theirs * Decimal("1.1")), (ours, theirs)
    return True


def answers(product: Product, done: dict[str, Any]) -> list[dict[str, Any]]:
    """The session's three streams, the last one first; before them the client looks which models there are."""
    deadline = time.monotonic() + 10
    while True:
        rows = [row for row in product.rows(session_id=done["session_id"]) if row["stream"]]
        if len(rows) >= 3 or time.monotonic() > deadline:
            break
        time.sleep(0.1)
    assert [row["status"] for row in rows] == ["success"] * 3
    assert [row["cost_quality"] for row in rows] == ["exact"] * 3
    return rows


def test_a_bedrock_client_is_answered_by_the_simulated_provider(product: Product, tmp_path: Path) -> None:
    product.apply(configuration("bedrock-to-simulated", providers=[{"name": "simulated"}]))
    done = edits_a_file(in_bedrock_mode(product, tmp_path, "bedrock-to-simulated"))
    rows = answers(product, done)
    assert [row["model"] for row in rows] == ["claude-sonnet-4-5-20250929"] * 3
    assert {row["provider"] for row in rows} == {"simulated"}
    assert sum(row["tool_calls"].get("Write", 0) for row in rows) == 1
    assert sum(row["cost_nano_usd"] for row in rows) == round(Decimal(repr(done["total_cost_usd"])) * 10**9)


@pytest.mark.parametrize("credential", [SIGNED, BEARER], ids=["signed", "api-key"])
def test_a_bedrock_client_is_answered_by_bedrock(
    product: Product, tmp_path: Path, fake: Bedrock, credential: dict[str, str]
) -> None:
    key = ready(product, f"bedrock-to-bedrock-{credential['method']}", fake, credential)
    done = edits_a_file(in_bedrock_mode(product, tmp_path, key))
    rows = answers(product, done)
    sent = [each for each in fake.seen if each.target.endswith("-stream")]
    assert [len(each.body) for each in sent] == [row["request_bytes"] for row in reversed(rows)]
    assert {each.target for each in sent} == {
        "/model/eu.anthropic.claude-sonnet-4-5-20250929-v1:0/invoke-with-response-stream"
    }
    assert all(row["provider_request_id"] for row in rows)
    assert regional(rows, done)


def test_a_usual_client_is_answered_by_bedrock(product: Product, tmp_path: Path, fake: Bedrock) -> None:
    key = ready(product, "usual-to-bedrock", fake)
    done = edits_a_file(in_usual_mode(product, tmp_path, key))
    rows = answers(product, done)
    assert {row["model"] for row in rows} == {"claude-sonnet-5-5"}
    assert {each.target for each in fake.invoked} == {
        "/model/eu.anthropic.claude-sonnet-5-5/invoke-with-response-stream"
    }
    assert product.secrets[key] not in str([each.headers for each in fake.seen])
    assert regional(rows, done)


FAULTS = {
    "exception": Fault("ModelStreamErrorException", "The model broke.", frames=4, streams=True),
    "cut": Fault(frames=4, cut=True, streams=True),
    "throttled-stream": Fault(frames=0, streams=True),
    "throttled": Fault(streams=True),
}


@pytest.mark.parametrize("mode", [in_bedrock_mode, in_usual_mode], ids=["bedrock", "usual"])
@pytest.mark.parametrize("case", FAULTS)
def test_a_stream_that_fails_is_asked_for_again(
    product: Product, tmp_path: Path, fake: Bedrock, mode: Callable[..., ClaudeCode], case: str
) -> None:
    key = ready(product, f"{case}-{mode.__name__}", fake)
    fake.faults.append(FAULTS[case])
    done = mode(product, tmp_path, key).run(
        '[[sim: text="it came in the end" chunks=6 input_tokens=10 output_tokens=9]]'
    )
    assert (done["is_error"], done["result"]) == (False, "it came in the end"), done
    assert not fake.faults


def test_pings_in_a_silent_stream_are_read_over(product: Product, tmp_path: Path) -> None:
    """Bedrock itself sends none: the client's parser must take ours for what they are."""
    product.apply(configuration("bedrock-silent", providers=[{"name": "simulated"}]))
    done = in_bedrock_mode(product, tmp_path, "bedrock-silent").run(
        '[[sim: text="after a while" chunks=4 silent_s=17]]'
    )
    assert (done["is_error"], done["result"]) == (False, "after a while"), done


def test_a_budget_that_is_used_up_ends_at_once_with_our_sentence(
    product: Product, tmp_path: Path, fake: Bedrock
) -> None:
    key = ready(product, "bedrock-broke", fake, budgets=[{"limit_usd": "0.000001", "period": "month"}])
    claude = in_bedrock_mode(product, tmp_path, key)
    claude.run("[[sim: text=first input_tokens=1000 output_tokens=10]]")
    fake.forget()
    began = time.monotonic()
    done = claude.run("second")
    assert time.monotonic() - began < 30
    assert done["is_error"] is True
    for part in ("bedrock-broke team", "is used up", "resets on"):
        assert part in done["result"]
    assert not fake.invoked


def test_the_key_may_come_as_a_token_of_anthropics(product: Product, tmp_path: Path, fake: Bedrock) -> None:
    key = ready(product, "bedrock-skip-auth", fake)
    told = {
        "AWS_BEARER_TOKEN_BEDROCK": "",
        "CLAUDE_CODE_SKIP_BEDROCK_AUTH": "1",
        "ANTHROPIC_AUTH_TOKEN": product.secrets[key],
    }
    done = in_bedrock_mode(product, tmp_path, key, **told).run("[[sim: text=hello]]")
    assert (done["is_error"], done["result"]) == (False, "hello"), done


def test_context_counts_tokens_without_a_charge(product: Product, tmp_path: Path, fake: Bedrock) -> None:
    key = ready(product, "bedrock-context", fake)
    done = in_bedrock_mode(product, tmp_path, key).start("/context")
    assert "Context Usage" in done.stdout
    # A profile has no count: the client asks first which model is behind it.
    assert any("/inference-profiles/eu.anthropic" in row["endpoint"] for row in product.rows(virtual_key=key))
    counted = [row for row in product.rows(virtual_key=key) if row["request_class"] == "count_tokens"]
    assert len(counted) > 5
    assert {(row["status"], row["cost_nano_usd"]) for row in counted} == {("success", 0)}
