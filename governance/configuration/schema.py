"""The configuration file's shape. None means that the file does not say: an existing value then stays.

Field names are the file's contract; `docs/configuration.md` describes them.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any, Literal

Kind = Literal[
    "anthropic", "bedrock", "vertex", "foundry", "compatible", "openai", "azure_openai", "gemini", "simulated"
]
Method = Literal[
    "api_key",
    "aws_default",
    "aws_static",
    "aws_profile",
    "aws_role",
    "google_default",
    "google_service_account",
]
Period = Literal["hour", "day", "week", "month", "quarter", "year", "lifetime"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Budget:
    """Known again by what it limits, `period`, `rolling` and `models`; everything else may be changed."""

    limit_usd: Decimal
    period: Period = "month"
    rolling: int = 0
    models: list[str] = field(default_factory=list)
    name: str | None = None
    enforcement: Literal["hard", "stop", "observe"] | None = None
    timezone: str | None = None
    week_start: Literal["monday", "sunday"] | None = None
    fiscal_start_month: int | None = None
    carry_over: bool | None = None
    alerts: list[int] | None = None
    owner_email: str | None = None
    approver_email: str | None = None
    downgrade_at: int | None = None
    """Percent; 0 is never, as with `throttle_at`."""
    downgrade: dict[str, str] | None = None
    throttle_at: int | None = None
    throttle_concurrent: int | None = None
    active: bool | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class RateLimit:
    """Exactly one of `requests`, `tokens` (both with `per`) and `concurrent`; known again by it and `models`."""

    requests: int | None = None
    tokens: int | None = None
    concurrent: int | None = None
    per: Literal["second", "minute", "hour", "day"] | None = None
    enforcement: Literal["hard", "stop", "observe"] | None = None
    models: list[str] = field(default_factory=list)
    active: bool | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Limited:
    """Anything that budgets and rate limits may be put on."""

    budgets: list[Budget] = field(default_factory=list)
    rate_limits: list[RateLimit] = field(default_factory=list)


@dataclass(frozen=True, slots=True, kw_only=True)
class Credential:
    """Of the limits 0 takes one away."""

    name: str
    method: Method | None = None
    identifier: str | None = None
    secret_env: str | None = None
    weight: Decimal | None = None
    requests_per_minute: int | None = None
    tokens_per_minute: int | None = None
    concurrent: int | None = None
    active: bool | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Provider:
    name: str
    kind: Kind | None = None
    base_url: str | None = None
    region: str | None = None
    project: str | None = None
    models: dict[str, str] | None = None
    """Its own id of a model by pattern."""
    options: dict[str, Any] | None = None
    rank: int | None = None
    active: bool | None = None
    credentials: list[Credential] = field(default_factory=list)


@dataclass(frozen=True, slots=True, kw_only=True)
class Access(Limited):
    """A provider that a key may use."""

    name: str
    models: list[str] | None = None
    weight: Decimal | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Key(Limited):
    name: str
    developer: str | None = None
    project: str | None = None
    secret_env: str | None = None
    models: list[str] | None = None
    model_aliases: dict[str, str] | None = None
    allowed_ips: list[str] | None = None
    content_policy: Literal["inherit", "on", "off"] | None = None
    expires_at: str | None = None
    providers: list[Access] = field(default_factory=list)


@dataclass(frozen=True, slots=True, kw_only=True)
class Team(Limited):
    name: str
    cost_center: str | None = None
    model_aliases: dict[str, str] | None = None
    active: bool | None = None
    keys: list[Key] = field(default_factory=list)


@dataclass(frozen=True, slots=True, kw_only=True)
class Developer(Limited):
    email: str
    name: str | None = None
    team: str | None = None
    active: bool | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Customer(Limited):
    name: str
    timezone: str | None = None
    currency_display: Literal["USD"] | None = None
    content_policy: Literal["off", "allow"] | None = None
    unpriced_policy: Literal["charge", "refuse"] | None = None
    contact: str | None = None
    emergency_reserve_usd: Decimal | None = None
    active: bool | None = None
    teams: list[Team] = field(default_factory=list)
    developers: list[Developer] = field(default_factory=list)


@dataclass(frozen=True, slots=True, kw_only=True)
class Project(Limited):
    customer: str
    name: str
    team: str | None = None
    directories: list[str] | None = None
    active: bool | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class RouteTarget:
    """At least one of `provider` and `model`."""

    provider: str | None = None
    model: str | None = None
    weight: Decimal | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Route:
    """A routing rule, known again by its name. `customer`, `team` and `key` say whom it is for; without, everybody."""

    name: str
    condition: str | None = None
    customer: str | None = None
    team: str | None = None
    key: str | None = None
    position: int | None = None
    """Without it, the place in the file counts."""
    description: str | None = None
    targets: list[RouteTarget] | None = None
    fallbacks: list[RouteTarget] | None = None
    deny: str | None = None
    set_headers: dict[str, str] | None = None
    max_tokens: int | None = None
    """0 sets no cap."""
    on_rate_limit: Literal["fallback", "relay"] | None = None
    hedge_ms: int | None = None
    """0 is never."""
    active: bool | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Document:
    """One file."""

    providers: list[Provider] = field(default_factory=list)
    customers: list[Customer] = field(default_factory=list)
    projects: list[Project] = field(default_factory=list)
    routes: list[Route] = field(default_factory=list)
    complexity_weights: dict[str, Decimal] | None = None
