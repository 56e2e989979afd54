"""What a request of the log costs by the price book as it is now, from its stored token counts."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from msgspec.structs import fields

from governance.domain.pricing import PriceBook
from governance.domain.usage import Iteration, Usage
from governance.models import Price
from observability.models import Request
from observability.selectors.proof import usage_of

INSEPARABLE = "several attempts were charged and the log does not hold the tokens of each"
STILL_UNPRICED = "the model still has no price"

_USAGE = {field.name for field in fields(Usage)}


@dataclass(frozen=True, slots=True)
class NewCost:
    """The cost of one request, computed anew; `left_out` says why it is not, and is empty otherwise."""

    nano_usd: int = 0
    quality: str = ""
    price_id: int | None = None
    overrides: tuple[int, ...] = ()
    left_out: str = ""


def reprice(request: Request, book: PriceBook, platforms: Mapping[int, str]) -> NewCost:
    """Price each attempt that used something, at the price in force when the request started.

    `platforms` gives the platform of a price row, for requests logged before attempts named theirs. Token counts that
    were estimated stay so: the quality is `reconciled` only where the counts are the provider's own.
    """
    parts = _parts(request)
    if parts is None:
        return NewCost(left_out=INSEPARABLE)
    nano, estimated, price_id, overrides = 0, _estimated(request), None, set[int]()
    for entry, model, usage in parts:
        platform = entry.get("platform") or platforms.get(request.price_id or 0) or Price.Platform.ANTHROPIC
        free = request.stop_reason == "refusal" and not entry.get("cost_nano_usd")
        cost = book.charge(
            platform,
            model,
            usage,
            request.started_at,
            region=request.region,
            free=free,
            customer_id=request.customer_id,
        )
        if cost.quality == "unpriced":
            return NewCost(left_out=STILL_UNPRICED)
        nano += cost.nano_usd
        estimated |= cost.quality == "estimated"
        price_id = cost.price_id
        overrides |= set(cost.overrides)
    return NewCost(nano, "estimated" if estimated else "reconciled", price_id, tuple(sorted(overrides)))


def _parts(request: Request) -> list[tuple[dict[str, Any], str, Usage]] | None:
    """The attempts to price, each with its model and usage; None where the log cannot tell them apart."""
    used = [entry for entry in request.attempts if entry.get("tokens") or entry.get("cost_nano_usd")]
    if len(used) > 1:
        if not all("usage" in entry for entry in used):
            return None
        return [(entry, _priced_as(entry, request.model), _usage(entry["usage"])) for entry in used]
    # A row that is charged without naming an attempt is one that the gateway completed after a crash.
    entry = used[0] if used else {"cost_nano_usd": request.cost_nano_usd}
    return [(entry, _priced_as(entry, request.model), usage_of(request))]


def _priced_as(entry: Mapping[str, Any], model: str) -> str:
    """What the price list calls the attempt's model, where that is not what the log does."""
    return str(entry.get("priced_as") or entry.get("model") or model)


def _usage(stored: Mapping[str, Any]) -> Usage:
    """An attempt's usage as settlement stored it; what a later release adds is not known here and left aside."""
    values = {name: value for name, value in stored.items() if name in _USAGE}
    return Usage(**{**values, "iterations": tuple(Iteration(**step) for step in stored.get("iterations", ()))})


def _estimated(request: Request) -> bool:
    """Whether token counts are estimates. `unpriced` hid that: then only a whole answer is sure to be counted."""
    if request.cost_quality == Request.CostQuality.UNPRICED:
        return request.status != Request.Status.SUCCESS
    return request.cost_quality == Request.CostQuality.ESTIMATED
