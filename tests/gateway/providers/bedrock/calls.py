"""Calls of the Bedrock provider, as the core makes them."""

from __future__ import annotations

from typing import Any

import msgspec

from gateway.providers.base import Call, Operation
from gateway.wire.forms import Form
from gateway.wire.headers import Headers
from governance.snapshot import CredentialConfig, ProviderConfig
from tests.fakes.bedrock import ACCESS_KEY, REGION, SECRET_KEY

STATIC = CredentialConfig("main", 1.0, SECRET_KEY, method="aws_static", identifier=ACCESS_KEY)


def provider(base_url: str = "", region: str = REGION, **values: Any) -> ProviderConfig:
    return ProviderConfig(1, "bedrock", "bedrock", base_url, 0, (STATIC,), region=region, **values)


def call(
    body: bytes,
    *,
    at: ProviderConfig | None = None,
    credential: CredentialConfig = STATIC,
    form: Form = Form.ANTHROPIC,
    operation: Operation = Operation.MESSAGES,
    model: str = "claude-haiku-4-5-20251001",
    betas: tuple[str, ...] = (),
    headers: dict[str, str] | None = None,
    **more: Any,
) -> Call:
    made = Call(
        provider=at or provider(),
        credential=credential,
        operation=operation,
        model=model,
        stream=False,
        form=form,
        body=body,
        headers=Headers([(name.encode(), value.encode()) for name, value in (headers or {}).items()]),
        betas=betas,
        client_form=form,
    )
    return msgspec.structs.replace(made, **more)
