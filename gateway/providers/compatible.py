"""What speaks Anthropic's API at another address: Microsoft Foundry, proxies, local servers."""

from __future__ import annotations

from gateway.providers.anthropic import VERSION, Anthropic
from gateway.providers.base import CannotCall
from gateway.providers.common import listed
from governance.snapshot import CredentialConfig, ProviderConfig


class Compatible(Anthropic):
    """Any address that serves `/v1/messages`; an address that already ends with `/v1` is taken as well."""

    kind = "compatible"

    def base(self, provider: ProviderConfig) -> str:
        if not provider.base_url:
            raise CannotCall("It has no address. Enter the one that serves /v1/messages, without that path.")
        return provider.base_url.rstrip("/").removesuffix("/v1")


class Foundry(Compatible):
    """Claude on Microsoft Foundry: `https://RESOURCE.services.ai.azure.com/anthropic`; deployments by the model map."""

    kind = "foundry"
    platform = "foundry"

    def presented(self, credential: CredentialConfig) -> tuple[bytes, bytes]:
        return b"api-key", credential.secret.encode()

    def models(self, provider: ProviderConfig, credential: CredentialConfig) -> list[str]:
        name, value = self.presented(credential)
        headers = {name.decode(): value.decode(), "anthropic-version": VERSION}
        return listed(f"{self.base(provider)}/v1/models?limit=1000", headers)
