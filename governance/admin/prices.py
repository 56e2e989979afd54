"""The price catalog and what is proposed to change in it."""

from __future__ import annotations

from datetime import timedelta
from decimal import Decimal, InvalidOperation
from typing import Any

from django.contrib import admin, messages
from django.core.exceptions import PermissionDenied, ValidationError
from django.db.models import Sum
from django.forms import ModelForm
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect
from django.template.response import TemplateResponse
from django.urls import URLPattern, path, reverse
from django.utils import timezone
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString
from unfold.contrib.filters.admin import ChoicesDropdownFilter
from unfold.decorators import display

from governance.admin import cells
from governance.admin.base import ReadOnlyAdmin, VisibleAdmin
from governance.admin.price_forms import DecideForm, PriceForm
from governance.models import LedgerEntry, Price, PriceProposal
from governance.pricing_source import CLASSES
from governance.querysets import scope_filter
from governance.services import prices
from governance.templatetags import money


@admin.register(Price)
class PriceAdmin(VisibleAdmin):
    """A row is never edited: requests were charged by it. A change is a later row."""

    form = PriceForm
    list_display = [
        "model_id", "platform", "num_input", "num_output", "num_cache_read", "num_write_5m", "num_write_1h", "more",
        "effective", "source",
    ]  # fmt: skip
    list_filter = [("platform", ChoicesDropdownFilter)]
    list_before_template = "admin/governance/prices_before.html"
    search_fields = ["model_id", "source"]
    ordering = ["platform", "model_id", "-effective_from"]
    fieldsets = [
        (None, {"fields": ["platform", "model_id", "effective_from"]}),
        (
            "USD per million tokens",
            {
                "fields": [
                    ("input", "output"),
                    ("cache_read", "cache_write_5m", "cache_write_1h"),
                    "tiers",
                    "multipliers",
                ]
            },
        ),
        ("Besides tokens", {"fields": ["web_search", ("context_tokens", "max_output_tokens")]}),
        ("Where it comes from", {"fields": ["source", "version"]}),
    ]

    def get_fieldsets(self, request: HttpRequest, obj: Any = None) -> Any:
        if obj is not None:
            return self.fieldsets
        return [(None, {"fields": ["platform", "model_id", "effective_from", "backdated"]}), *self.fieldsets[1:]]

    def save_model(self, request: HttpRequest, obj: Any, form: ModelForm[Any], change: bool) -> None:
        values = {name: value for name, value in form.cleaned_data.items() if name != "backdated"}
        backdated = form.cleaned_data.get("backdated", False)
        made = prices.create_price(actor=request.user, backdated=backdated, **values)
        obj.pk, obj._state.adding = made.pk, False
        if backdated:
            told = "Requests since then keep what they were charged. Ask for a re-pricing of the period to adjust them."
            self.message_user(request, told, messages.WARNING)

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    @display(description="Input", ordering="input")
    def num_input(self, row: Price) -> str:
        return money.rate(row.input)

    @display(description="Output", ordering="output")
    def num_output(self, row: Price) -> str:
        return money.rate(row.output)

    @display(description="Cache read", ordering="cache_read")
    def num_cache_read(self, row: Price) -> str:
        return money.rate(row.cache_read)

    @display(description="Write 5 min", ordering="cache_write_5m")
    def num_write_5m(self, row: Price) -> str:
        return money.rate(row.cache_write_5m)

    @display(description="Write 1 h", ordering="cache_write_1h")
    def num_write_1h(self, row: Price) -> str:
        return money.rate(row.cache_write_1h)

    @display(description="Also")
    def more(self, row: Price) -> SafeString | str:
        parts = [f"above {tier['above_prompt_tokens']:,} tokens" for tier in row.tiers]
        parts += [f"{name} ×{factor}" for name, factor in sorted(row.multipliers.items())]
        return cells.quiet(", ".join(parts)) if parts else ""

    @display(description="From", ordering="effective_from")
    def effective(self, row: Price) -> SafeString | str:
        return cells.day(row.effective_from)


@admin.register(PriceProposal)
class PriceProposalAdmin(ReadOnlyAdmin):
    list_display = [
        "model_cell", "fields_cell", "num_current", "num_proposed", "num_percent", "effective", "num_spent", "age",
        "status_cell",
    ]  # fmt: skip
    list_filter = [("status", ChoicesDropdownFilter), ("platform", ChoicesDropdownFilter)]
    list_before_template = "admin/governance/proposals_before.html"
    list_select_related = ["current", "decided_by"]
    search_fields = ["model_id", "source"]
    actions = ["approve", "reject"]

    def get_urls(self) -> list[URLPattern]:
        decide = self.admin_site.admin_view(self.decide_view)
        return [path("<int:pk>/decide/", decide, name="governance_priceproposal_decide"), *super().get_urls()]

    def change_view(
        self, request: HttpRequest, object_id: str, form_url: str = "", extra_context: Any = None
    ) -> HttpResponse:
        row = self.get_object(request, object_id)
        if not isinstance(row, PriceProposal):
            gone: HttpResponse = self._get_obj_does_not_exist_redirect(request, self.model._meta, object_id)
            return gone
        if not self.has_view_permission(request, row) or request.method not in {"GET", "HEAD"}:
            raise PermissionDenied
        return self._page(request, row, DecideForm())

    def decide_view(self, request: HttpRequest, pk: int) -> HttpResponse:
        """Approve from a moment on, or reject; the button says which."""
        row = self.get_object(request, str(pk))
        if not isinstance(row, PriceProposal):
            raise Http404("No such proposal.")
        if request.method != "POST" or not self.has_decide_permission(request):
            raise PermissionDenied
        form = DecideForm(request.POST)
        if not form.is_valid():
            return self._page(request, row, form)
        try:
            if request.POST.get("verb") == "approve":
                prices.approve_proposal(proposal=row, actor=request.user, **form.cleaned_data)
            else:
                prices.reject_proposal(proposal=row, actor=request.user, note=form.cleaned_data["note"])
        except ValidationError as error:
            form.add_error(None, "; ".join(error.messages))
            return self._page(request, PriceProposal.objects.get(pk=row.pk), form)
        self.message_user(request, f"{row.get_status_display()}: {row}.", messages.SUCCESS)
        return HttpResponseRedirect(reverse("admin:governance_priceproposal_changelist"))

    def _page(self, request: HttpRequest, row: PriceProposal, form: DecideForm) -> HttpResponse:
        changes = [
            (
                str(change["field"]).replace("_", " "),
                _figure(change, "old") or "none",
                _figure(change, "new") or money.DASH,
                change.get("percent") or money.DASH,
            )
            for change in row.changes
        ]
        (loaded,) = self.load_page(request, [row])
        context = {
            **self.admin_site.each_context(request),
            "title": str(row),
            "opts": self.model._meta,
            "row": row,
            "badge": self.status_cell(row),
            "spent": loaded.page_spent,
            "changes": changes,
            "waiting": row.status == PriceProposal.Status.PENDING,
            "may_decide": self.has_decide_permission(request),
            "form": form,
        }
        return TemplateResponse(request, "admin/governance/proposal_page.html", context)

    def load_page(self, request: HttpRequest, rows: list[Any]) -> list[Any]:
        since = timezone.now() - timedelta(days=30)
        entries = LedgerEntry.objects.filter(model__in={row.model_id for row in rows}, occurred_at__gte=since)
        # Prices are everybody's; what they were spent on is not.
        mine = scope_filter(request.user, customer="customer_id", team="team_id")
        spent = dict(
            (entries if mine is None else entries.filter(mine))
            .order_by()
            .values_list("model")
            .annotate(total=Sum("amount_nano_usd"))
        )
        for row in rows:
            row.page_spent = spent.get(row.model_id, 0)
        return rows

    def has_decide_permission(self, request: HttpRequest) -> bool:
        return request.user.has_perm("governance.decide_priceproposal")

    @admin.action(description="Approve: add to the catalog", permissions=["decide"])
    def approve(self, request: HttpRequest, queryset: Any) -> None:
        self._decide(request, queryset, prices.approve_proposal, "Approved")

    @admin.action(description="Reject", permissions=["decide"])
    def reject(self, request: HttpRequest, queryset: Any) -> None:
        self._decide(request, queryset, prices.reject_proposal, "Rejected")

    def _decide(self, request: HttpRequest, queryset: Any, decide: Any, done: str) -> None:
        decided: list[str] = []
        for proposal in queryset:
            try:
                decide(proposal=proposal, actor=request.user)
            except ValidationError as error:
                self.message_user(request, f"{proposal}: {'; '.join(error.messages)}", messages.ERROR)
            else:
                decided.append(str(proposal))
        if decided:
            self.message_user(request, f"{done}: {', '.join(decided)}.", messages.SUCCESS)

    @display(description="Model", ordering="model_id")
    def model_cell(self, row: PriceProposal) -> SafeString:
        note = f"{row.get_platform_display()} · {row.source}"
        return format_html('{}<div class="cmp-note cmp-change">{}</div>', row.model_id, note)

    @display(description="Class")
    def fields_cell(self, row: PriceProposal) -> SafeString:
        return _stack(str(change["field"]).replace("_", " ") for change in row.changes)

    @display(description="Current")
    def num_current(self, row: PriceProposal) -> SafeString:
        return _stack(_figure(change, "old") or "new" for change in row.changes)

    @display(description="Proposed")
    def num_proposed(self, row: PriceProposal) -> SafeString:
        return _stack(_figure(change, "new") or money.DASH for change in row.changes)

    @display(description="Δ %")
    def num_percent(self, row: PriceProposal) -> SafeString:
        return _stack(change.get("percent") or money.DASH for change in row.changes)

    @display(description="From", ordering="effective_from")
    def effective(self, row: PriceProposal) -> SafeString | str:
        return cells.day(row.effective_from)

    @display(description="Spent, 30 d")
    def num_spent(self, row: Any) -> str:
        return money.usd(row.page_spent)

    @display(description="Age", ordering="created_at")
    def age(self, row: PriceProposal) -> str:
        days = (timezone.now() - row.created_at).days
        return f"{days} d" if days else "today"

    @display(description="Status", ordering="status")
    def status_cell(self, row: PriceProposal) -> SafeString:
        marks = {"pending": ("at_risk", "▲"), "rejected": ("off", "○"), "superseded": ("off", "○")}
        name, mark = marks.get(row.status, ("ok", "✓"))
        return cells.state(name, mark, row.get_status_display())


def _stack(parts: Any) -> SafeString:
    """One line each, never broken: the lines of the columns beside it belong to the same class."""
    return format_html_join("", '<div class="cmp-line">{}</div>', ((part,) for part in parts))


def _figure(change: dict[str, Any], side: str) -> str:
    """A rate as the price list shows it, a count with separators; anything else as it is."""
    text = str(change.get(side) or "")
    if change["field"] in CLASSES:
        try:
            return money.rate(Decimal(text))
        except InvalidOperation:
            return text
    return f"{int(text):,}" if text.isdigit() and str(change["field"]).endswith("_tokens") else text
