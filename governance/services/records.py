"""Save or delete one row with its audit entry: what every other service is made of."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any, TypeVar

from django.core.exceptions import ValidationError
from django.db import models, transaction

from governance.encryption import EncryptedTextField
from governance.models import Customer, Developer, Project, ScopedLimit, Team, VirtualKey
from governance.services import audit
from governance.services.audit import Actor
from governance.services.reach import demand_reach

Row = TypeVar("Row", bound=models.Model)

_HIDDEN = {"password", "digest"}
"""Columns, besides encrypted ones, whose values no entry shows."""

_FIXED = {Team: "customer", Project: "customer", Developer: "customer", VirtualKey: "team"}
"""What a row belongs to for good: budgets, requests and memberships lean on it."""


class Vanished(Exception):
    """The row was deleted by somebody else meanwhile."""


def save_with_audit(
    *,
    instance: Row,
    actor: Actor,
    action: str = "",
    actor_name: str = "",
    fields: Iterable[str] | None = None,
    extra: Mapping[str, list[Any]] | None = None,
    note: str = "",
) -> Row:
    """Validate, save and record the difference; nothing is written or recorded where nothing changed.

    `fields` limits a change to the named fields, so that two people who change different fields of one row do
    not undo each other; the old values are read under a lock on the row. `action` defaults to
    `<model>.created` or `<model>.changed`. `extra` adds differences that are no columns.
    Raises ValidationError, Vanished, and OutOfReach where the actor's memberships do not cover the row.
    """
    with transaction.atomic():
        old = None if instance._state.adding else lock(instance)
        if old is not None and fields is not None:
            _keep_others(old, instance, set(fields))
        if old is not None:
            demand_reach(actor, old)
        if isinstance(instance, ScopedLimit):
            instance.fill_tenancy()
        instance.full_clean()
        _refuse_moves(old, instance)
        changes = {**difference(old, instance), **(extra or {})}
        if old is not None and not changes:
            return instance
        instance.save()
        if not (old is None and isinstance(instance, Customer)):
            # Who makes a customer becomes its member after it is there.
            demand_reach(actor, instance)
        if old is not None:
            _follow_tenancy(old, instance)
        audit.record(
            actor=actor,
            actor_name=actor_name,
            action=action or f"{subject(instance)}.{'created' if old is None else 'changed'}",
            target=instance,
            changes=changes,
            note=note,
        )
    return instance


def delete_with_audit(*, instance: models.Model, actor: Actor, actor_name: str = "", note: str = "") -> None:
    """Delete the row and record what it held. Raises ProtectedError where other rows need it, OutOfReach."""
    with transaction.atomic():
        demand_reach(actor, instance)
        held = {name: [old, None] for name, (_, old) in difference(None, instance).items()}
        audit.record(
            actor=actor,
            actor_name=actor_name,
            action=f"{subject(instance)}.deleted",
            target=instance,
            changes=held,
            note=note,
        )
        instance.delete()


def lock(instance: Row) -> Row:
    """The row as it is stored now, held until the transaction ends. Raises Vanished."""
    try:
        return type(instance)._base_manager.select_for_update(no_key=True).get(pk=instance.pk)
    except type(instance).DoesNotExist:  # type: ignore[attr-defined]
        raise Vanished(f"{instance} was deleted meanwhile; go back to the list.") from None


def difference(old: models.Model | None, new: models.Model) -> dict[str, list[Any]]:
    """`{"field": [old, new]}` of every column that differs; secrets say only whether one is set."""
    changes: dict[str, list[Any]] = {}
    for field in new._meta.concrete_fields:
        if field.primary_key:
            continue
        before = None if old is None else getattr(old, field.attname)
        after = getattr(new, field.attname)
        if before == after or (old is None and after in (None, "", [], {})):
            continue
        if isinstance(field, EncryptedTextField) or field.name in _HIDDEN:
            changes[field.name] = ["(set)" if before else "(none)", "(new value)" if after else "(none)"]
        elif isinstance(field, models.ForeignKey):
            changes[field.name] = [_named(old, field.name), _named(new, field.name)]
        else:
            changes[field.name] = [before, after]
    return changes


def subject(instance: models.Model) -> str:
    """The model's name as actions spell it: VirtualKey is `virtual_key`."""
    return re.sub(r"(?<=[a-z])(?=[A-Z])", "_", type(instance).__name__).lower()


def _named(instance: models.Model | None, name: str) -> str | None:
    value = getattr(instance, name, None)
    return None if value is None else f"{value} (#{value.pk})"


def _keep_others(old: models.Model, new: models.Model, names: set[str]) -> None:
    for field in new._meta.concrete_fields:
        if field.name not in names and getattr(new, field.attname) != getattr(old, field.attname):
            setattr(new, field.attname, getattr(old, field.attname))


def _refuse_moves(old: models.Model | None, new: models.Model) -> None:
    name = _FIXED.get(type(new))
    if old is not None and name and getattr(old, f"{name}_id") != getattr(new, f"{name}_id"):
        kind = new._meta.verbose_name
        raise ValidationError({name: f"A {kind} stays with its {name}, and so do its costs. Make a new one instead."})


def _follow_tenancy(old: models.Model, new: models.Model) -> None:
    """Budgets and limits copy the team of their target: without this the old team would go on seeing them."""
    if isinstance(new, Developer | Project) and getattr(old, "team_id", None) != new.team_id:
        for limits in (new.budgets, new.ratelimits):
            limits.update(team=new.team)
