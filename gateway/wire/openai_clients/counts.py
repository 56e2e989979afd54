"""What an answer used, in the words of OpenAI's formats. Their prompt counts include what the cache gave and took."""

from __future__ import annotations

from typing import Any

from gateway.wire.openai_clients.fields import JsonObject


class Counts:
    """The last count that was told of each kind: later events of a stream repeat and complete earlier ones."""

    def __init__(self) -> None:
        self._told: dict[str, int] = {}

    def absorb(self, usage: object) -> None:
        """Take one `usage` of Claude's; what is absent or null in it leaves what was told before."""
        if not isinstance(usage, dict):
            return
        for name in ("input_tokens", "cache_read_input_tokens", "cache_creation_input_tokens", "output_tokens"):
            self._keep(name, usage.get(name))
        details = usage.get("output_tokens_details")
        if isinstance(details, dict):
            self._keep("thinking_tokens", details.get("thinking_tokens"))

    def chat(self) -> JsonObject:
        """`usage` of a chat completion."""
        prompt, answer = self._prompt, self._of("output_tokens")
        return {
            "prompt_tokens": prompt,
            "completion_tokens": answer,
            "total_tokens": prompt + answer,
            "prompt_tokens_details": {
                "cached_tokens": self._of("cache_read_input_tokens"),
                "cache_write_tokens": self._of("cache_creation_input_tokens"),
            },
            "completion_tokens_details": {"reasoning_tokens": self._of("thinking_tokens")},
        }

    def responses(self) -> JsonObject:
        """`usage` of a response."""
        prompt, answer = self._prompt, self._of("output_tokens")
        return {
            "input_tokens": prompt,
            "input_tokens_details": {
                "cached_tokens": self._of("cache_read_input_tokens"),
                "cache_write_tokens": self._of("cache_creation_input_tokens"),
            },
            "output_tokens": answer,
            "output_tokens_details": {"reasoning_tokens": self._of("thinking_tokens")},
            "total_tokens": prompt + answer,
        }

    @property
    def _prompt(self) -> int:
        names = ("input_tokens", "cache_read_input_tokens", "cache_creation_input_tokens")
        return sum(self._of(name) for name in names)

    def _of(self, name: str) -> int:
        return self._told.get(name, 0)

    def _keep(self, name: str, value: Any) -> None:
        if isinstance(value, int) and not isinstance(value, bool):
            self._told[name] = value
