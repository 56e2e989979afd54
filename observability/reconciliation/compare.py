"""Lay our figures of a UTC day beside the provider's, cell by cell: model × token class × workspace.

Pure. Amounts are exact Decimal USD while they are compared and whole nano-dollars where they are shown; our
nano-dollars of all cells together are what the request log says for the day, to the last one.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from decimal import ROUND_HALF_EVEN, Context, Decimal
from typing import Literal

from governance.domain.money import show_usd

Key = tuple[str, str, str]
"""Model, token class, workspace id; each may be empty."""
Status = Literal["matched", "within", "off", "only_ours", "only_theirs", "waiting"]

_WIDE = Context(prec=80)
_HALF_NANO = Decimal("5e-10")


@dataclass(frozen=True, slots=True)
class Tolerance:
    """A difference of at most this share of theirs (percent), or of this many USD, is let be."""

    percent: Decimal
    usd: Decimal

    def allows(self, difference: Decimal, theirs: Decimal) -> bool:
        return abs(difference) <= max(self.usd, _WIDE.multiply(abs(theirs), self.percent) / 100)


@dataclass(slots=True)
class Ours:
    """What we counted in one cell."""

    nano_usd: int = 0
    """With what was adjusted before."""
    usd: Decimal = Decimal(0)
    """Exact; `nano_usd` is this with each request rounded once."""
    tokens: int = 0
    """Searches for `web_search`."""
    estimated: int = 0
    """Nano-dollars of requests whose usage the provider did not say."""
    unpriced: int = 0
    """Nano-dollars of requests charged without a price of their own."""
    priority: int = 0
    """Nano-dollars of requests of the Priority Tier, which a cost report leaves out."""
    adjusted: int = 0
    """Nano-dollars that adjustments of this cell wrote to the ledger; they are ours like the requests'."""

    def adjust(self, nano_usd: int) -> None:
        self.adjusted += nano_usd
        self.nano_usd += nano_usd
        self.usd += Decimal(nano_usd).scaleb(-9)


@dataclass(frozen=True, slots=True)
class Difference:
    """One cell of the comparison. `theirs_*` is None where there is no such report of the day."""

    model: str
    token_class: str
    workspace_id: str
    ours_nano_usd: int
    theirs_nano_usd: int | None
    ours_tokens: int
    theirs_tokens: int | None
    status: Status
    remark: str = ""

    @property
    def difference_nano_usd(self) -> int:
        """Ours less theirs; nothing while they have not said."""
        return 0 if self.theirs_nano_usd is None else self.ours_nano_usd - self.theirs_nano_usd

    @property
    def wants_a_decision(self) -> bool:
        return self.status in ("off", "only_ours", "only_theirs")


def compare(
    ours: Mapping[Key, Ours],
    cost: Mapping[Key, Decimal] | None,
    usage: Mapping[Key, int] | None,
    tolerance: Tolerance,
) -> list[Difference]:
    """Every cell that either side knows, in order. `cost` in USD and `usage` in tokens, None without a report."""
    keys = {*ours, *(cost or {}), *(usage or {})}
    return [
        _cell(
            key,
            ours.get(key) or Ours(),
            None if cost is None else cost.get(key, Decimal(0)),
            None if usage is None else usage.get(key, 0),
            tolerance,
        )
        for key in sorted(keys)
    ]


def to_nano(usd: Decimal) -> int:
    """Whole nano-dollars of an exact amount, rounded half-even."""
    return int(usd.scaleb(9, _WIDE).to_integral_value(ROUND_HALF_EVEN))


def _cell(key: Key, ours: Ours, theirs: Decimal | None, tokens: int | None, tolerance: Tolerance) -> Difference:
    gap = Decimal(0) if theirs is None else _WIDE.subtract(ours.usd, theirs)
    token_gap = 0 if tokens is None else ours.tokens - tokens
    return Difference(
        *key,
        ours_nano_usd=ours.nano_usd,
        theirs_nano_usd=None if theirs is None else to_nano(theirs),
        ours_tokens=ours.tokens,
        theirs_tokens=tokens,
        status=_status(ours, theirs, gap, token_gap, tokens, tolerance),
        remark=_remark(key, ours, token_gap),
    )


def _status(
    ours: Ours, theirs: Decimal | None, gap: Decimal, token_gap: int, tokens: int | None, tolerance: Tolerance
) -> Status:
    if theirs is None:
        return "off" if token_gap else "waiting"
    if abs(gap) < _HALF_NANO and not token_gap:
        return "matched"
    unexplained = _WIDE.subtract(gap, Decimal(ours.priority).scaleb(-9, _WIDE))
    if tolerance.allows(gap, theirs) or (ours.priority and tolerance.allows(unexplained, theirs)):
        return "within"
    if not theirs and not tokens:
        return "only_ours"
    if not ours.usd and not ours.tokens:
        return "only_theirs"
    return "off"


def _remark(key: Key, ours: Ours, token_gap: int) -> str:
    """What is known about the cause, in sentences."""
    parts = []
    if token_gap:
        what = "search" if key[1] == "web_search" else "token"
        what += "" if abs(token_gap) == 1 else "es" if what == "search" else "s"
        side = "more on our side" if token_gap > 0 else "more on theirs"
        parts.append(f"{abs(token_gap):,} {what} {side}.")
    if key[1] == "unassigned":
        parts.append("Charged, but the stored usage and price do not explain it class by class.")
    for amount, words in (
        (ours.priority, "was served by the Priority Tier, which the cost report leaves out"),
        (ours.unpriced, "had no price and was charged at the dearest rate"),
        (ours.estimated, "is estimated: the provider's answer broke off"),
        (ours.adjusted, "was adjusted before"),
    ):
        if amount:
            parts.append(f"{show_usd(amount)} of ours {words}.")
    return " ".join(parts)[:300]
