"""Vertex AI as a provider: addresses, tokens from the fake's own service, models, prices and errors."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import httpx
import msgspec
import pytest

from gateway.providers.base import CannotCall, Operation, UpstreamRequest, Verdict
from gateway.providers.vertex import Vertex, tokens
from gateway.providers.vertex.credentials import _GOOGLES
from gateway.wire.forms import Form
from governance.catalog import columns, shipped
from governance.domain.pricing import PriceBook, PriceRow, Rates
from governance.domain.usage import Usage
from tests.fakes.vertex import REGION, Fault, vertex
from tests.fakes.vertex import Vertex as Fake
from tests.gateway.providers.vertex.helpers import call, configured, credential

BODY = {
    "model": "claude-haiku-4-5-20251001",
    "max_tokens": 100,
    "messages": [{"role": "user", "content": '[[sim: text="from the fake" input_tokens=7 output_tokens=3]]'}],
}
VERTEX = Vertex()


@pytest.fixture(scope="module")
def running() -> Iterator[Fake]:
    with vertex() as fake:
        yield fake


@pytest.fixture
def fake(running: Fake) -> Iterator[Fake]:
    running.forget()
    tokens.forget()
    yield running
    tokens.forget()


def sent(request: UpstreamRequest) -> httpx.Response:
    """The request over a real socket."""
    return httpx.post(request.url, headers=[(n, v) for n, v in request.headers], content=request.body, timeout=20)


async def asked(fake: Fake, **more: Any) -> UpstreamRequest:
    key, body = more.pop("key", credential(fake.service_account)), more.pop("body", BODY)
    return await VERTEX.request(call(configured(fake.url, REGION), body, credential=key, **more))


async def test_a_message(fake: Fake) -> None:
    request = await asked(fake, betas=("effort-2025-11-24", "oauth-2025-04-20"))
    answer = sent(request)
    assert answer.status_code == 200
    assert answer.json()["content"] == [{"type": "text", "text": "from the fake"}]
    seen = fake.predicted[-1]
    assert seen.path.endswith(f"/locations/{REGION}/publishers/anthropic/models/claude-haiku-4-5@20251001:rawPredict")
    assert seen.headers["anthropic-beta"] == "effort-2025-11-24"
    assert seen.headers["user-agent"].startswith("claude-cli/")
    assert "cookie" not in seen.headers
    assert "model" not in seen.json
    assert "ya29" not in repr(request)


async def test_a_stream_and_a_clients_own_body(fake: Fake) -> None:
    own = json.dumps({**BODY, "anthropic_version": "vertex-2023-10-16", "stream": True}).encode()
    own = own.replace(b'"model": "claude-haiku-4-5-20251001", ', b"")
    request = await asked(
        fake, stream=True, form=Form.VERTEX, client_form=Form.VERTEX, body=own, model="claude-haiku-4-5@20251001"
    )
    assert request.body is own
    answer = sent(request)
    assert answer.headers["content-type"].startswith("text/event-stream")
    assert "from the fake" in answer.text
    assert fake.predicted[-1].path.endswith("claude-haiku-4-5@20251001:streamRawPredict")
    assert fake.predicted[-1].body == own


async def test_a_count(fake: Fake) -> None:
    request = await asked(fake, operation=Operation.COUNT_TOKENS)
    assert request.url.endswith("/models/count-tokens:rawPredict")
    assert sent(request).json()["input_tokens"] > 0


async def test_one_token_for_many_requests_and_a_new_one_where_the_secret_changes(fake: Fake) -> None:
    before = fake.tokens.asked
    for _ in range(3):
        await asked(fake)
    assert fake.tokens.asked == before + 1
    await asked(fake, key=credential(fake.service_account + " "))
    assert fake.tokens.asked == before + 2


async def test_the_environments_credentials(fake: Fake, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    key = tmp_path / "key.json"
    key.write_text(fake.service_account)
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(key))
    assert sent(await asked(fake, key=credential(method="google_default"))).status_code == 200
    tokens.forget()
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(tmp_path / "missing.json"))
    with pytest.raises(CannotCall, match="The environment has no Google credentials") as refused:
        await asked(fake, key=credential(method="google_default"))
    assert str(tmp_path) in refused.value.detail
    assert str(tmp_path) not in str(refused.value)


@pytest.mark.parametrize(
    "token_uri",
    ["", "http://oauth2.googleapis.com/token", "https://10.0.0.1/x.googleapis.com", "https://a@b:1/.googleapis.com/"],
)
async def test_a_token_is_asked_for_at_googles_addresses_alone(fake: Fake, token_uri: str, settings: Any) -> None:
    settings.COMPTROLLER = {**settings.COMPTROLLER, "COMPTROLLER_ALLOW_PRIVATE_UPSTREAMS": False}
    key = json.loads(fake.service_account)
    key["token_uri"] = token_uri or key["token_uri"]
    before = fake.tokens.asked
    with pytest.raises(CannotCall, match="token_uri is none of Google's"):
        await asked(fake, key=credential(json.dumps(key)))
    assert fake.tokens.asked == before


@pytest.mark.parametrize(
    ("token_uri", "is_theirs"),
    [
        ("https://oauth2.googleapis.com/token", True),
        ("https://oauth2.mtls.googleapis.com/token", True),
        ("https://oauth2.googleapis.com.evil.example/token", False),
        ("https://evilgoogleapis.com/token", False),
        ("https://oauth2.googleapis.com:8080/token", False),
    ],
)
def test_which_addresses_are_googles(token_uri: str, is_theirs: bool) -> None:
    assert (_GOOGLES.fullmatch(token_uri) is not None) == is_theirs


@pytest.mark.parametrize("secret", ["", "nonsense", "{}", "[1]", '{"type": "service_account", "private_key": "x"}'])
async def test_a_secret_that_is_no_key(fake: Fake, secret: str) -> None:
    with pytest.raises(CannotCall, match="not the JSON key of a service account"):
        await asked(fake, key=credential(secret))


async def test_google_denies_a_token(fake: Fake) -> None:
    fake.tokens.failing = (400, b'{"error": "invalid_grant", "error_description": "account disabled"}')
    with pytest.raises(CannotCall, match="Google gives no token") as raised:
        await asked(fake)
    assert not raised.value.client_error
    assert "account disabled" in raised.value.detail
    assert "account disabled" not in str(raised.value)


async def test_another_method_is_refused(fake: Fake) -> None:
    with pytest.raises(CannotCall, match="none of Google's"):
        await asked(fake, key=credential("x", "api_key"))


@pytest.mark.parametrize(
    ("region", "host"),
    [
        ("europe-west1", "https://europe-west1-aiplatform.googleapis.com"),
        ("global", "https://aiplatform.googleapis.com"),
        ("us", "https://aiplatform.us.rep.googleapis.com"),
        ("eu", "https://aiplatform.eu.rep.googleapis.com"),
    ],
)
async def test_each_region_has_its_host(fake: Fake, region: str, host: str) -> None:
    asking = call(configured("", region), BODY, credential=credential(fake.service_account))
    request = await VERTEX.request(asking)
    assert request.url.startswith(f"{host}/v1/projects/fake-project/locations/{region}/publishers/anthropic/models/")


@pytest.mark.parametrize(("region", "project"), [("", "p"), ("europe-west1", ""), ("evil.example/x", "p")])
async def test_what_is_not_configured(fake: Fake, region: str, project: str) -> None:
    asking = call(configured("", region, project), BODY, credential=credential(fake.service_account))
    with pytest.raises(CannotCall, match="region"):
        await VERTEX.request(asking)


async def test_rules_add_headers(fake: Fake) -> None:
    request = await asked(fake, extra_headers=((b"x-vertex-ai-llm-shared-request-type", b"priority"),))
    assert (b"x-vertex-ai-llm-shared-request-type", b"priority") in list(request.headers)


def test_models_by_their_names(fake: Fake) -> None:
    provider = configured(fake.url, model_map=(("claude-opus-*", "claude-opus-5-5"), ("odd", "theirs@1")))
    assert VERTEX.model_id(provider, "claude-opus-4-1-20250805") == "claude-opus-5-5"
    assert VERTEX.model_id(provider, "claude-opus-4-1@20250805") == "claude-opus-5-5"
    assert VERTEX.model_id(provider, "claude-sonnet-5-5[1m]") == "claude-sonnet-5-5"
    assert VERTEX.models(configured(fake.url), credential(fake.service_account)) == [
        "claude-opus-5-5",
        "claude-haiku-4-5",
    ]


def book() -> PriceBook:
    rows = [row for row in shipped()["prices"] if row["platform"] == "vertex"]
    return PriceBook(
        PriceRow(
            number,
            "vertex",
            row["model_id"],
            datetime.fromisoformat(row["effective_from"]),
            Rates(
                *(columns(row)[name] for name in ("input", "output", "cache_read", "cache_write_5m", "cache_write_1h"))
            ),
            multipliers={name: Decimal(factor) for name, factor in row["multipliers"].items()},
        )
        for number, row in enumerate(rows, 1)
    )


@pytest.mark.parametrize(
    ("served", "region", "nano"),
    [
        ("claude-haiku-4-5-20251001", "europe-west1", 1_100_000),
        ("claude-haiku-4-5-20251001", "eu", 1_100_000),
        ("claude-haiku-4-5-20251001", "global", 1_000_000),
        ("claude-opus-5-5", "us-east5", 4_400_000),
        ("claude-opus-4-1-20250805", "europe-west1", 15_000_000),
        ("", "global", 1_000_000),
    ],
)
def test_regions_cost_more_from_generation_4_5_on(served: str, region: str, nano: int) -> None:
    model, place = VERTEX.priced_as(configured(region=region), "claude-haiku-4-5-20251001", served)
    cost = book().charge("vertex", model, Usage(input_tokens=1000), datetime(2026, 11, 28, tzinfo=UTC), region=place)
    assert (cost.nano_usd, cost.quality) == (nano, "exact")


ENVELOPE = b'{"type":"error","error":{"type":"invalid_request_error","message":"prompt is too long"},"request_id":"x"}'


def google(status: int, name: str = "INVALID_ARGUMENT", message: str = "Said by Google.") -> bytes:
    return json.dumps({"error": {"code": status, "message": message, "status": name}}).encode()


NO_SUCH_MODEL = google(
    403,
    "PERMISSION_DENIED",
    "Permission 'aiplatform.endpoints.predict' denied on resource '//aiplatform.googleapis.com/projects/p/locations/"
    "global/publishers/anthropic/models/claude-typo' (or it may not exist).",
)


@pytest.mark.parametrize(
    ("status", "body", "verdict"),
    [
        (400, ENVELOPE, Verdict.RELAY),
        (413, ENVELOPE, Verdict.RELAY),
        (400, google(400), Verdict.RELAY),
        (400, google(400, "FAILED_PRECONDITION"), Verdict.CREDENTIAL),
        (400, b"<html>", Verdict.FAILED),
        (401, google(401, "UNAUTHENTICATED"), Verdict.CREDENTIAL),
        (403, google(403, "PERMISSION_DENIED"), Verdict.CREDENTIAL),
        (403, b"<html>", Verdict.FAILED),
        (403, NO_SUCH_MODEL, Verdict.MODEL),
        (404, google(404, "NOT_FOUND"), Verdict.MODEL),
        (408, b"", Verdict.FAILED),
        (429, google(429, "RESOURCE_EXHAUSTED"), Verdict.RATE_LIMITED),
        (500, b"", Verdict.FAILED),
        (503, google(503, "UNAVAILABLE"), Verdict.OVERLOADED),
        (529, b"", Verdict.OVERLOADED),
    ],
)
def test_what_its_errors_mean(status: int, body: bytes, verdict: Verdict) -> None:
    assert VERTEX.classify(status, body) is verdict


def test_errors_in_anthropics_envelope() -> None:
    assert VERTEX.error(400, ENVELOPE) is ENVELOPE
    assert msgspec.json.decode(VERTEX.error(404, google(404)))["error"] == {
        "type": "not_found_error",
        "message": "Said by Google.",
    }


async def test_the_fakes_errors_are_understood(fake: Fake) -> None:
    fake.faults.append(Fault(status=429, retry_after=7))
    answer = sent(await asked(fake))
    assert (VERTEX.classify(answer.status_code, answer.content), answer.headers["retry-after"]) == (
        Verdict.RATE_LIMITED,
        "7",
    )
    fake.tokens.issued.clear()
    answer = sent(await asked(fake))
    assert VERTEX.classify(answer.status_code, answer.content) is Verdict.CREDENTIAL
    tokens.forget()
    fake.unserved.add("claude-haiku-4-5-20251001")
    answer = sent(await asked(fake))
    assert VERTEX.classify(answer.status_code, answer.content) is Verdict.MODEL
