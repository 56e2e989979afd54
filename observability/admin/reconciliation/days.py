"""The month page and the day page, and what is done from them: import a report, compare again, lock and unlock."""

from __future__ import annotations

from datetime import UTC, date, datetime
from typing import Any

from django import forms
from django.conf import settings
from django.contrib import admin, messages
from django.core.exceptions import PermissionDenied, ValidationError
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect
from django.template.response import TemplateResponse
from django.urls import URLPattern, path, reverse
from django.utils import timezone
from unfold.widgets import UnfoldAdminFileFieldWidget, UnfoldAdminTextareaWidget

from governance.admin.base import ReadOnlyAdmin
from governance.models import Customer, MonthLock, ReconciliationDay
from governance.querysets import sees_every_customer
from governance.services.months import lock_month, unlock_month
from observability.reconciliation.parse import BadReport, read_file
from observability.reconciliation.services import compare_day, import_report
from observability.selectors.reconciliation import customers_covered, day_page, latest_month, month_page

MAX_UPLOAD_BYTES = 32 * 1024 * 1024


class ImportForm(forms.Form):
    # Unfold's own widget: its script writes the chosen name into the text field that this one has.
    file = forms.FileField(
        label="Saved report",
        widget=UnfoldAdminFileFieldWidget(
            attrs={"accept": ".json,.jsonl,application/json", "aria-label": "Saved report"}
        ),
    )


class LockForm(forms.Form):
    note = forms.CharField(
        max_length=300,
        required=False,
        widget=UnfoldAdminTextareaWidget(attrs={"rows": 2}),
        help_text="Optional, such as why it is closed with something open; kept in the audit trail.",
    )


class UnlockForm(forms.Form):
    reason = forms.CharField(
        max_length=300,
        widget=UnfoldAdminTextareaWidget(attrs={"rows": 2}),
        help_text="Why the month is opened again; kept in the audit trail.",
    )


@admin.register(ReconciliationDay)
class ReconciliationDayAdmin(ReadOnlyAdmin):
    def get_urls(self) -> list[URLPattern]:
        view = self.admin_site.admin_view
        return [
            path("import/", view(self.import_file), name="reconciliation_import"),
            path("lock/", view(self.lock), name="reconciliation_lock"),
            path("unlock/<int:pk>/", view(self.unlock), name="reconciliation_unlock"),
            path("<str:day>/again/", view(self.again), name="reconciliation_again"),
            *super().get_urls(),
        ]

    def changelist_view(self, request: HttpRequest, extra_context: Any = None) -> HttpResponse:
        if not self.has_view_permission(request):
            raise PermissionDenied
        month = _month(request.GET.get("month", ""))
        page = month_page(request.user, month, today=timezone.now().astimezone(UTC).date())
        return self._page(
            request,
            "month",
            f"Reconciliation {month:%B %Y}",
            page=page,
            has_admin_key=bool(settings.COMPTROLLER["ANTHROPIC_ADMIN_KEY"]),
            import_form=ImportForm(),
            may_import=page.everything and request.user.has_perm("governance.add_reportimport"),
            may_lock=request.user.has_perm("governance.add_monthlock"),
            may_unlock=request.user.has_perm("governance.unlock_monthlock"),
            may_see_queue=request.user.has_perm("governance.view_reconciliationexception"),
        )

    def change_view(
        self, request: HttpRequest, object_id: str, form_url: str = "", extra_context: Any = None
    ) -> HttpResponse:
        if not self.has_view_permission(request):
            raise PermissionDenied
        page = day_page(request.user, _day(object_id))
        if page is None:
            raise Http404("This day was not compared, or it sums up customers that are not yours.")
        return self._page(
            request,
            "day",
            f"Reconciliation of {page.row.day} (UTC)",
            page=page,
            may_compare=request.user.has_perm("governance.add_reportimport"),
            may_decide=request.user.has_perm("governance.decide_reconciliationexception"),
        )

    def import_file(self, request: HttpRequest) -> HttpResponse:
        """A saved report: kept at once; a worker compares its days."""
        if not request.user.has_perm("governance.add_reportimport") or not sees_every_customer(request.user):
            raise PermissionDenied("Reports sum up every customer: who sees all of them imports them.")
        upload = request.FILES.get("file") if request.method == "POST" else None
        month = None
        if upload is None:
            self.message_user(request, "Choose the file of a saved report first.", messages.ERROR)
        elif (upload.size or 0) > MAX_UPLOAD_BYTES:
            self.message_user(request, f"{upload.name} is larger than 32 MiB; is it the right file?", messages.ERROR)
        else:
            try:
                report = read_file(upload.read())
                done = import_report(report=report, source="file", actor=request.user, file_name=str(upload.name or ""))
            except BadReport as error:
                self.message_user(request, f"{upload.name} was not imported. {error}", messages.ERROR)
            except ValidationError as error:
                self.message_user(
                    request, f"{upload.name} was not imported. {' '.join(error.messages)}", messages.ERROR
                )
            else:
                month = min(report.days)
                told = f"{upload.name}: {len(done.days)} day(s) new or changed, {done.unchanged} as known before"
                told += "; the changed ones are compared within a few minutes." if done.days else "."
                self.message_user(request, told, messages.SUCCESS)
                if report.unknown:
                    told = f"Not known to this version, kept with their lines: {', '.join(report.unknown)}."
                    self.message_user(request, told, messages.WARNING)
        return _to_month(month)

    def again(self, request: HttpRequest, day: str) -> HttpResponse:
        """Compare the day with what is known now, after a correction or a new workspace."""
        if not request.user.has_perm("governance.add_reportimport") or not sees_every_customer(request.user):
            raise PermissionDenied
        if request.method == "POST":
            row = compare_day(_day(day))
            self.message_user(request, f"{row.day} is compared again: {row.get_state_display()}.", messages.SUCCESS)
        return HttpResponseRedirect(reverse("admin:governance_reconciliationday_change", args=[_day(day).isoformat()]))

    def lock(self, request: HttpRequest) -> HttpResponse:
        """Show what is still open in the month; lock it once that is confirmed."""
        if not request.user.has_perm("governance.add_monthlock"):
            raise PermissionDenied
        asked = request.POST if request.method == "POST" else request.GET
        month, customer = _month(asked.get("month", "")), self._customer(request, asked.get("customer", ""))
        form = LockForm(request.POST or None)
        if request.method == "POST" and form.is_valid():
            try:
                made = lock_month(month=month, customer=customer, note=form.cleaned_data["note"], actor=request.user)
            except ValidationError as error:
                self.message_user(request, " ".join(error.messages), messages.ERROR)
            else:
                self.message_user(request, f"{made} is locked: its total stays as it is.", messages.SUCCESS)
            return _to_month(month)
        page = month_page(request.user, month, today=timezone.now().astimezone(UTC).date())
        title = f"Lock {month:%Y-%m} of {customer or 'every customer'}"
        return self._page(request, "lock", title, form=form, page=page, customer=customer)

    def unlock(self, request: HttpRequest, pk: int) -> HttpResponse:
        if not request.user.has_perm("governance.unlock_monthlock"):
            raise PermissionDenied
        lock = MonthLock.objects.visible_to(request.user).filter(pk=pk).select_related("customer").first()
        if lock is None:
            raise Http404("No such lock, or it belongs to a customer that is not yours.")
        form = UnlockForm(request.POST or None)
        if request.method == "POST" and form.is_valid():
            try:
                unlock_month(lock=lock, reason=form.cleaned_data["reason"], actor=request.user)
            except ValidationError as error:
                form.add_error(None, error.messages)
            else:
                self.message_user(request, f"{lock} is open again.", messages.SUCCESS)
                return _to_month(lock.month)
        return self._page(request, "unlock", f"Unlock {lock}", form=form, lock=lock)

    def _customer(self, request: HttpRequest, chosen: str) -> Customer | None:
        """Whose month: one that the user covers as a whole, or every customer for who sees every one."""
        if chosen == "all":
            if not sees_every_customer(request.user):
                raise PermissionDenied("Only who sees every customer locks the month of all.")
            return None
        number = int(chosen) if chosen.isdigit() and len(chosen) < 19 else 0
        customer = customers_covered(request.user).filter(pk=number).first()
        if customer is None:
            raise Http404("No such customer, or it is not yours.")
        return customer

    def _page(self, request: HttpRequest, template: str, title: str, **context: Any) -> TemplateResponse:
        request.current_app = self.admin_site.name
        whole = {**self.admin_site.each_context(request), "title": title, "opts": self.model._meta, **context}
        return TemplateResponse(
            request, f"admin/observability/reconciliation/{template}.html", {"is_fullwidth": "1", **whole}
        )


def _to_month(month: date | None) -> HttpResponseRedirect:
    query = f"?month={month:%Y-%m}" if month else ""
    return HttpResponseRedirect(reverse("admin:governance_reconciliationday_changelist") + query)


def _month(text: str) -> date:
    try:
        return datetime.strptime(text, "%Y-%m").replace(tzinfo=UTC).date()
    except ValueError:
        return latest_month(timezone.now())


def _day(text: str) -> date:
    try:
        return datetime.strptime(text, "%Y-%m-%d").replace(tzinfo=UTC).date()
    except ValueError:
        raise Http404(f"{text} is no day.") from None
