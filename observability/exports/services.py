"""Ask for an export of the request log, schedule the daily ones, and open a finished one."""

from __future__ import annotations

import logging
from datetime import UTC, datetime, timedelta
from typing import BinaryIO

from celery import current_app
from django.core.exceptions import ValidationError
from django.db import transaction
from kombu.exceptions import OperationalError

from governance.models import Customer
from governance.services import audit
from governance.services.audit import Actor
from observability.exports.worker import folder
from observability.models import LogExport

logger = logging.getLogger(__name__)

DAY = timedelta(days=1)
CATCH_UP_DAYS = 31
TASK = "observability.tasks.run_exports"


class NotAvailable(Exception):
    """The export has no file to open; the message says why and what to do."""


def request_export(
    *, format: str, starts_at: datetime, ends_at: datetime, customer: Customer | None, actor: Actor
) -> LogExport:
    """Queue an export of the rows that started in [starts_at, ends_at); `customer` None exports every customer.

    The caller has checked that the actor may see all of it. Raises ValidationError.
    """
    export = LogExport(format=format, starts_at=starts_at, ends_at=ends_at, customer=customer)
    if actor is not None and actor.is_authenticated:
        export.requested_by_id = actor.pk
    if starts_at.tzinfo is None or ends_at.tzinfo is None:
        raise ValidationError("Give both moments with their time zone.")
    export.full_clean()
    with transaction.atomic():
        export.save(force_insert=True)
        audit.record(
            actor=actor,
            action="log_export.requested",
            target=export,
            changes={"format": [None, format], "starts_at": [None, starts_at], "ends_at": [None, ends_at]},
        )
        transaction.on_commit(_start_soon)
    return export


def schedule_daily(*, now: datetime) -> list[LogExport]:
    """Queue an export of each whole day (UTC) that ended since the last scheduled one, in each format.

    Safe to repeat: a constraint keeps one export for each format and day.
    """
    midnight = now.astimezone(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    made: list[LogExport] = []
    for format in LogExport.Format.values:
        last = LogExport.objects.filter(scheduled=True, format=format).order_by("-ends_at").first()
        begin = max(last.ends_at, midnight - CATCH_UP_DAYS * DAY) if last else midnight - DAY
        while begin < midnight:
            export, created = LogExport.objects.get_or_create(
                format=format, starts_at=begin, ends_at=begin + DAY, scheduled=True
            )
            made += [export] if created else []
            begin += DAY
    return made


def open_export(export: LogExport) -> BinaryIO:
    """The finished file, opened for reading; the caller has checked who asks. Raises NotAvailable."""
    if export.status != LogExport.Status.DONE:
        raise NotAvailable(f"This export is {export.get_status_display().lower()}; it has no file yet.")
    path = (folder() / export.path).resolve()
    if path.parent != folder().resolve():
        raise NotAvailable("This export's file lies outside of the exports folder.")
    try:
        return path.open("rb")
    except OSError:
        raise NotAvailable("This export's file is gone from the exports folder; ask for the export again.") from None


def _start_soon() -> None:
    """Wake a worker. Best effort: the sweep of every minute finds the export anyway."""
    try:
        current_app.send_task(TASK, retry=False)
    except (OperationalError, OSError) as error:
        logger.warning("No worker could be woken for an export (%s); the next sweep takes it up.", error)
