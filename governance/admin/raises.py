"""Raises: what waits first, one page that shows the budget before and after, and the forms to ask and to decide."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from django.contrib import admin, messages
from django.core.exceptions import PermissionDenied, ValidationError
from django.db.models import Case, IntegerField, Value, When
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect
from django.template.response import TemplateResponse
from django.urls import URLPattern, path, reverse
from django.utils import timezone
from django.utils.html import format_html
from django.utils.safestring import SafeString
from django.utils.timesince import timesince
from unfold.contrib.filters.admin import ChoicesDropdownFilter
from unfold.decorators import display

from governance.admin import cells
from governance.admin.base import ReadOnlyAdmin, VisibleRelatedFilter
from governance.admin.raise_forms import AskForm, DecideForm
from governance.models import Budget, Raise
from governance.selectors import BudgetStatus, budget_status, budget_statuses
from governance.services import moves, raises
from governance.templatetags import money

Kind, Status = Raise.Kind, Raise.Status
_WAITING_FIRST = Case(When(status=Status.REQUESTED, then=Value(0)), default=Value(1), output_field=IntegerField())
_BUDGET = [
    "budget__customer", "budget__team__customer", "budget__project__customer", "budget__developer",
    "budget__virtual_key", "budget__provider_access__virtual_key", "budget__provider_access__provider",
]  # fmt: skip


@admin.register(Raise)
class RaiseAdmin(ReadOnlyAdmin):
    """Rows are made and decided by services; nothing here edits one."""

    list_display = ["what", "now", "num_asked", "num_limit", "until", "reason_cell", "asked_by", "state"]
    list_display_links = ["what"]
    list_filter = [
        ("status", ChoicesDropdownFilter), ("kind", ChoicesDropdownFilter), ("customer", VisibleRelatedFilter),
    ]  # fmt: skip
    list_select_related = [*_BUDGET, "customer", "counterpart__customer"]
    list_before_template = "admin/governance/raises_before.html"
    search_fields = ["budget_name", "reason", "requester_name", "decided_by_name"]
    ordering = [_WAITING_FIRST.asc(), "-created_at", "-pk"]
    sortable_by: list[str] = []
    actions = ["approve_chosen"]

    # --- who may ----------------------------------------------------------------------------------------------
    def has_add_permission(self, request: HttpRequest) -> bool:
        return request.user.has_perm("governance.add_raise")

    def has_decide_permission(self, request: HttpRequest) -> bool:
        return request.user.has_perm("governance.decide_raise")

    def get_urls(self) -> list[URLPattern]:
        decide = self.admin_site.admin_view(self.decide_view)
        return [path("<int:pk>/decide/", decide, name="governance_raise_decide"), *super().get_urls()]

    # --- the list ---------------------------------------------------------------------------------------------
    def get_queryset(self, request: HttpRequest) -> Any:
        rows = super().get_queryset(request)
        if request.resolver_match and request.resolver_match.url_name == "governance_raise_changelist":
            # A transfer is one line: its giving half is listed only for who does not see the other.
            rows = rows.exclude(
                kind=Kind.TRANSFER, amount_nano_usd__lt=0, counterpart__in=Raise.objects.visible_to(request.user)
            )
        return rows

    def load_page(self, request: HttpRequest, rows: list[Any]) -> list[Any]:
        now = timezone.now()
        statuses = budget_statuses({row.budget_id: row.budget for row in rows if row.budget}.values(), now)
        resets, others = moves.resets_of(statuses.values(), now), _others(rows, request.user)
        for row in rows:
            row.page_status, row.page_now = statuses.get(row.budget_id), now
            row.page_resets, row.page_other = resets.get(row.budget_id, 0), others.get(row.pk, "")
        return rows

    def changelist_view(self, request: HttpRequest, extra_context: Any = None) -> Any:
        waiting = raises.pending(request.user).count() if self.has_decide_permission(request) else None
        context = {"now": timezone.now(), "waiting": waiting, **(extra_context or {})}
        return super().changelist_view(request, context)

    @display(description="Budget")
    def what(self, row: Any) -> SafeString:
        kind = row.get_kind_display()
        if row.kind == Kind.TRANSFER and row.counterpart is not None:
            kind += f" {'from' if row.amount_nano_usd > 0 else 'to'} {row.page_other}"
        return format_html('{}<div class="cmp-note">{}</div>', row.budget_name, kind)

    @display(description="Now")
    def now(self, row: Any) -> SafeString:
        return cells.bar(row.page_status) if row.page_status else cells.quiet("deleted")

    @display(description="Asked (USD)")
    def num_asked(self, row: Raise) -> str:
        return money.usd(row.amount_nano_usd)

    @display(description="New limit")
    def num_limit(self, row: Any) -> str:
        if row.page_status is None or not (row.status == Status.REQUESTED or row.is_in_force(row.page_now)):
            return money.DASH
        return money.usd(_limit_with(row, row.page_status, row.page_resets, row.page_now))

    @display(description="Until")
    def until(self, row: Any) -> SafeString | str:
        return cells.minute(row.ends_at.astimezone(row.zone))

    @display(description="Reason")
    def reason_cell(self, row: Raise) -> SafeString:
        note = format_html('<div class="cmp-note">{}</div>', row.decision_note) if row.decision_note else ""
        return format_html('<div class="cmp-change">{}</div>{}', row.reason, note)

    @display(description="Asked by")
    def asked_by(self, row: Any) -> SafeString:
        return format_html(
            '{}<div class="cmp-note">{} ago</div>', row.requester_name, timesince(row.created_at, row.page_now, depth=1)
        )

    @display(description="Status")
    def state(self, row: Any) -> SafeString:
        by = format_html('<div class="cmp-note">by {}</div>', row.decided_by_name) if row.decided_by_name else ""
        return format_html("{}{}", badge(row, row.page_now), by)

    @admin.action(description="Approve as asked", permissions=["decide"])
    def approve_chosen(self, request: HttpRequest, queryset: Any) -> None:
        for row in queryset:
            try:
                raises.approve(row=row, actor=request.user)
            except (ValidationError, PermissionDenied) as error:
                self.message_user(request, f"{row}: {_sentence(error)}", messages.ERROR)
            else:
                self.message_user(request, f"{row}: approved.", messages.SUCCESS)

    # --- ask --------------------------------------------------------------------------------------------------
    def add_view(self, request: HttpRequest, form_url: str = "", extra_context: Any = None) -> HttpResponse:
        if not self.has_add_permission(request):
            raise PermissionDenied
        form = AskForm(request.POST or None, user=request.user, chosen=request.GET.get("budget", ""))
        if request.method == "POST" and form.is_valid():
            row = form.carry_out()
            if row is not None:
                in_force = row.status == Status.APPROVED
                done = "is in force." if in_force else "waits for another person to approve it."
                self.message_user(request, f"{row} {done}", messages.SUCCESS)
                return HttpResponseRedirect(reverse("admin:governance_raise_change", args=[row.pk]))
        context = {
            **self.admin_site.each_context(request), "title": "Ask for more budget", "opts": self.model._meta,
            "form": form, "back_url": reverse("admin:governance_raise_changelist"), **(extra_context or {}),
        }  # fmt: skip
        return TemplateResponse(request, "admin/governance/raise_ask.html", context)

    # --- one raise --------------------------------------------------------------------------------------------
    def change_view(
        self, request: HttpRequest, object_id: str, form_url: str = "", extra_context: Any = None
    ) -> HttpResponse:
        row = self.get_object(request, object_id)
        if not isinstance(row, Raise):
            # As Django's own pages: a message on the index says that there is none.
            opts = self.model._meta
            redirect: HttpResponse = self._get_obj_does_not_exist_redirect(request, opts, object_id)
            return redirect
        if not self.has_view_permission(request, row) or request.method not in {"GET", "HEAD"}:
            raise PermissionDenied
        return self._page(request, row, None)

    def decide_view(self, request: HttpRequest, pk: int) -> HttpResponse:
        """Approve, decline, withdraw or end: the button says which; the services say who may."""
        row = self.get_object(request, str(pk))
        if not isinstance(row, Raise):
            raise Http404("No such raise, or none that you may see.")
        if request.method != "POST" or not self.has_view_permission(request, row):
            raise PermissionDenied
        form = DecideForm(request.POST, row=row)
        if form.is_valid():
            try:
                done = form.carry_out(request.user)
            except (ValidationError, PermissionDenied) as error:
                self.message_user(request, _sentence(error), messages.ERROR)
            else:
                self.message_user(request, f"{row}: {done}.", messages.SUCCESS)
            return HttpResponseRedirect(reverse("admin:governance_raise_change", args=[row.pk]))
        return self._page(request, row, form)

    def _page(self, request: HttpRequest, row: Raise, form: DecideForm | None) -> HttpResponse:
        now, user = timezone.now(), request.user
        asked = row.requester_id is not None and row.requester_id == user.pk
        mine = asked or self.has_decide_permission(request)
        context = {
            **self.admin_site.each_context(request), "title": str(row), "opts": self.model._meta, "row": row,
            "now": now, "badge": badge(row, now), "form": form or DecideForm(row=row), "why_not":
            raises.why_not(row, user, now), "waiting": row.status == Status.REQUESTED,
            "lapsed": row.has_lapsed(now), "may_withdraw": asked and row.status == Status.REQUESTED,
            "may_end": mine and row.status == Status.APPROVED and row.ends_at > now and row.kind != Kind.TRANSFER,
            "starts": row.starts_at.astimezone(row.zone), "ends": row.ends_at.astimezone(row.zone),
            "other": _others([row], user).get(row.pk, ""),
            "may_decline": row.has_lapsed(now) and not asked and self.has_decide_permission(request),
            **_before_and_after(row, user, now),
        }  # fmt: skip
        return TemplateResponse(request, "admin/governance/raise_page.html", context)


def badge(row: Raise, now: datetime) -> SafeString:
    """The state as a mark and a word."""
    word = raises.state_of(row, now).partition(":")[0]
    if row.is_in_force(now):
        return cells.state("ok", "✓", word)
    if row.status == Status.REQUESTED and not row.has_lapsed(now):
        return cells.state("at_risk", "▲", word)
    return cells.state("blocked", "■", word) if row.status == Status.DECLINED else cells.state("off", "○", word)


def raises_panel(budget: Budget, user: Any, now: datetime) -> dict[str, Any]:
    """What the budget's own page shows: what is in force, comes or waits, and where to ask."""
    open_ = Raise.objects.visible_to(user).filter(budget=budget, ends_at__gt=now)
    open_ = open_.filter(status__in=[Status.APPROVED, Status.REQUESTED]).select_related(
        "budget__customer", "customer", "counterpart"
    )
    rows = list(open_.order_by("starts_at", "pk")[:50])
    return {
        "raise_rows": [(row, badge(row, now), row.ends_at.astimezone(row.zone)) for row in rows]
        if user.has_perm("governance.view_raise")
        else [],
        "raised_until": min((row.ends_at.astimezone(row.zone) for row in rows if row.is_in_force(now)), default=None),
        "raise_url": f"{reverse('admin:governance_raise_add')}?budget={budget.pk}"
        if user.has_perm("governance.add_raise") and budget.is_active
        else "",
    }


def waiting_badge(request: HttpRequest) -> str:
    """The number beside "Raises" in the navigation: what waits for this user; empty where nothing does."""
    return str(raises.pending(request.user).count() or "")


def _before_and_after(row: Raise, user: Any, now: datetime) -> dict[str, Any]:
    """The budget as it stands, as it would stand, and the budgets above it that may bind first."""
    if row.budget is None:
        return {}
    status = budget_status(row.budget, now)
    limit = _limit_with(row, status, moves.resets_of([status], now).get(row.budget.pk, 0), now)
    after = money.bar(
        spent=status.spent, held=status.held, limit=limit, forecast=status.forecast,
        thresholds=tuple(row.budget.alerts),
    )  # fmt: skip
    above = Budget.objects.visible_to(user).filter(is_active=True, customer=row.budget.customer_id)
    wider = [Budget.Scope.CUSTOMER] if row.budget.team_id is None else [Budget.Scope.CUSTOMER, Budget.Scope.TEAM]
    above = above.filter(scope__in=wider).exclude(pk=row.budget_id).exclude(scope=row.budget.scope)
    chain = [
        one
        for one in budget_statuses(above.select_related("customer", "team__customer"), now).values()
        if one.budget.scope == Budget.Scope.CUSTOMER or one.budget.team_id == row.budget.team_id
    ]
    return {
        "status": status,
        "after": after,
        "after_limit": limit,
        "after_remaining": max(0, limit - status.spent - status.held),
        "above": chain,
        "adds": row.status == Status.REQUESTED,
    }


def _others(rows: list[Raise], user: Any) -> dict[int, str]:
    """By raise: the other budget of a transfer, named only to who may see it. One query."""
    others = {row.pk: row.counterpart for row in rows if row.counterpart is not None}
    wanted = [other.pk for other in others.values()]
    seen = set(Raise.objects.visible_to(user).filter(pk__in=wanted).values_list("pk", flat=True)) if wanted else set()
    return {
        pk: other.budget_name if other.pk in seen else f"another budget of {other.customer}"
        for pk, other in others.items()
    }


def _limit_with(row: Raise, status: BudgetStatus, resets: int, now: datetime) -> int:
    """The limit with this raise: what is in force already counts once; a reset adds what is spent by now.

    `resets` is what earlier resets added in this period.
    """
    parts = status.in_force
    unbounded = parts.base + parts.carried + parts.raised
    if row.is_in_force(now) or row.status != Status.REQUESTED:
        return max(0, unbounded)
    amount: int = row.amount_nano_usd
    if row.kind == Kind.RESET:
        amount = max(0, status.spent - resets)
    return max(0, unbounded + amount)


def _sentence(error: ValidationError | PermissionDenied) -> str:
    return "; ".join(error.messages) if isinstance(error, ValidationError) else str(error)
