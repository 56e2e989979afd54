"""Models that were charged without a price, and models whose tokens cost nothing: what an alarm and a page are made of.

Both are read from the ledger; where a model was served, the request log knows (`use_log`). Amounts are nano-dollars.
And which models that are not Claude's need a price.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from django.db.models import CharField, Count, Exists, Max, Min, OuterRef, QuerySet, Sum, Value

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
    platform: str = ""
    """Whose price list applied; empty where the log does not tell any more."""
    priced_as: str = ""
    """What that list calls the model, where it is not `model`."""


_NO_PROVIDER = Value("", output_field=CharField())


@dataclass(frozen=True, slots=True)
class RequestLog:
    """What the request log adds to the ledger."""

    provider: Any = _NO_PROVIDER
    """Expression over ledger entries: the name of the provider that served the request."""
    served: Callable[[Collection[str]], Mapping[str, tuple[str, str]]] = lambda ids: {}
    """(platform, priced_as) by request id; without those whose row is gone."""


_log = RequestLog()


def use_log(log: RequestLog) -> None:
    """The app above that keeps the request log says how to ask it."""
    global _log
    _log = log


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
    charges = _charges(since, user).filter(price_id__isnull=True, amount_nano_usd__gt=0).exclude(Exists(repriced))
    grouped = list(_by(charges.annotate(provider=_log.provider), "model", "provider").annotate(one=Max("request_id")))
    # A provider serves from one platform: one of its requests tells for all.
    served = _log.served([row["one"] for row in grouped])
    gaps: dict[tuple[str, str, str], PriceGap] = {}
    for row, gap in zip(grouped, _values(grouped), strict=True):
        platform, priced_as = served.get(row["one"], ("", ""))
        place = (gap.model, platform, priced_as)
        placed = replace(gap, platform=platform, priced_as=priced_as)
        gaps[place] = _together(gaps[place], placed) if place in gaps else placed
    return sorted(gaps.values(), key=lambda gap: (-gap.charged_nano_usd, gap.model, gap.platform))


def zero_cost_models(since: datetime, *, user: Any = None) -> list[PriceGap]:
    """Models of which every charge was zero although tokens were used: an alarm, not a bargain.

    A single charge of zero is none: a refusal without content is free by rule.
    """
    grouped = _by(_charges(since, user).filter(tokens__gt=0), "model")
    return _values(grouped.filter(charged=0).order_by("-used", "model"))


def _charges(since: datetime, user: Any) -> QuerySet[Any]:
    charges = LedgerEntry.objects.filter(kind=LedgerEntry.Kind.CHARGE, occurred_at__gte=since)
    mine = None if user is None else scope_filter(user, customer="customer_id", team="team_id")
    return charges if mine is None else charges.filter(mine)


def _by(charges: QuerySet[Any], *columns: str) -> QuerySet[Any, Any]:
    grouped: QuerySet[Any, Any] = (
        charges.order_by()
        .values(*columns)
        .annotate(
            first=Min("occurred_at"),
            last=Max("occurred_at"),
            count=Count("pk"),
            used=Sum("tokens"),
            charged=Sum("amount_nano_usd"),
        )
    )
    return grouped


def _together(one: PriceGap, other: PriceGap) -> PriceGap:
    return replace(
        one,
        first_seen=min(one.first_seen, other.first_seen),
        last_seen=max(one.last_seen, other.last_seen),
        requests=one.requests + other.requests,
        tokens=one.tokens + other.tokens,
        charged_nano_usd=one.charged_nano_usd + other.charged_nano_usd,
    )


def _values(grouped: Iterable[Mapping[str, Any]]) -> list[PriceGap]:
    return [
        PriceGap(row["model"], row["first"], row["last"], row["count"], int(row["used"]), int(row["charged"]))
        for row in grouped
    ]
