"""The state of one credential in this process: whether it may be used now, and why not.

Cooling down after a refusal (until `retry-after`, without it for a growing time), resting because its provider says
that nothing is left, dead because its provider rejects it, or at a limit that was set here. A dead one is asked again
by one request after a while: what was wrong at the provider's is often put right without a change here.
"""

from __future__ import annotations

from gateway.availability.limits import Limits
from gateway.availability.outcomes import Reason, Unusable

COOL_SECONDS = 5.0
MOST_COOL_SECONDS = 60.0
"""Without `retry-after`: the limits of all providers are by the minute."""
DEAD_SECONDS = 60.0
"""Between two requests that ask whether a rejected credential works again: each costs its client a failover."""
UNCALLABLE_IN_A_ROW = 3
"""Requests that could not be sent for want of a token or the like, before the credential cools down: one may have
been about the request itself."""
LOOK_SECONDS = 0.1
"""How often the rate-limit headers of its answers are read: at 500 answers a second their reading would be felt."""


class Credential:
    """One credential's state. Times in seconds of one clock; `since` says when its present trouble began."""

    __slots__ = (
        "_cool_seconds", "_look_at", "_uncallable", "answered_at", "at_ease", "cooling_until",
        "dead", "last_error", "last_error_at", "limits", "marked", "name", "probe_at", "resting_until", "running",
        "since", "why",
    )  # fmt: skip

    def __init__(self, name: str, limits: Limits) -> None:
        self.name = name
        self.limits = limits
        self.running = 0
        """Requests under way."""
        self.answered_at = float("-inf")
        """When its provider last answered a request with it."""
        self.last_error = ""
        self.last_error_at = 0.0
        self._look_at = float("-inf")
        self.renew()

    def renew(self) -> None:
        """As new: nothing is known of it, as where its secret was replaced. What runs still counts."""
        self.dead = False
        self.why = ""
        self.since = self.probe_at = self.cooling_until = self.resting_until = 0.0
        self._cool_seconds, self._uncallable = COOL_SECONDS, 0
        self.marked = False
        """Whether an answer would put something right: else `accepted` need not be told."""
        self.at_ease = not self.limits
        """Whether nothing can be in its way: the one question on a request's path."""

    def limit(self, requests: int | None, tokens: int | None, concurrent: int | None) -> None:
        self.limits.set(requests, tokens, concurrent)
        self._settle(float("-inf"))

    def unusable(self, now: float) -> Unusable | None:
        """Why it may not be used now."""
        if self.at_ease:
            return None
        if self.dead and now < self.probe_at:
            return Unusable(Reason.DEAD, self.probe_at, self.why)
        if now < self.cooling_until:
            return Unusable(Reason.COOLING, self.cooling_until, self.why)
        if now < self.resting_until:
            return Unusable(Reason.RESTING, self.resting_until, self.why)
        full = self.limits.full(now, self.running)
        if full is not None:
            return Unusable(Reason.LIMIT, full[0], f"is at its limit of {full[1]}")
        self._settle(now)
        return None

    def began(self, now: float, tokens: int) -> None:
        """A request goes out with it. `tokens` it will probably use."""
        self.running += 1
        if not self.at_ease:
            self.limits.take(now, tokens)
            if self.dead:
                self.probe_at = now + DEAD_SECONDS

    def ended(self, now: float, unused: int) -> None:
        """A request is over. `unused` tokens of its estimate were not used; below zero, more were."""
        self.running -= 1
        if unused and not self.at_ease:
            self.limits.correct(now, -unused)

    def accepted(self, began: float) -> None:
        """A request that began at `began` got an answer. One from before the trouble says nothing about it."""
        if began < self.since:
            return
        self.marked = False
        self._uncallable = 0
        self._cool_seconds = COOL_SECONDS
        if self.dead:
            self.dead, self.probe_at = False, 0.0
            self._settle(began)

    def rejected(self, now: float, why: str) -> bool:
        """Its provider does not accept it; whether that is news."""
        fresh = not self.dead
        if fresh:
            self.since = now
        self.dead, self.why, self.at_ease, self.marked = True, why, False, True
        self.probe_at = now + DEAD_SECONDS
        return fresh

    def cool(self, now: float, seconds: float | None, why: str) -> None:
        """It was refused for now: for `seconds`, or for a growing time where nobody says how long."""
        if seconds is None:
            # Those that were under way together are refused together: they are one refusal.
            if now < self.cooling_until:
                return
            seconds = self._cool_seconds
            self._cool_seconds = min(2 * seconds, MOST_COOL_SECONDS)
        self._trouble(now, why)
        self.cooling_until = max(self.cooling_until, now + seconds)

    def uncallable(self, now: float, why: str) -> None:
        """A request could not be sent with it for want of something of ours."""
        self._uncallable += 1
        self.marked = True
        if self._uncallable >= UNCALLABLE_IN_A_ROW:
            self.cool(now, None, why)

    def rest(self, now: float, seconds: float, why: str) -> None:
        """Its provider says that nothing is left for so long: it rests before it is refused."""
        self._trouble(now, why)
        self.resting_until = now + seconds

    def to_look(self, now: float) -> bool:
        """Whether the headers of an answer are to be read."""
        if now < self._look_at:
            return False
        self._look_at = now + LOOK_SECONDS
        return True

    def failed(self, now: float, error: str) -> None:
        """Remember the last thing that went wrong with it, for people."""
        self.last_error, self.last_error_at = error, now

    def _trouble(self, now: float, why: str) -> None:
        if now >= max(self.cooling_until, self.resting_until) and not self.dead:
            self.since = now
        if not self.dead:
            self.why = why
        self.at_ease, self.marked = False, True

    def _settle(self, now: float) -> None:
        over = now >= max(self.cooling_until, self.resting_until) and not self.dead
        if over:
            self.why = ""
        self.at_ease = over and not self.limits
