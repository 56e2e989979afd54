"""Refusals of which not each is a row: repeats by a client (the new Claude Code asks up to six times), and floods."""

from __future__ import annotations

import time
from collections.abc import Callable, Hashable

WITHIN_SECONDS = 60.0
KEPT = 10_000
ROW_SECONDS = 1.0
"""At most one row in so long for each key that is refused in numbers."""


class Repeats:
    """Remembers refusals for a minute, a bounded number of them. For one thread."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._seen: dict[Hashable, float] = {}

    def first(self, refusal: Hashable) -> bool:
        """Whether this refusal was not seen in the last minute; a repeat extends the minute."""
        now = self._clock()
        last = self._seen.pop(refusal, None)
        self._seen[refusal] = now
        if len(self._seen) > KEPT:
            del self._seen[next(iter(self._seen))]
        return last is None or now - last > WITHIN_SECONDS


class Floods:
    """Which of the refusals of a flood are rows, and how many were left out between two. For one thread."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._rows: dict[Hashable, tuple[float, int]] = {}
        """By key, the moment of its last row and what was left out since."""

    def left_out(self, key: Hashable) -> int | None:
        """None where this refusal is left out; else how many were since the key's last row."""
        now = self._clock()
        last, count = self._rows.pop(key, (float("-inf"), 0))
        if now - last < ROW_SECONDS:
            self._rows[key] = last, count + 1
            return None
        self._rows[key] = now, 0
        if len(self._rows) > KEPT:
            del self._rows[next(iter(self._rows))]
        return count
