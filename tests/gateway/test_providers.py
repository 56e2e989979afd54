"""Where a request to a provider goes, and with which credential."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from gateway.providers import PROVIDERS
from gateway.providers.base import Call, Operation
from gateway.wire.forms import Form
from gateway.wire.headers import Headers
from governance.snapshot import CredentialConfig, ProviderConfig

BODY = b'{"model": "claude-sonnet-5-5", "odd" : 1.0}'


def sent(kind: str, base_url: str, secret: str = "sk-ant-api03-x") -> Any:
    credential = CredentialConfig("main", 1.0, secret)
    call = Call(
        provider=ProviderConfig(1, "p", kind, base_url, 0, (credential,)),
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
    return asyncio.run(PROVIDERS[kind].request(call))


def test_the_address_of_the_provider_wins_over_the_setting(settings: Any) -> None:
    settings.COMPTROLLER = {**settings.COMPTROLLER, "COMPTROLLER_ANTHROPIC_BASE_URL": "https://proxy.example"}
    assert sent("anthropic", "").url == "https://proxy.example/v1/messages?beta=true"
    assert sent("anthropic", "https://own.example/a").url == "https://own.example/a/v1/messages?beta=true"


@pytest.mark.parametrize(
    ("secret", "header"),
    [
        ("sk-ant-api03-x", (b"x-api-key", b"sk-ant-api03-x")),
        ("sk-ant-oat01-x", (b"authorization", b"Bearer sk-ant-oat01-x")),
    ],
)
def test_each_kind_of_credential_goes_into_its_header(secret: str, header: tuple[bytes, bytes]) -> None:
    headers = sent("anthropic", "https://own.example", secret).headers
    assert header in headers
    assert "sk-cmp-secret" not in str(headers)
    assert sent("anthropic", "https://own.example", secret).body is BODY
