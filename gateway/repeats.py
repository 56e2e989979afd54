"""Requests that a client repeats although they are refused: the new Claude Code asks up to six times."""

from __future__ import annotations

import time
from collections.abc import Callable, Hashable

WITHIN_SECONDS = 60.0
KEPT = 10_000


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
