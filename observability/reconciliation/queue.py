"""The exceptions queue: opened by a comparison, decided by a person, each decision with a note and an audit entry."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import date, datetime
from typing import Any

from django.core.exceptions import ValidationError
from django.db import connection, transaction
from django.db.models import Sum
from django.utils import timezone

from governance.models import ReconciliationDay, ReconciliationException
from governance.services import audit
from governance.services.audit import Actor
from governance.services.records import lock
from observability.reconciliation.compare import Difference, Key
from observability.reconciliation.ours import OurDay

Status = ReconciliationException.Status
Kind = ReconciliationException.Kind
DECISIONS = (Status.EXPLAINED, Status.IGNORED, Status.ADJUSTED)
_CELL = ("model", "token_class", "workspace_id")
_LOCK = 0x636D705F7265636F
"""Number of the PostgreSQL advisory lock of imports, comparisons and decisions: "cmp_reco"."""


def adjusted(day: date) -> dict[Key, int]:
    """Nano-dollars by cell that adjustments of the day wrote to the ledger, in whichever month they had to count."""
    rows = ReconciliationException.objects.filter(kind=Kind.DIFFERENCE, day=day).exclude(adjusted_nano_usd=0)
    sums = rows.order_by().values_list(*_CELL).annotate(total=Sum("adjusted_nano_usd"))
    return {(model, token_class, workspace): int(total) for model, token_class, workspace, total in sums if total}


def one_at_a_time() -> None:
    """One import, comparison or decision at a time; inside a transaction.

    Two imports would both find the newest day and both add theirs; a comparison beside an adjustment would open again
    what that one just closed. SQLite has one writer at a time anyway.
    """
    if connection.vendor == "postgresql":
        with connection.cursor() as cursor:
            cursor.execute("SELECT pg_advisory_xact_lock(%s)", [_LOCK])


def open_exceptions(row: ReconciliationDay, cells: Iterable[Difference], ours: OurDay, *, now: datetime) -> None:
    """Make the queue say what the comparison found: inside its transaction.

    A decision holds as long as the figures it was made on; other figures are another exception. An adjustment is
    counted in ours, so what differs after it is new, whatever its amount.
    """
    wanted: dict[tuple[str, ...], dict[str, Any]] = {
        (Kind.DIFFERENCE, cell.model, cell.token_class, cell.workspace_id): {
            "ours_nano_usd": cell.ours_nano_usd,
            "theirs_nano_usd": cell.theirs_nano_usd or 0,
            "difference_nano_usd": cell.difference_nano_usd,
            "ours_tokens": cell.ours_tokens,
            "theirs_tokens": cell.theirs_tokens,
            "remark": cell.remark,
        }
        for cell in cells
        if cell.wants_a_decision
    }
    if ours.gaps:
        remark = f"{len(ours.gaps)} finding(s): {'; '.join(ours.gaps[:3])}"
        wanted[Kind.LEDGER, "", "", ""] = {
            "ours_nano_usd": ours.charged,
            "theirs_nano_usd": ours.charged - ours.gap_nano_usd,
            "difference_nano_usd": ours.gap_nano_usd,
            "remark": remark[:300],
        }
    known = ReconciliationException.objects.filter(day=row.day, kind__in=(Kind.DIFFERENCE, Kind.LEDGER))
    decided: dict[tuple[str, ...], ReconciliationException] = {}
    waiting: dict[tuple[str, ...], ReconciliationException] = {}
    for exception in known.order_by("opened_at", "pk"):
        key = (exception.kind, *(getattr(exception, name) for name in _CELL))
        (waiting if exception.status == Status.OPEN else decided)[key] = exception
    for key, figures in wanted.items():
        last = decided.get(key)
        still = last is not None and last.status in (Status.EXPLAINED, Status.IGNORED) and _same(last, figures)
        if (open_one := waiting.pop(key, None)) is not None:
            if still:
                _close(open_one, "The figures are those of an earlier decision again.", now)
            else:
                ReconciliationException.objects.filter(pk=open_one.pk).update(**figures)
        elif not still:
            kind, *cell = key
            ReconciliationException.objects.create(
                kind=kind, day=row.day, **dict(zip(_CELL, cell, strict=True)), **figures, opened_at=now
            )
    for exception in waiting.values():
        _close(exception, "With newer figures there is no such difference any more.", now)


def settle_state(row: ReconciliationDay) -> None:
    """Say on the day what its figures and decisions come to."""
    found = set(
        ReconciliationException.objects.filter(day=row.day, kind__in=(Kind.DIFFERENCE, Kind.LEDGER))
        .exclude(status=Status.GONE)
        .values_list("status", flat=True)
    )
    if Status.OPEN in found:
        row.state = row.State.OFF
    elif row.theirs_nano_usd is None or not row.is_final:
        row.state = row.State.OPEN
    else:
        row.state = row.State.ACCEPTED if found & set(DECISIONS) else row.State.MATCHED
    row.save(update_fields=["state"])


def decide(
    *, exception: ReconciliationException, status: str, note: str, actor: Actor, actor_name: str = ""
) -> ReconciliationException:
    """Explain or ignore an open exception; the note says why. Raises ValidationError, Vanished."""
    with transaction.atomic():
        row = claim(exception, note)
        if status not in (Status.EXPLAINED, Status.IGNORED):
            raise ValidationError({"status": "An exception is explained, ignored or adjusted."})
        return close(row, status, note, actor, actor_name)


def assign(
    *, exception: ReconciliationException, to: Any, actor: Actor, actor_name: str = ""
) -> ReconciliationException:
    """Say who looks into it; None takes it back. Raises ValidationError where it is decided, Vanished."""
    with transaction.atomic():
        row = lock(exception)
        if row.status != Status.OPEN:
            raise ValidationError(f"{row} is decided already ({row.get_status_display().lower()}).")
        before, row.assigned_to = row.assigned_to, to
        row.save(update_fields=["assigned_to"])
        audit.record(
            actor=actor,
            actor_name=actor_name,
            action="exception.assigned",
            target=row,
            changes={"assigned_to": [before and before.get_username(), to and to.get_username()]},
        )
    return row


def claim(exception: ReconciliationException, note: str) -> ReconciliationException:
    """The exception, locked and still open: two people who decide at once are told apart here."""
    if not note.strip():
        raise ValidationError({"note": "Say why; the note is kept with the decision."})
    one_at_a_time()
    row = lock(exception)
    if row.status != Status.OPEN:
        raise ValidationError(f"{row} is decided already ({row.get_status_display().lower()}).")
    return row


def close(
    row: ReconciliationException,
    status: str,
    note: str,
    actor: Actor,
    actor_name: str,
    customer_id: int | None = None,
    **changes: Any,
) -> ReconciliationException:
    """Write a decision and what the day comes to with it; inside a transaction, the row locked.

    `customer_id` is the one customer whose ledger changed with it, for the trail.
    """
    row.status, row.note, row.decided_at = status, note.strip()[:300], timezone.now()
    row.decided_by_id = actor.pk if actor is not None and actor.is_authenticated else None
    row.save(update_fields=["status", "note", "decided_at", "decided_by"])
    audit.record(
        actor=actor,
        actor_name=actor_name,
        action=f"exception.{status}",
        target=row,
        changes={"status": ["open", status], "difference_nano_usd": [row.difference_nano_usd] * 2, **changes},
        note=note,
        customer_id=customer_id,
    )
    if row.kind != Kind.LATE and (day := ReconciliationDay.objects.filter(pk=row.day).first()) is not None:
        settle_state(day)
    return row


def _same(row: ReconciliationException, figures: dict[str, Any]) -> bool:
    return all(
        getattr(row, name) == figures.get(name) for name in ("difference_nano_usd", "ours_tokens", "theirs_tokens")
    )


def _close(row: ReconciliationException, note: str, now: datetime) -> None:
    """By newer figures, not by a person: the note says so."""
    ReconciliationException.objects.filter(pk=row.pk).update(status=Status.GONE, note=note, decided_at=now)
