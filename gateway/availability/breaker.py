"""A circuit breaker: a provider that keeps failing is left alone for a while, then asked by one request at a time.

Closed, requests pass and are counted. Once half of the last ones failed it opens: none passes. When its time is over
one request goes through as a probe; an answer closes it, a failure opens it again for twice as long. A request that
began before it opened decides nothing. A probe of which nothing is heard gives way to the next one, so that it is
never stuck open.
"""

from __future__ import annotations

from gateway.availability.window import Window

JUDGED_SECONDS = 30.0
"""Of which the failures count: long enough for a provider of a request every few seconds."""
LEAST_FAILURES = 5
"""Fewer are chance; each costs its client no more than a failover."""
SHARE = 0.5
"""Of the requests that must have failed: a provider that answers every other request is still worth asking."""
OPEN_SECONDS = 5.0
"""The first time: a restart of a server takes as long."""
MOST_OPEN_SECONDS = 60.0
"""An outage that ends is noticed within it; a failed probe a minute and process costs nobody anything."""
PROBE_SECONDS = 10.0
"""How long a probe without a word keeps others out."""
CALM_SECONDS = 60.0
"""Once closed for so long, the next opening is short again."""


class Breaker:
    """The breaker of one provider in this process. Times in seconds of one clock."""

    __slots__ = ("_closed_at", "_late", "_open_seconds", "_probe_until", "opened_at", "until", "window")

    def __init__(self) -> None:
        self.window = Window()
        self.opened_at: float | None = None
        """When it opened first since it was last closed; None while it is closed."""
        self.until = 0.0
        """While open: when the first probe may go."""
        self._probe_until = 0.0
        self._open_seconds = OPEN_SECONDS
        self._closed_at = float("-inf")
        self._late = 0
        """Failures since it was closed of requests that began before."""

    def lets(self, now: float) -> bool:
        """Whether a request may pass."""
        return self.opened_at is None or now >= self.asks_at

    @property
    def asks_at(self) -> float:
        """While open: when the next request may pass, as far as is known."""
        return max(self.until, self._probe_until)

    def began(self, now: float) -> None:
        """A request goes out. While open it is the probe, and others wait for what it tells."""
        if self.opened_at is not None:
            self._probe_until = now + PROBE_SECONDS

    def answered(self, began: float, now: float) -> None:
        """An answer to a request that began at `began` has come; it may yet break off."""
        if self.opened_at is not None and began >= self.opened_at:
            self.opened_at = None
            self.until = self._probe_until = 0.0
            self._closed_at, self._late = now, 0
            # What failed before it was closed must not open it at the next failure.
            self.window.part(now)

    def ended(self, began: float, now: float, *, failed: bool) -> None:
        """A request that began at `began` has ended, well or not. Counted once for each."""
        self.window.add(now, failed)
        if not failed:
            self.answered(began, now)
        elif self.opened_at is not None:
            if began >= self.until:
                self._open(now)
        elif began < self._closed_at:
            self._late += 1
        else:
            self._judge(now)

    def unheard(self) -> None:
        """A probe ended without saying anything about the provider: another may go at once."""
        self._probe_until = 0.0

    def _judge(self, now: float) -> None:
        requests, failures = self.window.since(max(now - JUDGED_SECONDS, self._closed_at))
        requests, failures = requests - self._late, failures - self._late
        if failures >= LEAST_FAILURES and failures >= SHARE * requests:
            if now - self._closed_at > CALM_SECONDS:
                self._open_seconds = OPEN_SECONDS
            self.opened_at = now
            self._open(now)

    def _open(self, now: float) -> None:
        self.until, self._probe_until = now + self._open_seconds, 0.0
        self._open_seconds = min(2 * self._open_seconds, MOST_OPEN_SECONDS)
