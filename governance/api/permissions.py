"""Who may do what: model permissions on every method, reading included, and the reach of a membership."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rest_framework.exceptions import PermissionDenied
from rest_framework.permissions import BasePermission
from rest_framework.request import Request
from rest_framework.views import APIView

from governance.services.reach import demand_reach as demand_reach

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
