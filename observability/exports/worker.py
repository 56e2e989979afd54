"""Run exports that wait: claim one, write its file under another name, publish file and state together.

A worker that dies leaves its export RUNNING with an old sign of life; the next sweep takes it up again from the start.
"""

from __future__ import annotations

import errno
import logging
import os
import secrets
from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from django.conf import settings
from django.db import DatabaseError, transaction
from django.db.models import Q
from django.utils import timezone

from observability.exports.columns import COLUMNS
from observability.exports.writers import Counted, open_writer
from observability.models import LogExport, Request

logger = logging.getLogger(__name__)

CHUNK_ROWS = 5_000
SIGN_OF_LIFE = timedelta(seconds=5)
DEAD_AFTER = timedelta(minutes=2)


class Lost(Exception):
    """Another worker took the export over, or a person deleted it: this one must not publish."""


def folder() -> Path:
    """Where the files lie; made on first use, readable by this user only since rows name people."""
    path = Path(settings.DATA_DIR) / "exports"
    path.mkdir(parents=True, exist_ok=True, mode=0o700)
    return path


def run_waiting() -> int:
    """Run every export that waits or whose worker died; gives how many were finished or failed."""
    count = 0
    while (export := claim(timezone.now())) is not None:
        run(export)
        count += 1
    return count


def claim(now: datetime) -> LogExport | None:
    """Take the oldest waiting export. Race: two workers may see the same one; the compare-and-set lets one have it."""
    dead = Q(status=LogExport.Status.RUNNING) & (Q(claimed_at__lt=now - DEAD_AFTER) | Q(claimed_at__isnull=True))
    export: LogExport
    for export in LogExport.objects.filter(Q(status=LogExport.Status.QUEUED) | dead).order_by("pk"):
        seen = LogExport.objects.filter(pk=export.pk, status=export.status, claimed_at=export.claimed_at)
        if seen.update(status=LogExport.Status.RUNNING, claimed_at=now):
            export.status, export.claimed_at = LogExport.Status.RUNNING, now
            return export
    return None


def run(export: LogExport) -> None:
    """Write a claimed export. It ends DONE or FAILED; with the database away it stays RUNNING for a later sweep."""
    temporary: Path | None = None
    try:
        for leftover in folder().glob(f".{export.pk}-*.part"):
            leftover.unlink(missing_ok=True)
        temporary = folder() / f".{export.pk}-{secrets.token_hex(4)}.part"
        _write(export, temporary)
    except Lost:
        logger.warning("Export %s was taken over by another worker.", export.pk)
    except DatabaseError:
        logger.exception("Export %s was interrupted; a later sweep begins it again.", export.pk)
        raise
    except OSError as error:
        _fail(export, _sentence(error))
    except Exception as error:
        logger.exception("Export %s failed", export.pk)
        _fail(export, f"The export failed with {type(error).__name__}; the worker's log says more. Ask for it again.")
    finally:
        if temporary is not None:
            temporary.unlink(missing_ok=True)


def _write(export: LogExport, temporary: Path) -> None:
    rows = 0
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        counted = Counted(file)
        writer = open_writer(export.format, counted)
        for chunk in _chunks(export):
            writer.write(chunk)
            rows += len(chunk)
            _show_life(export)
        writer.close()
        file.flush()
        os.fsync(file.fileno())
    name = f"requests-{export.starts_at:%Y%m%dT%H%M%S}-{export.ends_at:%Y%m%dT%H%M%S}-{export.pk}.{export.format}"
    with transaction.atomic():
        mine = LogExport.objects.filter(pk=export.pk, status=LogExport.Status.RUNNING, claimed_at=export.claimed_at)
        if not mine.update(
            status=LogExport.Status.DONE, rows=rows, bytes=counted.bytes, sha256=counted.sha256,
            path=name, error="", finished_at=timezone.now(),
        ):  # fmt: skip
            raise Lost
        # Inside the transaction: after a crash between the two the export is RUNNING; the next run replaces the file.
        os.replace(temporary, folder() / name)


def _chunks(export: LogExport) -> Iterator[list[tuple[Any, ...]]]:
    """Rows by time, in short queries that each begin where the last one ended: no lock and no snapshot is held."""
    rows = Request.objects.filter(started_at__lt=export.ends_at).order_by("started_at", "id")
    if export.customer_id is not None:
        rows = rows.filter(customer_id=export.customer_id)
    after: tuple[datetime, str] = (export.starts_at, "")
    while True:
        later = rows.filter(started_at__gte=after[0]).exclude(started_at=after[0], id__lte=after[1])
        chunk = list(later.values_list(*COLUMNS)[:CHUNK_ROWS])
        if chunk:
            yield chunk
        if len(chunk) < CHUNK_ROWS:
            return
        after = (chunk[-1][COLUMNS.index("started_at")], chunk[-1][COLUMNS.index("id")])


def _show_life(export: LogExport) -> None:
    now = timezone.now()
    if export.claimed_at is None or now - export.claimed_at >= SIGN_OF_LIFE:
        mine = LogExport.objects.filter(pk=export.pk, status=LogExport.Status.RUNNING, claimed_at=export.claimed_at)
        if not mine.update(claimed_at=now):
            raise Lost
        export.claimed_at = now


def _fail(export: LogExport, sentence: str) -> None:
    logger.error("Export %s failed: %s", export.pk, sentence)
    LogExport.objects.filter(pk=export.pk, status=LogExport.Status.RUNNING, claimed_at=export.claimed_at).update(
        status=LogExport.Status.FAILED, error=sentence, finished_at=timezone.now()
    )


def _sentence(error: OSError) -> str:
    if error.errno in {errno.ENOSPC, errno.EDQUOT}:
        return "The disk of the exports folder is full. Free some space, then ask for the export again."
    return f"The file could not be written: {error.strerror or error}. Mend that, then ask for the export again."
