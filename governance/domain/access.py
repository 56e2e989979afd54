"""What a virtual key may do: a frozen grant, read from the configuration once and never during a request."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from fnmatch import translate
from functools import lru_cache
from typing import TypeVar

from governance.domain.allowance import Allowance

Network = ipaddress.IPv4Network | ipaddress.IPv6Network


T = TypeVar("T")
_WILD = re.compile(r"[*?\[]")
_DATED = re.compile(r"(-20\d{6}|-latest)$")


@lru_cache(maxsize=4096)
def matches(patterns: tuple[str, ...], model: str) -> bool:
    """Whether a model id fits one of the patterns; no pattern fits every model. `[1m]` at the end is not looked at."""
    if not patterns:
        return True
    model = model.removesuffix("[1m]")
    # An alias is asked for and its dated id answers, claude-opus-4-1-20250805: to a pattern they are one model.
    names = {model, _DATED.sub("", model)}
    return any(
        re.fullmatch(translate(pattern.removesuffix("[1m]").removesuffix("-latest")), name)
        for pattern in patterns
        for name in names
    )


def most_specific_first(by_pattern: Mapping[str, T]) -> tuple[tuple[str, T], ...]:
    """Pairs of a pattern and what it stands for, in the order in which the first that fits counts.

    A model's own id, then patterns with more letters of their own. As they were typed they cannot be kept: PostgreSQL's
    jsonb sorts the keys of an object by itself.
    """
    return tuple(
        sorted(by_pattern.items(), key=lambda pair: (_WILD.search(pair[0]) is not None, -len(pair[0]), pair[0]))
    )


@dataclass(frozen=True, slots=True)
class Access:
    """One provider that a key may use. `id` is None where the key may use every provider."""

    id: int | None
    provider_id: int
    models: tuple[str, ...] = ()
    weight: float = 1.0
    allowances: tuple[Allowance, ...] = ()


@dataclass(frozen=True, slots=True)
class ProjectRef:
    """A project as the data plane sees it."""

    id: int
    name: str
    team_id: int | None
    allowances: tuple[Allowance, ...] = ()


@dataclass(frozen=True, slots=True)
class Grant:
    """A virtual key with everything that decides about its requests."""

    key_id: int
    key_name: str
    customer_id: int
    customer_name: str
    team_id: int
    team_name: str
    developer_id: int | None = None
    developer_name: str = ""
    project: ProjectRef | None = None
    models: tuple[str, ...] = ()
    aliases: tuple[tuple[str, str], ...] = ()
    """(pattern, model): the first that fits what is asked for puts its model in the place of it."""
    networks: tuple[Network, ...] = ()
    accesses: tuple[Access, ...] = ()
    allowances: tuple[Allowance, ...] = ()
    """Of the customer, the team, the developer and the key; those of the project and provider come with those."""
    expires_at: datetime | None = None
    revoked_at: datetime | None = None
    inactive: str = ""
    """What is switched off, for example `team Core`; empty where nothing is."""
    refuse_unpriced: bool = False
    contact: str = ""
    """Whom to ask for more budget: a name, an address or a link."""


@dataclass(frozen=True, slots=True)
class SecretGrant:
    """One secret of a key: what a presented secret is compared with."""

    digest: str = field(repr=False)
    grant: Grant
    valid_until: datetime | None = None


def address_allowed(networks: tuple[Network, ...], address: str | None) -> bool:
    """Whether a client address lies in one of the networks. No network allows every address; unknown fits none."""
    if not networks:
        return True
    if address is None:
        return False
    try:
        ip = ipaddress.ip_address(address)
    except ValueError:
        return False
    if isinstance(ip, ipaddress.IPv6Address) and ip.ipv4_mapped:
        ip = ip.ipv4_mapped
    return any(ip in network for network in networks)


def parse_networks(texts: Iterable[str]) -> tuple[Network, ...]:
    """Networks from their text form. Raises ValueError."""
    return tuple(ipaddress.ip_network(text, strict=False) for text in texts)
