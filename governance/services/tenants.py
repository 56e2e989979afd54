"""Customers, teams, projects, developers and memberships: create, change, switch off."""

from __future__ import annotations

from typing import Any, TypeVar

from governance.models import Customer, Developer, Membership, Project, Team
from governance.services.audit import Actor
from governance.services.records import save_with_audit

Tenant = TypeVar("Tenant", Customer, Team, Project, Developer)


def create_customer(*, name: str, actor: Actor, actor_name: str = "", **values: Any) -> Customer:
    """A new customer; `values` are its other columns. Raises ValidationError."""
    return save_with_audit(instance=Customer(name=name, **values), actor=actor, actor_name=actor_name)


def create_team(*, customer: Customer, name: str, actor: Actor, actor_name: str = "", **values: Any) -> Team:
    """A new team of a customer. Raises ValidationError."""
    team = Team(customer=customer, name=name, **values)
    return save_with_audit(instance=team, actor=actor, actor_name=actor_name)


def create_project(*, customer: Customer, name: str, actor: Actor, actor_name: str = "", **values: Any) -> Project:
    """A new project of a customer. Raises ValidationError."""
    project = Project(customer=customer, name=name, **values)
    return save_with_audit(instance=project, actor=actor, actor_name=actor_name)


def create_developer(*, customer: Customer, email: str, actor: Actor, actor_name: str = "", **values: Any) -> Developer:
    """A new developer of a customer. Raises ValidationError."""
    developer = Developer(customer=customer, email=email, **values)
    return save_with_audit(instance=developer, actor=actor, actor_name=actor_name)


def change(*, tenant: Tenant, actor: Actor, actor_name: str = "", **values: Any) -> Tenant:
    """Set the given columns of a customer, team, project or developer; the others stay as they are stored.

    Raises ValidationError; a team, project or developer stays with its customer.
    """
    for name, value in values.items():
        setattr(tenant, name, value)
    return save_with_audit(instance=tenant, actor=actor, actor_name=actor_name, fields=values)


def deactivate(*, tenant: Tenant, actor: Actor, actor_name: str = "", note: str = "") -> bool:
    """Refuse its keys from now on. False where it was off already."""
    return _switch(tenant, on=False, actor=actor, actor_name=actor_name, note=note)


def activate(*, tenant: Tenant, actor: Actor, actor_name: str = "", note: str = "") -> bool:
    """Let its keys work again. False where it was on already."""
    return _switch(tenant, on=True, actor=actor, actor_name=actor_name, note=note)


def add_membership(
    *, user: Any, customer: Customer, team: Team | None = None, actor: Actor, actor_name: str = ""
) -> Membership:
    """Let a user see a customer, or one team of it. Raises ValidationError."""
    membership = Membership(user=user, customer=customer, team=team)
    return save_with_audit(instance=membership, actor=actor, actor_name=actor_name)


def _switch(tenant: Tenant, *, on: bool, actor: Actor, actor_name: str, note: str) -> bool:
    was = type(tenant)._base_manager.values_list("is_active", flat=True).get(pk=tenant.pk)
    tenant.is_active = on
    save_with_audit(instance=tenant, actor=actor, actor_name=actor_name, fields=["is_active"], note=note)
    return bool(was) != on
