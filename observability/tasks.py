"""Background sweeps of observability: each finds its own work, may run at any time and any number of times."""

from __future__ import annotations

from typing import Any

from celery import shared_task
from django.conf import settings
from django.utils import timezone

from observability import months, retention, rollups
from observability.exports import services, worker
from observability.reconciliation import sweep as reconciliation
from observability.repricing import services as repricing


@shared_task
def roll_up() -> int:
    """Sum the hours whose request rows changed."""
    return rollups.roll_up()


@shared_task
def run_exports() -> int:
    """Write the exports that wait, and those whose worker died."""
    return worker.run_waiting()


@shared_task
def schedule_daily_export() -> int:
    """Queue the exports of the days that ended; `run_exports` writes them."""
    return len(services.schedule_daily(now=timezone.now()))


@shared_task
def make_partitions() -> int:
    """Make the months that the log and the ledger will need on PostgreSQL; gives how many."""
    return len(months.ensure_months(now=timezone.now()))


@shared_task
def run_repricings() -> int:
    """Compute the previews of re-pricings that people asked for; post those that were approved."""
    return repricing.run_waiting()


@shared_task
def apply_retention() -> int:
    """Delete request rows older than COMPTROLLER_LOG_RETENTION_DAYS."""
    keep_days: int = settings.COMPTROLLER["COMPTROLLER_LOG_RETENTION_DAYS"]
    return retention.delete_old(now=timezone.now(), keep_days=keep_days)


@shared_task
def compare_waiting_days() -> int:
    """Compare the days for which newer figures came: a report from a file, a re-pricing."""
    return reconciliation.compare_waiting()


@shared_task
def reconcile_days() -> dict[str, Any]:
    """Lay the last days beside the provider's reports; `error` says why those could not be read."""
    return reconciliation.sweep(now=timezone.now())
