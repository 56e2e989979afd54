"""Hourly sums of the request log: rebuilt for each hour that changed, never added to, so they always foot to
the log.

Whoever changes request rows marks their hours in the same transaction (`mark`); `rebuild` sums one hour anew.
"""

from __future__ import annotations

import logging
import secrets
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from typing import Any

from django.db import connection, transaction
from django.db.models import Count, Sum

from observability import alarms
from observability.models import ChangedHour, HourlyTotal, HourlyUsage, Request

HOUR = timedelta(hours=1)
GROUP = (
    "customer", "customer_id", "team", "team_id", "project", "developer",
    "virtual_key", "virtual_key_id", "provider", "model", "status",
)  # fmt: skip
SUMS = (
    "input_tokens", "output_tokens", "cache_read_tokens", "cache_write_5m_tokens", "cache_write_1h_tokens",
    "web_searches", "cost_nano_usd",
)  # fmt: skip
_TABLE = ChangedHour._meta.db_table
_MARK = (
    f"INSERT INTO {_TABLE} (hour, token) VALUES (%s, %s) "  # noqa: S608  (constant names)
    "ON CONFLICT (hour) DO UPDATE SET token = excluded.token"
)
_LOCK = 0x726F6C6C
"""First half of the advisory lock's name ("roll"); the hour is the second."""
_OWED = "owed"
"""So begins the token of an hour that is summed and whose alarms failed; a change of its rows replaces it."""

logger = logging.getLogger(__name__)


def hour_of(moment: datetime) -> datetime:
    """Start of the moment's hour, UTC."""
    return moment.astimezone(UTC).replace(minute=0, second=0, microsecond=0)


def mark(moments: Iterable[datetime]) -> None:
    """Note that rows of these moments' hours changed; call in the transaction of the change, as its last
    step.
    """
    token = secrets.token_hex(8)
    with connection.cursor() as cursor:
        # Ascending, so that two batches never wait for each other in a circle; last, so that they
        # wait briefly.
        for hour in sorted({hour_of(moment) for moment in moments}):
            cursor.execute(
                _MARK,
                [connection.ops.adapt_datetimefield_value(hour), token],
            )


def rebuild(hour: datetime) -> int:
    """Sum a marked hour from the log and replace what was there; gives the number of rows.

    Race: rows may be committed while the sums are taken, and another worker may rebuild the same hour. The mark is
    removed only if it is still the one seen before reading; otherwise the hour is marked again and the next sweep
    redoes it. An hour that has fewer requests in the log than in its sums was emptied by retention: the sums stay.
    """
    seen = ChangedHour.objects.filter(hour=hour).values_list("token", flat=True).first()
    if seen is None:
        return 0
    rows = [HourlyUsage(hour=hour, **sums) for sums in _sums(hour)]
    watched = _watch(hour)
    with transaction.atomic():
        if connection.vendor == "postgresql":  # SQLite has one writer at a time anyway
            with connection.cursor() as cursor:
                cursor.execute("SELECT pg_advisory_xact_lock(%s, %s)", [_LOCK, int(hour.timestamp()) // 3600])
        old = HourlyUsage.objects.filter(hour=hour)
        if sum(row.requests for row in rows) >= (old.aggregate(requests=Sum("requests"))["requests"] or 0):
            old.delete()
            HourlyUsage.objects.bulk_create(rows, batch_size=500)
            HourlyTotal.objects.filter(hour=hour).delete()
            HourlyTotal.objects.bulk_create(_totals(hour, rows))
        unchanged = ChangedHour.objects.filter(hour=hour, token=seen)
        done = unchanged.delete()[0] if watched else unchanged.update(token=f"{_OWED}{secrets.token_hex(6)}")
        if not done:
            mark([hour])
    return len(rows)


def _totals(hour: datetime, rows: Iterable[HourlyUsage]) -> list[HourlyTotal]:
    totals: dict[tuple[int | None, str], HourlyTotal] = {}
    for row in rows:
        place = row.customer_id, row.status
        total = totals.get(place) or totals.setdefault(
            place, HourlyTotal(hour=hour, customer_id=row.customer_id, status=row.status)
        )
        for name in ("requests", *SUMS):
            setattr(total, name, getattr(total, name) + getattr(row, name))
    return list(totals.values())


def _watch(hour: datetime) -> bool:
    """Raise the alarms of an hour; False where that failed. The figures do not wait for it."""
    try:
        with transaction.atomic():
            alarms.watch(hour)
    except Exception:
        logger.exception("The alarms of the hour %s failed; they are tried again with the next roll-up.", hour)
        return False
    return True


def roll_up(*, limit: int = 500) -> int:
    """Rebuild the hours that changed, oldest first and at most `limit` of them; gives how many.

    Those that only wait for their alarms come last: however many they are, they keep no figures back.
    """
    marked = ChangedHour.objects.values_list("hour", "token")
    hours = [hour for hour, token in sorted(marked, key=lambda mark: (mark[1].startswith(_OWED), mark[0]))][:limit]
    for hour in hours:
        rebuild(hour)
    return len(hours)


def _sums(hour: datetime) -> Iterable[dict[str, Any]]:
    sums: Iterable[dict[str, Any]] = (
        Request.objects.filter(started_at__gte=hour, started_at__lt=hour + HOUR)
        .order_by()
        .values(*GROUP)
        .annotate(requests=Count("id"), **{name: Sum(name) for name in SUMS})
    )
    return sums
