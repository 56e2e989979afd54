"""Django's model permissions on every method of the API, reading included."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rest_framework.exceptions import PermissionDenied
from rest_framework.permissions import BasePermission
from rest_framework.request import Request
from rest_framework.views import APIView

_BY_METHOD = {"GET": "view", "HEAD": "view", "OPTIONS": "view", "POST": "add", "PATCH": "change"}


class HasModelPermission(BasePermission):
    """The user's roles give the permission of the view's model.

    A view names what an action needs beyond its method in `action_permissions` ({"revoke": "revoke_virtualkey"}).
    Which rows the permission reaches is decided by `visible_to`, not here.
    """

    def has_permission(self, request: Request, view: APIView) -> bool:
        if not request.user or not request.user.is_authenticated:
            return False
        codename = required_permission(view, request.method or "GET")
        if codename is None or request.user.has_perm(codename):
            return True
        raise PermissionDenied(f"Your roles lack the permission “{codename}”. Ask an administrator for it.")


def required_permission(view: Any, method: str) -> str | None:
    """`app.codename`, or None where the method is not offered (the view answers 405 itself)."""
    options = view.queryset.model._meta
    actions: Mapping[str, str] = getattr(view, "action_permissions", {})
    codename = actions.get(getattr(view, "action", None) or "")
    if codename is None:
        if method not in _BY_METHOD:
            return None
        codename = f"{_BY_METHOD[method]}_{options.model_name}"
    return f"{options.app_label}.{codename}"
