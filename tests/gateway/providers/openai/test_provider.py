"""Where a request to OpenAI and its like goes, what is in it, and what their errors mean."""

from __future__ import annotations

import asyncio
import json
from dataclasses import replace
from typing import Any

import pytest
from msgspec.structs import replace as altered

from gateway.providers import PROVIDERS
from gateway.providers.base import Call, CannotCall, Operation, Untranslatable, UpstreamRequest, Verdict
from gateway.wire.forms import Form
from gateway.wire.headers import Headers
from governance.snapshot import CredentialConfig, ProviderConfig
from tests.fakes.openai import KEY, fake_openai
from tests.gateway.wire.openai.golden import asked

CLIENT = Headers(
    [
        (b"authorization", b"Bearer sk-cmp-secret"),
        (b"anthropic-beta", b"context-1m"),
        (b"openai-organization", b"org-theirs"),
        (b"x-claude-code-session-id", b"s"),
    ]
)


def provider(kind: str = "openai", base_url: str = "", models: dict[str, str] | None = None, **options: Any) -> Any:
    mapped = tuple((models if models is not None else {"claude-*": "gpt-5"}).items())
    credential = CredentialConfig("main", 1.0, KEY)
    return ProviderConfig(1, "p", kind, base_url, 0, (credential,), model_map=mapped, options=options)


def call(config: ProviderConfig, body: dict[str, Any] | None = None, **changes: Any) -> Call:
    made = Call(
        provider=config,
        credential=config.credentials[0],
        operation=Operation.MESSAGES,
        model="claude-sonnet-5-5",
        stream=True,
        form=Form.ANTHROPIC,
        body=json.dumps(body or asked("claude_code")).encode(),
        headers=CLIENT,
        query=b"beta=true",
    )
    return altered(made, **changes)


def sent(made: Call) -> UpstreamRequest:
    return asyncio.run(PROVIDERS[made.provider.kind].request(made))


@pytest.mark.parametrize(
    ("kind", "base_url", "options", "url"),
    [
        ("openai", "", {}, "https://api.openai.com/v1/chat/completions"),
        ("openai", "https://openrouter.ai/api/v1", {}, "https://openrouter.ai/api/v1/chat/completions"),
        ("openai", "http://127.0.0.1:11434", {}, "http://127.0.0.1:11434/v1/chat/completions"),
        ("openai", "http://127.0.0.1:8000/v1/", {}, "http://127.0.0.1:8000/v1/chat/completions"),
        ("azure_openai", "https://n.openai.azure.com", {}, "https://n.openai.azure.com/openai/v1/chat/completions"),
        (
            "azure_openai",
            "https://n.openai.azure.com/openai/v1/",
            {},
            "https://n.openai.azure.com/openai/v1/chat/completions",
        ),
        (
            "azure_openai",
            "https://n.openai.azure.com/",
            {"api_version": "2024-10-21"},
            "https://n.openai.azure.com/openai/deployments/gpt-5/chat/completions?api-version=2024-10-21",
        ),
    ],
)
def test_where_it_goes(kind: str, base_url: str, options: dict[str, Any], url: str) -> None:
    assert sent(call(provider(kind, base_url, **options))).url == url


@pytest.mark.parametrize(
    ("kind", "base_url", "model", "options", "url"),
    [
        ("openai", "", "gpt-5.6-sol", {}, "https://api.openai.com/v1/responses"),
        ("openai", "", "gpt-5.1", {}, "https://api.openai.com/v1/chat/completions"),
        ("openai", "", "gpt-5.1", {"api": "responses"}, "https://api.openai.com/v1/responses"),
        ("openai", "https://openrouter.ai/api/v1", "gpt-5.6", {}, "https://openrouter.ai/api/v1/chat/completions"),
        ("azure_openai", "https://n.example", "mine", {"api": "responses"}, "https://n.example/openai/v1/responses"),
        ("azure_openai", "https://n.example", "gpt-5.5", {}, "https://n.example/openai/v1/responses"),
        (
            "azure_openai",
            "https://n.example",
            "gpt-5.5",
            {"api_version": "2026-01-01"},
            "https://n.example/openai/responses?api-version=2026-01-01",
        ),
    ],
)
def test_current_models_are_asked_through_responses(
    kind: str, base_url: str, model: str, options: dict[str, Any], url: str
) -> None:
    made = call(provider(kind, base_url, {"*": model}, **options))
    request = sent(made)
    assert request.url == url
    assert ("input" in json.loads(request.body)) is ("responses" in url)
    translation = PROVIDERS[kind].translation(made)
    assert translation is not None
    begun = b'data: {"type":"response.created","response":{"id":"resp_1","model":"m"}}\n\n'
    assert (b"message_start" in translation.feed(begun)) is ("responses" in url)


def test_a_client_of_chat_completions_stays_there_whatever_the_model() -> None:
    own = b'{"model":"claude-opus-5-5","messages":[]}'
    made = call(provider(models={"*": "gpt-5.6"}), untranslated=own, client_form=Form.OPENAI_CHAT)
    assert sent(made).url.endswith("/chat/completions")


def test_a_deployment_is_quoted_in_the_path() -> None:
    config = provider("azure_openai", "https://n.openai.azure.com", {"claude-*": "a/b?c"}, api_version="1")
    assert (
        sent(call(config)).url
        == "https://n.openai.azure.com/openai/deployments/a%2Fb%3Fc/chat/completions?api-version=1"
    )


@pytest.mark.parametrize(
    ("kind", "header"),
    [("openai", (b"authorization", f"Bearer {KEY}".encode())), ("azure_openai", (b"api-key", KEY.encode()))],
)
def test_the_credential_goes_into_its_header_and_nothing_of_the_clients_goes_along(
    kind: str, header: tuple[bytes, bytes]
) -> None:
    extra = ((b"http-referer", b"https://acme.test"),)
    headers = list(sent(call(provider(kind, "https://n.example"), extra_headers=extra)).headers)
    assert header in headers
    assert extra[0] in headers
    assert {name for name, _ in headers} == {b"content-type", b"accept", b"accept-encoding", header[0], b"http-referer"}
    assert b"sk-cmp-secret" not in b"".join(value for _, value in headers)


@pytest.mark.parametrize(
    ("base_url", "models", "options", "effort", "temperature"),
    [
        ("", {"*": "gpt-5"}, {}, "high", None),
        ("", {"*": "o4-mini"}, {}, "high", None),
        ("", {"*": "gpt-5"}, {"efforts": ["low", "xhigh"]}, "xhigh", None),
        ("", {"*": "gpt-5.6-sol"}, {"api": "chat"}, "none", None),
        ("", {"*": "gpt-5.6-sol"}, {"api": "chat", "effort_with_tools": "low"}, "low", None),
        ("", {"*": "gpt-5.1"}, {}, "high", None),
        ("", {"*": "gpt-4o"}, {}, None, 0.5),
        ("", {"*": "gpt-5-chat-latest"}, {}, None, 0.5),
        ("https://openrouter.ai/api/v1", {"*": "openai/gpt-5"}, {}, None, 0.5),
        ("http://h/v1", {"*": "gpt-oss:20b"}, {"efforts": {"gpt-oss*": ["low"], "*": []}}, "low", 0.5),
        ("http://h/v1", {"*": "qwen4"}, {"efforts": {"gpt-oss*": ["low"], "*": []}}, None, 0.5),
        ("http://h/v1", {"*": "m"}, {"unsupported_fields": ["temperature", "tools"]}, None, None),
    ],
)
def test_only_what_the_model_takes_is_sent(
    base_url: str, models: dict[str, str], options: dict[str, Any], effort: str | None, temperature: float | None
) -> None:
    body = {**asked("claude_code"), "temperature": 0.5}
    made = json.loads(sent(call(provider(base_url=base_url, models=models, **options), body)).body)
    assert made.get("reasoning_effort") == effort
    assert made.get("temperature") == temperature
    assert ("tools" in made) is ("unsupported_fields" not in options)


@pytest.mark.parametrize(
    ("kind", "base_url", "options", "role"),
    [
        ("openai", "", {}, "system"),
        ("azure_openai", "https://n.example", {}, "system"),
        ("openai", "http://127.0.0.1:11434", {}, "user"),
        ("openai", "http://127.0.0.1:11434", {"late_system_role": "system"}, "system"),
    ],
)
def test_open_models_get_late_system_messages_as_a_users(
    kind: str, base_url: str, options: dict[str, Any], role: str
) -> None:
    made = json.loads(sent(call(provider(kind, base_url, **options))).body)
    assert made["messages"][0]["role"] == "system"
    assert made["messages"][-1]["role"] == role
    assert "Mind the tests." in made["messages"][-1]["content"]


def test_the_options_of_the_answers_length() -> None:
    made = json.loads(sent(call(provider(max_tokens_field="max_tokens", max_output_tokens=8192))).body)
    assert made["max_tokens"] == 8192
    assert "max_completion_tokens" not in made


@pytest.mark.parametrize(
    "options",
    [
        {"max_tokens_field": "max"},
        {"max_output_tokens": "8k"},
        {"max_output_tokens": 0},
        {"efforts": ["much"]},
        {"efforts": "high"},
        {"unsupported_fields": "temperature"},
        {"system_role": "user"},
        {"api": "completions"},
    ],
)
def test_an_option_that_means_nothing_is_named(options: dict[str, Any]) -> None:
    with pytest.raises(CannotCall, match=next(iter(options))) as caught:
        sent(call(provider(**options)))
    assert not caught.value.client_error


def test_tokens_are_not_counted_and_what_cannot_be_translated_is_the_clients() -> None:
    with pytest.raises(CannotCall, match="cannot count") as caught:
        sent(call(provider(), operation=Operation.COUNT_TOKENS))
    assert caught.value.client_error
    search = {"messages": [], "tools": [{"type": "web_search_20250305", "name": "web_search"}]}
    with pytest.raises(CannotCall, match="web_search_20250305") as caught:
        sent(call(provider(), search))
    assert caught.value.client_error
    with pytest.raises(CannotCall, match="no address"):
        sent(call(provider("azure_openai", "")))


def test_a_client_of_the_same_format_keeps_its_bytes() -> None:
    own = b'{"model":"claude-sonnet-5-5","stream":true,"seed":7,"messages":[{"role":"user","content":"\\u00e9"}]}'
    admitted = b'{"model":"claude-sonnet-5-5","max_tokens":64000,"messages":[{"role":"user","content":"\\u00e9"}]}'
    made = sent(altered(call(provider()), body=admitted, untranslated=own, client_form=Form.OPENAI_CHAT)).body
    assert made == (
        b'{"model":"gpt-5","stream":true,"seed":7,"messages":[{"role":"user","content":"\\u00e9"}],'
        b'"max_completion_tokens":64000,"stream_options":{"include_usage":true}}'
    )


@pytest.mark.parametrize(
    ("kind", "models", "model", "served", "priced"),
    [
        ("openai", {"claude-*": "gpt-5"}, "claude-sonnet-5-5", "", "gpt-5"),
        ("openai", {"claude-*": "gpt-5"}, "claude-sonnet-5-5[1m]", "gpt-5-2025-08-07", "gpt-5"),
        ("openai", {}, "gpt-5[1m]", "", "gpt-5"),
        ("openai", {"*": "openrouter/auto"}, "claude-opus-5-5", "openai/gpt-5-mini", "openai/gpt-5-mini"),
        ("openai", {"*": "gpt-5-2025-08-07"}, "claude-opus-5-5", "gpt-5-2025-08-07", "gpt-5-2025-08-07"),
        ("azure_openai", {"*": "my-deployment"}, "claude-opus-5-5", "gpt-4o-2024-08-06", "gpt-4o"),
        ("azure_openai", {"*": "my-deployment"}, "claude-opus-5-5", "", "my-deployment"),
    ],
)
def test_what_the_price_list_knows_it_by(
    kind: str, models: dict[str, str], model: str, served: str, priced: str
) -> None:
    assert PROVIDERS[kind].priced_as(provider(kind, "https://n.example", models), model, served) == (priced, "")


def error(message: str, code: Any = None, kind: str = "invalid_request_error") -> bytes:
    return json.dumps({"error": {"message": message, "type": kind, "param": None, "code": code}}).encode()


@pytest.mark.parametrize(
    ("status", "body", "verdict"),
    [
        (401, error("Incorrect API key provided", "invalid_api_key"), Verdict.CREDENTIAL),
        (402, error("Insufficient credits", 402), Verdict.CREDENTIAL),
        (403, b"<html>Blocked.</html>", Verdict.FAILED),
        (403, error("Country not supported", "unsupported_country_region_territory"), Verdict.CREDENTIAL),
        (403, error("Project `p` does not have access to model `gpt-9`", "model_not_found"), Verdict.MODEL),
        (403, error("Your chosen model requires moderation and your input was flagged", 403), Verdict.RELAY),
        (404, error("The model `x` does not exist", "model_not_found"), Verdict.MODEL),
        (404, error("The API deployment for this resource does not exist.", "DeploymentNotFound"), Verdict.MODEL),
        (404, b'{"error":"model \'x\' not found"}', Verdict.MODEL),
        (404, b"<html>not here</html>", Verdict.FAILED),
        (400, error("x/y is not a valid model ID", 400), Verdict.MODEL),
        (400, error("Invalid schema for function 'x'"), Verdict.RELAY),
        (400, error("Too long", "context_length_exceeded"), Verdict.RELAY),
        (400, b"nonsense", Verdict.FAILED),
        (413, error("Request too large"), Verdict.RELAY),
        (422, b'{"detail":"field required"}', Verdict.RELAY),
        (408, error("Timed out"), Verdict.FAILED),
        (409, error("Busy"), Verdict.FAILED),
        (429, error("Rate limit reached for gpt-5", "rate_limit_exceeded", "tokens"), Verdict.RATE_LIMITED),
        (429, error("You exceeded your current quota", "insufficient_quota"), Verdict.CREDENTIAL),
        (429, b"", Verdict.RATE_LIMITED),
        (500, error("The server had an error", kind="server_error"), Verdict.FAILED),
        (502, b"<html>", Verdict.FAILED),
        (503, error("The engine is currently overloaded"), Verdict.OVERLOADED),
        (529, b"", Verdict.OVERLOADED),
    ],
)
def test_what_an_error_means(status: int, body: bytes, verdict: Verdict) -> None:
    assert PROVIDERS["openai"].classify(status, body) is verdict


def test_an_answer_that_cannot_be_read_is_the_providers_failure() -> None:
    openai = PROVIDERS["openai"]
    translation = openai.translation(call(provider()))
    assert translation is not None
    with pytest.raises(Untranslatable, match="not a chat completion"):
        translation.whole(b"<html>")
    with pytest.raises(Untranslatable, match="not a chat completion"):
        translation.feed(b"data: <html>\n\n")
    assert (
        openai.error(400, error("Bad")) == b'{"type":"error","error":{"type":"invalid_request_error","message":"Bad"}}'
    )


def test_it_lists_its_models() -> None:
    with fake_openai() as fake:
        config = provider(base_url=fake.url)
        assert PROVIDERS["openai"].models(config, config.credentials[0]) == ["gpt-5", "gpt-4o"]
        azure = provider("azure_openai", fake.url.removesuffix("/v1"))
        assert PROVIDERS["azure_openai"].models(azure, azure.credentials[0]) == ["gpt-5", "gpt-4o"]
        with pytest.raises(CannotCall, match="answered 401"):
            PROVIDERS["openai"].models(config, replace(config.credentials[0], secret="wrong"))
