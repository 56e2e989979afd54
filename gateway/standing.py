"""How much of its budget a key has used, told to the client with every successful answer.

Claude Code shows these headers' warning and reset; the form is measured from the client (its own gateway contract).
"""

from __future__ import annotations

from datetime import datetime
from functools import lru_cache

from gateway.exchange import Exchange
from governance.domain.allowance import Enforcement, Unit
from governance.domain.book import State

_PREFIX = b"anthropic-ratelimit-unified-"


def headers(exchange: Exchange) -> list[tuple[bytes, bytes]]:
    """The headers of the budget that is closest to its limit, where one blocks, and of a model that was replaced."""
    changed = []
    if exchange.aliased_from:
        changed.append((b"x-comptroller-aliased-from", exchange.aliased_from.encode("ascii", "replace")))
    if exchange.downgraded_from:
        changed.append((b"x-comptroller-downgraded-from", exchange.downgraded_from.encode("ascii", "replace")))
    tightest = _tightest(exchange)
    if tightest is None:
        return changed
    state, share = tightest
    # Below 1 whatever is in flight: at 1 the client believes that it is refused.
    return [*changed, *_told(min(int(share * 100), 99), share >= 0.95, share >= 0.75, state.window.ends_at)]


@lru_cache(maxsize=1024)
def _told(percent: int, nearly: bool, warned: bool, resets_at: datetime | None) -> tuple[tuple[bytes, bytes], ...]:
    status = b"allowed_warning" if warned else b"allowed"
    found = [
        (_PREFIX + b"status", status),
        (_PREFIX + b"representative-claim", b"overage"),
        (_PREFIX + b"overage-status", status),
        (_PREFIX + b"overage-utilization", b"%.2f" % (percent / 100)),
    ]
    if warned:
        found.append((_PREFIX + b"overage-surpassed-threshold", b"0.95" if nearly else b"0.75"))
    if resets_at is not None:
        stamp = str(int(resets_at.timestamp())).encode()
        found += [(_PREFIX + b"reset", stamp), (_PREFIX + b"overage-reset", stamp)]
    return tuple(found)


def _tightest(exchange: Exchange) -> tuple[State, float] | None:
    """The blocking budget with the least room left in proportion, and the share of its limit in force that is used."""
    found: State | None = None
    highest = -1.0
    for hold in exchange.holds:
        for state, _ in hold.taken:
            allowance = state.allowance
            if allowance.unit is Unit.USD and allowance.enforcement is not Enforcement.OBSERVE:
                share = (state.settled + state.used) / state.limit if state.limit else 0.0
                if share > highest:
                    found, highest = state, share
    return None if found is None else (found, highest)
