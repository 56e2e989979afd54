"""The real Claude Code client in each of its three modes, in front of each of three kinds of provider: a tool session.

The provider of Anthropic's kind is the simulator; Bedrock and Vertex AI are fakes that verify signatures and tokens,
refuse what those refuse, and that Amazon's, Google's and Anthropic's own libraries accept.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.fakes.bedrock import ACCESS_KEY, REGION, SECRET_KEY, Bedrock, bedrock
from tests.fakes.claude import ClaudeCode, needs_claude
from tests.fakes.vertex import PROJECT, Vertex, vertex
from tests.fakes.vertex import REGION as VERTEX_REGION
from tests.functional.product import Product

pytestmark = [
    pytest.mark.functional,
    pytest.mark.claude,
    needs_claude,
    pytest.mark.parametrize("product", ["sqlite"], indirect=True),
]

MODES = ("anthropic", "bedrock", "vertex")
KINDS = ("anthropic", "bedrock", "vertex")


@pytest.fixture(scope="module")
def clouds() -> Iterator[tuple[Bedrock, Vertex]]:
    with bedrock() as amazon, vertex() as google:
        yield amazon, google


def provider(product: Product, kind: str, amazon: Bedrock, google: Vertex) -> dict[str, object]:
    """The configuration of a provider of this kind; its secret is in an environment variable of `apply`."""
    name = f"pairs {kind}"
    match kind:
        case "bedrock":
            credential = {
                "name": "main",
                "method": "aws_static",
                "identifier": ACCESS_KEY,
                "secret_env": "PAIRS_SECRET",
            }
            return {
                "name": name,
                "kind": kind,
                "region": REGION,
                "base_url": amazon.url,
                "credentials": [credential],
            }
        case "vertex":
            credential = {"name": "main", "method": "google_service_account", "secret_env": "PAIRS_SECRET"}
            return {
                "name": name,
                "kind": kind,
                "region": VERTEX_REGION,
                "project": PROJECT,
                "base_url": google.url,
                "credentials": [credential],
            }
    return {
        "name": name,
        "kind": "compatible",
        "base_url": product.simulator_url,
        "credentials": [{"name": "main", "secret_env": "PAIRS_SECRET"}],
    }


def environment(product: Product, mode: str, key: str) -> dict[str, str]:
    """What puts the client into a mode; see docs/clients.md."""
    secret = product.secrets[key]
    match mode:
        case "bedrock":
            return {
                "CLAUDE_CODE_USE_BEDROCK": "1",
                "ANTHROPIC_BEDROCK_BASE_URL": f"{product.url}/bedrock",
                "AWS_BEARER_TOKEN_BEDROCK": secret,
                "AWS_REGION": "us-east-1",
            }
        case "vertex":
            return {
                "CLAUDE_CODE_USE_VERTEX": "1",
                "ANTHROPIC_VERTEX_BASE_URL": f"{product.url}/vertex",
                "CLAUDE_CODE_SKIP_VERTEX_AUTH": "1",
                "ANTHROPIC_VERTEX_PROJECT_ID": "any",
                "CLOUD_ML_REGION": "global",
                "ANTHROPIC_AUTH_TOKEN": secret,
            }
    return {"ANTHROPIC_AUTH_TOKEN": secret}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("mode", MODES)
def test_a_session_with_tools(
    product: Product, clouds: tuple[Bedrock, Vertex], tmp_path: Path, mode: str, kind: str
) -> None:
    key = f"{mode}-to-{kind}"
    secrets = {"anthropic": "sk-ant-any", "bedrock": SECRET_KEY, "vertex": clouds[1].service_account}
    product.settings["PAIRS_SECRET"] = secrets[kind]
    told = provider(product, kind, *clouds)
    product.apply(
        {
            "providers": [told],
            "customers": [
                {
                    "name": f"{key} customer",
                    "teams": [{"name": "pairs", "keys": [{"name": key, "providers": [{"name": told["name"]}]}]}],
                }
            ],
        }
    )
    claude = ClaudeCode(tmp_path / "home", product.base_url, key="", environment=environment(product, mode, key))
    path = claude.work / "hello.txt"
    prompt = (
        f'[[sim: tool=Write file_path={path} content="line 1\\nline 2\\n" input_tokens=1000 output_tokens=200]]'
        '[[sim: text="Written." input_tokens=10 cache_read=4000 output_tokens=20]]'
    )
    done = claude.run(prompt, "--permission-mode", "acceptEdits", "--allowedTools", "Write")
    assert (done["is_error"], done["result"]) == (False, "Written."), done
    assert path.read_text() == "line 1\nline 2\n"
    rows = streamed(product, done["session_id"])
    assert {row["provider"] for row in rows} == {told["name"]}
    assert {row["status"] for row in rows} == {"success"}
    assert {row["cost_quality"] for row in rows} == {"exact"}
    assert sum(row["tool_calls"].get("Write", 0) for row in rows) == 1
    assert sum(row["output_tokens"] for row in rows) == 220


def streamed(product: Product, session: str) -> list[dict[str, object]]:
    """The two streams of the session; before them some modes look which models there are."""
    deadline = time.monotonic() + 10
    while True:
        rows = [row for row in product.rows(session_id=session) if row["stream"]]
        if len(rows) >= 2 or time.monotonic() > deadline:
            return rows
        time.sleep(0.1)
