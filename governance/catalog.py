"""The price catalog.

What ships with the product, its way into the database, and from there into a PriceBook.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from datetime import UTC, datetime
from decimal import Decimal, InvalidOperation
from functools import cache
from pathlib import Path
from typing import Any

from governance.corrections import plain
from governance.domain.pricing import Override, PriceBook, PriceRow, Rates, Tier
from governance.models import ModelAlias, Price, PriceOverride
from governance.pricing_source import CLASSES

logger = logging.getLogger(__name__)

SHIPPED = Path(__file__).parent / "data" / "claude_prices.json"


@cache
def shipped() -> Mapping[str, Any]:
    """The shipped catalog.

    `prices` are rows in the form of `PriceProposal.proposed` with platform, id and date.
    """
    catalog: dict[str, Any] = json.loads(SHIPPED.read_text(encoding="utf-8"))
    return catalog


def seed_prices() -> int:
    """Insert shipped rows that are missing and return how many; rows that exist are never touched."""
    catalog = shipped()
    source, version = str(catalog["source"]["name"]), str(catalog["source"]["version"])
    known = set(Price.objects.order_by().values_list("platform", "model_id", "effective_from"))
    missing = [
        Price(
            platform=row["platform"],
            model_id=row["model_id"],
            effective_from=effective_from,
            source=source,
            version=version,
            **columns(row),
        )
        for row in catalog["prices"]
        if (row["platform"], row["model_id"], effective_from := datetime.fromisoformat(row["effective_from"]))
        not in known
    ]
    # Two processes may start at once: the unique constraint lets one insert each row.
    Price.objects.bulk_create(missing, ignore_conflicts=True)
    return len(missing)


def price_book() -> PriceBook:
    """All prices of the database, what customers pay instead, and mapped ids.

    A price that cannot be read is left out and logged; its model is then unpriced.
    """
    rows = []
    for price in Price.objects.order_by("platform", "model_id", "effective_from"):
        try:
            rows.append(price_row(price))
        except ValueError as error:
            logger.error("Price %s (%s) prices nothing until it is corrected: %s", price.pk, price, error)
    overrides = [price_override(row) for row in PriceOverride.objects.order_by("pk")]
    aliases = {(row.platform, row.alias): row.target for row in ModelAlias.objects.order_by("pk")}
    return PriceBook(rows, overrides, aliases)


def price_override(row: PriceOverride) -> Override:
    """One override as the pure value."""
    return Override(
        id=row.pk,
        customer_id=row.customer_id,
        effective_from=row.effective_from.astimezone(UTC),
        effective_to=row.effective_to.astimezone(UTC) if row.effective_to else None,
        platform=row.platform,
        models=tuple(row.model_patterns),
        percent=None if row.percent is None else _trim(row.percent),
        rates={name: _trim(Decimal(str(rate))) for name, rate in row.rates.items()},
    )


def price_row(price: Price) -> PriceRow:
    """One row as the pure value. Raises ValueError where its tiers or multipliers are none."""
    rates = Rates(**{kind: _trim(getattr(price, kind)) for kind in CLASSES})
    if not isinstance(price.tiers, list) or not isinstance(price.multipliers, dict):
        raise ValueError("tiers must be a list and multipliers an object")
    return PriceRow(
        id=price.pk,
        platform=price.platform,
        model_id=price.model_id,
        effective_from=price.effective_from.astimezone(UTC),
        rates=rates,
        tiers=tuple(sorted((_tier(tier, rates) for tier in price.tiers), key=lambda t: t.above_prompt_tokens)),
        multipliers={name: _positive(name, factor) for name, factor in price.multipliers.items()},
        web_search=_trim(price.web_search),
        context_tokens=price.context_tokens,
        max_output_tokens=price.max_output_tokens,
    )


def columns(fields: Mapping[str, Any]) -> dict[str, Any]:
    """The columns of a Price from its JSON form."""
    return {
        **{kind: Decimal(fields[kind]) for kind in CLASSES},
        "tiers": fields["tiers"],
        "multipliers": fields["multipliers"],
        "web_search": Decimal(fields["web_search"]),
        "context_tokens": fields["context_tokens"],
        "max_output_tokens": fields["max_output_tokens"],
    }


def stored_fields(price: Price) -> dict[str, Any]:
    """A Price in JSON form, decimals as plain strings: equal prices give equal values."""
    return {
        **{kind: plain(getattr(price, kind)) for kind in CLASSES},
        "tiers": sorted(
            (
                {
                    "above_prompt_tokens": tier.above_prompt_tokens,
                    **{kind: plain(getattr(tier.rates, kind)) for kind in CLASSES},
                }
                for tier in price_row(price).tiers
            ),
            key=lambda tier: int(tier["above_prompt_tokens"]),
        ),
        "multipliers": {name: plain(Decimal(str(factor))) for name, factor in sorted(price.multipliers.items())},
        "web_search": plain(price.web_search),
        "context_tokens": price.context_tokens,
        "max_output_tokens": price.max_output_tokens,
    }


def _tier(tier: Any, base: Rates) -> Tier:
    """A tier; a class it does not name keeps the base rate."""
    if not isinstance(tier, dict):
        raise ValueError(f"the tier {tier!r} is no object")
    above = tier.get("above_prompt_tokens")
    if not isinstance(above, int) or above < 0:
        raise ValueError(f"a tier's above_prompt_tokens is {above!r}, not a number of tokens")
    rates = {kind: _positive(kind, tier[kind]) if kind in tier else getattr(base, kind) for kind in CLASSES}
    return Tier(above, Rates(**rates))


def _trim(number: Decimal) -> Decimal:
    """Without the zeros that the column's scale adds: the cost proof shows rates as they are published."""
    return Decimal(plain(number))


def _positive(name: str, value: Any) -> Decimal:
    try:
        number = Decimal(str(value))
    except InvalidOperation:
        number = Decimal(0)
    if not number.is_finite() or number <= 0:
        raise ValueError(f"{name} is {value!r}, not a number above zero")
    return number
