"""The `usage` objects of one answer merged into one `Usage`.

Rules (CLAUDE_CODE.md §4): counts are cumulative, so the last non-null one of each field stands and none is ever added;
a zero in a later event is ignored, as the client ignores it; what only the first event tells (the split of cache
writes by lifetime, tier, geography, speed) is kept from there.
"""

from __future__ import annotations

from typing import Annotated, Any, Final

import msgspec

from gateway.wire.text import clean
from governance.domain.usage import Iteration, Usage

_MOST_TOKENS: Final = 1 << 40
"""A larger count is none: at the dearest rate its cost would not fit a signed 64-bit number of nano-dollars."""

_MOST_ITERATIONS: Final = 1_000


class Reported(msgspec.Struct):
    """A `usage` object as it arrived. Every type is open: one odd field must not hide the others."""

    input_tokens: Any = None
    output_tokens: Any = None
    cache_read_input_tokens: Any = None
    cache_creation_input_tokens: Any = None
    cache_creation: Any = None
    output_tokens_details: Any = None
    server_tool_use: Any = None
    service_tier: Any = None
    inference_geo: Any = None
    speed: Any = None
    iterations: Any = None


Count = Annotated[int, msgspec.Meta(ge=0, lt=_MOST_TOKENS)]


class _Split(msgspec.Struct):
    ephemeral_5m_input_tokens: Count = 0
    ephemeral_1h_input_tokens: Count = 0


class _Thinking(msgspec.Struct):
    thinking_tokens: Count = 0


class _Searches(msgspec.Struct):
    web_search_requests: Count = 0


class Plain(msgspec.Struct):
    """A `usage` object of the usual shape, checked while it is decoded; another one is read as `Reported`."""

    input_tokens: Count
    output_tokens: Count
    cache_read_input_tokens: Count | None = None
    cache_creation_input_tokens: Count | None = None
    cache_creation: _Split | None = None
    output_tokens_details: _Thinking | None = None
    server_tool_use: _Searches | None = None
    service_tier: str | None = None
    inference_geo: str | None = None
    speed: str | None = None
    iterations: None = None

    def usage(self) -> Usage:
        """The same as a `Tally` that absorbed it."""
        split = self.cache_creation
        write_5m, write_1h = _split(
            self.cache_creation_input_tokens or 0,
            split.ephemeral_5m_input_tokens if split else 0,
            split.ephemeral_1h_input_tokens if split else 0,
        )
        return Usage(
            input_tokens=self.input_tokens,
            output_tokens=self.output_tokens,
            thinking_tokens=self.output_tokens_details.thinking_tokens if self.output_tokens_details else 0,
            cache_read_tokens=self.cache_read_input_tokens or 0,
            cache_write_5m_tokens=write_5m,
            cache_write_1h_tokens=write_1h,
            web_searches=self.server_tool_use.web_search_requests if self.server_tool_use else 0,
            speed=clean(self.speed, 16) if self.speed else "",
            inference_geo=clean(self.inference_geo, 32) if self.inference_geo else "",
            service_tier=clean(self.service_tier, 16) if self.service_tier else "",
        )


class Tally:
    """Absorbs what is reported, in order; `usage()` is the sum of it at any moment."""

    __slots__ = ("_counts", "_iterations", "_texts")

    def __init__(self) -> None:
        self._counts: dict[str, int] = {}
        self._texts: dict[str, str] = {}
        self._iterations: tuple[Iteration, ...] = ()

    def absorb(self, reported: Reported) -> None:
        """Merge one `usage` object."""
        self._count("input", reported.input_tokens)
        self._count("output", reported.output_tokens)
        self._count("cache_read", reported.cache_read_input_tokens)
        self._count("cache_write", reported.cache_creation_input_tokens)
        if reported.cache_creation is not None:
            self._count("write_5m", _inside(reported.cache_creation, "ephemeral_5m_input_tokens"))
            self._count("write_1h", _inside(reported.cache_creation, "ephemeral_1h_input_tokens"))
        if reported.output_tokens_details is not None:
            self._count("thinking", _inside(reported.output_tokens_details, "thinking_tokens"))
        if reported.server_tool_use is not None:
            self._count("searches", _inside(reported.server_tool_use, "web_search_requests"))
        if reported.speed is not None:
            self._text("speed", reported.speed, 16)
        if reported.inference_geo is not None:
            self._text("geo", reported.inference_geo, 32)
        if reported.service_tier is not None:
            self._text("tier", reported.service_tier, 16)
        if isinstance(reported.iterations, list) and reported.iterations:
            entries = (_iteration(entry) for entry in reported.iterations[:_MOST_ITERATIONS])
            self._iterations = tuple(entry for entry in entries if entry is not None)

    def usage(self) -> Usage | None:
        """What was used, or None where no count was ever told: unknown is not zero."""
        counts = self._counts
        if not counts and not self._iterations:
            return None
        write_5m, write_1h = _split(counts.get("cache_write", 0), counts.get("write_5m", 0), counts.get("write_1h", 0))
        return Usage(
            input_tokens=counts.get("input", 0),
            output_tokens=counts.get("output", 0),
            thinking_tokens=counts.get("thinking", 0),
            cache_read_tokens=counts.get("cache_read", 0),
            cache_write_5m_tokens=write_5m,
            cache_write_1h_tokens=write_1h,
            web_searches=counts.get("searches", 0),
            speed=self._texts.get("speed", ""),
            inference_geo=self._texts.get("geo", ""),
            service_tier=self._texts.get("tier", ""),
            iterations=self._iterations,
        )

    def told(self, name: str) -> bool:
        """Whether a count was told that is one: `input` or `output`."""
        return name in self._counts

    def _count(self, name: str, value: object) -> None:
        if value is None:
            return
        count = number(value)
        if count or (count == 0 and name not in self._counts):
            self._counts[name] = count

    def _text(self, name: str, value: object, limit: int) -> None:
        if text := clean(value, limit):
            self._texts[name] = text


def _split(total: int, write_5m: int, write_1h: int) -> tuple[int, int]:
    """Cache writes by lifetime, (5m, 1h), that add up to the total.

    The total may have been told again, later and larger, without its split: what no split explains counts as 5m.
    Where it is smaller than the split, the 1h part stands first, because it is the dearer one.
    """
    if not total:
        return write_5m, write_1h
    write_1h = min(write_1h, total)
    return total - write_1h, write_1h


def _iteration(entry: object) -> Iteration | None:
    if not isinstance(entry, dict):
        return None
    writes = entry.get("cache_creation")
    write_5m, write_1h = _split(
        number(entry.get("cache_creation_input_tokens")) or 0,
        number(_inside(writes, "ephemeral_5m_input_tokens")) or 0,
        number(_inside(writes, "ephemeral_1h_input_tokens")) or 0,
    )
    return Iteration(
        kind=clean(entry.get("type"), 64) or "message",
        model=clean(entry.get("model"), 200),
        input_tokens=number(entry.get("input_tokens")) or 0,
        output_tokens=number(entry.get("output_tokens")) or 0,
        cache_read_tokens=number(entry.get("cache_read_input_tokens")) or 0,
        cache_write_5m_tokens=write_5m,
        cache_write_1h_tokens=write_1h,
    )


def _inside(value: Any, name: str) -> object:
    return value.get(name) if isinstance(value, dict) else None


def number(value: object) -> int | None:
    """A count of tokens, or None where the value is none."""
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if isinstance(value, int) and not isinstance(value, bool) and 0 <= value < _MOST_TOKENS:
        return value
    return None
