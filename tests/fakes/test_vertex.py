"""Google's own library and Anthropic's SDK accept the fake Vertex AI, without any code of the gateway between."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import anthropic
import google.auth
import httpx
import pytest
import urllib3
from google.auth import exceptions
from google.auth.transport.urllib3 import AuthorizedHttp, Request
from google.oauth2 import credentials as user_credentials
from google.oauth2 import service_account

from tests.fakes.google_oauth import CLOUD_PLATFORM, USER
from tests.fakes.vertex import PROJECT, REGION, Fault, Vertex, vertex

BODY: dict[str, Any] = {
    "anthropic_version": "vertex-2023-10-16",
    "max_tokens": 100,
    "messages": [{"role": "user", "content": '[[sim: text="from google" input_tokens=7 output_tokens=3]]'}],
}


@pytest.fixture(scope="module")
def running() -> Iterator[Vertex]:
    with vertex() as fake:
        yield fake


@pytest.fixture
def fake(running: Vertex) -> Vertex:
    running.forget()
    return running


def transport() -> Request:
    return Request(urllib3.PoolManager())


def of_account(fake: Vertex, **changes: str) -> service_account.Credentials:
    info = {**json.loads(fake.service_account), **changes}
    return service_account.Credentials.from_service_account_info(info, scopes=[CLOUD_PLATFORM])


def url(fake: Vertex, model: str = "claude-opus-5-5", how: str = "rawPredict") -> str:
    return f"{fake.url}/v1/projects/{PROJECT}/locations/{REGION}/publishers/anthropic/models/{model}:{how}"


def test_google_auth_signs_for_a_token_and_calls_with_it(fake: Vertex) -> None:
    http = AuthorizedHttp(of_account(fake), urllib3.PoolManager())
    answer = http.request("POST", url(fake), body=json.dumps(BODY), headers={"content-type": "application/json"})
    assert answer.status == 200
    assert json.loads(answer.data)["content"] == [{"type": "text", "text": "from google"}]


def test_google_auth_finds_the_key_in_the_environment(
    fake: Vertex, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    key = tmp_path / "key.json"
    key.write_text(fake.service_account)
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(key))
    found, project = google.auth.default(scopes=[CLOUD_PLATFORM])
    found.refresh(transport())
    assert project == PROJECT
    assert fake.tokens.accepts(found.token)


def test_google_auth_refreshes_a_persons_token(fake: Vertex) -> None:
    found = user_credentials.Credentials(None, token_uri=f"{fake.url}/token", **USER)
    found.refresh(transport())
    assert fake.tokens.accepts(found.token)


@pytest.mark.parametrize(
    "changes", [{"client_email": "other@fake-project.iam.gserviceaccount.com"}, {"private_key_id": "unknown"}]
)
def test_what_another_account_signs_is_denied(fake: Vertex, changes: dict[str, str]) -> None:
    with pytest.raises(exceptions.RefreshError, match="invalid_grant"):
        of_account(fake, **changes).refresh(transport())


def test_another_keys_signature_is_denied(fake: Vertex) -> None:
    with vertex() as other, pytest.raises(exceptions.RefreshError, match="Invalid JWT Signature"):
        of_account(fake, private_key=json.loads(other.service_account)["private_key"]).refresh(transport())


def test_a_scope_is_needed(fake: Vertex) -> None:
    info = json.loads(fake.service_account)
    found = service_account.Credentials.from_service_account_info(info, scopes=["https://other.example/scope"])
    with pytest.raises(exceptions.RefreshError, match="invalid_scope"):
        found.refresh(transport())


@pytest.mark.parametrize("token", ["", "ya29.made-up"])
def test_a_token_of_nobody_is_refused(fake: Vertex, token: str) -> None:
    answer = httpx.post(url(fake), json=BODY, headers={"authorization": f"Bearer {token}"} if token else {})
    assert answer.status_code == 401
    assert answer.json()["error"]["status"] == "UNAUTHENTICATED"


def test_a_token_ends(fake: Vertex) -> None:
    found = of_account(fake)
    found.refresh(transport())
    fake.tokens.issued[found.token] = time.time()
    assert httpx.post(url(fake), json=BODY, headers={"authorization": f"Bearer {found.token}"}).status_code == 401


def sdk(fake: Vertex, **options: Any) -> anthropic.AnthropicVertex:
    """With a token that is there: to refresh one by itself the SDK wants another transport than we have."""
    found = of_account(fake)
    found.refresh(transport())
    return anthropic.AnthropicVertex(
        project_id=PROJECT,
        region=REGION,
        base_url=f"{fake.url}/v1",
        credentials=found,
        max_retries=0,
        **options,
    )


def asked(prompt: str, model: str = "claude-haiku-4-5@20251001") -> dict[str, Any]:
    return {"model": model, "max_tokens": 100, "messages": [{"role": "user", "content": prompt}]}


def test_anthropics_sdk_creates_streams_and_counts(fake: Vertex) -> None:
    with sdk(fake) as client:
        message = client.messages.create(**asked("[[sim: text=whole]]"))
        assert (message.content[0].text, message.model) == ("whole", "claude-haiku-4-5-20251001")  # type: ignore[union-attr]
        with client.messages.stream(**asked("[[sim: text=streamed]]")) as stream:
            assert stream.get_final_text() == "streamed"
        counted = client.messages.count_tokens(
            model="claude-haiku-4-5@20251001", messages=[{"role": "user", "content": "how many"}]
        )
        assert counted.input_tokens > 0


def test_what_vertex_does_not_know_is_refused(fake: Vertex) -> None:
    with sdk(fake) as client:
        with pytest.raises(anthropic.BadRequestError, match="Unexpected value"):
            client.messages.create(**asked("x"), extra_headers={"anthropic-beta": "files-api-2025-04-14"})
        with pytest.raises(anthropic.BadRequestError, match="service_tier: Extra inputs are not permitted"):
            client.messages.create(**asked("x"), service_tier="auto")
        with pytest.raises(anthropic.NotFoundError, match="was not found"):
            client.messages.create(**asked("x", model="claude-haiku-4-5-20251001"))


def test_it_fails_as_it_is_told(fake: Vertex) -> None:
    with sdk(fake) as client:
        fake.faults.append(Fault(status=429))
        with pytest.raises(anthropic.RateLimitError, match="Quota exceeded"):
            client.messages.create(**asked("x"))


def test_it_cuts_its_streams(fake: Vertex) -> None:
    fake.faults.append(Fault(cut_after=3))
    found = of_account(fake)
    found.refresh(transport())
    body = {**BODY, "stream": True}
    headers = {"authorization": f"Bearer {found.token}"}
    with (
        httpx.stream("POST", url(fake, how="streamRawPredict"), json=body, headers=headers) as answer,
        pytest.raises(httpx.RemoteProtocolError),
    ):
        answer.read()
