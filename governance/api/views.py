"""The base of every resource of the API: who may see it, how it is listed, how it is written."""

from __future__ import annotations

from typing import Any

from django.db import models, transaction
from django.http.response import HttpResponseBase
from rest_framework import mixins, viewsets
from rest_framework.exceptions import PermissionDenied
from rest_framework.permissions import IsAuthenticated

from governance.api.errors import handle
from governance.api.filters import StrictFilterBackend
from governance.api.pagination import KeysetPagination
from governance.api.permissions import HasModelPermission
from governance.services import audit
from governance.services.records import save_with_audit


class ReadResource(mixins.ListModelMixin, mixins.RetrieveModelMixin, viewsets.GenericViewSet[Any]):
    """Rows to list and to read. PUT and DELETE are not offered: things are deactivated, and history stays."""

    http_method_names = ["get", "post", "patch", "head", "options"]
    permission_classes = [IsAuthenticated, HasModelPermission]
    pagination_class = KeysetPagination
    filter_backends = [StrictFilterBackend]
    lookup_value_regex = r"[0-9]{1,18}"
    of_the_installation = False
    """The rows belong to no customer: the permission alone decides."""

    def get_queryset(self) -> models.QuerySet[Any]:
        rows: Any = super().get_queryset()
        if self.of_the_installation:
            visible: models.QuerySet[Any] = rows
        else:
            visible = rows.visible_to(self.request.user)
        return visible

    def get_exception_handler(self) -> Any:
        return handle

    def dispatch(self, request: Any, *args: Any, **kwargs: Any) -> HttpResponseBase:
        with audit.coming_from(request.META.get("REMOTE_ADDR") or None):
            return super().dispatch(request, *args, **kwargs)


class WriteResource(mixins.CreateModelMixin, mixins.UpdateModelMixin, ReadResource):
    """Rows that are made and changed, each with one audit entry."""

    def perform_create(self, serializer: Any) -> None:
        with transaction.atomic():
            serializer.instance = self.reread(self.create_row(serializer.validated_data))

    def perform_update(self, serializer: Any) -> None:
        with transaction.atomic():
            row = self.change_row(serializer.instance, serializer.validated_data)
            serializer.instance = self.reread(row)

    def create_row(self, values: dict[str, Any]) -> models.Model:
        row: models.Model = self.get_queryset().model(**values)
        return save_with_audit(instance=row, actor=self.request.user)

    def change_row(self, row: Any, values: dict[str, Any]) -> models.Model:
        for name, value in values.items():
            setattr(row, name, value)
        changed: models.Model = save_with_audit(instance=row, actor=self.request.user, fields=list(values))
        return changed

    def reread(self, row: models.Model) -> models.Model:
        """The row as the user sees it; writing what one could not see afterwards is undone."""
        seen: models.Model | None = self.get_queryset().filter(pk=row.pk).first()
        if seen is None:
            raise PermissionDenied("This reaches beyond the customers and teams that you belong to.")
        return seen
