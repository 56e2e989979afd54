"""Cells of lists: amounts, moments, states and budget bars."""

from __future__ import annotations

from datetime import datetime

from django.template.loader import render_to_string
from django.utils.html import format_html
from django.utils.safestring import SafeString

from governance.selectors import BudgetStatus
from governance.templatetags import money


def day(moment: datetime | None) -> SafeString | str:
    """`2026-11-22`, with the full UTC moment on hover."""
    if moment is None:
        return money.DASH
    shown, full = f"{moment:%Y-%m-%d}", f"{moment:%Y-%m-%d %H:%M:%S %Z}"
    return format_html('<time class="cmp-date" title="{}">{}</time>', full, shown)


def minute(moment: datetime | None) -> SafeString | str:
    """`2026-11-22 14:32`."""
    if moment is None:
        return money.DASH
    shown, zone = f"{moment:%Y-%m-%d %H:%M}", f"{moment:%Z}"
    return format_html('<time class="cmp-date" title="{}">{}</time>', zone, shown)


def state(name: str, mark: str, word: str) -> SafeString:
    """A mark and a word: read without colour."""
    shown = '<span class="cmp-state cmp-state--{}"><span aria-hidden="true">{}</span> {}</span>'
    return format_html(shown, name, mark, word)


def active(is_active: bool) -> SafeString:
    return state("ok", "✓", "Active") if is_active else state("off", "○", "Off")


def quiet(text: str) -> SafeString:
    return format_html('<span class="cmp-quiet">{}</span>', text)


def bar(status: BudgetStatus | None, *, name_it: bool = False) -> SafeString:
    """A budget bar, under it the budget's name where the row does not say it; a sentence where there is no budget."""
    if status is None:
        return quiet("No budget: unlimited")
    drawn = render_to_string("admin/governance/budget_bar.html", money.budget_bar(status))
    if not name_it:
        return SafeString(drawn)
    return format_html('{}<div class="cmp-bar__caption">{}</div>', drawn, status.budget)
