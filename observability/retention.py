"""Delete request rows past their retention; the ledger and the roll-ups stay.

On PostgreSQL a month that is past it as a whole is dropped, which takes no longer for many rows than for few; what is
left, and everything on SQLite, goes in small batches.
"""

from __future__ import annotations

import logging
from datetime import datetime, timedelta

from django.db import OperationalError

from governance import partitions
from observability.models import ChangedHour, Request
from observability.months import LOG
from observability.rollups import hour_of

logger = logging.getLogger(__name__)
BATCH_ROWS = 1_000
MAX_BATCHES = 200


def delete_old(*, now: datetime, keep_days: int, max_batches: int = MAX_BATCHES) -> int:
    """Delete rows that started more than `keep_days` days ago (0: none), whole hours only; gives how many.

    Hours that are not rolled up yet wait, with all after them: their sums need the rows. At most `max_batches` batches
    a call, each its own short transaction; the next call goes on.
    """
    if not keep_days:
        return 0

    def limit() -> datetime:
        before = hour_of(now - timedelta(days=keep_days))
        unsummed = ChangedHour.objects.order_by("hour").values_list("hour", flat=True).first()
        return before if unsummed is None else min(before, unsummed)

    deleted = 0
    try:
        deleted = sum(month.rows for month in partitions.drop_older_than(LOG, limit))
    except OperationalError as error:
        logger.warning("An old month of the log could not be dropped, its rows go in batches: %s", error)
    before = limit()
    for _ in range(max_batches):
        oldest = Request.objects.filter(started_at__lt=before).order_by("started_at", "id")
        ids = list(oldest.values_list("id", flat=True)[:BATCH_ROWS])
        if not ids:
            break
        deleted += Request.objects.filter(id__in=ids, started_at__lt=before).delete()[0]
    return deleted
