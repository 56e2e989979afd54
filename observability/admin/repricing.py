"""Re-pricing of a period: ask for a preview, look at it, decide about another person's."""

from __future__ import annotations

from typing import Any

from django import forms
from django.contrib import admin, messages
from django.core.exceptions import PermissionDenied, ValidationError
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseBase, HttpResponseRedirect
from django.template.response import TemplateResponse
from django.urls import URLPattern, path, reverse
from django.utils import timezone
from django.utils.html import format_html
from django.utils.safestring import SafeString
from unfold.contrib.filters.admin import ChoicesDropdownFilter
from unfold.decorators import display
from unfold.widgets import UnfoldAdminTextInputWidget

from governance.admin import cells
from governance.admin.base import VisibleAdmin, VisibleRelatedFilter
from governance.admin.price_forms import UtcMomentField
from governance.models import Repricing
from governance.templatetags import money
from observability.admin.exports import exportable_customers
from observability.repricing import services
from observability.repricing.export import as_csv, by_model

Status = Repricing.Status
_MARKS = {
    Status.QUEUED: ("off", "◌"),
    Status.READY: ("at_risk", "▲"),
    Status.APPROVED: ("at_risk", "◌"),
    Status.POSTED: ("ok", "✓"),
    Status.REJECTED: ("off", "○"),
    Status.FAILED: ("blocked", "■"),
}


class AskForm(forms.ModelForm):  # type: ignore[type-arg]
    """Which requests, and why."""

    starts_at = UtcMomentField(label="From (UTC)")
    ends_at = UtcMomentField(label="To (UTC)", help_text="The period must have ended.")

    class Meta:
        model = Repricing
        fields = ("customer", "starts_at", "ends_at", "model_patterns", "reason")

    def clean_ends_at(self) -> Any:
        moment = self.cleaned_data["ends_at"]
        if moment > timezone.now():
            raise ValidationError("The period must have ended: requests that still come in would be missed.")
        return moment


class DecideForm(forms.Form):
    note = forms.CharField(
        label="Note",
        max_length=300,
        required=False,
        widget=UnfoldAdminTextInputWidget,
        help_text="What you checked, or why not; it stays in the audit trail.",
    )


@admin.register(Repricing)
class RepricingAdmin(VisibleAdmin):
    """Rows are made and decided by services; nothing here edits one."""

    form = AskForm
    list_display = ["period", "whose", "state", "num_changed", "num_old", "num_new", "num_difference", "asked"]
    list_display_links = ["period"]
    list_filter = [("status", ChoicesDropdownFilter), ("customer", VisibleRelatedFilter)]
    list_select_related = ["customer", "requested_by", "decided_by"]
    list_before_template = "admin/observability/repricing/before.html"
    add_form_template = "admin/observability/repricing/ask.html"
    search_fields = ["reason", "customer__name"]
    fields = ["customer", ("starts_at", "ends_at"), "model_patterns", "reason"]
    actions = None

    # --- who may ----------------------------------------------------------------------------------------------
    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_decide_permission(self, request: HttpRequest) -> bool:
        return request.user.has_perm("governance.decide_repricing")

    def formfield_for_foreignkey(self, db_field: Any, request: HttpRequest, **kwargs: Any) -> Any:
        if db_field.name == "customer":
            kwargs["queryset"] = exportable_customers(request.user)
            every = getattr(request.user, "is_superuser", False)
            kwargs["required"] = not every
            if not every:
                kwargs["help_text"] = "One that you see as a whole. Every customer at once is for superusers."
        return super().formfield_for_foreignkey(db_field, request, **kwargs)

    # --- ask --------------------------------------------------------------------------------------------------
    def add_view(self, request: HttpRequest, form_url: str = "", extra_context: Any = None) -> HttpResponse:
        hidden = {"show_save_and_add_another": False, "show_save_and_continue": False}
        context = {"title": "Ask for a re-pricing", **hidden, **(extra_context or {})}
        answer: HttpResponse = super().add_view(request, form_url, context)
        return answer

    def save_model(self, request: HttpRequest, obj: Any, form: Any, change: bool) -> None:
        made = services.request_repricing(
            customer=obj.customer,
            starts_at=obj.starts_at,
            ends_at=obj.ends_at,
            models=obj.model_patterns,
            reason=obj.reason,
            actor=request.user,
        )
        obj.pk, obj._state.adding = made.pk, False
        self.require_visible(request, made)

    def response_add(self, request: HttpRequest, obj: Any, post_url_continue: Any = None) -> HttpResponse:
        told = "The preview is computed in the background; reload this page to see it. Nothing is charged by it."
        self.message_user(request, told, messages.SUCCESS)
        return HttpResponseRedirect(reverse("admin:governance_repricing_change", args=[obj.pk]))

    # --- look and decide --------------------------------------------------------------------------------------
    def get_urls(self) -> list[URLPattern]:
        wrap = self.admin_site.admin_view
        return [
            path("<int:pk>/decide/", wrap(self.decide_view), name="governance_repricing_decide"),
            path("<int:pk>/lines.csv", wrap(self.csv_view), name="governance_repricing_csv"),
            *super().get_urls(),
        ]

    def change_view(
        self, request: HttpRequest, object_id: str, form_url: str = "", extra_context: Any = None
    ) -> HttpResponse:
        row = self.get_object(request, object_id)
        if not isinstance(row, Repricing):
            gone: HttpResponse = self._get_obj_does_not_exist_redirect(request, self.model._meta, object_id)
            return gone
        if not self.has_view_permission(request, row) or request.method not in {"GET", "HEAD"}:
            raise PermissionDenied
        return self._page(request, row, DecideForm())

    def decide_view(self, request: HttpRequest, pk: int) -> HttpResponse:
        row = self._row(request, pk)
        if request.method != "POST" or not self._may_decide(request, row, request.POST.get("verb", "")):
            raise PermissionDenied
        form = DecideForm(request.POST)
        if not form.is_valid():
            return self._page(request, row, form)
        approve = request.POST.get("verb") == "approve"
        decide = services.approve_repricing if approve else services.reject_repricing
        try:
            decide(repricing=row, actor=request.user, note=form.cleaned_data["note"])
        except ValidationError as error:
            self.message_user(request, "; ".join(error.messages), messages.ERROR)
        else:
            done = "Approved: the adjustments are written in the background." if approve else "Rejected."
            self.message_user(request, done, messages.SUCCESS)
        return HttpResponseRedirect(reverse("admin:governance_repricing_change", args=[row.pk]))

    def csv_view(self, request: HttpRequest, pk: int) -> HttpResponseBase:
        return as_csv(self._row(request, pk))

    def _row(self, request: HttpRequest, pk: int) -> Repricing:
        row = self.get_object(request, str(pk))
        if not isinstance(row, Repricing) or not self.has_view_permission(request, row):
            raise Http404("No such re-pricing, or none that you may see.")
        return row

    def _may_decide(self, request: HttpRequest, row: Repricing, verb: str) -> bool:
        own = row.requested_by_id == request.user.pk
        return self.has_decide_permission(request) or (own and verb == "reject")

    def _page(self, request: HttpRequest, row: Repricing, form: DecideForm) -> HttpResponse:
        models = by_model(row)
        context = {
            **self.admin_site.each_context(request),
            "title": f"Re-pricing {row.pk}",
            "opts": self.model._meta,
            "row": row,
            "badge": self.state(row),
            "models": models,
            "left_out": sorted(row.left_out.items()),
            "skipped": row.lines.exclude(skipped="").count() if row.decided_at else 0,
            "own": row.requested_by_id == request.user.pk,
            "may_decide": self.has_decide_permission(request),
            "waiting": row.status == Status.READY,
            "form": form,
            "now": timezone.now(),
        }
        return TemplateResponse(request, "admin/observability/repricing/page.html", context)

    # --- the list ---------------------------------------------------------------------------------------------
    @display(description="Period (UTC)", ordering="starts_at")
    def period(self, row: Repricing) -> SafeString:
        begin, end = f"{row.starts_at:%Y-%m-%d %H:%M}", f"{row.ends_at:%Y-%m-%d %H:%M}"
        lines = (
            '<div class="cmp-line">{} to</div><div class="cmp-line">{}</div><div class="cmp-note cmp-change">{}</div>'
        )
        return format_html(lines, begin, end, row.reason)

    @display(description="Customer")
    def whose(self, row: Repricing) -> SafeString:
        models = ", ".join(row.model_patterns) or "every model"
        return format_html('{}<div class="cmp-note">{}</div>', row.customer or "Every customer", models)

    @display(description="Status", ordering="status")
    def state(self, row: Repricing) -> SafeString:
        name, mark = _MARKS[Status(row.status)]
        word = "Nothing changes" if row.status == Status.READY and not row.changed else row.get_status_display()
        return cells.state(name, mark, word)

    @display(description="Requests that change")
    def num_changed(self, row: Repricing) -> str:
        return f"{row.changed:,} of {row.requests:,}"

    @display(description="Old (USD)")
    def num_old(self, row: Repricing) -> str:
        return money.usd(row.old_nano_usd)

    @display(description="New")
    def num_new(self, row: Repricing) -> str:
        return money.usd(row.new_nano_usd)

    @display(description="Difference")
    def num_difference(self, row: Repricing) -> str:
        return money.usd(row.difference_nano_usd)

    @display(description="Asked by", ordering="created_at")
    def asked(self, row: Repricing) -> SafeString:
        decided = f", decided by {row.decided_by}" if row.decided_by else ""
        note = f"{row.created_at:%Y-%m-%d}{decided}"
        return format_html('{}<div class="cmp-note">{}</div>', row.requested_by, note)
