"""botocore's own clients accept the fake Bedrock: it signs, invokes, reads the streams and their errors."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
from botocore.config import Config
from botocore.exceptions import ClientError, EventStreamError
from botocore.session import get_session

from tests.fakes import bedrock as fakes
from tests.fakes.bedrock import ACCESS_KEY, REGION, SECRET_KEY, Bedrock, Fault, bedrock

MODEL = "eu.anthropic.claude-haiku-4-5-20251001-v1:0"
BODY = json.dumps({
    "anthropic_version": "bedrock-2023-05-31",
    "max_tokens": 100,
    "messages": [{"role": "user", "content": '[[sim: text="from botocore" input_tokens=7 output_tokens=3]]'}],
})  # fmt: skip


@pytest.fixture(scope="module")
def running() -> Iterator[Bedrock]:
    with bedrock() as fake:
        yield fake


@pytest.fixture
def fake(running: Bedrock) -> Bedrock:
    running.forget()
    return running


def client(fake: Bedrock, service: str = "bedrock-runtime", key: str = ACCESS_KEY, secret: str = SECRET_KEY) -> Any:
    return get_session().create_client(
        service,
        region_name=REGION,
        endpoint_url=fake.url,
        aws_access_key_id=key,
        aws_secret_access_key=secret,
        aws_session_token="session/token==" if key.endswith("3") else None,
        config=Config(retries={"total_max_attempts": 1}, signature_version="v4"),
    )


def test_it_invokes(fake: Bedrock) -> None:
    answer = client(fake).invoke_model(modelId=MODEL, body=BODY)
    message = json.loads(answer["body"].read())
    assert message["content"] == [{"type": "text", "text": "from botocore"}]
    # botocore writes the path in its own way; the signature holds for both.
    assert "%3A0/invoke" in fake.seen[0].target


def test_it_streams(fake: Bedrock) -> None:
    answer = client(fake, key="ASIAFAKEBEDROCK00003", secret="session-secret").invoke_model_with_response_stream(
        modelId=MODEL, body=BODY
    )
    events = [json.loads(part["chunk"]["bytes"]) for part in answer["body"]]
    assert [events[0]["type"], events[-1]["type"]] == ["message_start", "message_stop"]
    assert "amazon-bedrock-invocationMetrics" in events[-1]
    assert "ping" not in {event["type"] for event in events}


def test_it_counts(fake: Bedrock) -> None:
    counted = client(fake).count_tokens(
        modelId="anthropic.claude-haiku-4-5-20251001-v1:0", input={"invokeModel": {"body": BODY}}
    )
    assert counted["inputTokens"] > 0
    with pytest.raises(ClientError, match="doesn't support counting tokens"):
        client(fake).count_tokens(modelId=MODEL, input={"invokeModel": {"body": BODY}})


def test_it_lists(fake: Bedrock) -> None:
    control = client(fake, "bedrock")
    assert control.list_foundation_models()["modelSummaries"][0]["providerName"] == "Anthropic"
    assert control.list_inference_profiles()["inferenceProfileSummaries"][0]["type"] == "SYSTEM_DEFINED"


def test_roles_are_assumed(fake: Bedrock) -> None:
    token_service = client(fake, "sts")
    given = token_service.assume_role(RoleArn=fakes.ROLE, RoleSessionName="test")["Credentials"]
    assert given["SessionToken"] == fakes.ASSUMED_TOKEN


@pytest.mark.parametrize(
    ("key", "secret", "kind"),
    [
        (ACCESS_KEY, "wrong", "InvalidSignatureException"),
        ("AKIAUNKNOWN", "any", "UnrecognizedClientException"),
        ("ASIAFAKEBEDROCK00003", "wrong", "InvalidSignatureException"),
    ],
)
def test_who_it_does_not_know_is_refused(fake: Bedrock, key: str, secret: str, kind: str) -> None:
    with pytest.raises(ClientError) as refused:
        client(fake, key=key, secret=secret).invoke_model(modelId=MODEL, body=BODY)
    assert refused.value.response["Error"]["Code"] == kind


def test_faults_are_what_botocore_raises(fake: Bedrock) -> None:
    fake.faults += [Fault(), Fault(frames=0), Fault("ServiceUnavailableException", "Away.", frames=3)]
    with pytest.raises(ClientError) as throttled:
        client(fake).invoke_model(modelId=MODEL, body=BODY)
    assert throttled.value.response["Error"]["Code"] == "ThrottlingException"
    for count, kind in ((0, "throttlingException"), (3, "serviceUnavailableException")):
        answer = client(fake).invoke_model_with_response_stream(modelId=MODEL, body=BODY)
        got = []
        with pytest.raises(EventStreamError, match=kind):
            got.extend(answer["body"])
        assert len(got) == count


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"tags": {}}, r"extraneous key \[tags\]"),
        ({"model": "claude"}, r"extraneous key \[model\]"),
        ({"anthropic_version": "2023-01-01"}, "anthropic_version"),
        ({"anthropic_beta": ["context-management-2025-06-27"]}, "invalid beta flag"),
        ({"context_management": {"edits": [{"type": "clear_thinking_20251015"}]}}, "Extra inputs"),
        ({"messages": [{"role": "system", "content": "x", "output_config": {}}]}, r"messages\.0\.output_config"),
    ],
)
def test_it_is_strict(fake: Bedrock, change: dict[str, Any], sentence: str) -> None:
    with pytest.raises(ClientError, match=sentence):
        client(fake).invoke_model(modelId=MODEL, body=json.dumps({**json.loads(BODY), **change}))
