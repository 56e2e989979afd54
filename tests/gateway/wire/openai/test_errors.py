"""Errors of Chat Completions servers in the words that Claude Code acts on."""

from __future__ import annotations

import json
import re

import pytest

from gateway.wire.openai.errors import Problem, envelope, event, read_error


def openai(message: str, code: str | None = None) -> bytes:
    error = {"message": message, "type": "invalid_request_error", "param": "messages", "code": code}
    return json.dumps({"error": error}).encode()


def told(status: int, body: bytes) -> tuple[str, str]:
    found = json.loads(envelope(status, body))
    assert found["type"] == "error"
    return found["error"]["type"], found["error"]["message"]


COMPACTS = re.compile(r"prompt is too long[^0-9]*(\d+)\s*tokens?\s*>\s*(\d+)", re.IGNORECASE)
ASKS_FOR_LESS = re.compile(r"input length and `max_tokens` exceed context limit: (\d+) \+ (\d+) > (\d+)")
"""What Claude Code 2.1.330 looks for."""


@pytest.mark.parametrize(
    ("message", "prompt", "limit"),
    [
        (
            "This model's maximum context length is 4097 tokens. However, your messages resulted in 35569 tokens. "
            "Please reduce the length of the messages.",
            35569,
            4097,
        ),
        (
            "Input tokens exceed the configured limit of 272000 tokens. Your messages resulted in 300123 tokens. "
            "Please reduce the length of the messages.",
            300123,
            272000,
        ),
        (
            "This model's maximum context length is 16384 tokens. However, you requested 122946 tokens (112946 in the "
            "messages, 10000 in the completion). Please reduce the length of the messages or completion.",
            112946,
            16384,
        ),
        ("The decoder prompt (length 9001) is longer than the maximum model length of 8192.", 9001, 8192),
    ],
)
def test_a_prompt_that_is_too_long_makes_the_client_compact(message: str, prompt: int, limit: int) -> None:
    kind, text = told(400, openai(message, "context_length_exceeded"))
    assert kind == "invalid_request_error"
    found = COMPACTS.search(text)
    assert found is not None
    assert (int(found[1]), int(found[2])) == (prompt, limit)
    assert re.fullmatch(r"prompt is too long: \d+ tokens > \d+ maximum", text)


@pytest.mark.parametrize(
    "body",
    [
        openai("Your input exceeds the context window of this model. Please adjust your input and try again."),
        openai("Too long.", "context_length_exceeded"),
        b'{"error":{"code":400,"message":"the request exceeds the available context size. try increasing it",'
        b'"type":"exceed_context_size_error"}}',
        b'{"error":{"message":"Provider returned error","code":400,"metadata":{"raw":"{\\"error\\":{\\"message\\":'
        b'\\"prompt is too long\\"}}"}}}',
    ],
)
def test_without_numbers_the_sentence_still_begins_so(body: bytes) -> None:
    kind, text = told(400, body)
    assert kind == "invalid_request_error"
    assert text.startswith("prompt is too long: ")


@pytest.mark.parametrize(
    ("message", "numbers"),
    [
        (
            "This model's maximum context length is 6048 tokens. However, you requested 6616 tokens (568 in the "
            "messages, 6048 in the completion). Please reduce the length of the messages or completion.",
            (568, 6048, 6048),
        ),
        (
            "This endpoint's maximum context length is 131072 tokens. However, you requested about 138956 tokens "
            "(7884 of text input, 131072 in the output). Please reduce the length of either one.",
            (7884, 131072, 131072),
        ),
        (
            "'max_tokens' or 'max_completion_tokens' is too large: 32000. This model's maximum context length is 16384 "
            "tokens and your request has 5000 input tokens (32000 > 16384 - 5000).",
            (5000, 32000, 16384),
        ),
    ],
)
def test_an_answer_that_does_not_fit_makes_the_client_ask_for_less(message: str, numbers: tuple[int, ...]) -> None:
    kind, text = told(400, openai(message))
    assert kind == "invalid_request_error"
    found = ASKS_FOR_LESS.search(text)
    assert found is not None
    assert tuple(map(int, found.groups())) == numbers


def test_too_many_output_tokens_are_told_in_anthropics_words() -> None:
    body = openai("max_tokens is too large: 64000. This model supports at most 16384 completion tokens, whereas …")
    assert told(400, body)[1].startswith("max_tokens: 64000 > 16384, which is the maximum allowed number of output")


@pytest.mark.parametrize(
    ("status", "body", "kind", "message"),
    [
        (
            404,
            openai("The model `x` does not exist", "model_not_found"),
            "not_found_error",
            "The model `x` does not exist",
        ),
        (
            422,
            b'{"detail":"body -> messages: field required"}',
            "invalid_request_error",
            "body -> messages: field required",
        ),
        (404, b'{"error":"model \'x\' not found"}', "not_found_error", "model 'x' not found"),
        (400, b'[{"error":{"code":400,"message":"Bad","status":"INVALID_ARGUMENT"}}]', "invalid_request_error", "Bad"),
        (413, b"<html>", "request_too_large", "The provider answered with status 413."),
        (500, b"", "api_error", "The provider answered with status 500."),
        (418, b'{"error":{"message":"Teapot"}}', "invalid_request_error", "Teapot"),
    ],
)
def test_every_form_of_error_is_read(status: int, body: bytes, kind: str, message: str) -> None:
    assert told(status, body) == (kind, message)


@pytest.mark.parametrize(
    ("problem", "kind"),
    [
        (Problem("Slow down", "rate_limit_exceeded"), "rate_limit_error"),
        (Problem("Slow down", status=429), "rate_limit_error"),
        (Problem("Busy", "server_error", "server_is_overloaded"), "overloaded_error"),
        (Problem("Busy", status=503), "overloaded_error"),
        (Problem("No", "BadRequestError", "400", 400), "invalid_request_error"),
        (Problem("No", "server_error"), "api_error"),
        (Problem("maximum context length is 5 tokens, 9 in the messages"), "invalid_request_error"),
    ],
)
def test_an_error_inside_a_stream_has_a_type(problem: Problem, kind: str) -> None:
    assert json.loads(event(problem))["error"]["type"] == kind


@pytest.mark.parametrize("body", [b"", b"null", b"[]", b"{}", b'{"error":{}}', b'{"error":null}', b"[" * 100_000])
def test_what_is_no_error_is_none(body: bytes) -> None:
    assert read_error(body) is None
