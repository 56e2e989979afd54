"""Calls of the Vertex AI provider, as the core makes them."""

from __future__ import annotations

import json
from typing import Any

from gateway.providers.base import Call, Operation
from gateway.wire.forms import Form
from gateway.wire.headers import Headers
from governance.snapshot import CredentialConfig, ProviderConfig


def credential(secret: str = "", method: str = "google_service_account") -> CredentialConfig:
    return CredentialConfig("main", 1.0, secret, method=method)


def configured(
    base_url: str = "", region: str = "europe-west1", project: str = "fake-project", **more: Any
) -> ProviderConfig:
    return ProviderConfig(1, "google", "vertex", base_url, 0, (), region, project, **more)


def call(provider: ProviderConfig, body: Any, **more: Any) -> Call:
    """Of an Anthropic client, unless it says otherwise."""
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    headers = more.pop("headers", [(b"user-agent", b"claude-cli/2.1.330 (external, cli)"), (b"cookie", b"no")])
    fields: dict[str, Any] = {
        "provider": provider,
        "credential": credential(),
        "operation": Operation.MESSAGES,
        "model": json.loads(raw).get("model", "claude-opus-5-5"),
        "stream": False,
        "form": Form.ANTHROPIC,
        "body": raw,
        "headers": Headers(headers),
        **more,
    }
    return Call(**fields)
