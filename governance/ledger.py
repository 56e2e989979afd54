"""Write charges to the ledger and say what each budget has spent; both follow from the ledger's time stamps alone.

Each budget's current window has a row with its sum, moved in the transaction that writes the charges. Deleting those
rows loses nothing: they are made anew from the ledger.
"""

from __future__ import annotations

import hashlib
import json
from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from operator import attrgetter
from typing import Any

from django.db import connection
from django.db.models import Q, QuerySet, Sum

from governance.bulk import insert_values
from governance.domain.access import matches
from governance.domain.allowance import WindowState
from governance.domain.windows import Period, Window, window_at
from governance.models import Budget, BudgetWindow, ConfigurationVersion, KeyActivity, LedgerEntry

_TARGETS = {
    "customer": "customer_id",
    "team": "team_id",
    "project": "project_id",
    "developer": "developer_id",
    "virtual_key": "virtual_key_id",
    "provider_access": "provider_access_id",
}


@dataclass(frozen=True, slots=True)
class Posting:
    """One charge on its way to the ledger. `id` is the request's ULID; `amount_nano_usd` may be zero."""

    id: str
    occurred_at: datetime
    customer_id: int
    team_id: int
    project_id: int | None
    developer_id: int | None
    virtual_key_id: int
    provider_access_id: int | None
    model: str
    amount_nano_usd: int
    tokens: int
    price_id: int | None
    client: str = ""


def period_of(budget: Budget) -> Period:
    """The budget's period as a value; its zone is its own or the customer's."""
    return Period(
        kind=budget.period,
        timezone=budget.timezone or budget.customer.timezone,
        rolling=budget.rolling,
        week_start=budget.week_start,
        fiscal_start_month=budget.fiscal_start_month,
    )


def definition(budget: Budget) -> str:
    """A digest of what the budget counts. Where it changes, sums made under the old one no longer apply."""
    period = period_of(budget)
    parts = (
        budget.scope,
        getattr(budget, f"{budget.scope}_id"),
        period.kind,
        period.timezone,
        period.rolling,
        period.week_start,
        period.fiscal_start_month,
        sorted(budget.model_patterns),
    )
    return hashlib.sha256(repr(parts).encode()).hexdigest()[:16]


@dataclass(frozen=True, slots=True)
class _Watched:
    """A budget as settlement needs it."""

    id: int
    target: tuple[str, int]
    models: tuple[str, ...]
    period: Period
    definition: str


_Sum = tuple[str, Window, tuple[str, ...]]
"""Scope, window and model patterns: what budgets must share to be summed together."""
_ROLLING = datetime.min.replace(tzinfo=UTC)
_watched: tuple[int, Mapping[tuple[str, int], list[_Watched]]] = (-1, {})


def post(postings: Sequence[Posting], *, owner: str = "") -> list[WindowState]:
    """Write each charge once and move the windows of the budgets it counts in; call inside a transaction.

    `owner` is the process whose leases covered the charges.

    A posting whose id is in the ledger already is not written again: a replay is harmless. Returns the state of each
    window that the postings count in, also of those that a replay left as they were: the caller, who may not know that
    an earlier try was committed, learns that nothing of them is left to write.
    """
    if not postings:
        return []
    given = {posting.id: posting for posting in postings}
    moves = _moves(given.values())
    # Ascending order over all processes: two batches never wait for each other in a circle.
    for key in sorted(moves):
        if not moves[key].budget.period.rolling:
            _ensure_window(moves[key].budget, moves[key].window)
    fresh = _insert(list(given.values()))
    states: list[WindowState] = []
    for key in sorted(moves):
        budget, window, charges = moves[key].budget, moves[key].window, moves[key].charges
        posted = sum(charges.values())
        added = posted if len(fresh) == len(given) else sum(charges[id_] for id_ in charges.keys() & fresh)
        settled = 0 if budget.period.rolling else _move(budget, window, added)
        states.append(WindowState(budget.id, budget.definition, window.starts_at, settled, posted))
    return states


@dataclass(slots=True)
class _Move:
    """What a batch does to one window of one budget: nano-dollars by the id of the posting."""

    budget: _Watched
    window: Window
    charges: dict[str, int]


def _moves(postings: Iterable[Posting]) -> dict[tuple[int, datetime], _Move]:
    by_target = _budgets_by_target()
    moves: dict[tuple[int, datetime], _Move] = {}
    latest: dict[int, Window] = {}
    for posting in postings:
        for scope, column in _TARGETS.items():
            for budget in by_target.get((scope, getattr(posting, column) or 0), ()):
                if budget.models and not matches(budget.models, posting.model):
                    continue
                window = latest.get(budget.id)
                if window is None or (posting.occurred_at not in window and not budget.period.rolling):
                    window = latest[budget.id] = window_at(budget.period, posting.occurred_at)
                # A rolling window has no row; all of its charges share one key.
                key = (budget.id, _ROLLING if budget.period.rolling else window.starts_at)
                move = moves.get(key) or moves.setdefault(key, _Move(budget, window, {}))
                move.charges[posting.id] = posting.amount_nano_usd
    return moves


def figures(now: datetime, budgets: Iterable[Budget] | None = None) -> dict[int, WindowState]:
    """What each active budget has settled in the window of `now`, by budget id."""
    chosen = list(Budget.objects.filter(is_active=True).select_related("customer") if budgets is None else budgets)
    rows = {
        (row.budget_id, row.definition, row.starts_at): row.settled_nano_usd
        for row in BudgetWindow.objects.filter(budget__in=chosen).filter(
            Q(ends_at__isnull=True) | Q(ends_at__gt=now - timedelta(days=1))
        )
    }
    states: dict[int, WindowState] = {}
    missing: dict[_Sum, list[Budget]] = defaultdict(list)
    for budget in chosen:
        period, digest = period_of(budget), definition(budget)
        window = window_at(period, now)
        settled = None if period.rolling else rows.get((budget.pk, digest, window.starts_at))
        states[budget.pk] = WindowState(budget.pk, digest, window.starts_at, settled or 0)
        if settled is None:
            missing[budget.scope, window, tuple(budget.model_patterns)].append(budget)
    for (scope, window, models), alike in missing.items():
        # Most budgets of a large installation are idle and have no row: together, not one query each, every second.
        targets = {budget.pk: getattr(budget, f"{scope}_id") for budget in alike}
        sums = _ledger_sums(scope, set(targets.values()), models, window)
        for pk, target in targets.items():
            states[pk] = replace(states[pk], settled=sums.get(target, 0))
    return states


def touch_keys(used: Mapping[int, tuple[datetime, str]]) -> None:
    """Note when keys were last used, and by which client; an older time never replaces a newer one."""
    for key_id, (when, client) in sorted(used.items()):
        if not KeyActivity.objects.filter(pk=key_id, last_used_at__lt=when).update(
            last_used_at=when, client=client[:120]
        ):
            with connection.cursor() as cursor:
                # The key may be gone by now, and another process may note it first: neither is an error.
                cursor.execute(
                    "INSERT INTO governance_keyactivity (virtual_key_id, last_used_at, client) "
                    "SELECT id, %s, %s FROM governance_virtualkey WHERE id = %s ON CONFLICT DO NOTHING",
                    [connection.ops.adapt_datetimefield_value(when), client[:120], key_id],
                )


def _budgets_by_target() -> Mapping[tuple[str, int], list[_Watched]]:
    """Active budgets by what they limit, read again when the configuration changed.

    The shared lock makes a change of configuration wait for batches under way and the other way round, so that a new
    budget's first sum misses no charge and counts none twice.
    """
    global _watched
    if connection.features.has_select_for_update:
        with connection.cursor() as cursor:
            cursor.execute("SELECT version FROM governance_configurationversion WHERE id = 1 FOR SHARE")
            row = cursor.fetchone()
        version = row[0] if row else 0
    else:
        version = ConfigurationVersion.objects.values_list("version", flat=True).first() or 0
    if _watched[0] != version or version == 0:
        by_target: dict[tuple[str, int], list[_Watched]] = defaultdict(list)
        for budget in Budget.objects.filter(is_active=True).select_related("customer"):
            target = (budget.scope, getattr(budget, f"{budget.scope}_id"))
            by_target[target].append(
                _Watched(budget.pk, target, tuple(budget.model_patterns), period_of(budget), definition(budget))
            )
        _watched = (version, by_target)
    return _watched[1]


def _ensure_window(budget: _Watched, window: Window) -> None:
    """Make the window's row where it is missing, with the sum of what the ledger holds before this batch.

    Two processes may try at once: the unique constraint lets one insert, the other waits for it and finds the row.
    """
    with connection.cursor() as cursor:
        cursor.execute(
            "INSERT INTO governance_budgetwindow "
            "(budget_id, definition, starts_at, ends_at, settled_nano_usd, held_nano_usd) "
            "VALUES (%s, %s, %s, %s, 0, 0) ON CONFLICT DO NOTHING",
            [budget.id, budget.definition, _stamp(window.starts_at), _stamp(window.ends_at)],
        )
        made = cursor.rowcount == 1
    scope, target = budget.target
    if made and (before := _ledger_sums(scope, {target}, budget.models, window).get(target)):
        _move(budget, window, before)


def _move(budget: _Watched, window: Window, amount: int) -> int:
    with connection.cursor() as cursor:
        cursor.execute(
            "UPDATE governance_budgetwindow SET settled_nano_usd = settled_nano_usd + %s "
            "WHERE budget_id = %s AND definition = %s AND starts_at = %s RETURNING settled_nano_usd",
            [amount, budget.id, budget.definition, _stamp(window.starts_at)],
        )
        return int(cursor.fetchone()[0])


def _ledger_sums(scope: str, targets: Collection[int], models: tuple[str, ...], window: Window) -> dict[int, int]:
    """What the ledger holds for each target of one scope; targets without a charge are absent."""
    column = _TARGETS[scope]
    entries: QuerySet[LedgerEntry] = LedgerEntry.objects.filter(
        **{f"{column}__in": targets}, occurred_at__gte=window.starts_at
    ).order_by()
    if window.ends_at is not None:
        entries = entries.filter(occurred_at__lt=window.ends_at)
    if models:
        # Patterns are matched here, over the few models that occur, exactly as at admission.
        served = entries.values_list("model", flat=True).distinct()
        entries = entries.filter(model__in=[model for model in served if matches(models, model)])
    return {target: int(total) for target, total in entries.values_list(column).annotate(total=Sum("amount_nano_usd"))}


_COLUMNS = (
    "id", "request_id", "kind", "occurred_at", "customer_id", "team_id", "project_id", "developer_id",
    "virtual_key_id", "provider_access_id", "model", "amount_nano_usd", "tokens", "price_id",
)  # fmt: skip
_NAMES = ", ".join(_COLUMNS)
_values_of = attrgetter(
    "customer_id", "team_id", "project_id", "developer_id", "virtual_key_id", "provider_access_id",
    "model", "amount_nano_usd", "tokens", "price_id",
)  # fmt: skip
_KNOWN = "SELECT id FROM governance_ledgerentry WHERE id IN (SELECT value FROM json_each(%s))"
_ONCE = "ON CONFLICT (id) DO NOTHING RETURNING id"


def _insert(postings: Sequence[Posting]) -> set[str]:
    """Write what is not there yet with one statement; gives the ids that were written.

    A statement for each row would wait for the interpreter's lock once a row.
    """
    rows = [(p.id, p.id, LedgerEntry.Kind.CHARGE.value, _stamp(p.occurred_at), *_values_of(p)) for p in postings]
    if connection.vendor != "postgresql":
        # SQLite: the trigger that guards history against INSERT OR REPLACE refuses any id that is there already.
        with connection.cursor() as cursor:
            cursor.execute(_KNOWN, [json.dumps([p.id for p in postings])])
            known = {row[0] for row in cursor.fetchall()}
        rows = [row for row in rows if row[0] not in known]
        return {row[0] for row in insert_values("governance_ledgerentry", _COLUMNS, rows, "RETURNING id")}
    document = json.dumps([dict(zip(_COLUMNS, row, strict=True)) for row in rows], default=str)
    with connection.cursor() as cursor:
        cursor.execute(
            f"INSERT INTO governance_ledgerentry ({_NAMES}) "  # noqa: S608  (constant names)
            f"SELECT {_NAMES} FROM json_populate_recordset(NULL::governance_ledgerentry, %s) {_ONCE}",
            [document],
        )
        return {row[0] for row in cursor.fetchall()}


def _stamp(moment: datetime | None) -> Any:
    return connection.ops.adapt_datetimefield_value(moment) if moment else None
