"""The base of every resource of the API: who may see it, how it is listed, how it is written."""

from __future__ import annotations

from typing import Any

from django.db import models, transaction
from django.http import HttpRequest
from rest_framework import mixins, viewsets
from rest_framework.exceptions import MethodNotAllowed
from rest_framework.permissions import IsAuthenticated
from rest_framework.request import Request
from rest_framework.response import Response

from governance.api.errors import handle
from governance.api.filters import StrictFilterBackend
from governance.api.pagination import KeysetPagination
from governance.api.permissions import HasModelPermission, demand_reach


class ReadResource(mixins.ListModelMixin, mixins.RetrieveModelMixin, viewsets.GenericViewSet[Any]):
    """Rows to list and to read. PUT and DELETE are not offered: things are deactivated, and history stays."""

    http_method_names = ["get", "post", "patch", "head", "options"]
    permission_classes = [IsAuthenticated, HasModelPermission]
    pagination_class = KeysetPagination
    filter_backends = [StrictFilterBackend]
    lookup_value_regex = r"[0-9]{1,18}"
    of_the_installation = False
    """The rows belong to no customer: the permission alone decides."""
    not_offered = "Rows are made with POST, changed with PATCH and switched off, never deleted."

    def get_queryset(self) -> models.QuerySet[Any]:
        rows: Any = super().get_queryset()
        visible: models.QuerySet[Any] = rows if self.of_the_installation else rows.visible_to(self.request.user)
        return visible

    def get_exception_handler(self) -> Any:
        return handle

    def http_method_not_allowed(self, request: HttpRequest, *args: Any, **kwargs: Any) -> Response:
        method = str(request.method)
        raise MethodNotAllowed(method, detail=f"{method} is not offered here. {self.not_offered}")

    def finalize_response(self, request: Request, response: Any, *args: Any, **kwargs: Any) -> Response:
        final: Response = super().finalize_response(request, response, *args, **kwargs)
        final.headers.setdefault("Cache-Control", "private, no-store")
        return final


class CreateResource(mixins.CreateModelMixin, ReadResource):
    """Rows that are also made, each with one audit entry."""

    def perform_create(self, serializer: Any) -> None:
        with transaction.atomic():
            row = self.create_row(serializer.validated_data)
            demand_reach(self.request.user, row)
            serializer.instance = self.get_queryset().get(pk=row.pk)

    def create_row(self, values: dict[str, Any]) -> models.Model:
        """Call the service that makes a row of these values."""
        raise NotImplementedError


class WriteResource(mixins.UpdateModelMixin, CreateResource):
    """Rows that are also changed, each change with one audit entry."""

    def perform_update(self, serializer: Any) -> None:
        with transaction.atomic():
            demand_reach(self.request.user, serializer.instance)
            row = self.change_row(serializer.instance, serializer.validated_data)
            demand_reach(self.request.user, row)
            serializer.instance = self.get_queryset().get(pk=row.pk)

    def change_row(self, row: Any, values: dict[str, Any]) -> models.Model:
        """Call the service that sets these values."""
        raise NotImplementedError
