"""Everything a scripted answer may ask for: one vocabulary for directives, files and the control endpoint."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

import msgspec

BIG_EVENT_BYTES = 8 * 1024 * 1024


class BadScript(Exception):
    """A directive or a script asks for something the simulator does not know; the message says what."""


class Answer(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One scripted answer; a field left out keeps its plausible default. docs/simulator.md lists the fields."""

    # What is said.
    text: str | None = None
    thinking: str | None = None
    tool: str | None = None
    input: dict[str, Any] = {}
    content: list[dict[str, Any]] | None = None
    """Whole content blocks, given as they are; replaces text, thinking and tool."""
    stop_reason: str | None = None
    refusal: bool = False
    extra: dict[str, Any] = {}
    """Further keys of the message object (message_start when streaming)."""

    # What it reports to have used, in tokens. One of the four prompt classes given: the others count as 0.
    input_tokens: int | None = None
    cache_read: int | None = None
    cache_write_5m: int | None = None
    cache_write_1h: int | None = None
    output_tokens: int | None = None
    thinking_tokens: int | None = None
    web_searches: int = 0
    speed: str | None = None
    geo: str | None = None
    service_tier: str = "standard"
    served_model: str | None = None
    iterations: list[dict[str, Any]] | None = None
    usage: Literal["full", "minimal", "none"] = "full"
    """`minimal`: message_delta reports output tokens only. `none`: no usage anywhere."""

    # How fast it comes.
    ttft_ms: float = 0
    delay_ms: float = 0
    """Pause before each delta; a non-streaming answer waits for the sum."""
    chunks: int | None = None
    """Number of text deltas."""
    silent_s: float = 0
    """One silence after the first delta, with no pings."""
    hang_s: float | None = None
    """Say nothing for so long, not even headers, then close the connection."""
    hold: str | None = None
    """Wait until the control endpoint releases this name."""
    hold_after: int = 0
    """Events sent before the wait of `hold`; 0: not even headers."""

    # An error instead of an answer.
    status: int | None = None
    error_type: str | None = None
    message: str | None = None
    retry_after: int | None = None
    should_retry: bool | None = None
    headers: dict[str, str] = {}

    # Misbehaviour.
    cut_after: int | None = None
    """Events after which the connection is closed without an end; not streaming: half of the body is sent."""
    reset: bool = False
    """Cuts are a TCP reset instead of a FIN."""
    error_event: str | None = None
    error_after: int = 3
    html: bool = False
    empty: bool = False
    garbage: bool = False
    half_headers: bool = False
    no_answer: bool = False
    gzip: bool = False
    unknown_event: bool = False
    big_event: int = 0
    """Bytes of one additional text delta."""
    write_bytes: int = 0
    """Size of each write; 0: one event a write."""


FIELDS = frozenset(Answer.__struct_fields__)


def answer(values: Mapping[str, Any]) -> Answer:
    """The answer with these fields. Raises BadScript naming the wrong one."""
    try:
        found = msgspec.convert(dict(values), Answer, strict=False)
    except msgspec.ValidationError as error:
        raise BadScript(f"wrong answer: {error}; the fields are in docs/simulator.md") from None
    if found.status is not None and not 200 <= found.status <= 599:
        raise BadScript(f"wrong answer: status {found.status} is no HTTP status")
    return found
