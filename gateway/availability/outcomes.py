"""How one attempt at a provider ended, and why a credential is not to be asked now."""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum

import msgspec

HeaderPairs = Sequence[tuple[bytes, bytes]]
"""Names in lower case."""


class Result(StrEnum):
    """What an attempt says about its target. The six of `providers.base.Verdict` have its values: `Result(v.value)`."""

    OK = "ok"
    RELAY = "relay"
    """The client's own mistake: the provider works."""
    MODEL = "model"
    RATE_LIMITED = "rate_limited"
    OVERLOADED = "overloaded"
    FAILED = "failed"
    CREDENTIAL = "credential"
    CONNECT = "connect"
    """No connection, or it broke before an answer began."""
    TIMEOUT = "timeout"
    CUT = "cut"
    """An answer that began and did not end as it should."""
    CANNOT_CALL = "cannot_call"
    """Nothing was sent for want of something of ours, for example a token."""
    NOTHING = "nothing"
    """It says nothing about the target: the client left, the gateway stopped, the request could not be noted."""


TROUBLE = frozenset({Result.OVERLOADED, Result.FAILED, Result.CONNECT, Result.TIMEOUT, Result.CUT})
"""What counts against the provider itself."""

IN_WORDS = {
    Result.OVERLOADED: "overloaded",
    Result.FAILED: "failed",
    Result.CONNECT: "no connection",
    Result.TIMEOUT: "no answer in time",
    Result.CUT: "its answer broke off",
    Result.RATE_LIMITED: "rate limited",
    Result.CREDENTIAL: "rejected the credential",
    Result.CANNOT_CALL: "cannot be called",
}


class Outcome(msgspec.Struct, frozen=True):
    """The end of one attempt. `detail` is for those who run the gateway: nothing secret in it."""

    result: Result
    status: int | None = None
    headers: HeaderPairs = ()
    """Of the answer, where they were not told by `Turn.answered`."""
    retry_after: float | None = None
    """Seconds, where the body says it; else the headers are read."""
    tokens: int | None = None
    """All that it used, prompt and answer; None where that is unknown: then the estimate stays."""
    latency: float | None = None
    """Seconds to the end of the answer, as `ttft` to its first content."""
    ttft: float | None = None
    detail: str = ""
    said: str = ""
    """The provider's own words, without secrets."""

    def in_words(self) -> str:
        """What went wrong for anybody to read, `/readyz` included: `overloaded (529)`."""
        words = IN_WORDS.get(self.result, "")
        if self.result is Result.CANNOT_CALL and self.detail:
            words = self.detail
        return f"{words} ({self.status})" if self.status else words

    def in_detail(self) -> str:
        """The same for those who run the gateway: it may name addresses."""
        known = not self.detail or self.detail.startswith(self.result.value)
        told = self.in_words() if known else self.detail
        return f"{told}: {self.said}" if self.said else told


class Reason(StrEnum):
    """Why a target is not to be asked."""

    BREAKER = "breaker"
    DEAD = "dead"
    COOLING = "cooling"
    RESTING = "resting"
    LIMIT = "limit"


class Unusable(msgspec.Struct, frozen=True):
    """Why a target is not to be asked now."""

    reason: Reason
    until: float
    """When it may be asked again, in seconds of the clock that was given."""
    why: str
    """Reads on after the name of the provider or credential: `rests after 429 until 12:00:05 UTC` without the time."""

    @property
    def last_resort(self) -> bool:
        """Whether it may be asked all the same where nothing else is left: the provider would only refuse it again.

        So is a rejected credential, which may have been mended there; not one at a limit that was set here.
        """
        return self.reason is not Reason.LIMIT
