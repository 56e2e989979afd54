"""Posts an approved re-pricing: adjustments in the ledger, each once; nothing that was charged is edited there.

The ledger keeps the charge and gains the difference in the period of the request. The request's row follows the
ledger: its cost is the sum of both, so that every figure made from the log foots to the ledger.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime

from django.db import transaction
from django.utils import timezone

from governance import ledger, watched
from governance.ledger import Posting
from governance.models import LedgerEntry, Repricing, RepricingLine
from governance.services import audit
from observability import rollups
from observability.models import Request
from observability.reconciliation import waiting
from observability.repricing.closed import CLOSED, ClosedMonths
from observability.selectors.costs import cost_entries, ledger_costs

CHUNK_LINES = 500
ACTOR_NAME = "re-pricing"
"""Who the audit trail names for the end of a run."""

GONE = "the request is no longer in the log"
CHANGED = "its cost has changed since the preview"
NO_CHARGE = "the ledger's sum for it is not the cost in the log"


def post(repricing: Repricing) -> None:
    """Post what is left of an approved run. Interrupted anywhere, the next sweep goes on: each line is posted once."""
    while _chunk(repricing.pk):
        pass


def _chunk(pk: int) -> bool:
    """Some lines in one transaction: adjustments, budgets' sums, request rows, the marks of their hours.

    Race: two workers may sweep at once; the lock on the run lets them take turns.
    """
    with transaction.atomic():
        run = Repricing.objects.select_for_update().get(pk=pk)
        if run.status != Repricing.Status.APPROVED:
            return False
        lines = list(run.lines.filter(posted_at=None, skipped="").order_by("occurred_at", "id")[:CHUNK_LINES])
        now = timezone.now()
        if not lines:
            run.status, run.posted_at, run.error = Repricing.Status.POSTED, now, ""
            run.save(update_fields=["status", "posted_at", "error"])
            audit.record(
                actor=None,
                actor_name=ACTOR_NAME,
                action="repricing.posted",
                target=run,
                changes={"posted": [0, run.posted], "posted_nano_usd": [0, run.posted_nano_usd]},
            )
            return False
        # No month is closed between the look at it and the commit: closing one changes the configuration.
        watched.pin()
        posted = _post_lines(lines, now)
        run.posted += len(posted)
        run.posted_nano_usd += sum(line.new_nano_usd - line.old_nano_usd for line in posted)
        run.save(update_fields=["posted", "posted_nano_usd"])
    return True


def _post_lines(lines: Sequence[RepricingLine], now: datetime) -> list[RepricingLine]:
    first, last = lines[0].occurred_at, lines[-1].occurred_at
    wanted = [line.request_id for line in lines]
    rows = {
        row.pk: row
        for row in Request.objects.select_for_update()
        .filter(pk__in=wanted, started_at__gte=first, started_at__lte=last)
        .order_by("pk")
    }
    charged = cost_entries(first, last).filter(request_id__in=wanted, kind=LedgerEntry.Kind.CHARGE)
    charges = {entry.request_id: entry for entry in charged}
    sums = ledger_costs(wanted, first, last)
    closed = ClosedMonths()
    good: list[RepricingLine] = []
    for line in lines:
        row, charge = rows.get(line.request_id), charges.get(line.request_id)
        if row is None:
            line.skipped = GONE
        elif row.cost_nano_usd != line.old_nano_usd or row.cost_quality != line.old_quality:
            line.skipped = CHANGED
        elif charge is None or sums[line.request_id] != line.old_nano_usd:
            line.skipped = NO_CHARGE
        elif closed.holds(charge.customer_id, line.occurred_at):
            line.skipped = CLOSED
        else:
            line.posted_at = now
            row.cost_nano_usd, row.cost_quality = line.new_nano_usd, line.new_quality
            row.price_id = line.price_id
            good.append(line)
    ledger.adjust([_posting(line, charges[line.request_id]) for line in good])
    Request.objects.bulk_update(
        [rows[line.request_id] for line in good], ["cost_nano_usd", "cost_quality", "price_id"], batch_size=100
    )
    RepricingLine.objects.bulk_update(lines, ["posted_at", "skipped"], batch_size=200)
    rollups.mark(line.occurred_at for line in good)
    # Their days were laid beside the bill with the old cost, and may have been adjusted to it.
    waiting.mark({line.occurred_at.astimezone(UTC).date() for line in good}, now)
    return good


def _posting(line: RepricingLine, charge: LedgerEntry) -> Posting:
    """The difference, filed exactly where the charge is; no tokens, which were counted with the charge."""
    return Posting(
        id=line.pk,
        request_id=line.request_id,
        occurred_at=charge.occurred_at,
        customer_id=charge.customer_id,
        team_id=charge.team_id,
        project_id=charge.project_id,
        developer_id=charge.developer_id,
        virtual_key_id=charge.virtual_key_id,
        provider_access_id=charge.provider_access_id,
        model=charge.model,
        amount_nano_usd=line.new_nano_usd - line.old_nano_usd,
        tokens=0,
        price_id=line.price_id,
    )
