"""Counts of the last minutes in slots of a few seconds: cheap to add to, forgotten by themselves."""

from __future__ import annotations

from collections import deque

SLOT_SECONDS = 5.0
KEPT_SECONDS = 300.0
"""What health speaks of."""


class Window:
    """Requests and failures of a provider by slots; a slot is [its first moment, requests, failures]."""

    __slots__ = ("_ends", "_slot", "_slots")

    def __init__(self) -> None:
        self._slots: deque[list[float]] = deque(maxlen=int(KEPT_SECONDS / SLOT_SECONDS))
        self._slot: list[float] = [0.0, 0, 0]
        self._ends = float("-inf")

    def add(self, now: float, failed: bool = False) -> None:
        if now >= self._ends:
            self.part(now)
        slot = self._slot
        slot[1] += 1
        if failed:
            slot[2] += 1

    def part(self, now: float) -> None:
        """Begin a slot: what was counted before can be told from what follows."""
        self._slot = [now, 0, 0]
        self._slots.append(self._slot)
        self._ends = now + SLOT_SECONDS

    def since(self, moment: float) -> tuple[int, int]:
        """(requests, failures) of the slots that began at `moment` or later."""
        requests = failures = 0.0
        for slot in reversed(self._slots):
            if slot[0] < moment:
                break
            requests += slot[1]
            failures += slot[2]
        return int(requests), int(failures)
