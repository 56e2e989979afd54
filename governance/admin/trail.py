"""The audit trail, to be read: nothing on these pages writes."""

from __future__ import annotations

import json
from typing import Any

from django.contrib import admin
from django.http import HttpRequest
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString
from unfold.contrib.filters.admin import DropdownFilter
from unfold.decorators import display
from unfold.paginator import InfinitePaginator

from governance.admin import cells
from governance.admin.base import ReadOnlyAdmin
from governance.models import AuditEntry
from governance.templatetags import money


class TargetFilter(DropdownFilter):
    """By kind of target, from a fixed list: reading it out of the table would scan the table."""

    title = "kind of target"
    parameter_name = "target_type"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        kinds = (
            "customer", "team", "project", "developer", "virtualkey", "provideraccess", "budget", "raise", "ratelimit",
            "provider", "providercredential", "price", "priceproposal", "membership", "user", "group", "logexport",
            "monthlock", "reportimport", "reconciliationexception", "workspace", "alertchannel",
            "alertdelivery", "gatewayprocess",
        )  # fmt: skip
        return [(kind, kind) for kind in kinds]

    def queryset(self, request: HttpRequest, queryset: Any) -> Any:
        return queryset.filter(target_type=self.value()) if self.value() else queryset


@admin.register(AuditEntry)
class AuditAdmin(ReadOnlyAdmin):
    list_display = ["time", "actor_cell", "action", "target", "change_cell", "note", "ip"]
    list_display_links = ["time"]
    list_filter = [TargetFilter]
    # A trail grows for years: the list is read newest first and never counted.
    paginator = InfinitePaginator
    show_full_result_count = False
    search_fields = ["=action", "actor_name", "target_name", "=target_id"]
    search_help_text = "Who, what it was done to, or an action such as virtual_key.revoked"
    sortable_by: list[str] = []
    fields = [
        "time", "actor_name", "action", "target", "target_id", "change", "note", "ip", "previous_hash", "hash",
    ]  # fmt: skip
    readonly_fields = ["time", "target", "change"]

    @display(description="Time (UTC)")
    def time(self, row: AuditEntry) -> SafeString | str:
        return cells.minute(row.at)

    @display(description="Actor")
    def actor_cell(self, row: AuditEntry) -> str:
        # Not `actor`: the list would take the column of that name, which is empty for a command or a person gone.
        return row.actor_name

    @display(description="Target")
    def target(self, row: AuditEntry) -> SafeString:
        return format_html('{}<div class="cmp-note">{}</div>', row.target_name, row.target_type)

    @display(description="Change")
    def change(self, row: AuditEntry) -> SafeString:
        return _changes(row, most=None)

    @display(description="Change")
    def change_cell(self, row: AuditEntry) -> SafeString:
        return _changes(row, most=3)


def _changes(row: AuditEntry, *, most: int | None) -> SafeString:
    changes = sorted(row.changes.items())
    shown = ((name, _show(name, pair[0]), _show(name, pair[1])) for name, pair in changes[:most])
    lines = format_html_join("", '<div class="cmp-change"><span class="cmp-quiet">{}</span> {} → {}</div>', shown)
    rest = len(changes) - len(changes[:most])
    return lines + (format_html('<div class="cmp-note">and {} more</div>', rest) if rest else SafeString())


def _show(name: str, value: Any) -> str:
    if value is None or value == "":
        return money.DASH
    if name.endswith("_at") and isinstance(value, str):
        return f"{value[:16].replace('T', ' ')} UTC"
    if name.endswith("nano_usd") and isinstance(value, int):
        return money.usd_exact(value)
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
