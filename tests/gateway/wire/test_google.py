"""Errors of Google's APIs in Anthropic's envelope."""

from __future__ import annotations

import json
from typing import Any

import pytest

from gateway.wire.google import Problem, envelope, read_error


def error(**fields: Any) -> bytes:
    return json.dumps({"error": fields}).encode()


def test_all_that_it_says() -> None:
    details = [{"@type": "other"}, {"@type": "type.googleapis.com/google.rpc.ErrorInfo", "reason": "API_KEY_INVALID"}]
    body = error(code=400, message="No.", status="INVALID_ARGUMENT", details=details)
    assert read_error(body) == Problem("No.", 400, "INVALID_ARGUMENT", "API_KEY_INVALID")
    assert read_error(b"[" + body + b"]") == read_error(body)


@pytest.mark.parametrize(
    "body",
    [b"", b"<html>", b"[]", b"{}", b"[1]", b'{"error": "x"}', b'{"error": {}}', b"\xff", b'{"error":{"message":1}}'],
)
def test_what_is_none(body: bytes) -> None:
    assert read_error(body) is None
    assert json.loads(envelope(502, body, "Vertex AI")) == {
        "type": "error",
        "error": {"type": "api_error", "message": "Vertex AI answered with status 502."},
    }


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (400, "invalid_request_error"),
        (404, "not_found_error"),
        (413, "request_too_large"),
        (422, "invalid_request_error"),
        (429, "rate_limit_error"),
        (500, "api_error"),
        (503, "overloaded_error"),
    ],
)
def test_its_type(status: int, kind: str) -> None:
    said = json.loads(envelope(status, error(code=status, message="Word for “word”."), "x"))["error"]
    assert said == {"type": kind, "message": "Word for “word”."}


@pytest.mark.parametrize(
    ("message", "said"),
    [
        (
            "The input token count (1200000) exceeds the maximum number of tokens allowed (1048576).",
            "prompt is too long: 1200000 tokens > 1048576 maximum",
        ),
        (
            "The input token count exceeds the maximum number of tokens allowed 1048576.",
            "prompt is too long: The input token count exceeds the maximum number of tokens allowed 1048576.",
        ),
    ],
)
def test_a_prompt_that_is_too_long(message: str, said: str) -> None:
    assert json.loads(envelope(400, error(code=400, message=message), "x"))["error"]["message"] == said
