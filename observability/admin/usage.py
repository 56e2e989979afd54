"""The hourly roll-up, to look at: the figures behind the dashboard."""

from __future__ import annotations

from django.contrib import admin
from django.http import HttpRequest
from unfold.paginator import InfinitePaginator

from governance.admin.base import ReadOnlyAdmin
from governance.templatetags.money import usd
from observability.models import HourlyUsage


@admin.register(HourlyUsage)
class HourlyUsageAdmin(ReadOnlyAdmin):
    """Read-only, not in the navigation."""

    list_display = ("hour", "customer", "team", "developer", "model", "status", "num_requests", "num_cost")
    list_display_links = None
    ordering = ("-hour", "-pk")
    paginator = InfinitePaginator
    show_full_result_count = False

    @admin.display(description="Requests")
    def num_requests(self, row: HourlyUsage) -> str:
        return f"{row.requests:,}"

    @admin.display(description="Cost (USD)")
    def num_cost(self, row: HourlyUsage) -> str:
        return usd(row.cost_nano_usd)

    def has_module_permission(self, request: HttpRequest) -> bool:
        return False
