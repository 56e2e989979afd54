"""Plain lists: reports that were read, and which workspace a credential belongs to."""

from __future__ import annotations

from typing import Any

from django.contrib import admin
from django.db import transaction
from django.http import HttpRequest
from django.utils.safestring import SafeString
from unfold.contrib.filters.admin import ChoicesDropdownFilter
from unfold.decorators import display

from governance.admin import cells
from governance.admin.base import ReadOnlyAdmin, VisibleAdmin
from governance.models import ReportImport, Workspace
from governance.querysets import sees_every_customer
from governance.services.workspaces import delete_workspace, save_workspace


@admin.register(ReportImport)
class ReportImportAdmin(ReadOnlyAdmin):
    list_display = [
        "imported",
        "kind",
        "source",
        "range_cell",
        "num_days",
        "num_lines",
        "imported_by_name",
        "file_name",
    ]
    list_filter = [("kind", ChoicesDropdownFilter), ("source", ChoicesDropdownFilter)]
    fields = [
        "kind", "source", "first_day", "last_day", "imported_at", "imported_by_name", "file_name", "sha256", "days",
        "lines", "unknown_cell",
    ]  # fmt: skip
    readonly_fields = ["unknown_cell"]

    @display(description="Read (UTC)", ordering="imported_at")
    def imported(self, row: ReportImport) -> SafeString | str:
        return cells.minute(row.imported_at)

    @display(description="Days (UTC)", ordering="first_day")
    def range_cell(self, row: ReportImport) -> str:
        return f"{row.first_day}" if row.first_day == row.last_day else f"{row.first_day} to {row.last_day}"

    @display(description="Changed days")
    def num_days(self, row: ReportImport) -> str:
        return f"{row.days:,}"

    @display(description="Lines")
    def num_lines(self, row: ReportImport) -> str:
        return f"{row.lines:,}"

    @display(description="Not known to this version")
    def unknown_cell(self, row: ReportImport) -> str:
        return ", ".join(row.unknown) or "Nothing"

    def has_module_permission(self, request: HttpRequest) -> bool:
        return False


@admin.register(Workspace)
class WorkspaceAdmin(VisibleAdmin):
    """Without a row a credential counts as the default workspace's."""

    list_display = ["credential", "workspace_id", "name"]
    list_select_related = ["credential__provider"]
    fields = ["credential", "workspace_id", "name"]

    def has_add_permission(self, request: HttpRequest) -> bool:
        return super().has_add_permission(request) and sees_every_customer(request.user)

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return super().has_change_permission(request, obj) and sees_every_customer(request.user)

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return super().has_delete_permission(request, obj) and sees_every_customer(request.user)

    def save_model(self, request: HttpRequest, obj: Workspace, form: Any, change: bool) -> None:
        save_workspace(workspace=obj, actor=request.user, fields=form.changed_data if change else None)

    def delete_model(self, request: HttpRequest, obj: Workspace) -> None:
        delete_workspace(workspace=obj, actor=request.user)

    def delete_queryset(self, request: HttpRequest, queryset: Any) -> None:
        with transaction.atomic():
            for row in queryset:
                delete_workspace(workspace=row, actor=request.user)

    def formfield_for_foreignkey(self, db_field: Any, request: HttpRequest, **kwargs: Any) -> Any:
        if db_field.name == "credential":
            kwargs["queryset"] = db_field.remote_field.model.objects.select_related("provider")
        return super().formfield_for_foreignkey(db_field, request, **kwargs)
