"""The kinds of provider, one module each; a provider's name appears nowhere else."""

from collections.abc import Mapping

from gateway.providers.anthropic import Anthropic
from gateway.providers.base import Provider
from gateway.providers.bedrock import Bedrock
from gateway.providers.compatible import Compatible, Foundry
from gateway.providers.gemini import Gemini
from gateway.providers.openai import AzureOpenAI, OpenAI
from gateway.providers.simulated import Simulated
from gateway.providers.vertex import Vertex

_KINDS: tuple[Provider, ...] = (
    Anthropic(),
    Bedrock(),
    Vertex(),
    Foundry(),
    Compatible(),
    OpenAI(),
    AzureOpenAI(),
    Gemini(),
    Simulated(),
)
PROVIDERS: Mapping[str, Provider] = {provider.kind: provider for provider in _KINDS}

__all__ = ["PROVIDERS", "Provider"]
