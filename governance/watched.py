"""What settlement and leasing need to know of every active budget and limit, read once for each configuration."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime

from django.db import connection

from governance import raises
from governance.domain.allowance import ALWAYS
from governance.domain.windows import Period, Window, window_at
from governance.models import Budget, ConfigurationVersion, RateLimit
from governance.raises import Term


@dataclass(frozen=True, slots=True)
class WatchedBudget:
    """A budget in nano-dollars. `carry_since`: from when on unspent amounts carry over; None where they do not."""

    id: int
    scope: str
    target_id: int
    models: tuple[str, ...]
    period: Period
    definition: str
    limit: int
    strict: bool
    carry_since: datetime | None
    terms: tuple[Term, ...]

    @property
    def key(self) -> str:
        return f"budget:{self.id}"

    def window(self, moment: datetime) -> Window:
        """The window whose row counts what happens at a moment."""
        return Window(ALWAYS, None) if self.period.rolling else window_at(self.period, moment)


@dataclass(frozen=True, slots=True)
class WatchedLimit:
    """A limit of requests, tokens or requests at once."""

    id: int
    unit: str
    definition: str
    limit: int
    strict: bool

    @property
    def key(self) -> str:
        return f"rate:{self.id}"


@dataclass(frozen=True, slots=True)
class Watched:
    """Every active budget and limit, as of one version of the configuration that concerns more than single keys."""

    version: int
    by_target: Mapping[tuple[str, int], list[WatchedBudget]]
    by_key: Mapping[str, WatchedBudget | WatchedLimit]


_known = Watched(-1, {}, {})
PIN = 0x636D705F636F6E66
"""Number of PostgreSQL's advisory lock: "cmp_conf"."""


def current() -> Watched:
    """What is configured now, read again when the configuration changed. To rely on it, `pin` it before."""
    global _known
    version = ConfigurationVersion.objects.values_list("wide", flat=True).first() or 0
    known = _known
    if known.version == version != 0:
        return known
    known = _read(version)
    if known.version > _known.version:
        # Several threads read; one that was slow must not put an older configuration in the place of a newer one.
        _known = known
    return known


def pin(*, exclusive: bool = False) -> None:
    """Until the transaction ends, no configuration changes; with `exclusive`, nothing is settled or leased either.

    Every change of configuration takes it exclusively, in the trigger that raises the version: a new budget's first
    sum misses no charge and counts none twice. It is taken before any window's row is locked. On PostgreSQL an advisory
    lock, whose queue is fair: with a lock on the version's row a change would wait as long as batches overlap. SQLite
    has one writer at a time.
    """
    if connection.vendor == "postgresql":
        with connection.cursor() as cursor:
            mode = "" if exclusive else "_shared"
            cursor.execute(f"SELECT pg_advisory_xact_lock{mode}(%s)", [PIN])


def forget() -> None:
    """Read anew at the next use: for tests, whose emptied tables count versions from one again."""
    global _known
    _known = Watched(-1, {}, {})


def of_budget(budget: Budget, terms: tuple[Term, ...]) -> WatchedBudget:
    """A budget's row as a value; load `customer` with it."""
    return WatchedBudget(
        id=budget.pk,
        scope=budget.scope,
        target_id=getattr(budget, f"{budget.scope}_id"),
        models=tuple(budget.model_patterns),
        period=period_of(budget),
        definition=definition(budget),
        limit=budget.limit_nano_usd,
        strict=budget.enforcement == Budget.Enforcement.HARD,
        carry_since=budget.created_at if budget.carry_over else None,
        terms=terms,
    )


def period_of(budget: Budget) -> Period:
    """The budget's period as a value; its zone is its own or the customer's."""
    return Period(
        kind=budget.period,
        timezone=budget.timezone or budget.customer.timezone,
        rolling=budget.rolling,
        week_start=budget.week_start,
        fiscal_start_month=budget.fiscal_start_month,
    )


def definition(row: Budget | RateLimit) -> str:
    """A digest of what a budget or limit counts. Where it changes, sums made under the old one no longer apply."""
    parts: tuple[object, ...] = (row.scope, getattr(row, f"{row.scope}_id"))
    if isinstance(row, Budget):
        period = period_of(row)
        parts += (period.kind, period.timezone, period.rolling, period.week_start, period.fiscal_start_month)
    else:
        parts += (row.unit, row.per)
    # As text: a row that was just made has the members of its choices where one that was read has their values.
    said = [*map(str, parts), *sorted(row.model_patterns)]
    return hashlib.sha256(repr(said).encode()).hexdigest()[:16]


def _read(version: int) -> Watched:
    terms = raises.in_force(None, datetime.now(UTC))
    budgets = [
        of_budget(budget, tuple(terms.get(budget.pk, ())))
        for budget in Budget.objects.filter(is_active=True).select_related("customer")
    ]
    limits = [
        WatchedLimit(row.pk, row.unit, definition(row), row.limit, row.enforcement == Budget.Enforcement.HARD)
        for row in RateLimit.objects.filter(is_active=True)
    ]
    by_target: dict[tuple[str, int], list[WatchedBudget]] = defaultdict(list)
    for budget in budgets:
        by_target[budget.scope, budget.target_id].append(budget)
    by_key: dict[str, WatchedBudget | WatchedLimit] = {budget.key: budget for budget in budgets}
    by_key.update({limit.key: limit for limit in limits})
    return Watched(version, by_target, by_key)
