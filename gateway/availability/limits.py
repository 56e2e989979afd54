"""The limits set here for one credential, held by this process: requests and tokens a minute, requests at once."""

from __future__ import annotations

from collections import deque

MINUTE = 60.0
_SLOT = 1.0


class Sliding:
    """What went out in any minute, to the second: at no moment more than the limit lies within the last 60 s."""

    __slots__ = ("_slots", "limit", "total")

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.total = 0
        self._slots: deque[list[float]] = deque()

    def free_at(self, now: float) -> float:
        """When something is left: `now` where it is. What a single request takes may be more than is left."""
        slots = self._slots
        while slots and slots[0][0] + MINUTE <= now:
            self.total -= int(slots.popleft()[1])
        if self.total < self.limit:
            return now
        over = self.total - self.limit
        for start, amount in slots:
            over -= int(amount)
            if over < 0:
                return start + MINUTE
        return now + MINUTE

    def add(self, now: float, amount: int) -> None:
        """`amount` below zero gives back what was taken too much."""
        slots = self._slots
        if not slots or now >= slots[-1][0] + _SLOT:
            slots.append([now, 0])
        slots[-1][1] += amount
        self.total += amount


class Limits:
    """All limits of one credential; None sets none."""

    __slots__ = ("concurrent", "requests", "tokens")

    def __init__(self, requests: int | None, tokens: int | None, concurrent: int | None) -> None:
        self.requests = Sliding(requests) if requests is not None else None
        self.tokens = Sliding(tokens) if tokens is not None else None
        self.concurrent = concurrent

    def __bool__(self) -> bool:
        return not (self.requests is None and self.tokens is None and self.concurrent is None)

    def full(self, now: float, running: int) -> tuple[float, str] | None:
        """(when it may be asked again, which limit it is at), or None where there is room."""
        if self.concurrent is not None and running >= self.concurrent:
            return now, f"{self.concurrent:,} requests at once"
        for sliding, what in ((self.requests, "requests"), (self.tokens, "tokens")):
            if sliding is not None and (free_at := sliding.free_at(now)) > now:
                return free_at, f"{sliding.limit:,} {what} a minute"
        return None

    def take(self, now: float, tokens: int) -> None:
        if self.requests is not None:
            self.requests.add(now, 1)
        if self.tokens is not None:
            self.tokens.add(now, tokens)

    def correct(self, now: float, tokens: int) -> None:
        """The tokens that a request used beyond its estimate; below zero, those that it did not."""
        if self.tokens is not None:
            self.tokens.add(now, tokens)

    def set(self, requests: int | None, tokens: int | None, concurrent: int | None) -> None:
        """Other limits; what went out in the last minute still counts where it was counted."""
        self.concurrent = concurrent
        for name, limit in (("requests", requests), ("tokens", tokens)):
            sliding: Sliding | None = getattr(self, name)
            if limit is None or sliding is None:
                setattr(self, name, Sliding(limit) if limit is not None else None)
            else:
                sliding.limit = limit
