"""Days whose figures became newer than their comparison: marked at once, compared by a worker."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from datetime import date, datetime

from celery import current_app
from django.db import transaction
from django.utils import timezone
from kombu.exceptions import OperationalError

from governance.models import ReconciliationDay

logger = logging.getLogger(__name__)

TASK = "observability.tasks.compare_waiting_days"


def mark(days: Iterable[date], now: datetime | None = None) -> None:
    """Have days compared again that were compared before, or wait to be; inside a transaction."""
    known = ReconciliationDay.objects.filter(pk__in=list(days))
    if known.update(waiting_since=now or timezone.now()):
        transaction.on_commit(_start_soon)


def mark_new(days: Iterable[date], now: datetime | None = None) -> None:
    """Have days compared for which a report came, known or not; inside a transaction."""
    days, now = list(days), now or timezone.now()
    missing = [ReconciliationDay(day=day, waiting_since=now) for day in days]
    ReconciliationDay.objects.bulk_create(missing, ignore_conflicts=True, batch_size=200)
    mark(days, now)


def waiting_days() -> list[date]:
    """The newest first: those are looked at."""
    return list(ReconciliationDay.objects.filter(waiting_since__isnull=False).values_list("day", flat=True))


def _start_soon() -> None:
    """Wake a worker. Best effort: the sweep of every minute finds the days anyway."""
    try:
        current_app.send_task(TASK, retry=False)
    except (OperationalError, OSError) as error:
        logger.warning("No worker could be woken to compare days (%s); the next sweep takes them up.", error)
