"""Claude on Google's Vertex AI: rawPredict, streamRawPredict, token counts, and Google's credentials."""

from gateway.providers.vertex.provider import Vertex

__all__ = ["Vertex"]
