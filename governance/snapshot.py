"""The configuration as frozen values: what a gateway process decides with, read from the database at once.

Every change raises `ConfigurationVersion` in its own transaction, so a process that polls `current_version` and loads
again when it moved follows any change, by whatever program it was made.

Made for 100,000 keys and 10,000 budgets (`tests/benchmarks/snapshot.py`): a row of the many is plain values, not a
model with its joined parents, and what many keys have in common is one object.
"""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any, TypeVar

from django.core.exceptions import ValidationError
from django.db import transaction
from django.db.models import QuerySet

from governance import grants, ledger, raises
from governance.catalog import price_book
from governance.domain.access import ProjectRef, SecretGrant, matches
from governance.domain.allowance import Allowance, Enforcement, Ladder, Unit
from governance.domain.pricing import PriceBook
from governance.encryption import CannotDecrypt
from governance.models import (
    Budget,
    ConfigurationVersion,
    Customer,
    Developer,
    Project,
    Provider,
    ProviderAccess,
    ProviderCredential,
    RateLimit,
    Team,
    VirtualKey,
)
from governance.raises import Term
from governance.validators import validate_secret_env

_L = TypeVar("_L", Budget, RateLimit)
_T = TypeVar("_T")
_REMEMBERED = 20_000
_SECONDS = {"second": 1, "minute": 60, "hour": 3600, "day": 86400}


@dataclass(frozen=True, slots=True)
class CredentialConfig:
    """One credential of a provider; `problem` says why it cannot be used, empty where it can."""

    name: str
    weight: float
    secret: str = field(repr=False)
    problem: str = ""


@dataclass(frozen=True, slots=True)
class ProviderConfig:
    """One active provider with its active credentials."""

    id: int
    name: str
    kind: str
    base_url: str
    rank: int
    credentials: tuple[CredentialConfig, ...]


@dataclass(frozen=True, slots=True)
class Snapshot:
    """Everything that the data plane knows, as of one version of the configuration."""

    version: int
    secrets: Mapping[str, SecretGrant]
    """By public id."""
    providers: Mapping[int, ProviderConfig]
    projects: Mapping[tuple[int, str], ProjectRef]
    """By customer and lower-case name."""
    directories: Mapping[int, tuple[tuple[str, ProjectRef], ...]]
    """By customer: patterns of working directories."""
    prices: PriceBook
    allowances: Mapping[str, Allowance]
    _memory: dict[Hashable, Any] = field(default_factory=dict, init=False, repr=False, compare=False)

    def remembered(self, question: Hashable, work: Callable[[], _T]) -> _T:
        """What `work` makes of this configuration alone, worked out once; bounded, since clients choose models."""
        try:
            found: _T = self._memory[question]
        except KeyError:
            found = work()
            if len(self._memory) >= _REMEMBERED:
                self._memory.clear()
            self._memory[question] = found
        return found


EMPTY = Snapshot(0, {}, {}, {}, {}, PriceBook(()), {})


def current_version() -> int:
    """The configuration's version; one indexed read."""
    return ConfigurationVersion.objects.values_list("version", flat=True).first() or 0


def load(now: datetime) -> Snapshot:
    """Read the whole configuration in one transaction."""
    with transaction.atomic():
        version = current_version()
        customers = Customer.objects.in_bulk()
        terms = raises.in_force(None, now)
        by_target: dict[tuple[str, int], list[Allowance]] = defaultdict(list)
        for budget in _with_targets(Budget.objects.filter(is_active=True), customers):
            allowance = _budget_allowance(budget, terms.get(budget.pk, ()))
            by_target[budget.scope, getattr(budget, f"{budget.scope}_id")].append(allowance)
        for limit in _with_targets(RateLimit.objects.filter(is_active=True), customers):
            by_target[limit.scope, getattr(limit, f"{limit.scope}_id")].append(_rate_allowance(limit))
        projects = {
            project.pk: (
                project,
                ProjectRef(project.pk, project.name, project.team_id, tuple(by_target["project", project.pk])),
            )
            for project in Project.objects.filter(is_active=True)
        }
        directories: dict[int, list[tuple[str, ProjectRef]]] = defaultdict(list)
        for project, ref in projects.values():
            directories[project.customer_id] += [(pattern, ref) for pattern in project.directories]
        return Snapshot(
            version=version,
            secrets=grants.read(by_target, {pk: ref for pk, (_, ref) in projects.items()}),
            providers=_providers(),
            projects={(project.customer_id, project.name.lower()): ref for project, ref in projects.values()},
            directories={customer: tuple(patterns) for customer, patterns in directories.items()},
            prices=price_book(),
            allowances={allowance.key: allowance for group in by_target.values() for allowance in group},
        )


def applicable(allowances: Iterable[Allowance], model: str) -> list[Allowance]:
    """Those that count requests for this model."""
    return [allowance for allowance in allowances if not allowance.models or matches(allowance.models, model)]


def _with_targets(rows: QuerySet[_L], customers: Mapping[int, Customer]) -> list[_L]:
    """The rows, each with its customer and its target; those of a target that went meanwhile wait for the next load."""
    found = list(rows.order_by("pk"))
    targets = {scope: _named(scope, {getattr(row, f"{scope}_id") for row in found}, customers) for scope in _NAMED}
    complete = []
    for row in found:
        target = targets[row.scope].get(getattr(row, f"{row.scope}_id"))
        if target is not None and row.customer_id in customers:
            row.customer = customers[row.customer_id]
            setattr(row, row.scope, target)
            complete.append(row)
    return complete


_NAMED: dict[str, QuerySet[Any]] = {
    "customer": Customer.objects.none(),
    "team": Team.objects.only("name", "customer"),
    "project": Project.objects.only("name", "customer"),
    "developer": Developer.objects.only("name", "email"),
    "virtual_key": VirtualKey.objects.only("name"),
    "provider_access": ProviderAccess.objects.select_related("virtual_key", "provider").only(
        "virtual_key__name", "provider__name"
    ),
}
"""By scope: as much of the targets as their names need."""


def _named(scope: str, ids: set[int | None], customers: Mapping[int, Customer]) -> Mapping[int, Any]:
    if scope == "customer":
        return customers
    targets: dict[int, Any] = _NAMED[scope].in_bulk([pk for pk in ids if pk is not None])
    if scope in {"team", "project"}:
        targets = {pk: target for pk, target in targets.items() if target.customer_id in customers}
        for target in targets.values():
            target.customer = customers[target.customer_id]
    return targets


def _providers() -> dict[int, ProviderConfig]:
    credentials: dict[int, list[CredentialConfig]] = defaultdict(list)
    for row in ProviderCredential.objects.filter(is_active=True):
        secret, problem = _secret_of(row)
        credentials[row.provider_id].append(CredentialConfig(row.name, row.weight, secret, problem))
    return {
        row.pk: ProviderConfig(
            row.pk, row.name, row.kind, row.base_url.rstrip("/"), row.rank, tuple(credentials[row.pk])
        )
        for row in Provider.objects.filter(is_active=True)
    }


def _secret_of(credential: ProviderCredential) -> tuple[str, str]:
    """(secret, problem). The named environment variable (or NAME_FILE) wins over a stored secret."""
    name = credential.secret_env
    try:
        validate_secret_env(name)
    except ValidationError as error:
        return "", error.messages[0]
    if name and (value := os.environ.get(name, "").strip()):
        return value, ""
    if name and (path := os.environ.get(f"{name}_FILE")):
        try:
            return Path(path).read_text(encoding="utf-8").strip(), ""
        except OSError as error:
            return "", f"{name}_FILE cannot be read: {error.strerror}"
    try:
        secret: str = ProviderCredential._meta.get_field("secret").reveal(credential)
    except CannotDecrypt as error:
        return "", str(error)
    if secret:
        return secret, ""
    return "", f"the environment variable {name} is not set" if name else "no secret is stored"


def _budget_allowance(budget: Budget, terms: Sequence[Term]) -> Allowance:
    return Allowance(
        key=f"budget:{budget.pk}",
        id=budget.pk,
        unit=Unit.USD,
        limit=budget.limit_nano_usd,
        scope=budget.scope,
        target=str(budget.target),
        name=str(budget),
        enforcement=Enforcement(budget.enforcement),
        models=tuple(budget.model_patterns),
        period=ledger.period_of(budget),
        definition=ledger.definition(budget),
        shared=budget.scope not in {"virtual_key", "provider_access"},
        terms=f"{budget.limit_nano_usd} {budget.carry_over} {terms or ''}",
        turns=tuple(sorted({moment for term in terms for moment in (term.starts_at, term.ends_at)})),
        ladder=_ladder(budget),
    )


def _ladder(budget: Budget) -> Ladder | None:
    if not (budget.downgrade_at and budget.downgrade) and not budget.throttle_at:
        return None
    return Ladder(
        downgrade_at=budget.downgrade_at or 0,
        downgrade=tuple(budget.downgrade.items()),
        throttle_at=budget.throttle_at or 0,
        throttle_concurrent=budget.throttle_concurrent,
    )


def _rate_allowance(limit: RateLimit) -> Allowance:
    return Allowance(
        key=f"rate:{limit.pk}",
        id=limit.pk,
        unit=Unit(limit.unit),
        limit=limit.limit,
        scope=limit.scope,
        target=str(limit.target),
        name=str(limit),
        enforcement=Enforcement(limit.enforcement),
        models=tuple(limit.model_patterns),
        seconds=_SECONDS.get(limit.per, 0),
        definition=ledger.definition(limit),
        shared=limit.scope not in {"virtual_key", "provider_access"},
        terms=str(limit.limit),
    )
