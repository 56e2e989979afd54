"""How much of its budget a key has used, told to the client with every successful answer.

Claude Code shows these headers' warning and reset; the form is measured from the client (its own gateway contract).
"""

from __future__ import annotations

from gateway.exchange import Exchange
from governance.domain.allowance import Allowance, Enforcement, Unit

_PREFIX = b"anthropic-ratelimit-unified-"
_THRESHOLDS = ((0.95, b"0.95"), (0.75, b"0.75"))


def headers(exchange: Exchange) -> list[tuple[bytes, bytes]]:
    """The headers of the budget that is closest to its limit; none for a key without one that blocks."""
    changed = []
    if exchange.downgraded_from:
        changed = [(b"x-comptroller-downgraded-from", exchange.downgraded_from.encode("ascii", "replace"))]
    tightest = _tightest(exchange)
    if tightest is None:
        return changed
    allowance, share = tightest
    passed = next((text for limit, text in _THRESHOLDS if share >= limit), None)
    status = b"allowed_warning" if passed else b"allowed"
    found = [
        *changed,
        (_PREFIX + b"status", status),
        (_PREFIX + b"representative-claim", b"overage"),
        (_PREFIX + b"overage-status", status),
        # Below 1 whatever is in flight: at 1 the client believes that it is refused.
        (_PREFIX + b"overage-utilization", b"%.2f" % (min(int(share * 100), 99) / 100)),
    ]
    if passed:
        found.append((_PREFIX + b"overage-surpassed-threshold", passed))
    resets_at = exchange.gateway.book.resets_at(allowance, exchange.record.started_at)
    if resets_at is not None:
        stamp = str(int(resets_at.timestamp())).encode()
        found += [(_PREFIX + b"reset", stamp), (_PREFIX + b"overage-reset", stamp)]
    return found


def _tightest(exchange: Exchange) -> tuple[Allowance, float] | None:
    """The blocking budget with the least room left in proportion, and the share of its limit in force that is used."""
    book, now = exchange.gateway.book, exchange.record.started_at
    found: tuple[Allowance, float] | None = None
    for hold in exchange.holds:
        for allowance in hold.allowances:
            if allowance.unit is not Unit.USD or allowance.enforcement is Enforcement.OBSERVE:
                continue
            used, _, limit = book.figures(allowance, now)
            share = used / limit if limit else 0.0
            if found is None or share > found[1]:
                found = (allowance, share)
    return found
