"""Azure OpenAI: the same by deployment, with the key in a header of its own.

Two forms of address: the v1 API, which names the deployment in the body, and the older one with a dated version, which
names it in the path. Source: Microsoft's reference, "API version lifecycle".
"""

from __future__ import annotations

from urllib.parse import quote, urlencode

from gateway.providers.base import CannotCall
from gateway.providers.openai.provider import DATED, OpenAI, path
from governance.snapshot import CredentialConfig, ProviderConfig


class AzureOpenAI(OpenAI):
    kind = "azure_openai"

    def url(self, provider: ProviderConfig, model: str, *, responses: bool) -> str:
        query = _version(provider)
        if not query:
            return f"{_resource(provider)}/openai/v1/{path(responses)}"
        if responses:
            return f"{_resource(provider)}/openai/{path(responses)}?{query}"
        return f"{_resource(provider)}/openai/deployments/{quote(model, safe='')}/{path(responses)}?{query}"

    def presented(self, credential: CredentialConfig) -> tuple[bytes, bytes]:
        return b"api-key", credential.secret.encode()

    def is_own(self, provider: ProviderConfig) -> bool:
        return True

    def priced_as(self, provider: ProviderConfig, model: str, served: str) -> tuple[str, str]:
        """The model behind the deployment, as the answer names it, without its date."""
        return DATED.sub("", served) or self.model_id(provider, model), ""

    def list_url(self, provider: ProviderConfig) -> str:
        query = _version(provider)
        return f"{_resource(provider)}/openai/models?{query}" if query else f"{_resource(provider)}/openai/v1/models"


def _resource(provider: ProviderConfig) -> str:
    """The resource's address, also where somebody entered one of the addresses below it."""
    address = provider.base_url.rstrip("/").removesuffix("/v1").removesuffix("/openai")
    if not address:
        raise CannotCall(f"The provider {provider.name} has no address. Enter that of the Azure resource.")
    return address


def _version(provider: ProviderConfig) -> str:
    version = provider.options.get("api_version", "")
    return urlencode({"api-version": version}) if version else ""
