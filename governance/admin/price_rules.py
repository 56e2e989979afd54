"""What single customers pay instead of the list price, and which model prices an id that is not listed."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

from django.contrib import admin, messages
from django.core.exceptions import PermissionDenied, ValidationError
from django.forms import ModelForm
from django.http import HttpRequest
from django.utils import timezone
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString
from unfold.contrib.filters.admin import ChoicesDropdownFilter
from unfold.decorators import display

from governance.admin import cells
from governance.admin.base import VisibleAdmin, VisibleRelatedFilter
from governance.admin.price_forms import AliasForm, OverrideForm
from governance.catalog import price_book
from governance.models import ModelAlias, PriceOverride
from governance.pricing_source import CLASSES
from governance.services import price_rules
from governance.templatetags import money


@admin.register(PriceOverride)
class PriceOverrideAdmin(VisibleAdmin):
    """Terms are made and ended, never edited: requests were charged by them."""

    form = OverrideForm
    list_display = ["whose", "terms_cell", "models_cell", "begin", "end", "state", "note_cell"]
    list_display_links = ["whose"]
    list_filter = [("customer", VisibleRelatedFilter), ("platform", ChoicesDropdownFilter)]
    list_select_related = ["customer"]
    list_before_template = "admin/governance/overrides_before.html"
    search_fields = ["customer__name", "note"]
    actions = ["end_now"]
    fieldsets = [
        ("Who and what", {"fields": ["customer", "platform", "model_patterns"]}),
        ("Either a percentage", {"fields": ["percent"]}),
        (
            "Or fixed rates, USD per million tokens",
            {
                "fields": [
                    ("rate_input", "rate_output"),
                    ("rate_cache_read",),
                    ("rate_cache_write_5m", "rate_cache_write_1h"),
                ],
                "description": "A class left empty keeps the list's rate. Factors (fast, us, batch) still apply.",
            },
        ),
        ("When", {"fields": [("effective_from", "effective_to"), "backdated", "note"]}),
    ]
    shown = ["customer", "platform", "models_cell", "terms_cell", "effective_from", "effective_to", "state", "note",
             "created_by", "created_at"]  # fmt: skip

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_end_permission(self, request: HttpRequest) -> bool:
        return request.user.has_perm("governance.change_priceoverride")

    def get_fieldsets(self, request: HttpRequest, obj: Any = None) -> Any:
        return [(None, {"fields": self.shown})] if obj else self.fieldsets

    def get_readonly_fields(self, request: HttpRequest, obj: Any = None) -> Any:
        return self.shown if obj else ()

    def save_model(self, request: HttpRequest, obj: Any, form: ModelForm[Any], change: bool) -> None:
        made = price_rules.create_override(
            customer=obj.customer,
            platform=obj.platform,
            model_patterns=obj.model_patterns,
            percent=obj.percent,
            rates=obj.rates,
            effective_from=obj.effective_from,
            effective_to=obj.effective_to,
            note=obj.note,
            backdated=form.cleaned_data["backdated"],
            actor=request.user,
        )
        obj.pk, obj._state.adding = made.pk, False
        self.require_visible(request, made)
        if form.cleaned_data["backdated"]:
            told = "Requests since then keep what they were charged. Ask for a re-pricing of the period to adjust them."
            self.message_user(request, told, messages.WARNING)

    @admin.action(description="End now", permissions=["end"])
    def end_now(self, request: HttpRequest, queryset: Any) -> None:
        for row in queryset:
            try:
                price_rules.end_override(override=row, actor=request.user)
            except ValidationError as error:
                self.message_user(request, f"{row}: {'; '.join(error.messages)}", messages.ERROR)
            except PermissionDenied as error:
                self.message_user(request, f"{row}: {error}", messages.ERROR)
            else:
                self.message_user(request, f"Ended: {row}. Requests from now on pay the list price.", messages.SUCCESS)

    @display(description="Customer", ordering="customer__name")
    def whose(self, row: PriceOverride) -> str:
        return str(row.customer)

    @display(description="Terms")
    def terms_cell(self, row: PriceOverride) -> SafeString | str:
        if row.percent is not None:
            return format_html(
                '{}<div class="cmp-note">{}</div>', row.terms, "discount" if row.percent < 0 else "markup"
            )
        rates = (
            (name.replace("_", " "), money.rate(Decimal(str(row.rates[name])))) for name in CLASSES if name in row.rates
        )
        return format_html_join("", '<div class="cmp-line">{} {} $ / 1M</div>', rates)

    @display(description="Models")
    def models_cell(self, row: PriceOverride) -> SafeString:
        where = row.get_platform_display() if row.platform else "every platform"
        models = ", ".join(row.model_patterns) or "Every model"
        return format_html('{}<div class="cmp-note">{}</div>', models, where)

    @display(description="From (UTC)", ordering="effective_from")
    def begin(self, row: PriceOverride) -> SafeString | str:
        return cells.minute(row.effective_from)

    @display(description="To (UTC)", ordering="effective_to")
    def end(self, row: PriceOverride) -> SafeString | str:
        return cells.minute(row.effective_to)

    @display(description="State")
    def state(self, row: PriceOverride) -> SafeString:
        now = timezone.now()
        if row.effective_to is not None and row.effective_to <= now:
            return cells.state("off", "○", "Ended")
        if row.effective_from > now:
            return cells.state("at_risk", "▲", "Begins later")
        return cells.state("ok", "✓", "In force")

    @display(description="Note")
    def note_cell(self, row: PriceOverride) -> SafeString:
        return format_html('<div class="cmp-change">{}</div>', row.note)


@admin.register(ModelAlias)
class ModelAliasAdmin(VisibleAdmin):
    """Ids that no price list knows, each with the listed model that prices it."""

    form = AliasForm
    list_display = ["alias_cell", "platform", "priced_as", "rates_cell", "note"]
    list_display_links = ["alias_cell"]
    list_filter = [("platform", ChoicesDropdownFilter)]
    list_before_template = "admin/governance/aliases_before.html"
    search_fields = ["alias", "model_id", "note"]

    def load_page(self, request: HttpRequest, rows: list[Any]) -> list[Any]:
        book, now = price_book(), timezone.now()
        for row in rows:
            row.page_price = book.find(row.platform, row.alias, now)
        return rows

    def save_model(self, request: HttpRequest, obj: Any, form: ModelForm[Any], change: bool) -> None:
        price_rules.map_model(alias=obj, actor=request.user, fields=form.changed_data if change else None)

    def delete_model(self, request: HttpRequest, obj: Any) -> None:
        price_rules.unmap_model(alias=obj, actor=request.user)

    @display(description="Id", ordering="alias")
    def alias_cell(self, row: ModelAlias) -> SafeString:
        return format_html('<span class="cmp-mono cmp-change">{}</span>', row.alias)

    @display(description="Priced as", ordering="model_id")
    def priced_as(self, row: ModelAlias) -> SafeString:
        region = f"{row.region} rates" if row.region else ""
        return format_html('{}<div class="cmp-note">{}</div>', row.model_id, region)

    @display(description="Input / output ($ / 1M)")
    def rates_cell(self, row: Any) -> SafeString | str:
        price = row.page_price
        if price is None:
            return cells.state("blocked", "■", "No price now: unpriced")
        figures = (f"{(rate * price.region).normalize():f}" for rate in (price.rates.input, price.rates.output))
        return " / ".join(figures)
