"""Google's Gemini API: Claude Code's requests by full translation (`gateway/wire/gemini`)."""

from gateway.providers.gemini.provider import Gemini

__all__ = ["Gemini"]
