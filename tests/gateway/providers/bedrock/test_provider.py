"""Requests that a strict Bedrock accepts: addresses, models, credentials of every kind, and signatures over the bytes
that are sent.
"""

from __future__ import annotations

import asyncio
import json
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from gateway.providers.base import Call, CannotCall, Operation, UpstreamRequest, Verdict
from gateway.providers.bedrock import Bedrock, credentials
from gateway.providers.bedrock.signing import Signer
from gateway.upstream import UpstreamResponse
from gateway.upstream.client import Upstream
from gateway.wire.forms import Form
from governance.snapshot import CredentialConfig
from tests.fakes import bedrock as fakes
from tests.fakes.bedrock import ACCESS_KEY, API_KEY, ASSUMED, REGION, ROLE, SECRET_KEY
from tests.gateway.providers.bedrock.calls import STATIC, call, provider

KIND = Bedrock()
BODY = b'{"model":"x","max_tokens":9,"messages":[{"role":"user","content":"[[sim: text=hello output_tokens=2]]"}]}'
SESSION_KEY, SESSION_SECRET, SESSION_TOKEN = "ASIAFAKEBEDROCK00003", "session-secret", "session/token=="


@pytest.fixture(scope="module")
def running() -> Iterator[fakes.Bedrock]:
    with fakes.bedrock() as fake:
        yield fake


@pytest.fixture
def fake(running: fakes.Bedrock, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> fakes.Bedrock:
    """A Bedrock and token service, in an environment without AWS credentials."""
    running.forget()
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "config"))
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "credentials"))
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_ENDPOINT_URL_STS", running.url)
    return running


def credential(method: str, identifier: str = "", secret: str = "") -> CredentialConfig:
    # A name of its own: sessions are kept by what the configuration says.
    return CredentialConfig("c", 1.0, secret, method=method, identifier=identifier)


async def sent(made: Call) -> tuple[int, bytes]:
    """(status, body) of what Bedrock answers to a call, over a real connection."""
    upstream = Upstream(connect_timeout=5, read_timeout=10, allow_private=True)
    try:
        response: UpstreamResponse = await upstream.open(await KIND.request(made))
        return response.status, await response.read_all(1 << 20)
    finally:
        await upstream.close()


async def works(fake: fakes.Bedrock, who: CredentialConfig) -> bool:
    status, body = await sent(call(BODY, at=provider(fake.url), credential=who))
    assert status == 200, body
    return json.loads(body)["content"] == [{"type": "text", "text": "hello"}]


# --- credentials ------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    "who",
    [
        STATIC,
        credential("aws_static", SESSION_KEY, f"{SESSION_SECRET}\n{SESSION_TOKEN}\n"),
        credential(
            "aws_static",
            SESSION_KEY,
            json.dumps({"secret_access_key": SESSION_SECRET, "session_token": SESSION_TOKEN}),
        ),
        credential("api_key", "", API_KEY),
        credential("aws_role", ROLE, f"{ACCESS_KEY}\n{SECRET_KEY}"),
    ],
    ids=["static", "lines", "json", "api-key", "role"],
)
async def test_credentials_that_are_entered(fake: fakes.Bedrock, who: CredentialConfig) -> None:
    assert await works(fake, who)


async def test_the_environments_own_credentials(fake: fakes.Bedrock, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", ACCESS_KEY)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", SECRET_KEY)
    assert await works(fake, credential("aws_default", "environment"))
    external = json.dumps({"external_id": "tenant-7"})
    assert await works(fake, credential("aws_role", ROLE, external))
    assert fake.assumed[-1]["ExternalId"] == "tenant-7"
    assert fake.seen[-1].headers["authorization"].startswith(f"AWS4-HMAC-SHA256 Credential={ASSUMED}/")


async def test_a_named_profile(fake: fakes.Bedrock, tmp_path: Path) -> None:
    keys = f"aws_access_key_id={ACCESS_KEY}\naws_secret_access_key={SECRET_KEY}\n"
    (tmp_path / "credentials").write_text(f"[claude]\n{keys}")
    assert await works(fake, credential("aws_profile", "claude"))


async def test_temporary_keys_are_renewed_before_they_end(fake: fakes.Bedrock, monkeypatch: pytest.MonkeyPatch) -> None:
    role = credential("aws_role", ROLE, f"{ACCESS_KEY}\n{SECRET_KEY}\n")
    assert await works(fake, role)
    assert await works(fake, role)
    assert len(fake.assumed) == 1
    fake.lifetime = 60
    short = credential("aws_role", ROLE, f"{ACCESS_KEY}\n\n{SECRET_KEY}")
    assert await works(fake, short)
    assert await works(fake, short)
    assert len(fake.assumed) == 3


@pytest.mark.parametrize(
    ("who", "sentence"),
    [
        (credential("aws_profile", "nobody"), "nobody"),
        (credential("aws_default", "nothing"), "no credentials where the gateway runs"),
        (credential("aws_role", "arn:aws:iam::1:role/other", f"{ACCESS_KEY}\n{SECRET_KEY}"), "AccessDenied"),
        (credential("aws_static", ACCESS_KEY, ""), "secret access key is missing"),
        (credential("aws_static", ACCESS_KEY, "a\nb\nc"), "more lines than keys"),
        (credential("aws_static", ACCESS_KEY, '{"secret": "x"}'), "an object of access_key_id"),
        (credential("aws_static", ACCESS_KEY, "{x"), "an object of access_key_id"),
    ],
)
async def test_what_gives_no_credentials_says_why(fake: fakes.Bedrock, who: CredentialConfig, sentence: str) -> None:
    with pytest.raises(CannotCall) as refused:
        await KIND.request(call(BODY, at=provider(fake.url), credential=who))
    assert sentence in f"{refused.value} {refused.value.detail}"
    assert not refused.value.client_error
    assert SECRET_KEY not in f"{refused.value} {refused.value.detail}"
    # What AWS says is not for the client: it names accounts and roles.
    assert "arn:" not in str(refused.value)
    assert "nobody" not in str(refused.value)


@pytest.mark.parametrize(
    "who",
    [
        credential("aws_static", ACCESS_KEY, "wrong"),
        credential("aws_static", "AKIAUNKNOWN", "any"),
        credential("aws_static", "ASIAFAKEBEDROCK00004", "expired-secret\nexpired/token=="),
        credential("api_key", "", "wrong"),
    ],
)
async def test_a_credential_that_is_not_known_is_an_alarm(fake: fakes.Bedrock, who: CredentialConfig) -> None:
    status, body = await sent(call(BODY, at=provider(fake.url), credential=who))
    assert KIND.classify(status, body) is Verdict.CREDENTIAL


async def test_the_event_loop_runs_while_a_token_service_does_not_answer(fake: fakes.Bedrock) -> None:
    fake.slow_tokens = 2.0
    slow = call(BODY, at=provider(fake.url), credential=credential("aws_role", ROLE, f" {ACCESS_KEY}\n{SECRET_KEY}"))
    request = asyncio.create_task(KIND.request(slow))
    longest, last = 0.0, time.monotonic()
    while not request.done():
        await asyncio.sleep(0.005)
        longest, last = max(longest, time.monotonic() - last), time.monotonic()
        if longest and not fake.invoked:
            # Others are signed for meanwhile: each credential has threads of its own.
            assert await works(fake, STATIC)
            last = time.monotonic()
    assert isinstance(await request, UpstreamRequest)
    assert longest < 1.5


async def test_a_token_service_that_is_none_gives_no_credentials(fake: fakes.Bedrock) -> None:
    fake.broken_tokens = True
    who = credential("aws_role", ROLE, f"{ACCESS_KEY}\n{SECRET_KEY} ")
    with pytest.raises(CannotCall, match="AWS gave no credentials"):
        await KIND.request(call(BODY, at=provider(fake.url), credential=who))


async def test_signing_happens_in_its_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    where: list[str] = []
    freeze = credentials.freeze

    def noted(found: Any) -> Any:
        where.append(threading.current_thread().name)
        return freeze(found)

    monkeypatch.setattr(credentials, "freeze", noted)
    await Signer("aws_static", ACCESS_KEY, SECRET_KEY, REGION).sign("https://x.example/", {}, b"")
    assert where[0].startswith("bedrock-signer")


# --- requests ---------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    "model", ["claude-haiku-4-5", "arn:aws:bedrock:eu-central-1:123456789012:application-inference-profile/a1b2"]
)
@pytest.mark.parametrize("stream", [False, True])
async def test_what_is_signed_is_what_is_sent(fake: fakes.Bedrock, model: str, stream: bool) -> None:
    extra = {
        "user-agent": "claude-cli/2",
        "x-amzn-bedrock-guardrailidentifier": "g ü  1",
        "authorization": "Bearer sk-cmp-x",
    }
    status, _ = await sent(call(BODY, at=provider(fake.url), model=model, stream=stream, headers=extra))
    assert status == 200
    (seen,) = fake.seen
    assert seen.headers["accept"] == ("application/vnd.amazon.eventstream" if stream else "application/json")
    assert seen.headers["user-agent"] == "claude-cli/2"
    assert "sk-cmp-x" not in str(seen.headers)
    wanted = "eu.anthropic.claude-haiku-4-5-20251001-v1:0" if model.startswith("claude") else model.replace("/", "%2F")
    assert seen.target == f"/model/{wanted}/invoke" + ("-with-response-stream" if stream else "")


async def test_the_address_is_the_regions_own() -> None:
    request = await KIND.request(call(BODY, at=provider(region="us-gov-west-1")))
    assert request.url == (
        "https://bedrock-runtime.us-gov-west-1.amazonaws.com/model/us-gov.anthropic.claude-haiku-4-5-20251001-v1:0/invoke"
    )
    assert "AKIA" not in repr(request)


@pytest.mark.parametrize("region", ["", "evil.example/", "us east"])
async def test_without_a_region_there_is_nobody_to_call(region: str) -> None:
    with pytest.raises(CannotCall, match="region"):
        await KIND.request(call(BODY, at=provider(region=region)))


async def test_a_region_is_needed_to_sign_but_not_to_present_a_key(fake: fakes.Bedrock) -> None:
    at = provider(fake.url, region="")
    with pytest.raises(CannotCall, match="region to sign"):
        await KIND.request(call(BODY, at=at))
    assert (await KIND.request(call(BODY, at=at, credential=credential("api_key", "", API_KEY)))).url


async def test_counts_go_to_the_model_behind_a_profile(fake: fakes.Bedrock) -> None:
    made = call(BODY, at=provider(fake.url), operation=Operation.COUNT_TOKENS)
    status, body = await sent(made)
    assert status == 200
    assert json.loads(KIND.translation(made).whole(body))["input_tokens"] > 0
    own = msgspec.structs.replace(made, model="arn:aws:bedrock:eu-central-1:1:application-inference-profile/a")
    with pytest.raises(CannotCall) as refused:
        await KIND.request(own)
    assert refused.value.client_error


async def test_a_bedrock_client_keeps_its_betas_in_the_header(fake: fakes.Bedrock) -> None:
    own = b'{"anthropic_version":"bedrock-2023-05-31","max_tokens":9,"messages":[{"role":"user","content":"x"}]}'
    betas = {"anthropic-beta": "claude-code-20250219, effort-2025-11-24"}
    at = provider(fake.url, options={"unsupported_betas": ["effort-2025-11-24"]})
    status, _ = await sent(call(own, at=at, form=Form.BEDROCK, headers=betas))
    assert status == 200
    assert fake.seen[0].headers["anthropic-beta"] == "claude-code-20250219"
    assert fake.seen[0].body == own
    await sent(call(BODY, at=provider(fake.url), headers=betas))
    assert "anthropic-beta" not in fake.seen[1].headers


# --- models and prices ------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("values", "model", "called"),
    [
        ({}, "claude-opus-5-5", "eu.anthropic.claude-opus-5-5"),
        ({}, "claude-opus-5-5[1m]", "eu.anthropic.claude-opus-5-5"),
        ({}, "us.anthropic.claude-opus-5-5", "eu.anthropic.claude-opus-5-5"),
        ({"options": {"inference_prefix": "global"}}, "claude-opus-5-5", "global.anthropic.claude-opus-5-5"),
        ({"options": {"inference_prefix": "eu"}}, "global.anthropic.claude-opus-5-5", "eu.anthropic.claude-opus-5-5"),
        ({"options": {"inference_prefix": ""}}, "claude-opus-4-6", "anthropic.claude-opus-4-6-v1"),
        ({"model_map": (("claude-opus-*", "arn:aws:x/y"),)}, "claude-opus-5-5", "arn:aws:x/y"),
        ({"region": "ap-northeast-1"}, "claude-sonnet-4-5", "jp.anthropic.claude-sonnet-4-5-20250929-v1:0"),
    ],
)
def test_models_are_called_by_their_profiles(values: dict[str, Any], model: str, called: str) -> None:
    assert KIND.model_id(provider(**values), model) == called


@pytest.mark.parametrize(
    ("values", "model", "served", "priced"),
    [
        ({}, "claude-opus-5-5", "", "eu.anthropic.claude-opus-5-5"),
        ({}, "claude-opus-5-5", "claude-opus-5-5", "eu.anthropic.claude-opus-5-5"),
        ({}, "claude-opus-5-5", "claude-opus-4-8", "eu.anthropic.claude-opus-4-8"),
        ({}, "claude-haiku-4-5", "claude-haiku-4-5-20251001", "eu.anthropic.claude-haiku-4-5-20251001-v1:0"),
        ({"options": {"inference_prefix": ""}}, "claude-opus-5-5", "claude-opus-5-5", "anthropic.claude-opus-5-5"),
        (
            {"model_map": (("*", "arn:aws:bedrock:us-east-1:1:inference-profile/us.anthropic.claude-opus-5-5"),)},
            "claude-opus-5-5",
            "claude-opus-5-5",
            "us.anthropic.claude-opus-5-5",
        ),
        (
            {"model_map": (("*", "arn:aws:bedrock:us-east-1:1:application-inference-profile/a"),)},
            "claude-opus-5-5",
            "claude-opus-5-5",
            "arn:aws:bedrock:us-east-1:1:application-inference-profile/a",
        ),
    ],
)
def test_the_called_profile_chooses_the_rate(values: dict[str, Any], model: str, served: str, priced: str) -> None:
    assert KIND.priced_as(provider(**values), model, served) == (priced, "")


@pytest.mark.parametrize("who", [STATIC, credential("api_key", "", API_KEY)], ids=["signed", "api-key"])
def test_models_are_listed_with_every_credential(fake: fakes.Bedrock, who: CredentialConfig) -> None:
    assert KIND.models(provider(fake.url), who) == ["eu.anthropic.claude-opus-5-5", "anthropic.claude-opus-5-5"]


def test_a_list_that_is_refused_says_why(fake: fakes.Bedrock) -> None:
    with pytest.raises(CannotCall, match="UnrecognizedClientException"):
        KIND.models(provider(fake.url), credential("aws_static", "AKIAUNKNOWN", "any"))
