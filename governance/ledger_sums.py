"""Sums over the ledger: what was charged to customers, teams, projects, developers and keys in a stretch of time."""

from __future__ import annotations

from collections.abc import Collection

from django.db.models import QuerySet, Sum

from governance.domain.access import matches
from governance.domain.windows import Window
from governance.models import LedgerEntry

COLUMNS = {
    "customer": "customer_id",
    "team": "team_id",
    "project": "project_id",
    "developer": "developer_id",
    "virtual_key": "virtual_key_id",
    "provider_access": "provider_access_id",
}
"""The ledger's column of each scope."""


def ledger_sums(scope: str, targets: Collection[int], models: tuple[str, ...], window: Window) -> dict[int, int]:
    """Nano-dollars that the ledger holds for each target of one scope; targets without a charge are absent."""
    column = COLUMNS[scope]
    entries: QuerySet[LedgerEntry] = LedgerEntry.objects.filter(
        **{f"{column}__in": targets}, occurred_at__gte=window.starts_at
    ).order_by()
    if window.ends_at is not None:
        entries = entries.filter(occurred_at__lt=window.ends_at)
    if models:
        # Patterns are matched here, over the few models that occur, exactly as at admission.
        served = entries.values_list("model", flat=True).distinct()
        entries = entries.filter(model__in=[model for model in served if matches(models, model)])
    return {target: int(total) for target, total in entries.values_list(column).annotate(total=Sum("amount_nano_usd"))}
