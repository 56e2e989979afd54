"""Who may do what: model permissions on every method, reading included, and the reach of a membership."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from django.db.models import Model, Q
from rest_framework.exceptions import PermissionDenied
from rest_framework.permissions import BasePermission
from rest_framework.request import Request
from rest_framework.views import APIView

from governance.services.audit import tenancy

_BY_METHOD = {"GET": "view", "HEAD": "view", "OPTIONS": "view", "POST": "add", "PATCH": "change"}


class HasModelPermission(BasePermission):
    """The user's roles give the permission of the view's model.

    A view names what an action needs instead of its method's in `action_permissions`, for example
    `{"revoke": "revoke_virtualkey"}`. Which rows the permission reaches is decided by `visible_to`, not here.
    """

    def has_permission(self, request: Request, view: APIView) -> bool:
        if not request.user or not request.user.is_authenticated:
            return False
        permission = required_permission(view, request.method or "GET")
        if permission is not None:
            demand(request.user, permission)
        return True


def required_permission(view: Any, method: str) -> str | None:
    """`app.codename`, or None where the method is not offered: the view answers 405 itself."""
    action = getattr(view, "action", None)
    if action is None or method not in _BY_METHOD:
        return None
    options = view.queryset.model._meta
    actions: Mapping[str, str] = getattr(view, "action_permissions", {})
    codename = actions.get(action) or f"{_BY_METHOD[method]}_{options.model_name}"
    return f"{options.app_label}.{codename}"


def demand(user: Any, permission: str) -> None:
    """Raise PermissionDenied, naming the permission, where the user's roles lack it."""
    if not user.has_perm(permission):
        raise PermissionDenied(f"Your roles lack the permission “{permission}”. Ask an administrator for it.")


def demand_reach(user: Any, row: Model) -> None:
    """Raise PermissionDenied where a row lies beyond what the user's memberships cover as a whole.

    One may see more than one may change: a member of one team sees the customer and the projects of all teams.
    Rows of no customer (providers, prices) are left to the permission alone.
    """
    customer_id, team_id = tenancy(row)
    if user.is_superuser or customer_id is None:
        return
    covering = Q(team__isnull=True) if team_id is None else Q(team__isnull=True) | Q(team_id=team_id)
    if not user.memberships.filter(covering, customer_id=customer_id).exists():
        raise PermissionDenied("This reaches beyond the customers and teams that you belong to.")
