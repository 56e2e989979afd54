"""What a provider says one request used: the input of every price."""

from __future__ import annotations

import msgspec


class Iteration(msgspec.Struct, frozen=True):
    """One entry of `usage.iterations[]`.

    A step inside a request that may have a model, and so a price, of its own.
    """

    kind: str
    """`message`, `compaction`, `advisor_message`, `fallback_message`, or what the provider calls it next."""
    model: str
    """The model id of the step, or an empty string where it is the request's own."""
    input_tokens: int = 0
    output_tokens: int = 0
    cache_read_tokens: int = 0
    cache_write_5m_tokens: int = 0
    cache_write_1h_tokens: int = 0

    @property
    def prompt_tokens(self) -> int:
        """Input, cache reads and cache writes of this step: what a price tier's threshold counts."""
        return self.input_tokens + self.cache_read_tokens + self.cache_write_5m_tokens + self.cache_write_1h_tokens


class Usage(msgspec.Struct, frozen=True):
    """Disjoint token classes of one request, in tokens; `input_tokens` excludes everything cached."""

    input_tokens: int = 0
    output_tokens: int = 0
    """Includes thinking."""
    thinking_tokens: int = 0
    cache_read_tokens: int = 0
    cache_write_5m_tokens: int = 0
    cache_write_1h_tokens: int = 0
    web_searches: int = 0
    speed: str = ""
    """`fast` where the provider served it fast, else empty or `standard`."""
    inference_geo: str = ""
    service_tier: str = ""
    """`standard`, `priority` or `batch` as served."""
    iterations: tuple[Iteration, ...] = ()

    @property
    def prompt_tokens(self) -> int:
        """Input, cache reads and cache writes: what a price tier's threshold counts."""
        return self.input_tokens + self.cache_read_tokens + self.cache_write_5m_tokens + self.cache_write_1h_tokens

    @property
    def total_tokens(self) -> int:
        """Every token of the request: what a token limit counts."""
        return self.prompt_tokens + self.output_tokens
