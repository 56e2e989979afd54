"""Gateway processes that died out of reach: a person releases what they hold; old ones are forgotten."""

from __future__ import annotations

from datetime import datetime, timedelta

from django.core.exceptions import PermissionDenied, ValidationError
from django.db import transaction
from django.db.models import Q

from governance import leases
from governance.domain.allowance import Unit
from governance.models import GatewayProcess, Lease
from governance.querysets import sees_every_customer
from governance.selectors_processes import SILENT, ProcessStatus, process_statuses
from governance.services import audit
from governance.services.audit import Actor

KEPT = timedelta(days=30)
"""How long an ended process stays in the list."""
_PERMISSION = "governance.release_gatewayprocess"


def may_release(user: Actor) -> bool:
    """Whether a user may decide this: it reaches the budgets of every customer."""
    return user is not None and user.has_perm(_PERMISSION) and sees_every_customer(user)  # type: ignore[union-attr]


def release(*, process: GatewayProcess, reason: str, actor: Actor) -> ProcessStatus:
    """Give back all that a silent process holds, for good; gives what that was.

    What it had admitted and its spool never told is not covered any more: should the spool come back, those charges
    are written all the same and may lie above a limit. Raises PermissionDenied, ValidationError.
    """
    if not may_release(actor):
        raise PermissionDenied(f"To release a process's holds takes {_PERMISSION} and every customer in sight.")
    if not reason.strip():
        raise ValidationError("Say why, for the audit trail.")
    with transaction.atomic():
        before = _refuse_unless_silent(process, actor)
        count = leases.recover(process.pk, note=f"released by {actor}: {reason.strip()}")
        # It may have come back while we waited for its windows: then all of this is undone.
        process.refresh_from_db()
        if process.seen_at != before.process.seen_at:
            raise ValidationError("It gave a sign of life just now: nothing was released.")
        audit.record(
            actor=actor,
            action="gateway_process.released",
            target=process,
            changes={
                "leases": [count, 0],
                **{
                    "held_nano_usd" if unit == Unit.USD else f"held_{unit}": [amount, 0]
                    for unit, amount in before.held.items()
                },
            },
            note=reason.strip(),
        )
    return before


def forget_ended(now: datetime) -> int:
    """Delete processes that ended, or fell silent holding nothing, over 30 days ago; gives how many."""
    old = GatewayProcess.objects.filter(Q(ended_at__lt=now - KEPT) | Q(ended_at=None, seen_at__lt=now - KEPT))
    ids = set(old.values_list("pk", flat=True)[:1000])
    Lease.objects.filter(owner__in=ids, amount=0).delete()
    ids -= set(Lease.objects.filter(owner__in=ids).values_list("owner", flat=True))
    return GatewayProcess.objects.filter(pk__in=ids).delete()[0]


def _refuse_unless_silent(process: GatewayProcess, actor: Actor) -> ProcessStatus:
    row = GatewayProcess.objects.get(pk=process.pk)
    status = process_statuses([row], actor)[row.pk]
    if row.ended_at is not None:
        raise ValidationError(f"It ended at {row.ended_at:%Y-%m-%d %H:%M} UTC ({row.note}) and holds nothing.")
    if not status.may_be_released:
        raise ValidationError(
            f"Its last sign of life is {int(status.silent_for.total_seconds())} s old. A process that may be running "
            f"needs what it holds: release it after {SILENT // timedelta(minutes=1)} minutes of silence."
        )
    return status
