"""Rate limits: of requests, of tokens and of requests at once."""

from __future__ import annotations

from django.contrib import admin
from django.utils.safestring import SafeString
from unfold.decorators import display

from governance.admin import cells, pickers
from governance.admin.scoped import TARGETS, ScopedLimitAdmin
from governance.models import RateLimit


@admin.register(RateLimit)
class RateLimitAdmin(ScopedLimitAdmin):
    list_display = ["target_cell", "kind", "num_limit", "unit", "per", "mode", "models", "status"]
    list_display_links = ["target_cell"]
    add_fieldsets = [
        ("What it limits", {"fields": ["scope", *TARGETS]}),
        ("Limit", {"fields": ["unit", "limit", "per", "enforcement", "model_patterns", "is_active"]}),
    ]
    fieldsets = [("What it limits", {"fields": ["target_link"]}), add_fieldsets[1]]

    @display(description="Limits", ordering="customer__name")
    def target_cell(self, row: RateLimit) -> str:
        return pickers.label(row.target)

    @display(description="Scope", ordering="scope")
    def kind(self, row: RateLimit) -> str:
        return row.get_scope_display()

    @display(description="At most", ordering="limit")
    def num_limit(self, row: RateLimit) -> str:
        return f"{row.limit:,}"

    @display(description="Mode", ordering="enforcement")
    def mode(self, row: RateLimit) -> str:
        return {"hard": "Hard", "stop": "Block", "observe": "Watch"}[row.enforcement]

    @display(description="Models")
    def models(self, row: RateLimit) -> str:
        return ", ".join(row.model_patterns) or "every"

    @display(description="Status", ordering="is_active")
    def status(self, row: RateLimit) -> SafeString:
        return cells.active(row.is_active)
