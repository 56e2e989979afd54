"""What each of Bedrock's refusals means, and that its sentence reaches the client word for word."""

from __future__ import annotations

import json

import pytest

from gateway.providers.base import Verdict
from gateway.providers.bedrock import errors

CASES = [
    (400, {"message": "prompt is too long: 208310 tokens > 200000 maximum"}, Verdict.RELAY),
    (400, {"message": "Input is too long for requested model."}, Verdict.RELAY),
    (400, {"message": "invalid beta flag"}, Verdict.RELAY),
    (413, {"message": "The request is too large."}, Verdict.RELAY),
    (400, {"message": "The provided model identifier is invalid."}, Verdict.MODEL),
    (
        400,
        {
            "message": "Invocation of model ID anthropic.claude-opus-5-5 with on-demand throughput isn’t supported. "
            "Retry your request with the ID or ARN of an inference profile that contains this model."
        },
        Verdict.MODEL,
    ),
    (400, {"message": "The provided model doesn't support counting tokens."}, Verdict.MODEL),
    (400, {"message": "Operation not allowed"}, Verdict.MODEL),
    (403, {"message": "You don't have access to the model with the specified model ID."}, Verdict.MODEL),
    (404, {"message": "This model version has reached the end of its life."}, Verdict.MODEL),
    (404, {"message": "Could not resolve the foundation model from the provided model identifier."}, Verdict.MODEL),
    (429, {"message": "Too many tokens, please wait before trying again."}, Verdict.RATE_LIMITED),
    (429, {"message": "Too many requests, please wait before trying again."}, Verdict.RATE_LIMITED),
    (400, {"message": "Your request exceeds the service quota for your account."}, Verdict.RATE_LIMITED),
    (429, {"message": "The model is not ready for inference."}, Verdict.OVERLOADED),
    (503, {"message": "Bedrock is unable to process your request."}, Verdict.OVERLOADED),
    (408, {"message": "Model has timed out in processing the request."}, Verdict.FAILED),
    (424, {"message": "The request failed due to an error while processing the model."}, Verdict.FAILED),
    (500, {"message": "The system encountered an unexpected error during processing."}, Verdict.FAILED),
    (403, {"message": "The security token included in the request is invalid."}, Verdict.CREDENTIAL),
    (403, {"message": "The security token included in the request is expired"}, Verdict.CREDENTIAL),
    (
        403,
        {"message": "The request signature we calculated does not match the signature you provided."},
        Verdict.CREDENTIAL,
    ),
    (403, {"Message": "Authentication failed: Please make sure your API Key is valid."}, Verdict.CREDENTIAL),
    (403, {"message": "User: x is not authorized to perform: bedrock:InvokeModel on resource: y"}, Verdict.MODEL),
    (401, {}, Verdict.CREDENTIAL),
    (403, {}, Verdict.FAILED),
    (400, {"message": "tool_choice: Tool 'security token' not found in provided tools"}, Verdict.RELAY),
    (400, {"message": "service quota: Extra inputs are not permitted"}, Verdict.RELAY),
    (400, {"__type": "x#ExpiredTokenException", "message": "Expired."}, Verdict.CREDENTIAL),
    (429, {"__type": "ModelNotReadyException", "message": "Wait."}, Verdict.OVERLOADED),
]


@pytest.mark.parametrize(("status", "body", "verdict"), CASES)
def test_verdicts(status: int, body: dict[str, str], verdict: Verdict) -> None:
    assert errors.classify(status, json.dumps(body).encode()) is verdict


@pytest.mark.parametrize("body", [b"", b"<html>", b"\xff", b"[]", b'{"message":7}', b"{" * 100_000])
def test_what_is_not_bedrocks_is_the_providers_failure(body: bytes) -> None:
    assert errors.classify(400, body) is Verdict.FAILED
    assert json.loads(errors.envelope(400, body))["error"]["message"] == "Amazon Bedrock answered with status 400."


@pytest.mark.parametrize(
    ("status", "kind"), [(400, "invalid_request_error"), (413, "request_too_large"), (404, "not_found_error")]
)
def test_the_sentence_stays(status: int, kind: str) -> None:
    said = 'prompt is too long: 2 > 1 "quoted" ü\n'
    assert json.loads(errors.envelope(status, json.dumps({"message": said}).encode())) == {
        "type": "error",
        "error": {"type": kind, "message": said},
    }


@pytest.mark.parametrize(
    ("name", "payload", "kind"),
    [
        ("throttlingException", {"message": "Wait."}, "rate_limit_error"),
        ("serviceUnavailableException", {"message": "Away."}, "overloaded_error"),
        ("validationException", {"message": "Wrong."}, "invalid_request_error"),
        ("internalServerException", {"message": "Oh."}, "api_error"),
        ("modelTimeoutException", {"message": "Late."}, "api_error"),
        ("modelStreamErrorException", {"message": "Oh.", "originalStatusCode": 529}, "overloaded_error"),
        ("modelStreamErrorException", {"originalMessage": "Oh.", "originalStatusCode": 500}, "api_error"),
        ("somethingNew", {}, "api_error"),
    ],
)
def test_exceptions_in_a_stream(name: str, payload: dict[str, object], kind: str) -> None:
    error = json.loads(errors.in_stream(name, json.dumps(payload).encode()))["error"]
    assert error["type"] == kind
    assert error["message"] in {payload.get("message"), payload.get("originalMessage")} or name in error["message"]


def test_an_exception_without_a_readable_payload_is_still_one() -> None:
    assert json.loads(errors.in_stream("throttlingException", b"\xff"))["error"]["type"] == "rate_limit_error"
