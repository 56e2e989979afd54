"""Say which workspace of the provider a credential belongs to: by who sees every customer, as with its reports.

A workspace moves cells of every customer's comparison, whoever uses the credential.
"""

from __future__ import annotations

from collections.abc import Iterable

from django.core.exceptions import PermissionDenied

from governance.models import Workspace
from governance.querysets import sees_every_customer
from governance.services.audit import Actor
from governance.services.records import delete_with_audit, save_with_audit


def save_workspace(*, workspace: Workspace, actor: Actor, fields: Iterable[str] | None = None) -> Workspace:
    """Raises PermissionDenied, ValidationError, Vanished."""
    _demand_everything(actor)
    return save_with_audit(instance=workspace, actor=actor, fields=fields)


def delete_workspace(*, workspace: Workspace, actor: Actor) -> None:
    """Its credential counts as the default workspace's from now on. Raises PermissionDenied."""
    _demand_everything(actor)
    delete_with_audit(instance=workspace, actor=actor)


def _demand_everything(actor: Actor) -> None:
    if actor is None or not sees_every_customer(actor):
        raise PermissionDenied("Workspaces belong to every customer: who sees all of them writes them.")
