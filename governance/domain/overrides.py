"""What a customer pays instead of the list price: a discount, a markup, or rates of its own, by date and model."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal

from governance.domain.access import matches

_EXACT_ID = 1_000_000
_REMEMBERED = 4096


@dataclass(frozen=True, slots=True)
class Override:
    """One agreement with one customer. Either `percent` or `rates` is set."""

    id: int
    customer_id: int
    effective_from: datetime
    effective_to: datetime | None = None
    """From then on it is no longer in force."""
    platform: str = ""
    """Empty: every platform."""
    models: tuple[str, ...] = ()
    """Ids or patterns; empty: every model."""
    percent: Decimal | None = None
    """Signed: -12.5 takes 12.5 % off the whole charge, web searches included."""
    rates: Mapping[str, Decimal] = field(default_factory=dict)
    """USD per million tokens by class, in place of the list's, in every tier. Factors (`fast`, `us`, …) still apply."""

    def in_force(self, at: datetime) -> bool:
        return self.effective_from <= at and (self.effective_to is None or at < self.effective_to)


class Overrides:
    """The agreements of all customers, and which of them a request takes. Answers are remembered, within bounds."""

    __slots__ = ("_by_customer", "_fitting")

    def __init__(self, overrides: Iterable[Override] = ()) -> None:
        self._by_customer: dict[int, list[Override]] = defaultdict(list)
        for override in overrides:
            self._by_customer[override.customer_id].append(override)
        self._fitting: dict[tuple[int, str, tuple[str, ...]], tuple[Override, ...]] = {}

    def concern(self, customer_id: int | None) -> bool:
        """Whether a customer has an agreement at all."""
        return customer_id in self._by_customer

    def find(self, customer_id: int | None, platform: str, names: tuple[str, ...], at: datetime) -> Override | None:
        """The one that a request of the customer takes; None where no agreement fits.

        `names` are the ids of one model: as it was served and as the catalog lists it. Where several fit: first the
        most specific pattern (an exact id, then the pattern with the most literal characters, then none at all), then
        the one that names the platform, then the latest `effective_from`, then the highest id. So the choice never
        depends on the order of rows.
        """
        if customer_id is None or customer_id not in self._by_customer:
            return None
        fitting = self._fitting.get((customer_id, platform, names))
        if fitting is None:
            fitting = self._fit(customer_id, platform, names)
        return next((override for override in fitting if override.in_force(at)), None)

    def _fit(self, customer_id: int, platform: str, names: tuple[str, ...]) -> tuple[Override, ...]:
        """Those that fit the model at any time, the one to be preferred first."""
        ranked = [
            ((specific, bool(override.platform), override.effective_from, override.id), override)
            for override in self._by_customer[customer_id]
            if override.platform in ("", platform) and (specific := specificity(override.models, names)) is not None
        ]
        fitting = tuple(override for _, override in sorted(ranked, key=lambda one: one[0], reverse=True))
        if len(self._fitting) >= _REMEMBERED:
            self._fitting.clear()
        self._fitting[customer_id, platform, names] = fitting
        return fitting


def specificity(patterns: tuple[str, ...], names: Iterable[str]) -> int | None:
    """How closely the best fitting pattern names the model: 0 for no pattern at all; None where none fits."""
    if not patterns:
        return 0
    known = tuple(names)
    fitting = [_literal(pattern) for pattern in patterns if any(matches((pattern,), name) for name in known)]
    return max(fitting, default=None)


def _literal(pattern: str) -> int:
    """Literal characters of a pattern; an exact id is above every pattern."""
    pattern = pattern.removesuffix("[1m]")
    if not any(mark in pattern for mark in "*?["):
        return _EXACT_ID
    return 1 + len(re.sub(r"\[[^\]]*\]|[*?]", "", pattern))
