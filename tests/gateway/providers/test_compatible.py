"""Providers that speak Anthropic's API elsewhere: their addresses, and the header of their key."""

from __future__ import annotations

from typing import Any

import pytest

from gateway.providers import PROVIDERS
from gateway.providers.base import Call, CannotCall, Operation, UpstreamRequest, Verdict
from gateway.wire.forms import Form
from gateway.wire.headers import Headers
from governance.snapshot import CredentialConfig, ProviderConfig

BODY = b'{"model": "claude-sonnet-5-5", "odd" : 1.0}'
FOUNDRY = "https://name.services.ai.azure.com/anthropic"


async def sent(kind: str, base_url: str, model_map: Any = ()) -> UpstreamRequest:
    credential = CredentialConfig("main", 1.0, "their-key")
    provider = ProviderConfig(1, "p", kind, base_url, 0, (credential,), model_map=model_map)
    call = Call(
        provider=provider,
        credential=credential,
        operation=Operation.MESSAGES,
        model="claude-sonnet-5-5",
        stream=False,
        form=Form.ANTHROPIC,
        body=BODY,
        body_model="claude-sonnet-5-5",
        headers=Headers([(b"authorization", b"Bearer sk-cmp-secret"), (b"anthropic-version", b"2023-06-01")]),
        query=b"beta=true",
    )
    return await PROVIDERS[kind].request(call)


@pytest.mark.parametrize(
    ("kind", "base_url", "header"),
    [
        ("foundry", FOUNDRY, (b"x-api-key", b"their-key")),
        ("foundry", f"{FOUNDRY}/v1/", (b"x-api-key", b"their-key")),
        ("compatible", "https://proxy.example/claude", (b"x-api-key", b"their-key")),
    ],
)
async def test_the_same_bytes_at_another_address(kind: str, base_url: str, header: tuple[bytes, bytes]) -> None:
    request = await sent(kind, base_url)
    assert request.url == f"{base_url.removesuffix('/v1/')}/v1/messages?beta=true"
    assert request.body is BODY
    assert header in list(request.headers)
    assert not request.private
    assert "sk-cmp-secret" not in str(request.headers)


async def test_a_deployments_own_name() -> None:
    request = await sent("foundry", FOUNDRY, (("claude-sonnet-*", "my-sonnet"),))
    assert b'"model":"my-sonnet"' in request.body
    assert b'"odd":1.0' in request.body


@pytest.mark.parametrize("kind", ["foundry", "compatible"])
async def test_without_an_address(kind: str) -> None:
    with pytest.raises(CannotCall, match="no address"):
        await sent(kind, "")


def test_their_price_lists() -> None:
    assert (PROVIDERS["foundry"].platform, PROVIDERS["compatible"].platform) == ("foundry", "anthropic")


@pytest.mark.parametrize(
    ("kind", "body", "verdict"),
    [
        ("anthropic", b"<html>Blocked.</html>", Verdict.FAILED),
        ("compatible", b"<html>Blocked.</html>", Verdict.FAILED),
        ("foundry", b"", Verdict.FAILED),
        ("anthropic", b'{"type":"error","error":{"type":"permission_error","message":"No."}}', Verdict.CREDENTIAL),
        ("foundry", b'{"error":{"code":"PermissionDenied","message":"The principal lacks it."}}', Verdict.CREDENTIAL),
    ],
)
def test_only_the_provider_itself_refuses_a_credential(kind: str, body: bytes, verdict: Verdict) -> None:
    assert PROVIDERS[kind].classify(403, body) is verdict
