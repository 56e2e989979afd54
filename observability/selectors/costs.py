"""What requests cost by the ledger: their charges and what re-pricing posted for them, and nothing else.

Another adjustment may name a request too: reconciliation's, for a share of a cell's difference. That is not its cost.
"""

from __future__ import annotations

from collections.abc import Collection
from datetime import datetime

from django.db.models import Exists, OuterRef, Q, QuerySet, Sum

from governance.models import LedgerEntry, RepricingLine


def cost_entries(first: datetime, last: datetime) -> QuerySet[LedgerEntry]:
    """The entries that are the cost of requests which started in this time, both moments included.

    All of a request's entries carry its own start, so the range also spares PostgreSQL the other months' partitions.
    """
    posted = RepricingLine.objects.filter(pk=OuterRef("pk"), posted_at__isnull=False)
    own = Q(kind=LedgerEntry.Kind.CHARGE) | Exists(posted)
    return LedgerEntry.objects.filter(own, occurred_at__gte=first, occurred_at__lte=last).order_by()


def ledger_costs(ids: Collection[str], first: datetime, last: datetime) -> dict[str, int]:
    """Nano-dollars by request; one that has no entry is not there."""
    entries = cost_entries(first, last).filter(request_id__in=ids)
    return {pk: int(total) for pk, total in entries.values_list("request_id").annotate(total=Sum("amount_nano_usd"))}
