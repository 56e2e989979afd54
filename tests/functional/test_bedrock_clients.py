"""Clients of Amazon Bedrock other than Claude Code: botocore's own, Anthropic's SDK, plain HTTP."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from anthropic import AnthropicBedrock, RateLimitError
from botocore import UNSIGNED
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.config import Config
from botocore.credentials import Credentials
from botocore.exceptions import ClientError, EventStreamError
from botocore.session import get_session

from tests.fakes.bedrock import Bedrock, bedrock
from tests.functional.product import Product, configuration
from tests.functional.test_bedrock import ready

pytestmark = [pytest.mark.functional, pytest.mark.parametrize("product", ["sqlite"], indirect=True)]

MODEL = "us.anthropic.claude-haiku-4-5-20251001-v1:0"
PATH = f"/bedrock/model/{MODEL}/invoke"


@pytest.fixture(scope="module")
def fake() -> Iterator[Bedrock]:
    with bedrock() as running:
        yield running


@pytest.fixture(params=["simulated", "bedrock"])
def key(request: pytest.FixtureRequest, product: Product, fake: Bedrock) -> str:
    """A key that may use one provider: Anthropic's form behind it, or Bedrock's."""
    name = f"clients-{request.param}"
    if name not in product.secrets and request.param == "bedrock":
        ready(product, name, fake)
    elif name not in product.secrets:
        product.apply(configuration(name, providers=[{"name": "simulated"}]))
    return name


def body(prompt: str, **more: Any) -> dict[str, Any]:
    return {
        "anthropic_version": "bedrock-2023-05-31",
        "max_tokens": 64,
        "messages": [{"role": "user", "content": prompt}],
        **more,
    }


@pytest.fixture
def aws(product: Product, key: str) -> Iterator[Any]:
    """botocore's client. It sends a bearer token over TLS only: here the key goes into its requests by hand."""
    config = Config(retries={"total_max_attempts": 1}, signature_version=UNSIGNED)
    client = get_session().create_client(
        "bedrock-runtime", region_name="us-east-1", endpoint_url=f"{product.url}/bedrock", config=config
    )

    def present(request: Any, **_: Any) -> None:
        request.headers["Authorization"] = f"Bearer {product.secrets[key]}"

    client.meta.events.register("before-send.bedrock-runtime.*", present)
    yield client
    client.close()


def test_botocore_invokes_streams_and_counts(aws: Any) -> None:
    asked = json.dumps(body("[[sim: text=hello output_tokens=3]]"))
    answer = aws.invoke_model(modelId=MODEL, body=asked)
    assert json.loads(answer["body"].read())["content"] == [{"type": "text", "text": "hello"}]
    stream = aws.invoke_model_with_response_stream(modelId=MODEL, body=asked)["body"]
    events = [json.loads(part["chunk"]["bytes"]) for part in stream]
    assert (events[0]["type"], events[-1]["type"]) == ("message_start", "message_stop")
    counted = aws.count_tokens(modelId=MODEL, input={"invokeModel": {"body": asked}})
    assert counted["inputTokens"] > 0


def test_an_arn_is_a_model_like_another(product: Product, aws: Any) -> None:
    arn = f"arn:aws:bedrock:us-east-1:123456789012:inference-profile/{MODEL}"
    answer = aws.invoke_model(modelId=arn, body=json.dumps(body("[[sim: text=hello]]")))
    row = product.row(answer["ResponseMetadata"]["HTTPHeaders"]["request-id"])
    answer["body"].close()
    assert (row["model_requested"], row["model"]) == (arn, "claude-haiku-4-5-20251001")


def test_botocore_reads_errors_by_their_names(aws: Any) -> None:
    with pytest.raises(ClientError) as refused:
        aws.invoke_model(modelId=MODEL, body=json.dumps(body("[[sim: status=429]]")))
    assert refused.value.response["Error"]["Code"] == "ThrottlingException"
    with pytest.raises(ClientError, match="prompt is too long") as refused:
        aws.invoke_model(
            modelId=MODEL, body=json.dumps(body('[[sim: status=400 message="prompt is too long: 3 > 2"]]'))
        )
    assert refused.value.response["Error"]["Code"] == "ValidationException"
    broken = aws.invoke_model_with_response_stream(
        modelId=MODEL,
        body=json.dumps(body("[[sim: text=abcdefgh chunks=4 error_event=overloaded_error error_after=4]]")),
    )
    with pytest.raises(EventStreamError, match="serviceUnavailableException"):
        list(broken["body"])
    broken["body"].close()


def test_anthropics_sdk_streams_with_a_tool(product: Product, key: str) -> None:
    client = AnthropicBedrock(
        api_key=product.secrets[key], aws_region="us-east-1", base_url=f"{product.url}/bedrock", max_retries=0
    )
    with client:
        streams_with_a_tool(client)


def streams_with_a_tool(client: AnthropicBedrock) -> None:
    tool = {"name": "look", "description": "Look.", "input_schema": {"type": "object", "properties": {}}}
    asked = "[[sim: thinking=hm tool=look input_tokens=5 output_tokens=6]]"
    with client.messages.stream(
        model=MODEL,
        max_tokens=64,
        messages=[{"role": "user", "content": asked}],
        tools=[tool],  # type: ignore[list-item]
    ) as stream:
        message = stream.get_final_message()
    assert message.stop_reason == "tool_use"
    assert [block.type for block in message.content][-1] == "tool_use"
    assert (message.usage.input_tokens, message.usage.output_tokens) == (5, 6)
    with pytest.raises(RateLimitError):
        client.messages.create(model=MODEL, max_tokens=8, messages=[{"role": "user", "content": "[[sim: status=429]]"}])


def test_the_path_may_be_encoded(product: Product, key: str) -> None:
    for model in (MODEL, MODEL.replace(":", "%3A")):
        answer = httpx.post(
            f"{product.url}/bedrock/model/{model}/invoke",
            json=body("[[sim: text=hello]]"),
            headers=product.headers(key),
            timeout=20,
        )
        assert answer.status_code == 200
        assert answer.headers["x-comptroller-model"] == "claude-haiku-4-5-20251001"


@pytest.mark.parametrize("header", ["x-api-key", "x-comptroller-key"])
def test_the_key_may_be_in_a_header_of_its_own(product: Product, key: str, header: str) -> None:
    answer = httpx.post(
        f"{product.url}{PATH}", json=body("[[sim: text=hi]]"), headers={header: product.secrets[key]}, timeout=20
    )
    assert answer.status_code == 200


def test_a_signed_request_is_told_what_to_set(product: Product) -> None:
    request = AWSRequest("POST", f"{product.url}{PATH}", {"content-type": "application/json"}, b"{}")
    SigV4Auth(Credentials("AKIAX", "secret"), "bedrock", "us-east-1").add_auth(request)
    answer = httpx.post(request.url, content=b"{}", headers=dict(request.headers.items()), timeout=20)
    assert answer.status_code == 401
    assert answer.headers["x-amzn-errortype"] == "UnrecognizedClientException"
    assert "AWS_BEARER_TOKEN_BEDROCK" in answer.json()["message"]


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("POST", "/bedrock/model/x/converse", 404),
        ("GET", PATH, 405),
        ("GET", "/bedrock/", 404),
        ("GET", "/bedrock/inference-profiles/us.anthropic.claude-unheard-of", 404),
        ("POST", f"/bedrock/model/{MODEL}/count-tokens", 400),
    ],
)
def test_what_is_not_served(product: Product, key: str, method: str, path: str, status: int) -> None:
    answer = httpx.request(method, f"{product.url}{path}", headers=product.headers(key), timeout=20)
    assert answer.status_code == status
    assert answer.json()["message"]
    assert answer.headers["request-id"]


def test_the_profiles_are_those_of_the_keys_first_bedrock(product: Product, key: str) -> None:
    answer = httpx.get(f"{product.url}/bedrock/inference-profiles", headers=product.headers(key), timeout=20)
    names = {each["inferenceProfileId"] for each in answer.json()["inferenceProfileSummaries"]}
    geography = "eu" if key.endswith("bedrock") else "global"
    assert f"{geography}.anthropic.claude-haiku-4-5-20251001-v1:0" in names
    assert all(name.startswith(f"{geography}.anthropic.claude-") for name in names)
    one = httpx.get(f"{product.url}/bedrock/inference-profiles/{MODEL}", headers=product.headers(key), timeout=20)
    assert one.json()["models"][0]["modelArn"].endswith("/anthropic.claude-haiku-4-5-20251001-v1:0")


def test_steps_of_other_models_have_the_profiles_rate(product: Product, fake: Bedrock) -> None:
    """An answer's steps name models as Anthropic does; the price list knows them by Bedrock's names."""
    if "clients-steps" not in product.secrets:
        ready(product, "clients-steps", fake)
    steps = [
        {"type": "message", "input_tokens": 100, "output_tokens": 10},
        {"type": "advisor_message", "model": "claude-opus-5-5", "input_tokens": 1000, "output_tokens": 100},
    ]
    quoted = json.dumps(json.dumps(steps))
    answer = httpx.post(
        f"{product.url}{PATH}",
        json=body(f"[[sim: text=advised input_tokens=100 output_tokens=10 iterations={quoted}]]"),
        headers=product.headers("clients-steps"),
        timeout=20,
    )
    assert answer.status_code == 200, answer.text
    row = product.row(answer.headers["request-id"])
    # claude-haiku-4-5 at $1 and $5, claude-opus-5-5 at $4 and $20 per million, both a tenth more in a geography.
    assert row["cost_nano_usd"] == (100 * 1000 + 10 * 5000 + 1000 * 4000 + 100 * 20000) * 11 // 10
    assert row["cost_quality"] == "exact"
