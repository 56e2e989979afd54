"""Anthropic's API at other addresses: Microsoft Foundry's, a proxy's, a local server's."""

from __future__ import annotations

from gateway.providers.anthropic import Anthropic
from governance.snapshot import CredentialConfig, ProviderConfig


class Compatible(Anthropic):
    kind = "compatible"

    def base(self, provider: ProviderConfig) -> str:
        """Never Anthropic's own: its credential must not go there."""
        return provider.base_url


class Foundry(Compatible):
    kind = "foundry"
    platform = "foundry"

    def presented(self, credential: CredentialConfig) -> tuple[bytes, bytes]:
        """An API key; a token of Entra ID, which has three parts, goes as a bearer."""
        if credential.secret.count(".") == 2:
            return b"authorization", f"Bearer {credential.secret}".encode()
        return b"api-key", credential.secret.encode()
