"""Budgets and rate limits: create and change."""

from __future__ import annotations

from typing import Any, TypeVar

from governance.models import (
    Budget,
    Customer,
    Developer,
    Project,
    ProviderAccess,
    RateLimit,
    ScopedLimit,
    Team,
    VirtualKey,
)
from governance.services.audit import Actor
from governance.services.records import save_with_audit, subject

Target = Customer | Team | Project | Developer | VirtualKey | ProviderAccess
Limit = TypeVar("Limit", bound=ScopedLimit)


def create_budget(*, target: Target, limit_nano_usd: int, actor: Actor, actor_name: str = "", **values: Any) -> Budget:
    """A budget in nano-dollars on a target; `values` are period, enforcement and the like. Raises ValidationError."""
    budget = Budget(limit_nano_usd=limit_nano_usd, **_scope(target), **values)
    return save_with_audit(instance=budget, actor=actor, actor_name=actor_name)


def create_rate_limit(
    *, target: Target, unit: str, limit: int, per: str = "", actor: Actor, actor_name: str = "", **values: Any
) -> RateLimit:
    """A limit of requests, tokens or requests at once. Raises ValidationError."""
    rate_limit = RateLimit(unit=unit, limit=limit, per=per, **_scope(target), **values)
    return save_with_audit(instance=rate_limit, actor=actor, actor_name=actor_name)


def change(*, row: Limit, actor: Actor, actor_name: str = "", **values: Any) -> Limit:
    """Set the given columns; its target stays. Raises ValidationError."""
    for name, value in values.items():
        setattr(row, name, value)
    return save_with_audit(instance=row, actor=actor, actor_name=actor_name, fields=values)


def _scope(target: Target) -> dict[str, Any]:
    scope = subject(target)
    return {"scope": scope, scope: target}
