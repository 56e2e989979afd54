"""The headers by which providers speak of their limits."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.availability.ratelimits import MOST_REST_SECONDS, MOST_RETRY_SECONDS, rest, retry_after

WALL = datetime(2026, 11, 28, 20, 0, tzinfo=UTC).timestamp()


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ([], None),
        ([(b"retry-after", b"12")], 12),
        ([(b"retry-after", b" 0.5 ")], 0.5),
        ([(b"retry-after", b"Sat, 28 Nov 2026 20:00:30 GMT")], 30),
        ([(b"retry-after", b"Sat, 28 Nov 2026 19:00:00 GMT")], 0),
        ([(b"retry-after", b"999999")], MOST_RETRY_SECONDS),
        ([(b"retry-after", b"soon")], None),
        ([(b"retry-after-ms", b"250"), (b"retry-after", b"1")], 0.25),
    ],
)
def test_retry_after(headers: list[tuple[bytes, bytes]], seconds: float | None) -> None:
    assert retry_after(headers, WALL) == seconds


def anthropic(kind: bytes, limit: bytes, remaining: bytes, reset: bytes) -> list[tuple[bytes, bytes]]:
    start = b"anthropic-ratelimit-" + kind
    return [(start + b"-limit", limit), (start + b"-remaining", remaining), (start + b"-reset", reset)]


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        ([(b"content-type", b"application/json")], None),
        (anthropic(b"requests", b"50", b"49", b"2026-11-28T20:00:01Z"), None),
        (anthropic(b"requests", b"50", b"0", b"2026-11-28T20:00:20Z"), (20, "requests")),
        (anthropic(b"input-tokens", b"400000", b"3000", b"2026-11-28T20:00:41Z"), (41, "input tokens")),
        (anthropic(b"tokens", b"400000", b"4100", b"2026-11-28T20:00:41Z"), None),
        (anthropic(b"tokens", b"0", b"0", b""), None),
        (anthropic(b"output-tokens", b"10", b"0", b"whenever"), (5, "output tokens")),
        (anthropic(b"unified-5h", b"10", b"0", b"2026-11-28T20:00:41Z"), None),
        (
            anthropic(b"requests", b"50", b"0", b"2026-11-28T20:00:20Z")
            + anthropic(b"tokens", b"50000", b"0", b"2026-11-28T20:00:40Z"),
            (40, "tokens"),
        ),
        (
            [
                (b"x-ratelimit-limit-requests", b"60"),
                (b"x-ratelimit-remaining-requests", b"0"),
                (b"x-ratelimit-reset-requests", b"1m3.5s"),
            ],
            (63.5, "requests"),
        ),
        ([(b"x-ratelimit-remaining-tokens", b"0"), (b"x-ratelimit-reset-tokens", b"17ms")], (0.017, "tokens")),
        ([(b"x-ratelimit-remaining-tokens", b"0"), (b"x-ratelimit-reset-tokens", b"9d")], (300, "tokens")),
        ([(b"x-ratelimit-remaining-tokens", b"many")], None),
    ],
)
def test_rest(headers: list[tuple[bytes, bytes]], expected: tuple[float, str] | None) -> None:
    assert rest(headers, WALL) == (None if expected is None else (pytest.approx(expected[0]), expected[1]))


NAMES = st.sampled_from([
    b"retry-after", b"retry-after-ms", b"anthropic-ratelimit-requests-remaining", b"anthropic-ratelimit-requests-reset",
    b"anthropic-ratelimit-requests-limit", b"x-ratelimit-remaining-tokens", b"x-ratelimit-reset-tokens",
])  # fmt: skip
VALUES = st.one_of(st.binary(max_size=30), st.from_regex(rb"[0-9hmsd.:TZ+-]{0,24}", fullmatch=True))


@given(st.lists(st.tuples(NAMES, VALUES), max_size=8))
def test_whatever_a_provider_sends_is_survived_and_bounded(headers: list[tuple[bytes, bytes]]) -> None:
    waits = retry_after(headers, WALL)
    assert waits is None or 0 <= waits <= MOST_RETRY_SECONDS
    rests = rest(headers, WALL)
    assert rests is None or 0 <= rests[0] <= MOST_REST_SECONDS
