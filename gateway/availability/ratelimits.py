"""What providers say about their limits in headers: when to come back, and whether anything is left.

Anthropic: `anthropic-ratelimit-{requests,tokens,input-tokens,output-tokens}-{limit,remaining,reset}`, the reset in
RFC 3339.
OpenAI and compatible: `x-ratelimit-{limit,remaining,reset}-{requests,tokens}`, reset as a duration such as `6m0s`.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

from gateway.availability.outcomes import HeaderPairs

NEARLY = 0.01
"""Of a limit that counts as nothing left: other processes and running requests take from it too."""
REST_SECONDS = 5.0
"""Where no header says when there is room again."""
MOST_REST_SECONDS = 300.0
MOST_RETRY_SECONDS = 3600.0
"""However long a provider says: after it one request asks whether that still holds."""

_ANTHROPIC = b"anthropic-ratelimit-"
_KINDS = frozenset({b"requests", b"tokens", b"input-tokens", b"output-tokens"})
_DURATION = re.compile(r"(?:(\d+)d)?(?:(\d+)h)?(?:(\d+)m(?!s))?(?:(\d+(?:\.\d+)?)s)?(?:(\d+(?:\.\d+)?)ms)?")
_UNITS = (86400.0, 3600.0, 60.0, 1.0, 0.001)


def retry_after(headers: HeaderPairs, wall: float) -> float | None:
    """Seconds to wait by `retry-after-ms` or `retry-after` (seconds or an HTTP date), at most an hour.

    `wall` is now, in seconds since 1970. None where neither can be read.
    """
    said = dict(headers)
    try:
        if (milliseconds := said.get(b"retry-after-ms")) is not None:
            return _within(float(milliseconds) / 1000, MOST_RETRY_SECONDS)
        value = said.get(b"retry-after")
        if value is None:
            return None
        text = value.decode("latin-1").strip()
        if re.fullmatch(r"\d+(\.\d+)?", text):
            return _within(float(text), MOST_RETRY_SECONDS)
        return _within(_timestamp(parsedate_to_datetime(text)) - wall, MOST_RETRY_SECONDS)
    except (ValueError, OverflowError):
        return None


def rest(headers: HeaderPairs, wall: float) -> tuple[float, str] | None:
    """(seconds, what is used up) where as good as nothing is left of a limit; the longest where several are."""
    remaining: list[tuple[bytes, bytes, bytes]] = []
    for name, value in headers:
        if name.startswith(_ANTHROPIC):
            if name.endswith(b"-remaining") and (kind := name[20:-10]) in _KINDS:
                remaining.append((kind, value, b"anthropic-ratelimit-" + kind + b"-%s"))
        elif name.startswith(b"x-ratelimit-remaining-") and (kind := name[22:]) in _KINDS:
            remaining.append((kind, value, b"x-ratelimit-%s-" + kind))
    if not remaining:
        return None
    said = dict(headers)
    longest: tuple[float, str] | None = None
    for kind, value, pattern in remaining:
        left, limit = _number(value), _number(said.get(pattern % b"limit", b""))
        # A limit of 0 is how some servers say that they have none.
        if left is None or limit == 0 or left > NEARLY * (limit or 0):
            continue
        seconds = _resets_in(said.get(pattern % b"reset", b""), wall)
        if longest is None or seconds > longest[0]:
            longest = seconds, kind.decode().replace("-", " ")
    return longest


def _number(value: bytes) -> float | None:
    try:
        number = float(value)
    except ValueError:
        return None
    return number if number >= 0 else None


def _resets_in(value: bytes, wall: float) -> float:
    text = value.decode("latin-1").strip()
    try:
        if re.fullmatch(r"\d+(\.\d+)?", text):
            return _within(float(text), MOST_REST_SECONDS)
        if text and (match := _DURATION.fullmatch(text)):
            parts = zip(match.groups(), _UNITS, strict=True)
            return _within(sum(float(part) * unit for part, unit in parts if part), MOST_REST_SECONDS)
        return _within(_timestamp(datetime.fromisoformat(text)) - wall, MOST_REST_SECONDS)
    except (ValueError, OverflowError):
        return REST_SECONDS


def _timestamp(moment: datetime) -> float:
    """HTTP dates and RFC 3339 are in UTC where they name no zone."""
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()


def _within(seconds: float, most: float) -> float:
    return min(max(seconds, 0.0), most)
