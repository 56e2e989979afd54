"""What reconciliation's adjustments came to: ledger rows that no request's cost shows."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from django.db.models import Exists, OuterRef, Sum

from governance.models import Customer, LedgerEntry, ReconciliationException, RepricingLine
from governance.querysets import scope_filter


def adjusted_between(user: Any, start: datetime, end: datetime) -> int:
    """Nano-dollars of adjustments in [start, end) that the user may see; log and this together are the ledger.

    What a re-pricing posts is left out: the request's own cost has it already. The ledger is only looked at where
    something was ever adjusted, and by customer, which its index is made for.
    """
    if not ReconciliationException.objects.exclude(adjusted_nano_usd=0).exists():
        return 0
    rows = LedgerEntry.objects.filter(
        customer_id__in=list(Customer.objects.visible_to(user).values_list("pk", flat=True)),
        occurred_at__gte=start,
        occurred_at__lt=end,
        kind=LedgerEntry.Kind.ADJUSTMENT,
        price_id__isnull=True,
    )
    mine = scope_filter(user, customer="customer_id", team="team_id")
    if mine is not None:
        rows = rows.filter(mine)
    rows = rows.exclude(Exists(RepricingLine.objects.filter(pk=OuterRef("pk"))))
    return int(rows.order_by().aggregate(total=Sum("amount_nano_usd"))["total"] or 0)
