"""OpenAI, whatever speaks its Chat Completions, and Azure OpenAI: Claude's requests by full translation."""

from gateway.providers.openai.azure import AzureOpenAI
from gateway.providers.openai.provider import OpenAI

__all__ = ["AzureOpenAI", "OpenAI"]
