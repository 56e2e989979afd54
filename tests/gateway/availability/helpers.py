"""Providers and credentials for the tests of availability."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from gateway.availability import Outcome, Result
from governance.snapshot import CredentialConfig, ProviderConfig

CREDENTIAL = CredentialConfig("main", 1.0, "sk-secret")
PROVIDER = ProviderConfig(1, "anthropic", "anthropic", "https://api.example.com", 0, (CREDENTIAL,))
OK = Outcome(Result.OK, status=200)
FAILED = Outcome(Result.FAILED, status=500)


def with_credentials(*credentials: CredentialConfig, **changes: Any) -> ProviderConfig:
    return replace(PROVIDER, credentials=credentials, **changes)
