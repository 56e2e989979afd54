"""Gateway processes: which run, what each holds of the limits, and the release of what a dead one held."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from django import forms
from django.contrib import admin, messages
from django.core.exceptions import ValidationError
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect
from django.template.response import TemplateResponse
from django.urls import reverse
from django.utils import timezone
from django.utils.html import format_html
from django.utils.safestring import SafeString
from unfold.contrib.filters.admin import DropdownFilter
from unfold.decorators import action, display
from unfold.enums import ActionVariant
from unfold.widgets import UnfoldAdminTextInputWidget

from governance.admin import cells, pickers
from governance.admin.base import ReadOnlyAdmin
from governance.domain.allowance import Unit
from governance.models import GatewayProcess, Lease
from governance.querysets import sees_every_customer
from governance.selectors_processes import SILENT, ProcessStatus, leases_of, process_statuses
from governance.services import processes
from governance.templatetags import money

_STATES = {
    "running": ("ok", "✓", "Running"),
    "silent": ("at_risk", "▲", "Silent"),
    "ended": ("off", "○", "Ended"),
    "recovered": ("off", "○", "Died, recovered"),
}
_UNITS = {Unit.REQUESTS: "requests", Unit.TOKENS: "tokens", Unit.CONCURRENT: "requests at once"}


class ReleaseForm(forms.Form):
    """Why it is released; the page above says what that means."""

    reason = forms.CharField(
        label="Why",
        max_length=200,
        widget=UnfoldAdminTextInputWidget,
        help_text="For the audit trail: what happened to the machine, and that its spool folder is lost.",
    )


class AliveFilter(DropdownFilter):
    """Those that have ended are many after some releases."""

    title = "state"
    parameter_name = "state"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [("open", "Running or silent"), ("ended", "Ended or recovered")]

    def queryset(self, request: HttpRequest, queryset: Any) -> Any:
        return queryset.filter(ended_at__isnull=self.value() == "open") if self.value() else queryset


@admin.register(GatewayProcess)
class GatewayProcessAdmin(ReadOnlyAdmin):
    list_display = ["process", "state", "started", "seen", "num_held", "limits_held", "ended"]
    list_display_links = ["process"]
    list_filter = [AliveFilter]
    list_before_template = "admin/governance/processes_before.html"
    change_form_outer_before_template = "admin/governance/process_verdict.html"
    search_fields = ["host", "id"]
    sortable_by: list[str] = []
    ordering = ["-started_at", "pk"]
    actions_detail = ["release"]
    fields = ["id", "note"]

    def has_release_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return processes.may_release(request.user)

    def load_page(self, request: HttpRequest, rows: list[Any]) -> list[Any]:
        statuses = process_statuses(rows, request.user)
        for row in rows:
            row.page_status = statuses[row.pk]
        return rows

    def changelist_view(self, request: HttpRequest, extra_context: Any = None) -> Any:
        context = {"now": timezone.now(), "partly": not sees_every_customer(request.user), **(extra_context or {})}
        return super().changelist_view(request, context)

    @display(description="Process")
    def process(self, row: GatewayProcess) -> SafeString:
        return format_html('{}<div class="cmp-note">process {}</div>', row.host, row.pid)

    @display(description="State")
    def state(self, row: Any) -> SafeString:
        return cells.state(*_STATES[row.page_status.state])

    @display(description="Started (UTC)")
    def started(self, row: GatewayProcess) -> SafeString | str:
        return cells.minute(row.started_at)

    @display(description="Last sign of life")
    def seen(self, row: Any) -> str:
        return ago(row.page_status.silent_for)

    @display(description="Held (USD)")
    def num_held(self, row: Any) -> str:
        return money.usd(row.page_status.held_nano_usd)

    @display(description="Limits held")
    def limits_held(self, row: Any) -> SafeString | str:
        return _limits(row.page_status) or cells.quiet("none")

    @display(description="Ended (UTC)")
    def ended(self, row: GatewayProcess) -> SafeString | str:
        if row.ended_at is None:
            return money.DASH
        return format_html('{}<div class="cmp-note">{}</div>', cells.minute(row.ended_at), row.note)

    # --- one process ------------------------------------------------------------------------------------------
    def get_actions_detail(self, request: HttpRequest, object_id: Any) -> Any:
        """Offered only where it would be carried out."""
        status = self._status(request, str(object_id))
        return super().get_actions_detail(request, object_id) if status and status.may_be_released else []

    def change_view(self, request: HttpRequest, object_id: str, form_url: str = "", extra_context: Any = None) -> Any:
        status = self._status(request, object_id)
        context = {"now": timezone.now(), "partly": not sees_every_customer(request.user), **(extra_context or {})}
        if status is not None:
            context |= {
                "status": status,
                "badge": cells.state(*_STATES[status.state]),
                "verdict": _verdict(status, processes.may_release(request.user)),
                "silent_for": ago(status.silent_for),
                "limits": _limits(status),
                "leases": [_lease_line(lease) for lease in leases_of(status.process, request.user)],
            }
        return super().change_view(request, object_id, form_url, context)

    @action(
        description="Release what it holds…", permissions=["release"], icon="lock_open", variant=ActionVariant.DANGER
    )
    def release(self, request: HttpRequest, object_id: str) -> HttpResponse:
        status = self._status(request, object_id)
        if status is None:
            raise Http404("No such gateway process.")
        row, form = status.process, ReleaseForm(request.POST or None)
        back_url = reverse("admin:governance_gatewayprocess_change", args=[row.pk])
        if request.method == "POST" and form.is_valid():
            try:
                before = processes.release(process=row, reason=form.cleaned_data["reason"], actor=request.user)
            except ValidationError as error:
                self.message_user(request, " ".join(error.messages), messages.ERROR)
            else:
                done = f"{row}: released {_holds(before)}."
                self.message_user(request, done, messages.SUCCESS)
            return HttpResponseRedirect(back_url)
        context = {
            **self.admin_site.each_context(request), "title": f"Release what {row} holds", "opts": self.model._meta,
            "status": status, "holds": _holds(status), "silent_for": ago(status.silent_for), "form": form,
            "back_url": back_url, "least_minutes": SILENT // timedelta(minutes=1),
        }  # fmt: skip
        return TemplateResponse(request, "admin/governance/process_release.html", context)

    def _status(self, request: HttpRequest, object_id: str) -> ProcessStatus | None:
        row = self.get_object(request, object_id)
        return process_statuses([row], request.user)[row.pk] if isinstance(row, GatewayProcess) else None


def ago(silent_for: timedelta) -> str:
    """`3 s ago`, `12 min ago`, `5 h ago`, `3 days ago`."""
    seconds = int(silent_for.total_seconds())
    if seconds < 120:
        return f"{seconds} s ago"
    if seconds < 2 * 3600:
        return f"{seconds // 60} min ago"
    return f"{seconds // 3600} h ago" if seconds < 48 * 3600 else f"{seconds // 86400} days ago"


def _limits(status: ProcessStatus) -> str:
    return ", ".join(f"{status.held[unit]:,} {word}" for unit, word in _UNITS.items() if unit in status.held)


def _holds(status: ProcessStatus) -> str:
    """What it holds in words: `$3.20 of budgets and 12 requests`."""
    parts = [f"{money.usd_total(status.held_nano_usd)} of budgets"] if status.held_nano_usd else []
    parts += [limits] if (limits := _limits(status)) else []
    return " and ".join(parts) or "nothing"


def _verdict(status: ProcessStatus, may_release: bool) -> str:
    holds = _holds(status)
    match status.state:
        case "running":
            return f"It gave a sign of life {ago(status.silent_for)} and holds {holds} for running and coming requests."
        case "ended":
            return "It ended in order and gave back what it held."
        case "recovered":
            return f"It holds nothing any more: {status.process.note or 'what it held was recovered'}."
    then = "When it is back, or another process on its machine has replayed its spool, this ends by itself."
    if not status.may_be_released:
        return f"No sign of life for {ago(status.silent_for).removesuffix(' ago')}; it holds {holds}. {then}"
    who = "release what it holds" if may_release else "ask a platform admin to release what it holds"
    return (
        f"No sign of life for {ago(status.silent_for).removesuffix(' ago')}; it holds {holds}. {then} "
        f"Where its spool folder is lost for good, {who}."
    )


def _lease_line(lease: Lease) -> dict[str, Any]:
    """One lease for the table; amounts of limits are plain numbers."""
    window = lease.window
    row: Any = window.budget or window.rate_limit
    show = money.usd if window.budget else (lambda amount: f"{amount:,}")
    kind = "budget" if window.budget else "ratelimit"
    return {
        "name": str(row), "what": f"{row.get_scope_display()} {pickers.label(row.target)}",
        "url": reverse(f"admin:governance_{kind}_change", args=[row.pk]), "window": window,
        "rolls": window.starts_at.year == 1970, "amount": show(lease.amount), "settled": show(window.settled),
        "limit": show(window.limit),
    }  # fmt: skip
