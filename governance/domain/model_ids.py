"""Model ids as they arrive on the wire, brought to the form in which the price catalog lists them."""

from __future__ import annotations

import re
from collections.abc import Iterator
from decimal import Decimal

ONE = Decimal(1)

_PATHS = ("azure_ai/", "vertex_ai/", "bedrock/invoke/", "bedrock/converse/", "bedrock/", "anthropic/")
"""Prefixes that catalogs put before an id to name the platform; the platform is a value of its own here."""

_REGIONS = {
    "global": ONE,
    "us-gov": Decimal("1.2"),
    "us": Decimal("1.1"),
    "eu": Decimal("1.1"),
    "apac": Decimal("1.1"),
    "au": Decimal("1.1"),
    "jp": Decimal("1.1"),
}
"""Bedrock's regional prefixes and their factor on the global rate (MONEY.md §3 rule 7)."""

REGIONS = tuple(_REGIONS)
"""Prefixes that choose a Bedrock rate."""

_BEDROCK = re.compile(rf"^(?:(?:{'|'.join(_REGIONS)})\.)?anthropic\.")
_GENERATION = re.compile(r"claude-(?:[a-z]+-)?(\d+)(?:-(\d{1,2}))?(?!\d)")
_FIRST_WITH_REGIONAL_RATES = (4, 5)


def normalise(model_id: str) -> str:
    """The id without what does not change its price: `[1m]`, a platform path, Vertex's `@default`.

    A Bedrock regional prefix stays, because it selects the regional rate; so does a date, because the catalog
    may list it. Ids are never shortened to a prefix of themselves: `claude-opus-5` is not `claude-opus-5-5`.
    """
    name = model_id.strip()
    if name[-4:].lower() == "[1m]":
        name = name[:-4]
    for path in _PATHS:
        if name.startswith(path):
            name = name[len(path) :]
            break
    return name.removesuffix("@default")


def candidates(name: str) -> Iterator[tuple[str, Decimal]]:
    """Catalog ids that price a normalised id, best first, each with the factor on its rates.

    The id itself; a Vertex id without its `@date`; a Bedrock regional id that the catalog does not list by
    the rate of its base id times the region's factor.
    """
    yield name, ONE
    bare = name.partition("@")[0]
    if bare != name:
        yield bare, ONE
    prefix, separator, base = name.partition(".")
    if separator and prefix in _REGIONS and base.startswith("anthropic."):
        yield base, _regional_factor(prefix, base)


def family_name(name: str) -> str:
    """The id as Anthropic spells it, without what Bedrock puts before it: what patterns of models are written for."""
    return _BEDROCK.sub("", name, count=1)


def _regional_factor(prefix: str, base: str) -> Decimal:
    """Regional rates begin with generation 4.5; GovCloud always has its own.

    An id without a number is taken as new.
    """
    generation = _GENERATION.search(base)
    if prefix == "us-gov" or not generation:
        return _REGIONS[prefix]
    numbers = int(generation[1]), int(generation[2] or 0)
    return _REGIONS[prefix] if numbers >= _FIRST_WITH_REGIONAL_RATES else ONE
