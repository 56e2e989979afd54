"""What speaks Anthropic's API at another address: Microsoft Foundry, proxies, local servers."""

from __future__ import annotations

from gateway.providers.anthropic import Anthropic
from gateway.providers.base import CannotCall, Verdict
from gateway.wire.openai.errors import read_error
from governance.snapshot import CredentialConfig, ProviderConfig


class Compatible(Anthropic):
    """Any address that serves `/v1/messages`; an address that already ends with `/v1` is taken as well."""

    kind = "compatible"

    def base(self, provider: ProviderConfig) -> str:
        if not provider.base_url:
            raise CannotCall("It has no address. Enter the one that serves /v1/messages, without that path.")
        return provider.base_url.rstrip("/").removesuffix("/v1")

    def classify(self, status: int, body: bytes) -> Verdict:
        if status == 403 and read_error(body) is not None:
            # Azure's front and many proxies refuse in a form of their own.
            return Verdict.CREDENTIAL
        return super().classify(status, body)


class Foundry(Compatible):
    """Claude on Microsoft Foundry: `https://RESOURCE.services.ai.azure.com/anthropic`; deployments by the model map."""

    kind = "foundry"
    platform = "foundry"

    def presented(self, credential: CredentialConfig) -> tuple[bytes, bytes]:
        """As Anthropic's SDK for Foundry does; `api-key`, which it sends beside it, is for older resources."""
        return b"x-api-key", credential.secret.encode()
