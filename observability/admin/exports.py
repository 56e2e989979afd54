"""Exports of the request log: ask for one, watch it, download its file."""

from __future__ import annotations

from typing import Any

from django import forms
from django.contrib import admin, messages
from django.core.exceptions import PermissionDenied
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseBase, HttpResponseRedirect
from django.urls import URLPattern, path, reverse
from django.utils import timezone
from django.utils.html import format_html
from django.utils.safestring import SafeString

from governance.admin.base import VisibleAdmin
from governance.models import Customer
from observability.exports.download import as_attachment
from observability.exports.services import NotAvailable, request_export
from observability.models import LogExport


@admin.register(LogExport)
class LogExportAdmin(VisibleAdmin):
    """An export is made by asking for it; afterwards it can only be downloaded."""

    list_display = ("asked", "state", "format", "begin", "end", "whose", "num_rows", "num_size", "file")
    list_display_links = ("asked",)
    list_select_related = ("customer", "requested_by")
    fields = ("format", "starts_at", "ends_at", "customer")
    readonly_shown = (
        "state", "format", "starts_at", "ends_at", "whose", "num_rows", "num_size", "sha256", "error",
        "requested_by", "created_at", "finished_at", "file",
    )  # fmt: skip
    actions = None

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def get_fields(self, request: HttpRequest, obj: Any = None) -> Any:
        return self.readonly_shown if obj else self.fields

    def get_readonly_fields(self, request: HttpRequest, obj: Any = None) -> Any:
        return self.readonly_shown if obj else ()

    def formfield_for_foreignkey(self, db_field: Any, request: HttpRequest, **kwargs: Any) -> Any:
        if db_field.name == "customer":
            kwargs["queryset"] = exportable_customers(request.user)
            kwargs["required"] = not request.user.is_superuser
            if kwargs["required"]:
                kwargs["help_text"] = "Customers that you may see as a whole."
        return super().formfield_for_foreignkey(db_field, request, **kwargs)

    def changeform_view(
        self, request: HttpRequest, object_id: str | None = None, form_url: str = "", extra_context: Any = None
    ) -> Any:
        hidden = {"show_save_and_add_another": False, "show_save_and_continue": False}
        context = {"title": "Ask for an export", **hidden, **(extra_context or {})}
        return super().changeform_view(request, object_id, form_url, context)

    def get_changeform_initial_data(self, request: HttpRequest) -> dict[str, Any]:
        now = timezone.now().replace(second=0, microsecond=0)
        month = {"starts_at": now.replace(day=1, hour=0, minute=0), "ends_at": now}
        return {**month, **super().get_changeform_initial_data(request)}

    def response_add(self, request: HttpRequest, obj: Any, post_url_continue: Any = None) -> HttpResponse:
        told = "The export is asked for. Its file is written within a minute; reload this page to see it."
        self.message_user(request, told, messages.SUCCESS)
        page = "observability_logexport_changelist" if self.has_view_permission(request) else "index"
        return HttpResponseRedirect(reverse(f"admin:{page}"))

    def save_model(self, request: HttpRequest, obj: Any, form: forms.ModelForm[Any], change: bool) -> None:
        made = request_export(
            format=obj.format,
            starts_at=obj.starts_at,
            ends_at=obj.ends_at,
            customer=obj.customer,
            actor=request.user,
        )
        obj.pk, obj._state.adding = made.pk, False
        self.require_visible(request, made)

    def get_urls(self) -> list[URLPattern]:
        download = self.admin_site.admin_view(self.download)
        return [path("<int:pk>/download/", download, name="observability_logexport_download"), *super().get_urls()]

    def download(self, request: HttpRequest, pk: int) -> HttpResponseBase:
        """The file, in pieces; each download leaves an audit entry."""
        if not self.has_view_permission(request):
            raise PermissionDenied
        export = self.get_queryset(request).filter(pk=pk).first()
        if export is None:
            raise Http404("No export of this number, or it belongs to a customer that is not yours.")
        try:
            return as_attachment(export, actor=request.user)
        except NotAvailable as error:
            self.message_user(request, str(error), messages.ERROR)
            return HttpResponseRedirect(reverse("admin:observability_logexport_changelist"))

    @admin.display(description="State", ordering="status")
    def state(self, export: LogExport) -> SafeString:
        icon, tone = {
            "queued": ("○", "cancelled"),
            "running": ("◌", "refused"),
            "done": ("✓", "success"),
            "failed": ("✕", "error"),
        }[export.status]
        label = export.get_status_display()
        return format_html(
            '<span class="ob-status is-{}"><i aria-hidden="true">{}</i>{}</span>{}',
            tone,
            icon,
            label,
            " · daily" if export.scheduled else "",
        )

    @admin.display(description="Asked for (UTC)", ordering="created_at")
    def asked(self, export: LogExport) -> str:
        return f"{export.created_at:%Y-%m-%d %H:%M}"

    @admin.display(description="From (UTC)", ordering="starts_at")
    def begin(self, export: LogExport) -> str:
        return f"{export.starts_at:%Y-%m-%d %H:%M}"

    @admin.display(description="To (UTC)", ordering="ends_at")
    def end(self, export: LogExport) -> str:
        return f"{export.ends_at:%Y-%m-%d %H:%M}"

    @admin.display(description="Customer", ordering="customer__name")
    def whose(self, export: LogExport) -> str:
        return str(export.customer) if export.customer else "Every customer"

    @admin.display(description="Rows")
    def num_rows(self, export: LogExport) -> str:
        return f"{export.rows:,}" if export.status == LogExport.Status.DONE else "—"

    @admin.display(description="Size (MB)")
    def num_size(self, export: LogExport) -> str:
        return f"{max(export.bytes, 5_000) / 1_000_000:,.2f}" if export.bytes else "—"

    @admin.display(description="File")
    def file(self, export: LogExport) -> str | SafeString:
        if export.status == LogExport.Status.FAILED:
            return export.error[:200] or "Failed"
        if export.status != LogExport.Status.DONE:
            return "Not yet"
        address = reverse("admin:observability_logexport_download", args=[export.pk])
        return format_html('<a class="ob-link" href="{}">Download</a>', address)

    class Media:
        css = {"all": ["observability/observability.css"]}


def exportable_customers(user: Any) -> Any:
    """Customers whose whole log the user may see: an export is never cut to a team."""
    if user.is_superuser:
        return Customer.objects.all()
    whole = user.memberships.filter(team__isnull=True).values_list("customer_id", flat=True)
    return Customer.objects.filter(pk__in=list(whole))
