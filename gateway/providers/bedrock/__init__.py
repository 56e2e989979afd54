"""Claude on Amazon Bedrock: InvokeModel, its event streams, CountTokens, and every way to sign for them."""

from gateway.providers.bedrock.provider import Bedrock

__all__ = ["Bedrock"]
