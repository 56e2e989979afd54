"""Leases: how gateway processes share one limit without asking each other.

A window's row has what is settled and what is held; the held part is the sum of the leases of all processes. A lease
is granted only while settled and held stay within the limit in force, under a lock on the row: N processes on M
machines cannot oversell. Locks are taken in ascending order of the rows' ids, everywhere.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Collection, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta

from django.db import connection, transaction
from django.db.models import Sum

from governance import allowance_rows, effective, watched
from governance.allowance_rows import Place, Row
from governance.domain.allowance import Answer, Order, Unit, grant
from governance.models import AllowanceWindow, GatewayProcess, Lease
from governance.watched import Watched, WatchedBudget

ALIVE = timedelta(seconds=15)
"""A process counts as alive, for its fair share, this long after its last sign of life."""
WANTED = timedelta(seconds=1)
"""How long a wish for more is remembered."""
ROLL = timedelta(seconds=30)
"""How old a rolling budget's sum may be where it leaves room."""
KEPT = timedelta(hours=1)
"""How long the rows of limits' windows stay after their end."""


def exchange(owner: str, orders: Sequence[Order], *, processes: int, now: datetime) -> tuple[list[Answer], list[Order]]:
    """Carry the orders of one process out in one transaction.

    Returns the answers, and the orders for windows that do not exist: their budget or limit is gone, or counts
    something else than the process believes.
    """
    _make_missing(orders, watched.current(), now)
    with transaction.atomic():
        watched.pin()
        known, stamp = watched.current(), _clock()
        rows = allowance_rows.find([order.place for order in orders], lock=True)
        leases = allowance_rows.leases_of(owner, [row.id for row in rows.values()])
        found = [(order, rows[order.place]) for order in orders if order.place in rows]
        limits = _limits(found, known, now, stamp)
        changed: dict[int, tuple[int, int, int]] = {}
        answers: list[Answer] = []
        touched: list[Row] = []
        for order, row in found:
            before = replace(row)
            amount, version = leases.get(row.id, (0, 0))
            left = _carry_out(order, row, amount, limits.get(row.place), owner, processes, stamp)
            if left != amount:
                version += 1
                changed[row.id] = (row.id, left, version)
            if before != row:
                touched.append(row)
            answers.append(_answer(row, left, version, owner, stamp))
        allowance_rows.write(touched)
        allowance_rows.write_leases(owner, [changed[row_id] for row_id in sorted(changed)])
    return answers, [order for order in orders if order.place not in rows]


def look(owner: str, places: Collection[Place]) -> list[Answer]:
    """How windows stand, without changing them."""
    if not places:
        return []
    stamp = _clock()
    rows = allowance_rows.find(places, lock=False)
    leases = allowance_rows.leases_of(owner, [row.id for row in rows.values()])
    return [_answer(row, *leases.get(row.id, (0, 0)), owner, stamp) for row in rows.values()]


def wanted(owner: str) -> list[Place]:
    """The windows in which this process holds what another asked for a moment ago. One indexed read."""
    found = (
        AllowanceWindow.objects.filter(leases__owner=owner, leases__amount__gt=0, wanted_at__gt=_clock() - WANTED)
        .exclude(wanted_by=owner)
        .values_list("allowance", "starts_at", "definition")
    )
    return list(found)


def register(owner: str, now: datetime) -> None:
    """Enter a process that starts."""
    stamp = _clock()
    GatewayProcess.objects.get_or_create(
        pk=owner,
        defaults={"host": socket.gethostname()[:200], "pid": os.getpid(), "started_at": now, "seen_at": stamp},
    )


def beat(owner: str) -> int:
    """A sign of life; gives how many processes are alive, this one included."""
    stamp = _clock()
    # One that was taken for dead is back: what it leases from now on must be seen.
    GatewayProcess.objects.filter(pk=owner).update(seen_at=stamp, ended_at=None, note="")
    return max(1, GatewayProcess.objects.filter(ended_at__isnull=True, seen_at__gt=stamp - ALIVE).count())


def recover(owner: str, *, note: str) -> int:
    """Give back what a process that ended held; gives the number of leases. Harmless to repeat.

    Call it after the process's spool was replayed: what it had spent is settled by then. What it had used of limits of
    requests and tokens is known to nobody: its leases of those count as used.
    """
    with transaction.atomic():
        watched.pin()
        places = list(Lease.objects.filter(owner=owner, amount__gt=0).values_list("window_id", flat=True))
        windows = AllowanceWindow.objects.select_for_update(of=("self",)).select_related("rate_limit")
        rows = {row.pk: row for row in windows.filter(pk__in=places).order_by("pk")}
        # Read again under the locks: a batch of the same process's ledger rows may have come in between.
        leases = Lease.objects.filter(owner=owner, window_id__in=rows, amount__gt=0)
        ended = [(lease.window_id, lease.amount, lease.version) for lease in leases]
        for window_id, amount, _ in ended:
            row = rows[window_id]
            row.held = max(0, row.held - amount)
            if row.rate_limit is not None and row.rate_limit.unit != Unit.CONCURRENT:
                row.settled += amount
            row.beyond = max(0, min(row.beyond, row.settled + row.held - row.limit))
            row.save(update_fields=["held", "settled", "beyond"])
        allowance_rows.write_leases(owner, [(window_id, 0, version + 1) for window_id, _, version in ended])
        GatewayProcess.objects.filter(pk=owner, ended_at__isnull=True).update(ended_at=_clock(), note=note[:300])
    return len(ended)


def stranded(silent: timedelta) -> dict[str, int]:
    """Processes that are silent for so long and hold leases on money: nano-dollars held, by process id.

    They may have died on a machine whose spool nobody here can read. Their leases stay held until the spool is
    replayed, the period ends, or a person releases them (`recover`): unknown is never zero.
    """
    sums = (
        Lease.objects.filter(
            owner__in=GatewayProcess.objects.filter(ended_at__isnull=True, seen_at__lt=_clock() - silent).values("pk"),
            amount__gt=0,
            window__budget__isnull=False,
        )
        .values_list("owner")
        .annotate(held=Sum("amount"))
        .order_by()
    )
    return dict(sums)


def release_silent_limits(silent: timedelta) -> int:
    """Give back what silent processes hold of limits (not of money); gives the number of leases.

    A process that was only cut off from the database for so long counts what it runs anew when it is back.
    """
    quiet = GatewayProcess.objects.filter(ended_at__isnull=True, seen_at__lt=_clock() - silent).values("pk")
    released = 0
    for lease in Lease.objects.filter(owner__in=quiet, amount__gt=0, window__rate_limit__isnull=False):
        with transaction.atomic():
            watched.pin()
            row = AllowanceWindow.objects.select_for_update().get(pk=lease.window_id)
            lease.refresh_from_db()
            row.held = max(0, row.held - lease.amount)
            if row.rate_limit is not None and row.rate_limit.unit != Unit.CONCURRENT:
                row.settled += lease.amount
            row.save(update_fields=["held", "settled"])
            allowance_rows.write_leases(lease.owner, [(lease.window_id, 0, lease.version + 1)])
            released += 1
    return released


def forget_old(now: datetime, *, most: int = 10_000) -> int:
    """Delete windows of limits that ended long ago and in which nothing is held; gives how many."""
    old = AllowanceWindow.objects.filter(rate_limit__isnull=False, ends_at__lt=now - KEPT, held=0)
    ids = list(old.values_list("pk", flat=True)[:most])
    Lease.objects.filter(window_id__in=ids, amount=0).delete()
    return AllowanceWindow.objects.filter(pk__in=ids, held=0, leases__isnull=True).delete()[0]


def _make_missing(orders: Sequence[Order], known: Watched, now: datetime) -> None:
    """Make the windows that do not exist yet, before any lock is taken: making one never waits with locks held."""
    places = [order.place for order in orders]
    there = allowance_rows.find(places, lock=False)
    missing = (
        (known.by_key[order.allowance.key], order.window)
        for order in orders
        if order.place not in there and _is_current(order, known)
    )
    allowance_rows.make(missing, now)


def _is_current(order: Order, known: Watched) -> bool:
    configured = known.by_key.get(order.allowance.key)
    return configured is not None and configured.definition == order.allowance.definition


def _limits(
    found: Sequence[tuple[Order, Row]], known: Watched, now: datetime, stamp: datetime
) -> dict[Place, tuple[int, bool]]:
    """(limit in force, whether it is hard) of the windows whose configuration is the current one.

    A window that ended has the limit of its last moment: what the next one brings is not for it.
    """
    limits: dict[Place, tuple[int, bool]] = {}
    budgets: dict[datetime, list[tuple[Place, WatchedBudget]]] = {}
    for order, row in found:
        if not _is_current(order, known):
            continue
        configured = known.by_key[order.allowance.key]
        if isinstance(configured, WatchedBudget):
            moment = max(now, order.window.starts_at)
            if order.window.ends_at is not None:
                moment = min(moment, order.window.ends_at - timedelta(microseconds=1))
            budgets.setdefault(moment, []).append((row.place, configured))
            if row.summed_at is None or (configured.period.rolling and _is_worth_summing(order, row, stamp)):
                row.sum_anew(configured, order.window, stamp)
        else:
            limits[row.place] = (configured.limit, configured.strict)
    for moment, group in budgets.items():
        in_force = effective.limits([budget for _, budget in group], moment)
        for place, budget in group:
            limits[place] = (in_force[budget.id].total, budget.strict)
    return limits


def _is_worth_summing(order: Order, row: Row, stamp: datetime) -> bool:
    """What a rolling budget's row says is an upper bound: good while it leaves room, and not for too long."""
    tight = row.limit - row.settled - row.held < max(order.need, order.want)
    return tight or row.summed_at is None or stamp - row.summed_at > ROLL


def _carry_out(
    order: Order,
    row: Row,
    amount: int,
    limit: tuple[int, bool] | None,
    owner: str,
    processes: int,
    stamp: datetime,
) -> int:
    """Change one locked row as one order says; gives the process's lease after it."""
    back = min(order.give, amount)
    amount -= back
    row.held -= back
    if order.used:
        covered = min(order.used, amount)
        amount -= covered
        row.held -= covered
        row.settled += order.used
    if limit is not None:
        row.limit, row.strict = limit
    row.excuse()
    granted = 0
    if limit is not None:
        room = row.limit - row.settled - row.held
        granted = grant(room, order.least, order.need, order.want, processes)
        row.held += granted
    if order.need > granted and row.held > amount + granted:
        row.wanted_at, row.wanted_by = stamp, owner
    return amount + granted


def _answer(row: Row, leased: int, version: int, owner: str, stamp: datetime) -> Answer:
    return Answer(
        allowance=row.allowance,
        starts_at=row.starts_at,
        definition=row.definition,
        limit=row.limit,
        settled=row.settled,
        held=row.held,
        leased=leased,
        version=version,
        wanted=row.wanted_at is not None and row.wanted_at > stamp - WANTED and row.wanted_by not in {"", owner},
    )


def _clock() -> datetime:
    """The database's clock, one for all machines; with SQLite all processes are on this one."""
    if connection.vendor != "postgresql":
        return datetime.now(UTC)
    with connection.cursor() as cursor:
        cursor.execute("SELECT clock_timestamp()")
        moment: datetime = cursor.fetchone()[0]
        return moment.astimezone(UTC)
