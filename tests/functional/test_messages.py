"""Model calls through the running gateway: what arrives at the provider, what comes back, what is recorded."""

from __future__ import annotations

import hashlib
import json
import random

import httpx
import pytest

from tests.functional.product import Product, configuration, sse_events

pytestmark = pytest.mark.functional


@pytest.fixture(scope="module")
def key(product: Product) -> str:
    product.apply(configuration("messages"))
    return "messages"


def test_an_answer_is_relayed_priced_and_recorded(product: Product, key: str) -> None:
    answer = product.post('[[sim: text="hello" input_tokens=1000 output_tokens=200 cache_read=5000]]', key=key)
    assert answer.status_code == 200
    assert answer.json()["content"][0]["text"] == "hello"
    row = product.row(answer.headers["request-id"])
    # opus 5.5: 1000 × $4 + 5000 × $0.20 + 200 × $20 per million
    assert row["cost_nano_usd"] == 4_000_000 + 1_000_000 + 4_000_000
    assert answer.headers["x-comptroller-cost-usd"] == "0.009"
    assert answer.headers["x-comptroller-model"] == "claude-opus-5-5"
    assert (row["status"], row["http_status"], row["cost_quality"]) == ("success", 200, "exact")
    assert (row["input_tokens"], row["output_tokens"], row["cache_read_tokens"]) == (1000, 200, 5000)
    assert (row["customer"], row["team"], row["virtual_key"]) == ("messages customer", "messages team", "messages")
    assert row["provider"] == "simulated"
    assert row["attempts"][0]["status"] == 200
    assert row["provider_request_id"].startswith("req_sim_")
    assert row["latency_ms"] > 0
    assert row["gateway_overhead_us"] < 1_000_000


def test_a_stream_is_relayed_event_by_event(product: Product, key: str) -> None:
    answer = product.post(
        '[[sim: text="one two three" chunks=3 input_tokens=10 output_tokens=30]]', key=key, stream=True
    )
    assert answer.headers["content-type"].startswith("text/event-stream")
    events = sse_events(answer.text)
    assert next(name for name, _ in events) == "message_start"
    assert events[-1][0] == "message_stop"
    text = "".join(data["delta"]["text"] for name, data in events if name == "content_block_delta")
    assert text == "one two three"
    row = product.row(answer.headers["request-id"])
    assert (row["stream"], row["input_tokens"], row["output_tokens"], row["stop_reason"]) == (True, 10, 30, "end_turn")
    assert row["ttft_ms"] is not None


_ODD_BODIES = {
    "unknown fields and odd order": b'{"zeta":1,"messages":[{"content":"hi","role":"user"}],"max_tokens":5,'
    b'"future_field":{"a":[1,2.50,1e3]},"model":"claude-opus-5-5"}',
    "unicode escapes and white space": '{ "model" : "claude-opus-5-5",\r\n\t"max_tokens": 5, "messages":'
    '[{"role":"user","content":"caf\\u00e9 \\ud83d\\ude00 ünïcode"}] }'.encode(),
    "duplicate keys": b'{"model":"x","model":"claude-opus-5-5","max_tokens":5,"max_tokens":6,'
    b'"messages":[{"role":"user","content":"hi"}]}',
    "big numbers": b'{"model":"claude-opus-5-5","max_tokens":5,"seed":123456789012345678901234567890,'
    b'"t":0.10000000000000000001,"messages":[{"role":"user","content":"hi"}]}',
}


@pytest.mark.parametrize("name", _ODD_BODIES)
def test_the_provider_gets_the_bytes_that_the_client_sent(product: Product, key: str, name: str) -> None:
    _check_identical(product, key, _ODD_BODIES[name])


def test_twenty_megabytes_arrive_unchanged(product: Product, key: str) -> None:
    noise = random.Random(7).randbytes(15_000_000).hex()[:20_000_000]
    body = (
        b'{"model":"claude-opus-5-5","max_tokens":5,"messages":[{"role":"user","content":"' + noise.encode() + b'"}]}'
    )
    _check_identical(product, key, body)


def _check_identical(product: Product, key: str, body: bytes) -> None:
    headers = product.headers(
        key,
        **{
            "content-type": "application/json",
            "anthropic-beta": "a-2026-01-01,b-2026-02-02",
            "x-stainless-retry-count": "0",
            "x-comptroller-project": "billing",
            "x-comptroller-tags": "a=b",
            "cookie": "secret=1",
        },
    )
    answer = httpx.post(f"{product.base_url}/v1/messages?beta=true", content=body, headers=headers, timeout=60)
    assert answer.status_code == 200, answer.text
    provider_id = product.row(answer.headers["request-id"])["provider_request_id"]
    seen = next(r for r in product.simulator("GET", "requests")["requests"] if r["request_id"] == provider_id)
    assert (seen["length"], seen["sha256"]) == (len(body), hashlib.sha256(body).hexdigest())
    assert (seen["path"], seen["query"]) == ("/v1/messages", "beta=true")
    sent = dict(seen["headers"])
    assert sent["anthropic-beta"] == "a-2026-01-01,b-2026-02-02"
    assert sent["x-stainless-retry-count"] == "0"
    assert not {name for name in sent if name.startswith("x-comptroller") or name in {"authorization", "cookie"}}
    assert product.secrets[key] not in json.dumps(seen)


def test_no_secret_travels_in_either_direction(product: Product, key: str) -> None:
    answer = product.post('[[sim: text="x"]]', key=key)
    assert "simulated" not in str(answer.headers.get("x-api-key"))
    assert not [name for name in answer.headers if name.startswith("anthropic-ratelimit-")]
    row = product.row(answer.headers["request-id"])
    assert product.secrets[key] not in json.dumps(row)


@pytest.mark.parametrize("header", ["authorization", "x-api-key", "x-comptroller-key"])
def test_a_key_is_taken_from_each_place(product: Product, key: str, header: str) -> None:
    secret = product.secrets[key]
    value = f"Bearer {secret}" if header == "authorization" else secret
    answer = httpx.get(f"{product.base_url}/v1/models?limit=1000", headers={header: value}, timeout=20)
    assert answer.status_code == 200
    ids = [model["id"] for model in answer.json()["data"]]
    assert {"claude-opus-5-5", "claude-sonnet-5-5", "claude-haiku-5-5", "claude-fable-5-2"} <= set(ids)


def test_count_tokens_is_free(product: Product, key: str) -> None:
    answer = product.post("how many", key=key, path="/v1/messages/count_tokens")
    assert answer.status_code == 200
    assert answer.json()["input_tokens"] > 0
    row = product.row(answer.headers["request-id"])
    assert (row["cost_nano_usd"], row["request_class"], row["status"]) == (0, "count_tokens", "success")


def test_head_answers_without_a_key(product: Product) -> None:
    assert httpx.head(product.base_url, timeout=10).status_code == 200


def test_attribution_from_headers_and_body(product: Product, key: str) -> None:
    session = "0b1c2d3e-0000-4000-8000-000000000001"
    answer = product.post(
        "hi",
        key=key,
        headers={
            "user-agent": "claude-cli/2.1.330 (external, cli)",
            "x-claude-code-session-id": session,
            "x-claude-code-agent-id": "agent-1",
            "x-claude-code-parent-agent-id": "agent-0",
            "x-claude-code-request-class": "subagent",
            "x-claude-code-prompt-id": "prompt-9",
            "x-comptroller-project": "Billing",
            "x-comptroller-tags": "ticket=ABC-1, env = prod",
        },
        metadata={"user_id": json.dumps({"device_id": "d" * 64, "account_uuid": "", "session_id": "other"})},
    )
    row = product.row(answer.headers["request-id"])
    assert row["session_id"] == session
    assert (row["agent_id"], row["parent_agent_id"], row["prompt_id"]) == ("agent-1", "agent-0", "prompt-9")
    assert (row["request_class"], row["client"], row["project"]) == ("subagent", "claude-cli/2.1.330", "Billing")
    assert row["tags"] == {"ticket": "ABC-1", "env": "prod"}


def test_the_working_directory_chooses_the_project(product: Product) -> None:
    configured = configuration("directories")
    configured["projects"] = [{"customer": "directories customer", "name": "billing"}]
    product.apply(configured)
    _wait_for_key(product, "directories")
    answer = product.post(
        "hi", key="directories", system=[{"type": "text", "text": "x\nPrimary working directory: /src/billing\ny"}]
    )
    row = product.row(answer.headers["request-id"])
    assert row["project"] == "billing"


def _wait_for_key(product: Product, key: str) -> None:
    """A new key is known to the gateway within a second."""
    for _ in range(40):
        if httpx.get(f"{product.base_url}/v1/models", headers=product.headers(key), timeout=10).status_code == 200:
            return
    raise AssertionError(f"the key {key} stayed unknown")


# --- what providers do wrong ------------------------------------------------------------------------------------
_FAILURES = {
    # directive: (stream, status, error type, row status)
    "status=400 message=odd": (False, 400, "invalid_request_error", "error"),
    "status=401": (False, 503, "api_error", "error"),
    "status=403": (True, 503, "api_error", "error"),
    "status=429 retry_after=7": (True, 429, "rate_limit_error", "error"),
    "status=500": (False, 503, "api_error", "error"),
    "status=529": (True, 529, "overloaded_error", "error"),
    "html": (False, 503, "api_error", "error"),
    "empty": (True, 503, "api_error", "error"),
    "garbage": (False, 503, "api_error", "error"),
    "half_headers": (False, 503, "api_error", "error"),
    "no_answer": (True, 503, "api_error", "error"),
    "cut_after=1": (False, 503, "api_error", "error"),
}


@pytest.mark.parametrize("directive", _FAILURES)
def test_a_failing_provider_gives_one_clear_error_and_one_row(product: Product, key: str, directive: str) -> None:
    stream, status, kind, row_status = _FAILURES[directive]
    answer = product.post(f"[[sim: {directive}]]", key=key, stream=stream)
    assert answer.status_code == status, answer.text
    error = answer.json()
    assert (error["type"], error["error"]["type"]) == ("error", kind)
    assert error["error"]["message"]
    row = product.row(answer.headers["request-id"])
    assert (row["status"], row["http_status"], row["error_type"]) == (row_status, status, kind)
    assert row["error_message"]
    assert row["gateway_overhead_us"] < 1_000_000  # the waits between tries are not the gateway's own time
    if status == 429:
        assert answer.headers["retry-after"] == "7"
    if status in {503, 529}:
        assert answer.headers["x-should-retry"] == "false"
        assert error["request_id"] == answer.headers["request-id"]


def test_the_clients_own_mistake_is_relayed_byte_for_byte(product: Product, key: str) -> None:
    said = "prompt is too long: 200001 tokens > 200000 maximum"
    directive = f'[[sim: status=400 error_type=invalid_request_error message="{said}"]]'
    answer = product.post(directive, key=key)
    direct = httpx.post(
        f"{product.simulator_url}/v1/messages",
        json={"model": "claude-opus-5-5", "max_tokens": 1024, "messages": [{"role": "user", "content": directive}]},
        headers={"x-api-key": "any"},
        timeout=20,
    )
    assert answer.status_code == direct.status_code == 400
    assert answer.json()["error"] == direct.json()["error"]
    assert product.row(answer.headers["request-id"])["cost_nano_usd"] == 0


def test_a_broken_stream_ends_with_an_error_event_and_is_charged(product: Product, key: str) -> None:
    answer = product.post('[[sim: text="a b c d e f" chunks=6 input_tokens=100 cut_after=5]]', key=key, stream=True)
    assert answer.status_code == 200
    events = sse_events(answer.text)
    assert events[-1][0] == "error"
    assert events[-1][1]["error"]["type"] == "api_error"
    row = product.row(answer.headers["request-id"])
    assert (row["status"], row["cost_quality"], row["input_tokens"]) == ("error", "estimated", 100)
    assert row["cost_nano_usd"] >= 400_000


def test_an_error_event_inside_a_stream_reaches_the_client(product: Product, key: str) -> None:
    answer = product.post(
        '[[sim: text="a b c" chunks=3 error_event=overloaded_error error_after=4 delay_ms=50]]', key=key, stream=True
    )
    assert [name for name, _ in sse_events(answer.text)][-1] == "error"
    row = product.row(answer.headers["request-id"])
    assert (row["status"], row["error_type"]) == ("error", "overloaded_error")


def test_an_error_event_before_anything_else_is_tried_again_and_then_an_error_of_its_own(
    product: Product, key: str
) -> None:
    answer = product.post('[[sim: text="a b c" error_event=overloaded_error error_after=0]]', key=key, stream=True)
    assert (answer.status_code, answer.json()["error"]["type"]) == (529, "overloaded_error")
    row = product.row(answer.headers["request-id"])
    assert [attempt["reason"] for attempt in row["attempts"]] == ["overloaded"] * 3
    assert row["cost_nano_usd"] == 0


def test_a_compressed_answer_is_read_and_relayed_plain(product: Product, key: str) -> None:
    for stream in (False, True):
        answer = product.post('[[sim: gzip text="squeezed" input_tokens=3 output_tokens=4]]', key=key, stream=stream)
        assert answer.status_code == 200
        assert "squeezed" in answer.text
        row = product.row(answer.headers["request-id"])
        assert (row["input_tokens"], row["output_tokens"], row["cost_quality"]) == (3, 4, "exact")


def test_an_event_of_eight_megabytes_and_writes_of_one_byte(product: Product, key: str) -> None:
    big = product.post("[[sim: big_event input_tokens=3 output_tokens=4]]", key=key, stream=True)
    assert len(big.content) > 8 * 1024 * 1024
    small = product.post('[[sim: text="tiny" write_bytes=1 input_tokens=3 output_tokens=4]]', key=key, stream=True)
    for answer in (big, small):
        row = product.row(answer.headers["request-id"])
        assert (row["status"], row["input_tokens"], row["output_tokens"]) == ("success", 3, 4)


# --- what clients do wrong --------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("body", "status", "kind"),
    [
        (b"not json", 400, "invalid_request_error"),
        (b"[1,2]", 400, "invalid_request_error"),
        (b"{}", 400, "invalid_request_error"),
        (b'{"model": 5}', 400, "invalid_request_error"),
        (b'{"model": "claude-opus-5-5", "stream": "yes"}', 400, "invalid_request_error"),
        (b'{"model": "\xff"}', 400, "invalid_request_error"),
        (b"[" * 100_000, 400, "invalid_request_error"),
        (b"x" * (32 * 1024 * 1024 + 1), 413, "request_too_large"),
    ],
    ids=["text", "list", "no model", "model a number", "stream a text", "not utf-8", "deep", "too large"],
)
def test_a_bad_body_is_refused_with_a_sentence(product: Product, key: str, body: bytes, status: int, kind: str) -> None:
    answer = httpx.post(f"{product.base_url}/v1/messages", content=body, headers=product.headers(key), timeout=60)
    assert answer.status_code == status
    assert answer.json()["error"]["type"] == kind
    row = product.row(answer.headers["request-id"])
    assert (row["status"], row["http_status"], row["virtual_key"]) == ("refused", status, key)


@pytest.mark.parametrize("path", ["/v1/complete", "/v1/messages/batches", "/v1", "/etc/passwd", "/v1/messages/../x"])
def test_an_unknown_path_is_an_error_in_anthropics_shape(product: Product, key: str, path: str) -> None:
    answer = httpx.post(f"{product.base_url}{path}", content=b"{}", headers=product.headers(key), timeout=20)
    assert answer.status_code == 404
    assert answer.json()["error"]["type"] == "not_found_error"


def test_headers_of_a_megabyte_are_refused(product: Product, key: str) -> None:
    answer = httpx.post(
        f"{product.base_url}/v1/messages",
        content=b"{}",
        headers=product.headers(key, **{"x-big": "a" * 1_000_000}),
        timeout=20,
    )
    assert answer.status_code == 431
    assert product.row(answer.headers["request-id"])["status"] == "refused"


@pytest.mark.parametrize("secret", ["", "sk-ant-api03-real", "sk-cmp-short", f"sk-cmp-{'A' * 8}-{'B' * 43}", "\u00e9"])
def test_an_unknown_key_is_told_at_once(product: Product, secret: str) -> None:
    headers = {"authorization": f"Bearer {secret}".encode()} if secret else {}
    answer = httpx.post(f"{product.base_url}/v1/messages", json={"model": "x"}, headers=headers, timeout=20)  # type: ignore[arg-type]
    assert answer.status_code == 401
    assert answer.headers["x-should-retry"] == "false"
    assert answer.json()["error"]["type"] == "authentication_error"
    assert product.row(answer.headers["request-id"])["status"] == "refused"


def test_a_body_that_ends_early_leaves_a_row(product: Product, key: str) -> None:
    import socket

    before = len(product.rows(status="cancelled"))
    with socket.create_connection(("127.0.0.1", product.port), timeout=10) as connection:
        connection.sendall(
            b"POST /anthropic/v1/messages HTTP/1.1\r\nhost: x\r\ncontent-length: 1000\r\n"
            b"authorization: Bearer " + product.secrets[key].encode() + b'\r\n\r\n{"model":'
        )
    for _ in range(100):
        rows = product.rows(status="cancelled")
        if len(rows) > before:
            break
    assert rows[0]["error_type"] == "client_closed"
