"""The configuration as frozen values: what a gateway process decides with, read from the database at once.

Every change raises `ConfigurationVersion` in its own transaction, so a process that polls `changes_since` follows any
change, by whatever program it was made. What concerns single keys (issued, rotated, revoked) is read for those keys
alone and put over what is known (`with_keys`); anything else makes it read the whole again (`load`), which takes
seconds of a large installation: meanwhile single keys are followed in what is known.

Made for 100,000 keys and 10,000 budgets (`tests/benchmarks/snapshot.py`): a row of the many is plain values, not a
model with its joined parents, and what many keys have in common is one object.
"""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Callable, Collection, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from pathlib import Path
from typing import Any, TypeVar

from django.core.exceptions import ValidationError
from django.db import transaction
from django.db.models import QuerySet

from governance import grants, ledger, raises, rules
from governance.catalog import price_book
from governance.domain.access import ProjectRef, SecretGrant, matches, most_specific_first
from governance.domain.allowance import Allowance, Enforcement, Ladder, Unit
from governance.domain.pricing import PriceBook
from governance.domain.provider_kinds import NEEDS_SECRET
from governance.encryption import CannotDecrypt
from governance.grants import CHUNK, gently
from governance.models import (
    Budget,
    ConfigurationVersion,
    Customer,
    Developer,
    KeyChange,
    Project,
    Provider,
    ProviderAccess,
    ProviderCredential,
    RateLimit,
    Team,
    VirtualKey,
)
from governance.raises import Term
from governance.rules import Rules
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
    method: str = "api_key"
    """How it authenticates: one of `provider_kinds.METHODS`."""
    identifier: str = ""
    requests_per_minute: int | None = None
    tokens_per_minute: int | None = None
    concurrent: int | None = None
    """Limits of this process for it; None sets none."""


@dataclass(frozen=True, slots=True)
class ProviderConfig:
    """One active provider with its active credentials."""

    id: int
    name: str
    kind: str
    base_url: str
    rank: int
    credentials: tuple[CredentialConfig, ...]
    region: str = ""
    project: str = ""
    model_map: tuple[tuple[str, str], ...] = ()
    """(pattern, the provider's own id of such a model): the first that fits counts."""
    options: Mapping[str, Any] = field(default_factory=dict, hash=False)
    """Further settings of its kind."""


@dataclass(frozen=True, slots=True)
class Snapshot:
    """Everything that the data plane knows, as of one version of the configuration."""

    version: int
    """Every change up to this one is in it, as far as it concerns more than single keys."""
    secrets: Mapping[str, SecretGrant]
    """By public id."""
    providers: Mapping[int, ProviderConfig]
    projects: Mapping[tuple[int, str], ProjectRef]
    """By customer and lower-case name."""
    directories: Mapping[int, tuple[tuple[str, ProjectRef], ...]]
    """By customer: patterns of working directories."""
    prices: PriceBook
    allowances: Mapping[str, Allowance]
    by_target: Mapping[tuple[str, int], Sequence[Allowance]] = field(default_factory=dict, repr=False)
    """The same by scope and id of what they limit."""
    rules: Rules = field(default_factory=Rules, repr=False)
    zones: Mapping[int, str] = field(default_factory=dict, repr=False)
    """The time zone of each customer."""
    keys_version: int = 0
    """Every change of single keys up to this one is in it."""
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


MOST_KEYS = 1_000
"""Changed keys above which the whole configuration is read again: it is not much slower then."""


@dataclass(frozen=True, slots=True)
class Changes:
    """What happened since a snapshot was read. `keys` are to be read again; with `whole`, everything is."""

    version: int
    keys: frozenset[int] = frozenset()
    whole: bool = False

    def __bool__(self) -> bool:
        return self.whole or bool(self.keys)


def changes_since(known: Snapshot) -> Changes:
    """One indexed read where nothing happened.

    A version that moved though neither a key nor anything wide was noted (its trigger is an older release's, or the
    row was written by hand) is a change of everything.
    """
    version, wide = ConfigurationVersion.objects.values_list("version", "wide").first() or (0, 0)
    if version == known.keys_version and wide <= known.version:
        return Changes(version)
    noted = KeyChange.objects.filter(version__gt=known.keys_version).values_list("key_id", flat=True)
    keys = frozenset(noted[: MOST_KEYS + 1])
    nothing_noted = not keys and wide <= known.keys_version
    whole = not known.version or wide > known.version or version < known.keys_version or nothing_noted
    if len(keys) > MOST_KEYS:
        return Changes(version, whole=True)
    return Changes(version, keys, whole or _renamed(known, keys))


def with_keys(known: Snapshot, changes: Changes) -> Snapshot:
    """The same configuration with these keys as they are now."""
    with transaction.atomic():
        projects = {ref.id: ref for ref in known.projects.values()}
        fresh = grants.read(known.by_target, projects, keys=changes.keys)
    gone = {public_id for public_id, secret in known.secrets.items() if secret.grant.key_id in changes.keys}
    kept = known.secrets if not gone else {name: one for name, one in known.secrets.items() if name not in gone}
    version = known.version if changes.whole else changes.version
    return replace(known, secrets={**kept, **fresh}, version=version, keys_version=changes.version)


def _renamed(known: Snapshot, keys: Collection[int]) -> bool:
    """Whether budgets call one of these keys by another name than it has now: they are read with everything else."""
    limited = [key for key in keys if ("virtual_key", key) in known.by_target]
    names = dict(VirtualKey.objects.filter(pk__in=limited).values_list("pk", "name"))
    return any(allowance.target != names[key] for key in names for allowance in known.by_target["virtual_key", key])


def _at_once() -> None:
    """The breath of one who need not let others have their turn."""


def load(now: datetime, breathe: Callable[[], None] = _at_once) -> Snapshot:
    """Read the whole configuration in one transaction; `breathe` is called after every few rows."""
    with transaction.atomic():
        version = ConfigurationVersion.objects.values_list("version", flat=True).first() or 0
        customers = Customer.objects.in_bulk()
        terms = raises.in_force(None, now)
        by_target: dict[tuple[str, int], list[Allowance]] = defaultdict(list)
        budgets = _with_targets(Budget.objects.filter(is_active=True), customers, breathe)
        for budget in gently(budgets, breathe):
            allowance = _budget_allowance(budget, terms.get(budget.pk, ()))
            by_target[budget.scope, getattr(budget, f"{budget.scope}_id")].append(allowance)
        for limit in gently(_with_targets(RateLimit.objects.filter(is_active=True), customers, breathe), breathe):
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
            secrets=grants.read(by_target, {pk: ref for pk, (_, ref) in projects.items()}, breathe=breathe),
            providers=_providers(),
            projects={(project.customer_id, project.name.lower()): ref for project, ref in projects.values()},
            directories={customer: tuple(patterns) for customer, patterns in directories.items()},
            prices=price_book(),
            allowances={allowance.key: allowance for group in by_target.values() for allowance in group},
            by_target=dict(by_target),
            rules=rules.read(breathe),
            zones={customer.pk: customer.timezone for customer in customers.values()},
            keys_version=version,
        )


def applicable(allowances: Iterable[Allowance], model: str) -> list[Allowance]:
    """Those that count requests for this model."""
    return [allowance for allowance in allowances if not allowance.models or matches(allowance.models, model)]


def _with_targets(rows: QuerySet[_L], customers: Mapping[int, Customer], breathe: Callable[[], None]) -> list[_L]:
    """The rows, each with its customer and its target; those of a target that went meanwhile wait for the next load."""
    found = list(gently(rows.order_by("pk").iterator(CHUNK), breathe))
    targets = {
        scope: _named(scope, {getattr(row, f"{scope}_id") for row in found}, customers, breathe) for scope in _NAMED
    }
    complete = []
    for row in gently(found, breathe):
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


def _named(
    scope: str, ids: set[int | None], customers: Mapping[int, Customer], breathe: Callable[[], None]
) -> Mapping[int, Any]:
    if scope == "customer":
        return customers
    wanted = sorted(pk for pk in ids if pk is not None)
    targets: dict[int, Any] = {}
    for start in range(0, len(wanted), CHUNK):
        targets.update(_NAMED[scope].in_bulk(wanted[start : start + CHUNK]))
        breathe()
    if scope in {"team", "project"}:
        targets = {pk: target for pk, target in targets.items() if target.customer_id in customers}
        for target in targets.values():
            target.customer = customers[target.customer_id]
    return targets


def _providers() -> dict[int, ProviderConfig]:
    active = Provider.objects.filter(is_active=True).prefetch_related("credentials")
    return {row.pk: provider_config(row) for row in active}


def provider_config(row: Provider) -> ProviderConfig:
    """A provider with its active credentials, as requests would use it."""
    credentials = [_credential_config(each) for each in row.credentials.all() if each.is_active]
    return ProviderConfig(
        row.pk,
        row.name,
        row.kind,
        row.base_url.rstrip("/"),
        row.rank,
        tuple(credentials),
        row.region,
        row.project,
        most_specific_first(row.model_map),
        row.options,
    )


def _credential_config(row: ProviderCredential) -> CredentialConfig:
    secret, problem = _secret_of(row)
    return CredentialConfig(
        row.name,
        row.weight,
        secret,
        problem,
        row.method,
        row.identifier,
        row.requests_per_minute,
        row.tokens_per_minute,
        row.concurrent,
    )


def _secret_of(credential: ProviderCredential) -> tuple[str, str]:
    """(secret, problem). The named environment variable (or NAME_FILE) wins over a stored secret."""
    if credential.method not in NEEDS_SECRET:
        return "", ""
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
        downgrade=most_specific_first(budget.downgrade),
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
