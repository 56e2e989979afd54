"""What is known to be wrong or missing in the price source, each correction beside its reason.

`complete` is applied to every listing, when the shipped catalog is built and at every refresh alike: a source
that still has its old mistake proposes nothing. A correction of a wrong value looks for that value, so that
it falls silent once the source is right.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

from governance.domain.pricing import OTHER_PLATFORMS
from governance.pricing_source import CLASSES, Listing

BEGINNING = datetime(2023, 1, 1, tzinfo=UTC)
"""Prices with no earlier one are in force from here: before any request that a gateway can have seen."""

_SONNET_CUT = datetime(2026, 10, 7, tzinfo=UTC)
_LEGACY_1M = {
    200_000: {
        "input": Decimal(6),
        "output": Decimal("22.5"),
        "cache_read": Decimal("0.6"),
        "cache_write_5m": Decimal("7.5"),
        "cache_write_1h": Decimal(12),
    }
}


@dataclass(frozen=True, slots=True)
class Correction:
    """A change to the listings it applies to; a change to None leaves the listing out."""

    reason: str
    applies: Callable[[Listing], bool]
    change: Callable[[Listing], Listing | None]


def _is(platform: str, *ids: str) -> Callable[[Listing], bool]:
    return lambda listing: listing.platform == platform and listing.model_id in ids


def _lacks_rates(listing: Listing) -> bool:
    return any(rates[kind] is None for rates in (listing.rates, *listing.tiers.values()) for kind in CLASSES)


def _derived(rates: Mapping[str, Decimal | None]) -> dict[str, Decimal | None]:
    base = rates["input"] or Decimal(0)
    published = {
        "cache_read": base * Decimal("0.1"),
        "cache_write_5m": base * Decimal("1.25"),
        "cache_write_1h": base * 2,
    }
    return {kind: published.get(kind) if rates[kind] is None else rates[kind] for kind in CLASSES}


def _with(listing: Listing, **factors: str) -> Listing:
    return replace(
        listing, multipliers={**listing.multipliers, **{name: Decimal(factor) for name, factor in factors.items()}}
    )


def _rates(listing: Listing, *rates: str) -> Listing:
    return replace(listing, rates=dict(zip(CLASSES, map(Decimal, rates), strict=True)))


CORRECTIONS = (
    Correction(
        "No such model: Claude 3.7 Sonnet is of 2025-02-19, and 3.6/18 is no published rate.",
        _is("bedrock", "anthropic.claude-3-7-sonnet-20240620-v1:0"),
        lambda _: None,
    ),
    Correction(
        "Claude 3.5 Haiku costs 0.80/4 by Anthropic's list; the source has the withdrawn 1/5 on Vertex AI.",
        lambda x: x.platform == "vertex" and x.model_id.startswith("claude-3-5-haiku") and x.rates["input"] == 1,
        lambda x: _rates(x, "0.8", "4", "0.08", "1", "1.6"),
    ),
    Correction(
        "Claude 3 Haiku's published cache rates are not the usual multiples of its input rate.",
        lambda x: x.model_id.startswith("claude-3-haiku") and x.rates["cache_read"] is None,
        lambda x: _rates(x, "0.25", "1.25", "0.03", "0.3", "0.5"),
    ),
    Correction(
        "Rates the source leaves out are Anthropic's general ones: cache write 1.25 × input for 5 minutes "
        "and 2 × input for 1 hour, cache read 0.1 × input. Written into the row, never derived when charging.",
        _lacks_rates,
        lambda x: replace(
            x,
            rates=_derived(x.rates),
            tiers={above: _derived(rates) for above, rates in x.tiers.items()},
        ),
    ),
    Correction(
        "Fast service of Opus 4.6 and 4.7 was sold at six times the rate until it was withdrawn, and the "
        "source dropped the factor. It applies only where the provider says that it served fast.",
        lambda x: (
            x.platform == "anthropic"
            and re.fullmatch(r"claude-opus-4-[67](-\d{8})?", x.model_id) is not None
            and "fast" not in x.multipliers
        ),
        lambda x: _with(x, fast="6"),
    ),
    Correction(
        "This id is fast service itself: its rates hold the factor already.",
        _is("foundry", "claude-opus-5-5-fast"),
        lambda x: _with(x, fast="1"),
    ),
    Correction(
        "The batch discount is one half; the source has Opus 5's batch rates for Opus 5.5 on Vertex AI.",
        lambda x: x.platform == "vertex" and x.multipliers.get("batch") == Decimal("0.625"),
        lambda x: _with(x, batch="0.5"),
    ),
    Correction(
        "The batch discount is one half for every model of the Claude API; entries of retired models lack it.",
        lambda x: x.platform == "anthropic" and "batch" not in x.multipliers,
        lambda x: _with(x, batch="0.5"),
    ),
    Correction(
        "Sonnet 4 and 4.5 took prompts above 200,000 tokens only in the legacy 1M beta, at 6/22.5 for every token.",
        lambda x: (
            x.platform == "anthropic"
            and re.fullmatch(r"claude-sonnet-4(-5)?(-\d{8})?", x.model_id) is not None
            and not x.tiers
        ),
        lambda x: replace(x, tiers=_LEGACY_1M),
    ),
    Correction(
        "A web search costs 10 USD per 1,000 wherever the provider reports one, in fast service too; the "
        "source leaves it out for many models, and doubles it for one.",
        lambda x: x.web_search in (None, Decimal("0.02")),
        lambda x: replace(x, web_search=Decimal("0.01")),
    ),
)

KEPT = (
    "claude-mythos-preview is 10/50 on Anthropic and 27.5/137.5 on Bedrock: no better source, both kept.",
    "Bedrock ids without a regional prefix carry the global rate, bedrock_mantle/ ids the regional one: kept "
    "as listed; regional ids that are not listed are charged at the base id's rate times the region's factor.",
    "claude-opus-5-5 has one price: its cache read was 0.05 × input from its first day, as its price page of "
    "September 2026 shows. Only Sonnet 5.5's was cut, from 0.1 × to 0.05 × input, on 2026-10-07.",
    "claude-mythos-5-2 is inferred: Mythos has always cost what Fable of the same version does.",
)
"""Oddities of the source that were looked at and left."""

ALIASES = {
    ("anthropic", "claude-opus-4-1"): "claude-opus-4-1-20250805",
    ("anthropic", "claude-opus-4-0"): "claude-opus-4-20250514",
    ("anthropic", "claude-sonnet-4-0"): "claude-sonnet-4-20250514",
    ("anthropic", "claude-3-7-sonnet-latest"): "claude-3-7-sonnet-20250219",
    ("anthropic", "claude-3-5-haiku-latest"): "claude-3-5-haiku-20241022",
    ("anthropic", "claude-3-opus-latest"): "claude-3-opus-20240229",
    ("anthropic", "claude-3-5-sonnet-20240620"): "claude-3-7-sonnet-20250219",
    ("anthropic", "claude-3-5-sonnet-20241022"): "claude-3-7-sonnet-20250219",
    ("anthropic", "claude-3-5-sonnet-latest"): "claude-3-7-sonnet-20250219",
    ("vertex", "claude-opus-4-1"): "claude-opus-4-1-20250805",
    ("vertex", "claude-opus-4-1@20250805"): "claude-opus-4-1-20250805",
    ("vertex", "claude-opus-4"): "claude-opus-4-20250514",
    ("vertex", "claude-opus-4@20250514"): "claude-opus-4-20250514",
    ("vertex", "claude-sonnet-4"): "claude-sonnet-4-20250514",
    ("vertex", "claude-sonnet-4@20250514"): "claude-sonnet-4-20250514",
}
"""Ids that the source lacks, and the Anthropic id whose price is theirs.

Documented aliases, Claude 3.5 Sonnet (3/15 like 3.7), and what Anthropic retired but Vertex AI still serves.
"""


def complete(listing: Listing) -> tuple[Listing | None, list[str]]:
    """The corrected listing (None: left out), and the reasons of the corrections that applied: all are of Claude."""
    if listing.platform in OTHER_PLATFORMS:
        return listing, []
    reasons: list[str] = []
    corrected: Listing | None = listing
    for correction in CORRECTIONS:
        if correction.applies(listing):
            reasons.append(correction.reason)
            corrected = correction.change(listing)
            if corrected is None:
                return None, reasons
            listing = corrected
    return corrected, reasons


def history(fields: Mapping[str, Any], model_id: str) -> list[tuple[datetime, dict[str, Any]]]:
    """Today's fields of a model preceded by earlier ones, each with the moment it came into force."""
    if re.search(r"claude-sonnet-5-5$", model_id):
        # Cache reads fell from 0.1 to 0.05 of the input rate on that day; everything else stayed.
        before = {**fields, "cache_read": plain(Decimal(fields["input"]) * Decimal("0.1"))}
        return [(BEGINNING, before), (_SONNET_CUT, dict(fields))]
    return [(BEGINNING, dict(fields))]


def fields_of(listing: Listing) -> dict[str, Any]:
    """The columns of a price row as JSON: decimals as plain strings. Every rate must be there."""
    return {
        **_plain_rates(listing.rates),
        "tiers": [
            {"above_prompt_tokens": above, **_plain_rates(rates)} for above, rates in sorted(listing.tiers.items())
        ],
        "multipliers": {name: plain(factor) for name, factor in sorted(listing.multipliers.items())},
        "web_search": plain(listing.web_search or Decimal(0)),
        "context_tokens": listing.context_tokens,
        "max_output_tokens": listing.max_output_tokens,
    }


def plain(number: Decimal) -> str:
    """A decimal without exponent or trailing zeros."""
    text = f"{number:f}"
    return text.rstrip("0").rstrip(".") if "." in text else text


def _plain_rates(rates: Mapping[str, Decimal | None]) -> dict[str, str]:
    return {kind: plain(rate) for kind in CLASSES if (rate := rates[kind]) is not None}
