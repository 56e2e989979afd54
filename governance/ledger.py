"""Write charges to the ledger and say what each budget has spent; both follow from the ledger's time stamps alone.

Each budget's current window has a row with its sum, moved in the transaction that writes the charges. Deleting those
rows loses nothing: they are made anew from the ledger.
"""

from __future__ import annotations

import json
import logging
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from operator import attrgetter
from typing import Any

import msgspec
from django.db import connection

from governance import allowance_rows, watched
from governance.bulk import insert_values
from governance.domain.access import matches
from governance.domain.allowance import ALWAYS, WindowState
from governance.domain.windows import Window, window_at
from governance.ledger_sums import COLUMNS as _TARGETS
from governance.ledger_sums import ledger_sums
from governance.models import AllowanceWindow, Budget, KeyActivity, LedgerEntry
from governance.watched import WatchedBudget, definition, period_of

logger = logging.getLogger(__name__)

__all__ = ["Posting", "adjust", "definition", "figures", "period_of", "post", "touch_keys"]


class Posting(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, gc=False):
    """One charge on its way to the ledger. `id` is the request's ULID; `amount_nano_usd` may be zero.

    Made for every request, of plain values alone: never part of a cycle, so the collector need not know of it.
    """

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
    request_id: str = ""
    """The request that an adjustment corrects; empty for a charge, whose own id it is."""


def post(postings: Sequence[Posting], *, owner: str = "") -> list[WindowState]:
    """Write each charge once and move the windows of the budgets it counts in; call inside a transaction.

    What a charge takes out of a window's headroom comes from the lease of `owner`, the process that admitted it, as
    far as that reaches: held becomes settled. A charge that nobody holds for (a budget made meanwhile, another model
    served than asked for) is written all the same and shown as `beyond` where it passes a hard limit.

    A posting whose id is in the ledger already is not written again: a replay is harmless. Returns the state of each
    window that the postings count in, also of those that a replay left as they were: the caller, who may not know that
    an earlier try was committed, learns that nothing of them is left to write.
    """
    if not postings:
        return []
    given = {posting.id: posting for posting in postings}
    moves = _moves(given.values())
    known = allowance_rows.find(moves.keys(), lock=False)
    now = datetime.now(UTC)
    allowance_rows.make(((move.budget, move.window) for place, move in moves.items() if place not in known), now)
    fresh = _insert(list(given.values()))
    rows = allowance_rows.find(moves.keys(), lock=True)
    leases = allowance_rows.leases_of(owner, [row.id for row in rows.values()]) if owner else {}
    states: list[WindowState] = []
    shrunk: list[tuple[int, int, int]] = []
    for place, move in moves.items():
        row = rows[place]
        posted = sum(move.charges.values())
        added = posted if len(fresh) == len(given) else sum(move.charges[id_] for id_ in move.charges.keys() & fresh)
        leased, version = leases.get(row.id, (0, 0))
        covered = max(0, min(added, leased))
        if row.summed_at is None:
            row.sum_anew(move.budget, move.window, now)
        else:
            row.settled += added
        if covered:
            row.held -= covered
            leased, version = leased - covered, version + 1
            shrunk.append((row.id, leased, version))
        passed = row.excuse()
        if row.strict and passed:
            logger.warning(
                "Charges nobody held for take the hard budget %d %d nano-dollars further beyond its limit.",
                move.budget.id,
                passed,
            )
        states.append(WindowState(move.budget.id, row.definition, row.starts_at, row.settled, posted, leased, version))
    allowance_rows.write(rows.values())
    allowance_rows.write_leases(owner, shrunk)
    return states


@dataclass(slots=True)
class _Move:
    """What a batch does to one window of one budget: nano-dollars by the id of the posting."""

    budget: WatchedBudget
    window: Window
    charges: dict[str, int]


_counted_as = attrgetter(*_TARGETS.values(), "model")


def _moves(postings: Iterable[Posting]) -> dict[allowance_rows.Place, _Move]:
    watched.pin()
    by_target = watched.current().by_target
    moves: dict[allowance_rows.Place, _Move] = {}
    alike: dict[tuple[Any, ...], list[WatchedBudget]] = {}
    """The budgets that count a charge, by what decides that: most charges of a batch have it in common."""
    latest: dict[int, _Move] = {}
    for posting in postings:
        counted_as = _counted_as(posting)
        budgets = alike.get(counted_as)
        if budgets is None:
            budgets = alike[counted_as] = [
                budget
                for scope, target in zip(_TARGETS, counted_as, strict=False)
                for budget in by_target.get((scope, target or 0), ())
                if not budget.models or matches(budget.models, posting.model)
            ]
        for budget in budgets:
            move = latest.get(budget.id)
            if move is None or posting.occurred_at not in move.window:
                window = budget.window(posting.occurred_at)
                place = (budget.key, window.starts_at, budget.definition)
                move = latest[budget.id] = moves.get(place) or moves.setdefault(place, _Move(budget, window, {}))
            move.charges[posting.id] = posting.amount_nano_usd
    return moves


def figures(now: datetime, budgets: Iterable[Budget] | None = None) -> dict[int, WindowState]:
    """What each active budget has settled in the window of `now`, by budget id."""
    chosen = list(Budget.objects.filter(is_active=True).select_related("customer") if budgets is None else budgets)
    places: dict[int, tuple[Window, str]] = {b.pk: (window_at(period_of(b), now), definition(b)) for b in chosen}
    rows = {
        (allowance, starts_at, digest): settled
        for allowance, starts_at, digest, settled in AllowanceWindow.objects.filter(
            allowance__in=[f"budget:{budget.pk}" for budget in chosen],
            starts_at__in={window.starts_at for window, _ in places.values()},
        ).values_list("allowance", "starts_at", "definition", "settled")
    }
    states: dict[int, WindowState] = {}
    missing: dict[tuple[str, Window, tuple[str, ...]], list[Budget]] = defaultdict(list)
    for budget in chosen:
        window, digest = places[budget.pk]
        settled = None if budget.rolling else rows.get((f"budget:{budget.pk}", window.starts_at, digest))
        states[budget.pk] = WindowState(budget.pk, digest, ALWAYS if budget.rolling else window.starts_at, settled or 0)
        if settled is None:
            missing[budget.scope, window, tuple(budget.model_patterns)].append(budget)
    for (scope, window, models), alike in missing.items():
        # Most budgets of a large installation are idle and have no row: together, not one query each.
        targets = {budget.pk: getattr(budget, f"{scope}_id") for budget in alike}
        sums = ledger_sums(scope, set(targets.values()), models, window)
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
_ONCE = "ON CONFLICT DO NOTHING RETURNING id"  # no columns named: the key is (id, occurred_at) where partitioned


def _insert(postings: Sequence[Posting]) -> set[str]:
    """Write what is not there yet with one statement; gives the ids that were written.

    A statement for each row would wait for the interpreter's lock once a row.
    """
    charge, adjustment = LedgerEntry.Kind.CHARGE.value, LedgerEntry.Kind.ADJUSTMENT.value
    stamp = connection.ops.adapt_datetimefield_value
    rows = [
        (p.id, p.request_id or p.id, adjustment if p.request_id else charge, stamp(p.occurred_at), *_values_of(p))
        for p in postings
    ]
    if connection.vendor != "postgresql":
        # SQLite: the trigger that guards history against INSERT OR REPLACE refuses any id that is there already.
        with connection.cursor() as cursor:
            cursor.execute(_KNOWN, [json.dumps([p.id for p in postings])])
            known = {row[0] for row in cursor.fetchall()}
        rows = [row for row in rows if row[0] not in known]
        return {row[0] for row in insert_values("governance_ledgerentry", _COLUMNS, rows, "RETURNING id")}
    document = msgspec.json.encode([dict(zip(_COLUMNS, row, strict=True)) for row in rows]).decode()
    with connection.cursor() as cursor:
        cursor.execute(
            f"INSERT INTO governance_ledgerentry ({_NAMES}) "  # noqa: S608  (constant names)
            f"SELECT {_NAMES} FROM json_populate_recordset(NULL::governance_ledgerentry, %s) {_ONCE}",
            [document],
        )
        return {row[0] for row in cursor.fetchall()}


def adjust(adjustments: Sequence[Posting]) -> list[WindowState]:
    """Write corrections of earlier charges, each once, in the periods that those counted in; inside a transaction.

    Each has an id of its own and the `request_id` of what it corrects; its amount may lie below zero, its tokens are
    zero. The windows' sums move with them, past a hard limit too: what was spent was spent.
    """
    wrong = [adjustment.id for adjustment in adjustments if adjustment.request_id in ("", adjustment.id)]
    if wrong:
        raise ValueError(f"{wrong[0]} names no other request, so it is a charge and no adjustment.")
    return post(adjustments)
