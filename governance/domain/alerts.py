"""Rules of alerts over plain values: which thresholds are passed, when a message is tried again, signatures."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Iterable
from datetime import timedelta

RETRIES = (
    timedelta(minutes=1),
    timedelta(minutes=5),
    timedelta(minutes=30),
    timedelta(hours=2),
    timedelta(hours=6),
)
"""How long after each failed attempt the next one is made; after the last the message has failed."""


def passed(*, spent: int, limit: int, thresholds: Iterable[int]) -> tuple[int, ...]:
    """The thresholds, in percent, that `spent` of `limit` has reached; ascending, each once. Both in nano-dollars.

    A limit of zero lets nothing through: it is passed by the first amount spent, not by nothing.
    """
    if spent <= 0:
        return ()
    return tuple(sorted({percent for percent in thresholds if spent * 100 >= percent * limit}))


def whole_percent(*, spent: int, limit: int) -> int | None:
    """The share in whole percent, rounded down, so that 99.9% never reads as 100%; None where nothing is allowed."""
    return spent * 100 // limit if limit > 0 else None


def wait_after(attempts: int) -> timedelta | None:
    """How long to wait after so many failed attempts (from 1 on); None where no further one is made."""
    return RETRIES[attempts - 1] if 1 <= attempts <= len(RETRIES) else None


def signature(secret: str, body: bytes, *, sent_at: int) -> str:
    """The value of `x-comptroller-signature`: `t=<unix seconds>,v1=<hex HMAC-SHA-256 of "<t>.<body>">`."""
    digest = hmac.new(secret.encode(), f"{sent_at}.".encode() + body, hashlib.sha256).hexdigest()
    return f"t={sent_at},v1={digest}"
