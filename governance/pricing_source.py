"""Read price listings from LiteLLM's map or an extract of it; refuse a file that is broken or absurd.

LiteLLM's `model_prices_and_context_window.json` is one object, id → keys such as `input_cost_per_token` in
USD per token. The extract is what `build_price_catalog` takes: `{"models": […],
"supplement_not_in_litellm_map": […]}` with USD per million tokens. Claude models on the platforms of `_PROVIDERS`
are read, and of other models those that somebody wants.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections import Counter
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any, NoReturn

from governance.domain.model_ids import normalise

CLASSES = ("input", "output", "cache_read", "cache_write_5m", "cache_write_1h")
MAX_USD_PER_MTOK = 10_000
"""Above this a rate is a mistake, such as USD per token taken for USD per million."""

_PROVIDERS = {
    "anthropic": "anthropic",
    "bedrock": "bedrock",
    "bedrock_converse": "bedrock",
    "bedrock_mantle": "bedrock",
    "vertex_ai-anthropic_models": "vertex",
    "azure_ai": "foundry",
}
_PLATFORMS = {"anthropic": "anthropic", "bedrock": "bedrock", "vertex": "vertex", "azure_foundry": "foundry"}
_OTHERS = {"openai": ("openai", ""), "openrouter": ("openai", "openrouter/"), "gemini": ("gemini", "gemini/")}
"""By LiteLLM's provider: the platform of models that are not Claude's, and what LiteLLM puts before their own ids."""
_KEYS = {
    "input": "input_cost_per_token",
    "output": "output_cost_per_token",
    "cache_read": "cache_read_input_token_cost",
    "cache_write_5m": "cache_creation_input_token_cost",
    "cache_write_1h": "cache_creation_input_token_cost_above_1hr",
}
_TIER = re.compile(r"input_cost_per_token_above_(\d+)k_tokens")
_NANO = Decimal("1e-9")


class PriceSourceError(Exception):
    """The source cannot be used; the message says why. Nothing was changed."""


@dataclass(frozen=True, slots=True)
class Listing:
    """One model as a source lists it, USD per million tokens; a rate that the source leaves out is None."""

    platform: str
    model_id: str
    rates: Mapping[str, Decimal | None]
    tiers: Mapping[int, Mapping[str, Decimal | None]] = field(default_factory=dict)
    """Rates above so many prompt tokens."""
    multipliers: Mapping[str, Decimal] = field(default_factory=dict)
    web_search: Decimal | None = None
    """USD per search."""
    context_tokens: int | None = None
    max_output_tokens: int | None = None


@dataclass(frozen=True, slots=True)
class Source:
    """What a file lists: prices of Claude and of wanted models, and counts of what was left out by reason."""

    listings: tuple[Listing, ...]
    left_out: Mapping[str, int]
    version: str
    """First 16 hex digits of the content's SHA-256."""


def read(content: bytes, wanted: Mapping[str, Collection[str]] | None = None) -> Source:
    """Every Claude listing of a file, in either form, and those of `wanted` ids by platform. Raises PriceSourceError.

    What is wrong with the entry of a model that is not Claude's concerns that entry alone.
    """
    document = _parse(content)
    left_out: Counter[str] = Counter()
    entries = _extract(document) if isinstance(document.get("models"), list) else _map(document)
    found: dict[tuple[str, str], Listing] = {}
    for listing in entries:
        if listing.rates["input"] is None and listing.rates["output"] is None:
            left_out["no price per token (provisioned throughput)"] += 1
            continue
        _check(listing)
        key = listing.platform, listing.model_id
        if key in found:
            if found[key] != listing:
                raise PriceSourceError(f"{listing.model_id} is listed twice with different prices")
            left_out["second spelling of a listed id"] += 1
        found[key] = listing
    if not found:
        raise PriceSourceError("no Claude prices in it; is it the right file?")
    for other in _others(document, wanted or {}):
        if other is None:
            left_out["a wanted model whose price cannot be read"] += 1
        else:
            found[other.platform, other.model_id] = other
    return Source(tuple(found.values()), dict(left_out), hashlib.sha256(content).hexdigest()[:16])


def _parse(content: bytes) -> dict[str, Any]:
    try:
        document = json.loads(content, parse_float=Decimal, parse_int=Decimal, parse_constant=_no_number)
    except (ValueError, RecursionError) as error:
        raise PriceSourceError(f"not JSON ({error}); the file may be truncated") from None
    if not isinstance(document, dict):
        raise PriceSourceError(f"not a JSON object but a {type(document).__name__}")
    return document


def _no_number(text: str) -> NoReturn:
    raise ValueError(f"{text} is no number")


def _map(document: Mapping[str, Any]) -> Iterator[Listing]:
    for name, entry in document.items():
        platform = _PROVIDERS.get(str(entry.get("litellm_provider"))) if isinstance(entry, dict) else None
        if platform is None or "claude" not in name:
            continue
        tiers = {int(match[1]) * 1000: f"_above_{match[1]}k_tokens" for key in entry if (match := _TIER.fullmatch(key))}
        multipliers = {
            key: _number(name, key, value)
            for key, value in _object(name, entry.get("provider_specific_entry")).items()
            if key in ("us", "fast")
        }
        if "regional_endpoint_uplift_multiplier" in entry:
            multipliers["regional"] = _number(name, "regional", entry["regional_endpoint_uplift_multiplier"])
        rates = {kind: _mtok(name, entry.get(key)) for kind, key in _KEYS.items()}
        batch = {kind: _mtok(name, entry.get(f"{key}_batches")) for kind, key in _KEYS.items()}
        search = _object(name, entry.get("search_context_cost_per_query")).get("search_context_size_medium")
        yield Listing(
            platform=platform,
            model_id=normalise(name),
            rates=rates,
            tiers={
                above: {kind: _mtok(name, entry.get(key + suffix)) for kind, key in _KEYS.items()}
                for above, suffix in sorted(tiers.items())
            },
            multipliers=multipliers | _batch(rates, batch),
            web_search=None if search is None else _number(name, "web search", search),
            context_tokens=_whole(name, entry.get("max_input_tokens")),
            max_output_tokens=_whole(name, entry.get("max_output_tokens")),
        )


def _others(document: Mapping[str, Any], wanted: Mapping[str, Collection[str]]) -> Iterator[Listing | None]:
    """Listings of wanted models; None for one that cannot be read."""
    for name, entry in document.items():
        platform, prefix = (
            _OTHERS.get(str(entry.get("litellm_provider")), ("", "")) if isinstance(entry, dict) else ("", "")
        )
        model = name.removeprefix(prefix)
        if model not in wanted.get(platform, ()):
            continue
        try:
            listing = _other(platform, model, entry)
            _check(listing)
        except PriceSourceError:
            yield None
        else:
            yield listing


def _other(platform: str, model: str, entry: Mapping[str, Any]) -> Listing:
    base = {kind: _mtok(model, entry.get(key)) for kind, key in _KEYS.items()}
    tiers = {}
    for match in filter(None, map(_TIER.fullmatch, entry)):
        above = {kind: _mtok(model, entry.get(f"{key}_above_{match[1]}k_tokens")) for kind, key in _KEYS.items()}
        kept = {"output": base["output"], "cache_read": base["cache_read"]}
        tiers[int(match[1]) * 1000] = _as_input({**above, **{k: above[k] or rate for k, rate in kept.items()}})
    return Listing(
        platform=platform,
        model_id=normalise(model),
        rates=_as_input(base),
        tiers=tiers,
        context_tokens=_whole(model, entry.get("max_input_tokens")),
        max_output_tokens=_whole(model, entry.get("max_output_tokens")),
    )


def _as_input(rates: Mapping[str, Decimal | None]) -> dict[str, Decimal | None]:
    """Where a class of cached tokens has no rate of its own, it is charged as any other input."""
    return {kind: rates["input"] if rates[kind] is None and kind != "output" else rates[kind] for kind in CLASSES}


def _extract(document: Mapping[str, Any]) -> Iterator[Listing]:
    for entry in [*document["models"], *document.get("supplement_not_in_litellm_map", [])]:
        try:
            name, platform = str(entry["id"]), _PLATFORMS[entry["platform"]]
            rates = _per_mtok(name, entry["per_mtok"])
        except (KeyError, TypeError, AttributeError) as error:
            raise PriceSourceError(f"an entry lacks {error} or is none: {str(entry)[:80]}") from None
        multipliers = {key: _number(name, key, value) for key, value in entry.get("multipliers", {}).items()}
        if "vertex_non_global_multiplier" in entry:
            multipliers["regional"] = _number(name, "regional", entry["vertex_non_global_multiplier"])
        tier = entry.get("long_prompt_tier")
        search = entry.get("web_search_usd_per_request")
        yield Listing(
            platform=platform,
            model_id=normalise(name),
            rates=rates,
            tiers={int(tier["threshold_tokens"]): _per_mtok(name, tier["per_mtok"])} if tier else {},
            multipliers=multipliers | _batch(rates, _per_mtok(name, entry.get("batch_per_mtok", {}))),
            web_search=None if search is None else _number(name, "web search", search),
            context_tokens=_whole(name, entry.get("max_input_tokens")),
            max_output_tokens=_whole(name, entry.get("max_output_tokens")),
        )


def _per_mtok(name: str, rates: Mapping[str, Any]) -> dict[str, Decimal | None]:
    return {kind: None if rates.get(kind) is None else _number(name, kind, rates[kind]) for kind in CLASSES}


def _batch(rates: Mapping[str, Decimal | None], batch: Mapping[str, Decimal | None]) -> dict[str, Decimal]:
    """The batch discount as a factor, read from the output rate."""
    whole, part = rates["output"], batch["output"]
    if not whole or part is None:
        return {}
    return {"batch": (part / whole).quantize(Decimal("0.0001")).normalize()}


def _object(name: str, value: Any) -> Mapping[str, Any]:
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise PriceSourceError(f"{name}: {str(value)[:80]} should be an object")
    return value


def _mtok(name: str, value: Any) -> Decimal | None:
    """USD per token as USD per million.

    What is finer than the ninth decimal is an artefact of floating point.
    """
    return None if value is None else (_number(name, "rate", value) * 1_000_000).quantize(_NANO)


def _number(name: str, what: str, value: Any) -> Decimal:
    if not isinstance(value, Decimal) or not value.is_finite() or abs(value) > 10**9:
        raise PriceSourceError(f"{name}: {what} is {value!r}, not a number that a price can be")
    return value


def _whole(name: str, value: Any) -> int | None:
    if value is None:
        return None
    number = int(_number(name, "limit", value))
    if not 0 < number < 2**31:
        raise PriceSourceError(f"{name}: a limit of {number} tokens cannot be")
    return number


def _check(listing: Listing) -> None:
    """Refuse what no price list means: it is a sign that the whole file is not what it seems."""
    for rates in (listing.rates, *listing.tiers.values()):
        for kind, rate in rates.items():
            if rate is None and kind not in ("input", "output"):
                continue
            if rate is None or rate < 0 or (rate == 0 and kind in ("input", "output")):
                raise PriceSourceError(f"{listing.model_id}: {kind} of {rate} USD per million tokens cannot be")
            if rate > MAX_USD_PER_MTOK:
                raise PriceSourceError(
                    f"{listing.model_id}: {kind} of {rate} USD per million tokens is absurd; another unit?"
                )
    for factor, value in listing.multipliers.items():
        if not 0 < value <= 100:
            raise PriceSourceError(f"{listing.model_id}: a factor {factor} of {value} cannot be")
    if listing.web_search is not None and not 0 <= listing.web_search <= 10:
        raise PriceSourceError(f"{listing.model_id}: a web search at {listing.web_search} USD cannot be")
