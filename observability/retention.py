"""Delete request rows past their retention, in small batches; the ledger and the roll-ups stay."""

from __future__ import annotations

from datetime import datetime, timedelta

from observability.models import ChangedHour, Request
from observability.rollups import hour_of

BATCH_ROWS = 1_000
MAX_BATCHES = 200


def delete_old(*, now: datetime, keep_days: int, max_batches: int = MAX_BATCHES) -> int:
    """Delete rows that started more than `keep_days` days ago (0: none), whole hours only; gives how many.

    Hours that are not rolled up yet wait, with all after them: their sums need the rows. At most `max_batches` batches
    a call, each its own short transaction; the next call goes on.
    """
    if not keep_days:
        return 0
    before = hour_of(now - timedelta(days=keep_days))
    unsummed = ChangedHour.objects.order_by("hour").values_list("hour", flat=True).first()
    if unsummed is not None:
        before = min(before, unsummed)
    deleted = 0
    for _ in range(max_batches):
        oldest = Request.objects.filter(started_at__lt=before).order_by("started_at", "id")
        ids = list(oldest.values_list("id", flat=True)[:BATCH_ROWS])
        if not ids:
            break
        deleted += Request.objects.filter(id__in=ids).delete()[0]
    return deleted
