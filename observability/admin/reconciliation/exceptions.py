"""The exceptions queue: what does not add up, and the three decisions, each with a note."""

from __future__ import annotations

from typing import Any

from django import forms
from django.contrib import admin, messages
from django.contrib.admin.widgets import AutocompleteSelect
from django.core.exceptions import PermissionDenied, ValidationError
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect
from django.template.response import TemplateResponse
from django.urls import URLPattern, path, reverse
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString
from unfold.contrib.filters.admin import ChoicesDropdownFilter
from unfold.decorators import display
from unfold.widgets import UnfoldAdminTextareaWidget

from governance.admin import cells, pickers
from governance.admin.base import ReadOnlyAdmin
from governance.models import Budget, ReconciliationException, VirtualKey
from governance.services.records import Vanished
from governance.templatetags import money
from observability.reconciliation import adjustments, queue
from observability.reconciliation.ours import names

VERBS = {"explained": "Explain", "ignored": "Ignore", "adjusted": "Adjust"}
_MARKS = {
    "open": ("at_risk", "▲"), "explained": ("ok", "✓"), "adjusted": ("ok", "✓"), "ignored": ("off", "○"),
    "gone": ("off", "○"),
}  # fmt: skip


class DecisionForm(forms.Form):
    note = forms.CharField(
        max_length=300,
        widget=UnfoldAdminTextareaWidget(attrs={"rows": 2}),
        help_text="Why; kept with the decision and in the audit trail.",
    )


class KeyField(forms.ModelChoiceField):  # type: ignore[type-arg]
    """A virtual key, named with its team: many teams have a key called `laptop`."""

    def label_from_instance(self, obj: Any) -> str:
        return pickers.label(obj)


class AdjustmentForm(DecisionForm):
    # Searched for, not listed: there may be thousands. The widget looks where a budget's key is looked for.
    virtual_key = KeyField(
        queryset=VirtualKey.objects.none(),
        required=False,
        widget=AutocompleteSelect(
            Budget._meta.get_field("virtual_key"), admin.site, attrs={"data-placeholder": "Search by name or team"}
        ),
        help_text="Only where nobody of ours used this cell: who it is charged to. Empty spreads it over its keys.",
    )

    def __init__(self, *args: Any, user: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        field: Any = self.fields["virtual_key"]
        field.queryset = VirtualKey.objects.visible_to(user).select_related(*pickers.RELATED["virtual_key"])


@admin.register(ReconciliationException)
class ReconciliationExceptionAdmin(ReadOnlyAdmin):
    list_display = [
        "day_cell", "what", "num_ours", "num_theirs", "num_difference", "remark_cell", "status_cell",
    ]  # fmt: skip
    list_filter = [
        ("status", ChoicesDropdownFilter),
        ("kind", ChoicesDropdownFilter),
    ]
    list_before_template = "admin/observability/reconciliation/queue_before.html"
    list_select_related = ["assigned_to", "decided_by", "customer", "lock"]
    search_fields = ["model", "note", "remark"]
    sortable_by = ["day_cell", "num_difference"]
    actions = ["explain", "ignore", "adjust", "take"]
    fields = [
        "kind", "day_cell", "model", "token_class", "workspace_cell", "customer", "num_ours", "num_theirs",
        "num_difference", "ours_tokens", "theirs_tokens", "remark", "status", "note", "assigned_to", "decided_by",
        "opened_cell", "decided_cell",
    ]  # fmt: skip
    readonly_fields = [
        "decide_cell", "day_cell", "workspace_cell", "num_ours", "num_theirs", "num_difference", "opened_cell",
        "decided_cell",
    ]  # fmt: skip

    def get_urls(self) -> list[URLPattern]:
        decide = self.admin_site.admin_view(self.decide)
        return [path("decide/<str:how>/", decide, name="reconciliation_decide"), *super().get_urls()]

    def get_fields(self, request: HttpRequest, obj: Any = None) -> list[Any]:
        """The decisions stand first on an open exception's own page, for who may decide."""
        fields = list(self.fields or [])
        may = obj is not None and obj.status == obj.Status.OPEN and self.has_decide_permission(request)
        return ["decide_cell", *fields] if may else fields

    def has_decide_permission(self, request: HttpRequest) -> bool:
        return request.user.has_perm("governance.decide_reconciliationexception")

    @admin.action(description="Explain…", permissions=["decide"])
    def explain(self, request: HttpRequest, queryset: Any) -> HttpResponse:
        return _to_decide("explained", queryset)

    @admin.action(description="Ignore…", permissions=["decide"])
    def ignore(self, request: HttpRequest, queryset: Any) -> HttpResponse:
        return _to_decide("ignored", queryset)

    @admin.action(description="Adjust the ledger…", permissions=["decide"])
    def adjust(self, request: HttpRequest, queryset: Any) -> HttpResponse:
        return _to_decide("adjusted", queryset)

    @admin.action(description="I look into it", permissions=["decide"])
    def take(self, request: HttpRequest, queryset: Any) -> None:
        rows = list(queryset.filter(status="open"))
        for row in rows:
            queue.assign(exception=row, to=request.user, actor=request.user)
        self.message_user(request, f"{len(rows)} assigned to you.", messages.SUCCESS if rows else messages.INFO)

    def decide(self, request: HttpRequest, how: str) -> HttpResponse:
        """What is chosen, with what a decision does, and the note that it needs."""
        if not self.has_decide_permission(request):
            raise PermissionDenied
        if how not in VERBS:
            raise Http404("An exception is explained, ignored or adjusted.")
        ids = [int(part) for part in request.GET.get("ids", "").split(",") if part.isdigit() and len(part) < 19]
        rows = list(self.get_queryset(request).filter(pk__in=ids, status="open").order_by("day", "pk"))
        if not rows:
            self.message_user(request, "Tick exceptions that are still open.", messages.INFO)
            return HttpResponseRedirect(_queue())
        form: DecisionForm = (
            AdjustmentForm(request.POST or None, user=request.user)
            if how == "adjusted"
            else DecisionForm(request.POST or None)
        )
        if request.method == "POST" and form.is_valid() and self._decide_all(request, how, rows, form):
            return HttpResponseRedirect(_queue())
        request.current_app = self.admin_site.name
        context = {
            **self.admin_site.each_context(request),
            "title": f"{VERBS[how]} {len(rows)} exception{'s' if len(rows) > 1 else ''}",
            "opts": self.model._meta,
            "how": how,
            "verb": VERBS[how],
            "rows": list(zip(rows, names(row.workspace_id for row in rows), strict=True)),
            # A day is priced again for it: shown once, not with every note that was forgotten.
            "plans": _planned(rows) if how == "adjusted" and request.method == "GET" else [],
            "form": form,
            "back_url": _queue(),
        }
        return TemplateResponse(request, "admin/observability/reconciliation/decide.html", context)

    def _decide_all(
        self, request: HttpRequest, how: str, rows: list[ReconciliationException], form: DecisionForm
    ) -> bool:
        """Decide each by itself; says which could not be. True where at least one was decided."""
        done = 0
        note = form.cleaned_data["note"]
        used = adjustments.used_in(rows) if how == "adjusted" else {}
        for row in rows:
            try:
                if how == "adjusted":
                    key = form.cleaned_data["virtual_key"]
                    adjustments.adjust(exception=row, note=note, actor=request.user, key=key, used=used.get(row.day))
                else:
                    queue.decide(exception=row, status=how, note=note, actor=request.user)
                done += 1
            except (ValidationError, Vanished) as error:
                words = " ".join(error.messages) if isinstance(error, ValidationError) else str(error)
                self.message_user(request, f"{row}: {words}", messages.ERROR)
        if done:
            self.message_user(request, f"{done} {how}.", messages.SUCCESS)
        return bool(done)

    @display(description="Day (UTC)", ordering="day")
    def day_cell(self, row: ReconciliationException) -> str:
        return row.day.isoformat()

    @display(description="Decide")
    def decide_cell(self, row: ReconciliationException) -> SafeString:
        # Only what differs from a report can be adjusted to it.
        verbs = [how for how in VERBS if how != "adjusted" or row.kind == row.Kind.DIFFERENCE]
        links = ((reverse("admin:reconciliation_decide", args=[how]), row.pk, VERBS[how]) for how in verbs)
        return format_html_join(" · ", '<a class="cmp-link" href="{}?ids={}">{}…</a>', links)

    @display(description="Opened (UTC)")
    def opened_cell(self, row: ReconciliationException) -> SafeString | str:
        return cells.minute(row.opened_at)

    @display(description="Decided (UTC)")
    def decided_cell(self, row: ReconciliationException) -> SafeString | str:
        return cells.minute(row.decided_at)

    @display(description="What")
    def what(self, row: ReconciliationException) -> SafeString:
        if row.kind != row.Kind.DIFFERENCE:
            whose = f"{row.customer} · {row.lock}" if row.customer else "Every provider"
            return format_html('{}<div class="cmp-note">{}</div>', row.get_kind_display(), whose)
        (workspace,) = names([row.workspace_id])
        note = f"{row.token_class.replace('_', ' ')} · {workspace}"
        return format_html(
            '<div class="cmp-line">{}</div><div class="cmp-note">{}</div>', row.model or "No model named", note
        )

    @display(description="Ours (USD)", ordering="ours_nano_usd")
    def num_ours(self, row: ReconciliationException) -> str:
        return money.usd_exact(row.ours_nano_usd)

    @display(description="Theirs (USD)", ordering="theirs_nano_usd")
    def num_theirs(self, row: ReconciliationException) -> str:
        return money.usd_exact(row.theirs_nano_usd)

    @display(description="Difference (USD)", ordering="difference_nano_usd")
    def num_difference(self, row: ReconciliationException) -> str:
        return money.usd_exact(row.difference_nano_usd)

    @display(description="What is known")
    def remark_cell(self, row: ReconciliationException) -> SafeString | str:
        if row.status == row.Status.OPEN:
            return format_html('<div class="cmp-change">{}</div>', row.remark or money.DASH)
        who = f", {row.decided_by}" if row.decided_by else ""
        return format_html(
            '<div class="cmp-change">{}<div class="cmp-note">{}{}</div></div>', row.note, row.remark, who
        )

    @display(description="Status", ordering="status")
    def status_cell(self, row: ReconciliationException) -> SafeString:
        state = cells.state(*_MARKS[row.status], row.get_status_display())
        if row.assigned_to is None:
            return state
        return format_html('{}<div class="cmp-note">{}</div>', state, row.assigned_to)

    @display(description="Workspace")
    def workspace_cell(self, row: ReconciliationException) -> str:
        return next(iter(names([row.workspace_id])))


def _planned(
    rows: list[ReconciliationException],
) -> list[tuple[ReconciliationException, list[adjustments.Share], str]]:
    """What an adjustment of each exception would write, or why it cannot."""
    used, found = adjustments.used_in(rows), []
    for row in rows:
        try:
            found.append((row, adjustments.plan(row, used=used.get(row.day)), ""))
        except ValidationError as error:
            found.append((row, [], " ".join(error.messages)))
    return found


def _to_decide(how: str, queryset: Any) -> HttpResponseRedirect:
    ids = ",".join(str(pk) for pk in queryset.values_list("pk", flat=True)[:200])
    return HttpResponseRedirect(f"{reverse('admin:reconciliation_decide', args=[how])}?ids={ids}")


def _queue() -> str:
    return reverse("admin:governance_reconciliationexception_changelist") + "?status__exact=open"
