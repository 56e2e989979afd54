"""Virtual keys as frozen grants, read in bulk: rows as plain values, and what many keys share as one object."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache
from typing import Any, NamedTuple, TypeVar

from django.db.models import TextField
from django.db.models.functions import Cast

from governance.domain.access import (
    Access,
    Grant,
    Network,
    ProjectRef,
    SecretGrant,
    most_specific_first,
    parse_networks,
)
from governance.domain.allowance import Allowance
from governance.models import Customer, Developer, KeySecret, ProviderAccess, Team, VirtualKey

_T = TypeVar("_T")
_ByTarget = Mapping[tuple[str, int], Sequence[Allowance]]
CHUNK = 100
"""Rows that are fetched and worked on between two breaths: a millisecond's work."""


def gently(rows: Iterable[_T], breathe: Callable[[], None]) -> Iterator[_T]:
    """The rows, with a breath after every few."""
    for number, row in enumerate(rows, 1):
        yield row
        if not number % CHUNK:
            breathe()


def read(
    by_target: _ByTarget,
    projects: Mapping[int, ProjectRef],
    *,
    keys: Collection[int] | None = None,
    breathe: Callable[[], None] = lambda: None,
) -> dict[str, SecretGrant]:
    """Every secret with its key's grant, by public id, or only those of some keys; call inside a transaction."""

    def of_keys(rows: Any, column: str) -> Iterator[Any]:
        chosen = rows if keys is None else rows.filter(**{f"{column}__in": keys})
        return gently(chosen.iterator(chunk_size=CHUNK), breathe)

    accesses: dict[int, list[Access]] = defaultdict(list)
    columns = ("pk", "virtual_key_id", "provider_id", "model_patterns", "weight")
    found = of_keys(ProviderAccess.objects.order_by("pk").values_list(*columns), "virtual_key")
    for pk, key_id, provider_id, patterns, weight in found:
        allowances = tuple(by_target.get(("provider_access", pk), ()))
        accesses[key_id].append(Access(pk, provider_id, tuple(patterns), weight, allowances))
    lists = {name: Cast(name, TextField()) for name in ("model_patterns", "model_aliases", "allowed_ips")}
    columns_of_keys = VirtualKey.objects.order_by("pk").values_list(*(lists.get(name, name) for name in _Key._fields))
    # The keys before their parents: a key that is read has a team, unless both went meanwhile.
    rows = [_Key._make(row) for row in of_keys(columns_of_keys, "pk")]
    people = None if keys is None else {key.developer_id for key in rows if key.developer_id}
    parents = _Parents.read(by_target, projects, people, breathe)
    grants = {
        key.pk: _grant(key, tuple(accesses.get(key.pk, ())), parents)
        for key in gently(rows, breathe)
        if key.team_id in parents.teams
    }
    # A key issued between the reads raised the version: the next load has it.
    secrets = KeySecret.objects.order_by("pk").values_list("public_id", "digest", "virtual_key_id", "valid_until")
    return {
        public_id: SecretGrant(digest, grants[key_id], valid_until)
        for public_id, digest, key_id, valid_until in of_keys(secrets, "virtual_key")
        if key_id in grants
    }


class _Key(NamedTuple):
    """A virtual key's columns; the lists as the text of their JSON: the same few come again and again."""

    pk: int
    name: str
    team_id: int
    developer_id: int | None
    project_id: int | None
    model_patterns: str
    model_aliases: str
    allowed_ips: str
    expires_at: datetime | None
    revoked_at: datetime | None


@dataclass(frozen=True, slots=True)
class _Parents:
    """What keys hang on, and what many of them have in common."""

    teams: Mapping[int, Team]
    developers: Mapping[int, tuple[str, bool, str]]
    """E-mail, active, name for people."""
    projects: Mapping[int, ProjectRef]
    by_target: _ByTarget
    shared: dict[int, tuple[Allowance, ...]]
    """By team: what every key of it has."""

    @classmethod
    def read(
        cls,
        by_target: _ByTarget,
        projects: Mapping[int, ProjectRef],
        developers: Collection[int] | None,
        breathe: Callable[[], None],
    ) -> _Parents:
        people = Developer.objects.order_by().values_list("pk", "email", "is_active", "name")
        if developers is not None:
            people = people.filter(pk__in=developers)
        rows = gently(people.iterator(CHUNK), breathe)
        return cls(
            teams={team.pk: team for team in Team.objects.select_related("customer").order_by("pk")},
            developers={pk: (email, is_active, name or email) for pk, email, is_active, name in rows},
            projects=projects,
            by_target=by_target,
            shared={},
        )

    def allowances(self, team: Team, developer_id: int | None, key_id: int) -> tuple[Allowance, ...]:
        """Those of the customer, the team, the developer and the key; most keys share those of their team."""
        common = self.shared.get(team.pk)
        if common is None:
            of_customer = self.by_target.get(("customer", team.customer_id), ())
            common = self.shared[team.pk] = (*of_customer, *self.by_target.get(("team", team.pk), ()))
        own = self.by_target.get(("virtual_key", key_id), ())
        of_developer = self.by_target.get(("developer", developer_id), ()) if developer_id else ()
        return (*common, *of_developer, *own) if own or of_developer else common


@lru_cache(maxsize=4096)
def _patterns(text: str) -> tuple[str, ...]:
    return tuple(json.loads(text))


@lru_cache(maxsize=4096)
def _pairs(text: str) -> tuple[tuple[str, str], ...]:
    return most_specific_first(json.loads(text))


@lru_cache(maxsize=4096)
def _networks(text: str) -> tuple[Network, ...]:
    return parse_networks(json.loads(text))


def _grant(key: _Key, accesses: tuple[Access, ...], parents: _Parents) -> Grant:
    team = parents.teams[key.team_id]
    customer = team.customer
    email, is_active, called = parents.developers.get(key.developer_id or 0, ("", True, ""))
    return Grant(
        key_id=key.pk,
        key_name=key.name,
        customer_id=customer.pk,
        customer_name=customer.name,
        team_id=team.pk,
        team_name=team.name,
        developer_id=key.developer_id,
        developer_name=email,
        project=parents.projects.get(key.project_id) if key.project_id else None,
        models=_patterns(key.model_patterns),
        aliases=(*_pairs(key.model_aliases), *most_specific_first(team.model_aliases)),
        networks=_networks(key.allowed_ips),
        accesses=accesses,
        allowances=parents.allowances(team, key.developer_id, key.pk),
        expires_at=key.expires_at,
        revoked_at=key.revoked_at,
        inactive=_inactive(team, is_active, called),
        refuse_unpriced=customer.unpriced_policy == Customer.UnpricedPolicy.REFUSE,
        contact=customer.contact,
    )


def _inactive(team: Team, developer_is_active: bool, developer: str) -> str:
    if not team.customer.is_active:
        return f"customer {team.customer.name}"
    if not team.is_active:
        return f"team {team.name}"
    return "" if developer_is_active else f"developer {developer}"
