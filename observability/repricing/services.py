"""Ask for a re-pricing, approve or reject it, and run what waits."""

from __future__ import annotations

import logging
from datetime import datetime
from typing import Any

from celery import current_app
from django.core.exceptions import ValidationError
from django.db import DatabaseError, transaction
from django.db.models import Q
from django.utils import timezone
from kombu.exceptions import OperationalError

from governance.models import AuditEntry, Customer, Repricing
from governance.services import audit
from governance.services.audit import Actor
from governance.services.records import lock
from observability.repricing import posting, preview

logger = logging.getLogger(__name__)

TASK = "observability.tasks.run_repricings"
Status = Repricing.Status


def request_repricing(
    *,
    customer: Customer | None,
    starts_at: datetime,
    ends_at: datetime,
    models: list[str] | None = None,
    reason: str,
    actor: Actor,
) -> Repricing:
    """Queue the preview of a period's costs at today's price book; nothing is charged or changed by it.

    `customer` None means every customer; the caller has checked that the actor may see all of it.
    Raises ValidationError.
    """
    if actor is None or not actor.is_authenticated:
        raise ValidationError("Re-pricing is asked for by a person: another one must approve it.")
    if starts_at.tzinfo is None or ends_at.tzinfo is None:
        raise ValidationError("Give both moments with their time zone.")
    run = Repricing(
        customer=customer, starts_at=starts_at, ends_at=ends_at, model_patterns=models or [], reason=reason.strip()
    )
    run.requested_by_id = actor.pk
    if ends_at > timezone.now():
        raise ValidationError({"ends_at": "The period must have ended: requests that still come in would be missed."})
    run.full_clean()
    with transaction.atomic():
        run.save(force_insert=True)
        audit.record(
            actor=actor,
            action="repricing.requested",
            target=run,
            changes={
                "starts_at": [None, starts_at], "ends_at": [None, ends_at], "models": [None, run.model_patterns],
            },
            note=run.reason,
        )  # fmt: skip
        transaction.on_commit(_start_soon)
    return run


def approve_repricing(*, repricing: Repricing, actor: Actor, note: str = "") -> Repricing:
    """Let the preview's adjustments be posted; by another person than the one who asked. Raises ValidationError."""
    with transaction.atomic():
        run = lock(repricing)
        _must_wait(run)
        if actor is None or not actor.is_authenticated:
            raise ValidationError("Re-pricing is approved by a person.")
        if run.requested_by_id == actor.pk:
            raise ValidationError("Whoever asked for a re-pricing cannot approve it. Another person must.")
        if not run.changed:
            raise ValidationError("No request's cost changes: there is nothing to post. Reject it instead.")
        if _prices_changed_since(run.created_at):
            raise ValidationError(
                "Prices have changed since this preview was asked for, so it no longer says what would be charged "
                "today. Reject it and ask for a new one."
            )
        _decide(run, Status.APPROVED, actor, note)
        transaction.on_commit(_start_soon)
    return run


def reject_repricing(*, repricing: Repricing, actor: Actor, note: str = "") -> Repricing:
    """Drop it; whoever asked may do that too. Nothing was posted. Raises ValidationError."""
    with transaction.atomic():
        run = lock(repricing)
        _must_wait(run)
        _decide(run, Status.REJECTED, actor, note)
    return run


def run_waiting() -> int:
    """Compute the previews that are asked for and post the runs that are approved; gives how many were taken up.

    Safe to repeat and to interrupt: each chunk commits with the place where the next one begins.
    """
    waiting = Repricing.objects.filter(status__in=[Status.QUEUED, Status.APPROVED]).order_by("pk")
    count = 0
    for run in waiting:
        try:
            if run.status == Status.QUEUED:
                preview.compute(run)
            else:
                posting.post(run)
        except DatabaseError:
            logger.exception("Re-pricing %s was interrupted; a later sweep goes on with it.", run.pk)
            raise
        except Exception as error:
            # A preview that cannot be computed fails and says so; an approved run stays, for its adjustments are due.
            logger.exception("Re-pricing %s failed", run.pk)
            sentence = f"{type(error).__name__}: {error}. The worker's log says more."
            Repricing.objects.filter(pk=run.pk, status=Status.QUEUED).update(status=Status.FAILED, error=sentence)
            Repricing.objects.filter(pk=run.pk, status=Status.APPROVED).update(error=sentence)
        count += 1
    return count


def _must_wait(run: Repricing) -> None:
    if run.status != Status.READY:
        raise ValidationError(f"This re-pricing is not waiting for a decision: {run.get_status_display().lower()}.")


def _decide(run: Repricing, status: Repricing.Status, actor: Any, note: str) -> None:
    run.status, run.decided_at, run.decision_note = status, timezone.now(), note[:300]
    run.decided_by_id = actor.pk if actor is not None and actor.is_authenticated else None
    run.save(update_fields=["status", "decided_at", "decided_by", "decision_note"])
    audit.record(
        actor=actor,
        action=f"repricing.{status.value}",
        target=run,
        changes={
            "status": [Status.READY.value, status.value],
            "requests": [0, run.changed],
            "cost_nano_usd": [run.old_nano_usd, run.new_nano_usd],
        },
        note=note,
    )


def _prices_changed_since(moment: datetime) -> bool:
    about = Q()
    for subject in ("price.", "price_override.", "model_alias."):
        about |= Q(action__startswith=subject)
    about |= Q(action__in=["price_proposal.approved", "price_proposal.auto_approved"])
    return AuditEntry.objects.filter(about, at__gt=moment).exists()


def _start_soon() -> None:
    """Wake a worker. Best effort: the sweep of every minute finds the run anyway."""
    try:
        current_app.send_task(TASK, retry=False)
    except (OperationalError, OSError) as error:
        logger.warning("No worker could be woken for a re-pricing (%s); the next sweep takes it up.", error)
