"""Budgets, as a tree with their bars."""

from __future__ import annotations

from typing import Any

from django import forms
from django.contrib import admin
from django.http import HttpRequest
from django.utils import timezone
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString
from unfold.contrib.filters.admin import ChoicesDropdownFilter
from unfold.decorators import display
from unfold.widgets import UnfoldAdminTextInputWidget

from governance.admin import cells
from governance.admin.base import visible
from governance.admin.budget_tree import arrange
from governance.admin.budget_windows import windows_panel
from governance.admin.raises import raises_panel
from governance.admin.scoped import TARGETS, ScopedLimitAdmin, ScopedLimitForm
from governance.models import Budget, Customer
from governance.selectors import BudgetStatus, budget_status, budget_statuses
from governance.services import raises
from governance.templatetags import money

LADDER = "On the way to the limit"


class BudgetForm(ScopedLimitForm):
    """A limit that changes takes a reason."""

    change_reason = forms.CharField(
        label="Why the limit changes",
        max_length=300,
        required=False,
        widget=UnfoldAdminTextInputWidget,
        help_text="Needed when the limit changes, for the audit trail. For a time only: ask for a raise instead.",
    )

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if "throttle_concurrent" in self.fields:
            self.fields["throttle_concurrent"].required = False
            self.fields[
                "downgrade_at"
            ].help_text = "From this percentage on, models are replaced as the next field says. Empty: never."
            self.fields["downgrade"].label = "Cheaper models"
            self.fields["throttle_at"].help_text = "From this percentage on, few requests run at once. Empty: never."

    def clean_throttle_concurrent(self) -> int:
        given: int | None = self.cleaned_data["throttle_concurrent"]
        return 1 if given is None else given

    def clean(self) -> dict[str, Any]:
        values = super().clean()
        if self.instance.pk and "limit_nano_usd" in self.changed_data and not values.get("change_reason"):
            self.add_error("change_reason", "Say why the limit changes.")
        return values


@admin.register(Budget)
class BudgetAdmin(ScopedLimitAdmin):
    form = BudgetForm
    list_display = [
        "scope_cell", "bar", "num_spent", "num_held", "num_forecast", "num_limit", "num_remaining", "runs_out",
        "mode", "resets",
    ]  # fmt: skip
    # The tree is arranged over all rows: an installation has some hundreds of budgets, not thousands.
    list_per_page = 500
    list_fullwidth = True
    list_before_template = "admin/governance/budgets_before.html"
    change_form_outer_before_template = "admin/governance/budget_verdict.html"
    search_fields = [*ScopedLimitAdmin.search_fields, "name"]
    list_filter = [
        *ScopedLimitAdmin.list_filter,
        ("period", ChoicesDropdownFilter),
        ("enforcement", ChoicesDropdownFilter),
    ]
    ordering = ["customer__name", "pk"]
    sortable_by: list[str] = []
    _settings = [
        ("Limit", {"fields": ["limit_nano_usd", "period", "enforcement", "carry_over", "is_active"]}),
        ("Alerts", {"fields": ["alerts", "owner_email", "approver_email"]}),
        (
            LADDER,
            {
                "fields": ["downgrade_at", "downgrade", "throttle_at", "throttle_concurrent"],
                "classes": ["collapse"],
                "description": "Optional steps before requests are refused, each from a percentage of the limit in "
                "force on: first a cheaper model takes a dearer one's place, then few requests run at once. The answer "
                "says in a header which model it came from.",
            },
        ),
        (
            "Details",
            {
                "fields": ["name", "model_patterns", "rolling", "timezone", "week_start", "fiscal_start_month"],
                "classes": ["collapse"],
            },
        ),
    ]
    add_fieldsets = [("What it limits", {"fields": ["scope", *TARGETS]}), *_settings]
    fieldsets = [("What it limits", {"fields": ["target_link"]}), *_settings]

    def get_fieldsets(self, request: HttpRequest, obj: Any = None) -> Any:
        fieldsets = super().get_fieldsets(request, obj)
        if obj is not None and (obj.downgrade_at or obj.throttle_at):
            # What is in use stands open.
            fieldsets = [(title, {**part, "classes": []} if title == LADDER else part) for title, part in fieldsets]
        if obj is None or not self.has_change_permission(request, obj):
            return fieldsets
        return [
            (title, {**part, "fields": ["limit_nano_usd", "change_reason", *part["fields"][1:]]})
            if "limit_nano_usd" in part["fields"]
            else (title, part)
            for title, part in fieldsets
        ]

    def save_model(self, request: HttpRequest, obj: Any, form: Any, change: bool) -> None:
        if change and "limit_nano_usd" in form.changed_data:
            reason, stored = form.cleaned_data["change_reason"], Budget.objects.get(pk=obj.pk)
            raises.change_limit(budget=stored, limit_nano_usd=obj.limit_nano_usd, reason=reason, actor=request.user)
        super().save_model(request, obj, form, change)

    def get_changeform_initial_data(self, request: HttpRequest) -> dict[str, Any]:
        return {"alerts": [50, 80, 95, 100], **super().get_changeform_initial_data(request)}

    def load_page(self, request: HttpRequest, rows: list[Any]) -> list[Any]:
        statuses = budget_statuses(rows, timezone.now())
        ordered = []
        for leaf in arrange(list(statuses.values())):
            row: Any = leaf.status.budget
            row.page_leaf, row.page_status = leaf, leaf.status
            ordered.append(row)
        return ordered

    def changelist_view(self, request: HttpRequest, extra_context: Any = None) -> Any:
        unlimited = (
            visible(Customer.objects.filter(is_active=True), request.user)
            .exclude(pk__in=Budget.objects.filter(is_active=True).values("customer"))
            .order_by("name")
        )
        context = {"unlimited": list(unlimited[:20]), "now": timezone.now(), **(extra_context or {})}
        return super().changelist_view(request, context)

    def change_view(self, request: HttpRequest, object_id: str, form_url: str = "", extra_context: Any = None) -> Any:
        budget = self.get_object(request, object_id)
        context = {"now": timezone.now(), **(extra_context or {})}
        if isinstance(budget, Budget):
            status = budget_status(budget, timezone.now())
            context |= {"status": status, "verdict": verdict(status)}
            context |= raises_panel(budget, request.user, timezone.now())
            context |= windows_panel(status, request)
        return super().change_view(request, object_id, form_url, context)

    @display(description="Scope")
    def scope_cell(self, row: Any) -> SafeString:
        # A name of its own hides what the budget is for: then it is said beside the kind.
        target = f"{row.get_scope_display()} {_short(row)} · " if row.name else f"{row.get_scope_display()} · "
        kind = "" if row.scope == Budget.Scope.CUSTOMER and not row.name else target
        period = f"last {row.rolling} {row.period}s" if row.rolling else row.get_period_display()
        only = f" · {', '.join(row.model_patterns)}" if row.model_patterns else ""
        steps = f" · {row.downgrade_at} % cheaper" if row.downgrade_at else ""
        steps += f" · {row.throttle_at} % throttled" if row.throttle_at else ""
        name = row.name or _short(row)
        told = [one for one in (row.page_leaf.warning, row.page_status.may_refuse) if one]
        warning = format_html_join("", '<div class="cmp-note cmp-state--at_risk">▲ {}</div>', ((one,) for one in told))
        return format_html(
            '<div class="cmp-indent-{}"><div>{} {}</div><div class="cmp-note">{}</div>{}</div>',
            row.page_leaf.depth,
            name,
            money.state_badge(row.page_status.state),
            f"{kind}{period}{only}{steps}",
            warning,
        )

    @display(description="Spent and held of the limit")
    def bar(self, row: Any) -> SafeString:
        return cells.bar(row.page_status)

    @display(description="Spent")
    def num_spent(self, row: Any) -> str:
        return money.usd(row.page_status.spent)

    @display(description="Held")
    def num_held(self, row: Any) -> str:
        return money.usd(row.page_status.held)

    @display(description="Forecast")
    def num_forecast(self, row: Any) -> str:
        return money.usd(row.page_status.forecast) or "too early"

    @display(description="Limit")
    def num_limit(self, row: Any) -> SafeString:
        status: BudgetStatus = row.page_status
        return format_html("{}{}", money.usd(status.limit), limit_parts(status))

    @display(description="Remaining")
    def num_remaining(self, row: Any) -> str:
        return money.usd(row.page_status.remaining)

    @display(description="Runs out")
    def runs_out(self, row: Any) -> SafeString | str:
        status: BudgetStatus = row.page_status
        if status.share >= 1:
            return "reached"
        if status.runs_out_at is None:
            return cells.quiet("not this period")
        return cells.day(status.runs_out_at.astimezone(status.zone))

    @display(description="Mode")
    def mode(self, row: Any) -> str:
        status: BudgetStatus = row.page_status
        return status.mode

    @display(description="Resets")
    def resets(self, row: Any) -> SafeString:
        status: BudgetStatus = row.page_status
        return format_html('<span class="cmp-date" title="{}">{}</span>', status.zone.key, status.resets_on)


def verdict(status: BudgetStatus) -> str:
    """How it stands, until when, and what happens then."""
    return f"{_stands(status)} {status.may_refuse}".rstrip()


def _stands(status: BudgetStatus) -> str:
    budget, zone = status.budget, status.zone.key
    watched = budget.enforcement == Budget.Enforcement.OBSERVE
    after = "requests go on, and it is only told" if watched else "requests are blocked"
    resets = f"It resets on {status.resets_at:%Y-%m-%d %H:%M} ({zone})." if status.resets_at else "It never resets."
    if budget.rolling:
        resets = f"It looks back over the last {budget.rolling} {budget.period}s."
    match status.state:
        case "off":
            return "It limits nothing."
        case "blocked":
            return f"Requests are refused. {resets} To let them through before, raise the limit."
        case "over":
            return f"Requests go on. {resets}"
    if status.runs_out_at is not None:
        out = status.runs_out_at.astimezone(status.zone)
        before = f", {(status.resets_at - out).days} days before the reset" if status.resets_at else ""
        return f"At this rate it runs out on {out:%Y-%m-%d}{before}; then {after}."
    if status.state == "at_risk":
        return f"{money.percent(status.share)} is used. {resets}"
    return f"{money.usd_total(status.remaining)} left. {resets}"


def limit_parts(status: BudgetStatus) -> SafeString:
    """What the limit in force is made of, where it is not the base alone: `100.00 + 10.00 raised`."""
    parts = status.in_force
    more = [(parts.carried, "carried over"), (parts.raised, "raised" if parts.raised > 0 else "moved")]
    said = "".join(f" {'+' if nano > 0 else '−'} {money.usd(abs(nano))} {word}" for nano, word in more if nano)
    return format_html('<div class="cmp-note">{}{}</div>', money.usd(parts.base), said) if said else SafeString()


def _short(budget: Budget) -> str:
    """The target's own name, without the customer that stands above it in the tree."""
    return str(getattr(budget.target, "name", "") or budget.target)
