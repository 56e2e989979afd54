"""Vertex AI on both sides of the product: Anthropic's SDK and the real Claude Code client in their Vertex modes, and
the provider in front of a Vertex AI that verifies tokens. All pairs of modes and providers: `test_nine_pairs.py`.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import anthropic
import httpx
import pytest
from anthropic import beta_tool

from tests.fakes.claude import ClaudeCode, needs_claude
from tests.fakes.vertex import PROJECT, REGION, Fault, Vertex, vertex
from tests.functional.product import Product, sse_events

pytestmark = [pytest.mark.functional, pytest.mark.parametrize("product", ["sqlite"], indirect=True)]

SIMULATED, GOOGLE, NARROW = "vertex-mode-simulated", "vertex-mode-google", "vertex-mode-narrow"
HAIKU = "claude-haiku-4-5@20251001"
ASKED = '[[sim: text="one two three" chunks=3 input_tokens=1000 output_tokens=200 cache_read=5000]]'
GLOBAL_COST = 1_000_000 + 500_000 + 1_000_000
"""Nano-dollars of `ASKED` on haiku 4.5: 1000 × $1 + 5000 × $0.10 + 200 × $5 per million."""
CALLS = '[[sim: tool=weather city=Oslo input_tokens=10 output_tokens=10]] [[sim: text="It rains in Oslo."]]'


@pytest.fixture(scope="module")
def google() -> Iterator[Vertex]:
    with vertex() as fake:
        yield fake


@pytest.fixture(scope="module")
def _applied(product: Product, google: Vertex) -> None:
    """A key for each provider alone, and one for few models."""
    product.settings["VERTEX_TEST_KEY"] = google.service_account
    credential = {"name": "main", "method": "google_service_account", "secret_env": "VERTEX_TEST_KEY"}
    place = {"region": REGION, "project": PROJECT, "base_url": google.url}
    keys = [
        {"name": SIMULATED, "providers": [{"name": "simulated"}]},
        {"name": GOOGLE, "providers": [{"name": "google"}]},
        {"name": NARROW, "providers": [{"name": "simulated", "models": ["claude-haiku-4-5-*"]}]},
    ]
    product.apply(
        {
            "providers": [
                {"name": "simulated", "kind": "simulated"},
                {"name": "google", "kind": "vertex", **place, "credentials": [credential]},
            ],
            "customers": [{"name": "vertex customer", "teams": [{"name": "vertex team", "keys": keys}]}],
        }
    )
    deadline = time.monotonic() + 5
    models = f"{product.base_url}/v1/models"
    while httpx.get(models, headers=product.headers(NARROW), timeout=10).status_code != 200:
        assert time.monotonic() < deadline
        time.sleep(0.05)


@pytest.fixture
def fake(google: Vertex, _applied: None) -> Vertex:
    google.forget()
    return google


@pytest.fixture(params=[SIMULATED, GOOGLE])
def key(request: pytest.FixtureRequest, fake: Vertex) -> str:
    """Of each provider."""
    found: str = request.param
    return found


def sdk(product: Product, key: str, **more: Any) -> anthropic.AnthropicVertex:
    return anthropic.AnthropicVertex(
        project_id="any-project",
        region="us-east5",
        base_url=f"{product.url}/vertex/v1",
        access_token=product.secrets[key],
        max_retries=0,
        timeout=30,
        **more,
    )


def url(product: Product, called: str, prefix: str = "/v1") -> str:
    return f"{product.url}/vertex{prefix}/projects/any/locations/any/publishers/anthropic/models/{called}"


def body(prompt: str, **more: Any) -> dict[str, Any]:
    messages = [{"role": "user", "content": prompt}]
    return {"anthropic_version": "vertex-2023-10-16", "max_tokens": 500, "messages": messages, **more}


def check_row(product: Product, request_id: str | None, key: str, *, stream: bool) -> None:
    assert request_id is not None
    row = product.row(request_id)
    regional = key == GOOGLE
    assert (row["status"], row["cost_quality"], row["stream"]) == ("success", "exact", stream)
    assert (row["model"], row["model_requested"]) == ("claude-haiku-4-5-20251001", HAIKU)
    assert row["cost_nano_usd"] == (GLOBAL_COST * 11 // 10 if regional else GLOBAL_COST)
    assert (row["input_tokens"], row["output_tokens"], row["cache_read_tokens"]) == (1000, 200, 5000)


def test_the_sdk_creates_and_streams(product: Product, key: str) -> None:
    with sdk(product, key) as client:
        asked: Any = {"model": HAIKU, "max_tokens": 500, "messages": [{"role": "user", "content": ASKED}]}
        answer = client.messages.create(**asked)
        assert answer.content[0].text == "one two three"  # type: ignore[union-attr]
        check_row(product, answer._request_id, key, stream=False)
        with client.messages.stream(**asked) as stream:
            assert list(stream.text_stream) == ["one ", "two ", "three"]
            request_id = stream.request_id
        check_row(product, request_id, key, stream=True)


@pytest.mark.parametrize("stream", [False, True])
def test_the_sdks_tool_runner_runs_to_its_end(product: Product, key: str, stream: bool) -> None:
    asked: list[str] = []

    @beta_tool
    def weather(city: str) -> str:
        """The weather of a city.

        Args:
            city: Its name.
        """
        asked.append(city)
        return "rain"

    with sdk(product, key) as client:
        runner: Any = client.beta.messages.tool_runner(
            model="claude-opus-5-5",
            max_tokens=500,
            tools=[weather],
            messages=[{"role": "user", "content": CALLS}],
            stream=stream,
        )
        last = runner.until_done()
    assert asked == ["Oslo"]
    assert last.content[0].text == "It rains in Oslo."


def test_tokens_are_counted_for_nothing(product: Product, key: str) -> None:
    with sdk(product, key) as client:
        raw = client.messages.with_raw_response.count_tokens(
            model=HAIKU, messages=[{"role": "user", "content": "how many"}]
        )
    assert raw.parse().input_tokens > 0
    row = product.row(raw.headers["request-id"])
    assert row["request_class"] == "count_tokens"
    assert (row["status"], row["cost_nano_usd"], row["model_requested"]) == ("success", 0, "claude-haiku-4-5-20251001")


def test_a_clients_own_body_reaches_vertex_byte_for_byte(product: Product, fake: Vertex) -> None:
    key = GOOGLE
    raw = json.dumps(body(ASKED), indent=2).encode() + b"\n "
    answer = httpx.post(
        url(product, f"{HAIKU}:rawPredict", prefix=""), content=raw, headers={"x-api-key": product.secrets[key]}
    )
    assert answer.status_code == 200
    seen = fake.predicted[-1]
    assert seen.body == raw
    # The client's project and region choose nothing, and its key stays here.
    assert f"/projects/{PROJECT}/locations/{REGION}/" in seen.path
    assert product.secrets[key] not in json.dumps(dict(seen.headers))
    answer_again = httpx.post(
        url(product, f"{HAIKU}:rawPredict"), content=raw, headers={"x-comptroller-key": product.secrets[key]}
    )
    assert answer_again.json()["content"] == answer.json()["content"]


@pytest.mark.parametrize(
    ("fault", "status", "kind"),
    [
        (Fault(status=429, retry_after=7), 429, "rate_limit_error"),
        (Fault(status=401), 503, "api_error"),
        (Fault(status=400, message="Said by Google."), 400, "invalid_request_error"),
    ],
)
def test_what_the_client_is_told_of_vertexs_errors(
    product: Product, fake: Vertex, fault: Fault, status: int, kind: str
) -> None:
    key = GOOGLE
    fake.faults.append(fault)
    answer = product.post("x", key=key, model="claude-haiku-4-5-20251001")
    assert answer.status_code == status, answer.text
    assert answer.json()["error"]["type"] == kind
    assert (answer.json()["error"]["message"] == fault.message) is (status == 400)


def test_a_stream_that_is_cut_ends_with_an_error(product: Product, fake: Vertex) -> None:
    key = GOOGLE
    fake.faults.append(Fault(cut_after=4))
    answer = product.post("[[sim: text=cut chunks=30]]", key=key, stream=True, model="claude-opus-5-5")
    events = sse_events(answer.text)
    assert events[-1][0] == "error"
    assert product.row(answer.headers["request-id"])["status"] == "error"


def test_what_is_not_served(product: Product, fake: Vertex) -> None:
    key = SIMULATED
    headers = product.headers(key)
    assert httpx.post(url(product, f"{HAIKU}:predict"), json={}, headers=headers).status_code == 404
    assert httpx.post(f"{product.url}/vertex/v1/models", json={}, headers=headers).status_code == 404
    assert httpx.get(url(product, f"{HAIKU}:rawPredict"), headers=headers).status_code == 405
    assert httpx.head(f"{product.url}/vertex").status_code == 200
    refused = httpx.post(url(product, f"{HAIKU}:rawPredict"), json=body("x"))
    assert (refused.status_code, refused.headers["x-should-retry"]) == (401, "false")
    assert refused.json()["error"]["type"] == "authentication_error"


def test_a_model_is_allowed_by_anthropics_name(product: Product, fake: Vertex) -> None:
    headers = product.headers(NARROW)
    assert httpx.post(url(product, f"{HAIKU}:rawPredict"), json=body(ASKED), headers=headers).status_code == 200
    refused = httpx.post(url(product, "claude-opus-5-5:rawPredict"), json=body("x"), headers=headers)
    assert refused.status_code == 400
    assert "claude-opus-5-5" in refused.json()["error"]["message"]


@pytest.mark.claude
@needs_claude
def test_claude_code_brings_its_key_in_a_header_of_its_own(
    product: Product, fake: Vertex, key: str, tmp_path: Path
) -> None:
    environment = {
        "CLAUDE_CODE_USE_VERTEX": "1",
        "ANTHROPIC_VERTEX_BASE_URL": f"{product.url}/vertex",
        "CLAUDE_CODE_SKIP_VERTEX_AUTH": "1",
        "ANTHROPIC_VERTEX_PROJECT_ID": "p",
        "CLOUD_ML_REGION": "global",
        "ANTHROPIC_CUSTOM_HEADERS": f"x-comptroller-key: {product.secrets[key]}",
    }
    claude = ClaudeCode(tmp_path / "home", product.base_url, key="", environment=environment)
    path = claude.work / "hello.txt"
    prompt = (
        f'[[sim: tool=Write file_path={path} content="line 1\\nline 2\\n" input_tokens=1000 output_tokens=200]]'
        '[[sim: text="Written." input_tokens=10 cache_read=4000 output_tokens=20]]'
    )
    done = claude.run(prompt, "--permission-mode", "acceptEdits", "--allowedTools", "Write")
    assert (done["is_error"], done["result"]) == (False, "Written."), done
    assert path.read_text() == "line 1\nline 2\n"
    deadline = time.monotonic() + 10
    while len(rows := [row for row in product.rows(session_id=done["session_id"]) if row["stream"]]) < 2:
        assert time.monotonic() < deadline
        time.sleep(0.1)
    assert {(row["status"], row["cost_quality"], row["virtual_key"]) for row in rows} == {("success", "exact", key)}
    if key == GOOGLE:
        assert {each.json["anthropic_version"] for each in fake.predicted} == {"vertex-2023-10-16"}
        assert {row["provider"] for row in rows} == {"google"}
