"""What the log tells of charges without a price: the provider, the platform, and the price list's name of the model."""

from __future__ import annotations

from collections.abc import Collection

from django.db.models import OuterRef, Subquery, Value
from django.db.models.functions import Coalesce

from governance.selectors_prices import RequestLog
from observability.models import Request


def served(ids: Collection[str]) -> dict[str, tuple[str, str]]:
    """(platform, priced_as) of the attempt that each of the requests was charged for last."""
    found = {}
    for pk, attempts in Request.objects.filter(pk__in=ids).values_list("pk", "attempts"):
        charged = [attempt for attempt in attempts if attempt.get("platform")]
        if charged:
            found[pk] = (str(charged[-1]["platform"]), str(charged[-1].get("priced_as", "")))
    return found


LOG = RequestLog(
    Coalesce(Subquery(Request.objects.filter(pk=OuterRef("request_id")).order_by().values("provider")[:1]), Value("")),
    served,
)
