"""Models that were charged without a price, and models whose tokens cost nothing: what an alarm and a page are made of.

Both are read from the ledger. Amounts are nano-dollars. And which models that are not Claude's need a price.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django.db.models import Count, Exists, Max, Min, OuterRef, QuerySet, Sum

from governance.domain.pricing import OTHER_PLATFORMS
from governance.domain.provider_kinds import KINDS
from governance.models import LedgerEntry, ModelAlias, Price, Provider, ProviderAccess
from governance.querysets import scope_filter


@dataclass(frozen=True, slots=True)
class PriceGap:
    """One model, as it was served, with what was charged for it since a moment."""

    model: str
    first_seen: datetime
    last_seen: datetime
    requests: int
    tokens: int
    charged_nano_usd: int


def wanted_models() -> dict[str, frozenset[str]]:
    """By platform, the ids of models that are not Claude's whose prices are followed.

    Those that an active provider maps to or a key names, and those that have a price or stand for another id already.
    """
    found: dict[str, set[str]] = {platform: set() for platform in OTHER_PLATFORMS}
    platforms = {kind: each.platform for kind, each in KINDS.items() if each.platform in OTHER_PLATFORMS}
    providers = Provider.objects.filter(is_active=True, kind__in=platforms)
    for kind, model_map in providers.values_list("kind", "model_map"):
        found[platforms[kind]].update(model_map.values())
    accesses = ProviderAccess.objects.filter(provider__in=providers)
    for kind, patterns in accesses.values_list("provider__kind", "model_patterns").distinct():
        found[platforms[kind]].update(pattern for pattern in patterns if not set("*?[") & set(pattern))
    rows = (
        *Price.objects.filter(platform__in=found).values_list("platform", "model_id").distinct(),
        *ModelAlias.objects.filter(platform__in=found).values_list("platform", "model_id"),
    )
    for platform, model_id in rows:
        found[platform].add(model_id)
    return {platform: frozenset(ids) for platform, ids in found.items()}


def unpriced_models(since: datetime, *, user: Any = None) -> list[PriceGap]:
    """Models charged at the dearest known rate because they have no price, the dearest first.

    A request that was re-priced since is settled and no longer counts. With `user`, only what that person may see.
    """
    repriced = LedgerEntry.objects.filter(
        request_id=OuterRef("request_id"), kind=LedgerEntry.Kind.ADJUSTMENT, price_id__isnull=False
    )
    return _gaps(_charges(since, user).filter(price_id__isnull=True, amount_nano_usd__gt=0).exclude(Exists(repriced)))


def zero_cost_models(since: datetime, *, user: Any = None) -> list[PriceGap]:
    """Models of which every charge was zero although tokens were used: an alarm, not a bargain.

    A single charge of zero is none: a refusal without content is free by rule.
    """
    grouped = _by_model(_charges(since, user).filter(tokens__gt=0))
    return _values(grouped.filter(charged=0).order_by("-used", "model"))


def _charges(since: datetime, user: Any) -> QuerySet[Any]:
    charges = LedgerEntry.objects.filter(kind=LedgerEntry.Kind.CHARGE, occurred_at__gte=since)
    mine = None if user is None else scope_filter(user, customer="customer_id", team="team_id")
    return charges if mine is None else charges.filter(mine)


def _gaps(charges: QuerySet[Any]) -> list[PriceGap]:
    return _values(_by_model(charges).order_by("-charged", "model"))


def _by_model(charges: QuerySet[Any]) -> QuerySet[Any, Any]:
    grouped: QuerySet[Any, Any] = (
        charges.order_by()
        .values("model")
        .annotate(
            first=Min("occurred_at"),
            last=Max("occurred_at"),
            count=Count("pk"),
            used=Sum("tokens"),
            charged=Sum("amount_nano_usd"),
        )
    )
    return grouped


def _values(grouped: QuerySet[Any, Any]) -> list[PriceGap]:
    return [
        PriceGap(row["model"], row["first"], row["last"], row["count"], int(row["used"]), int(row["charged"]))
        for row in grouped
    ]
