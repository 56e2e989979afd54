"""States and shares of the reconciliation pages: `{% load reconciliation %}`."""

from __future__ import annotations

from django import template
from django.utils.html import format_html
from django.utils.safestring import SafeString

from governance.models import ReconciliationDay, ReconciliationException, ReconciliationLine
from governance.templatetags.money import DASH, usd_exact
from observability.selectors.reconciliation import DayPage, MonthPage

register = template.Library()

_DAY = {"open": ("cancelled", "◌"), "matched": ("success", "✓"), "off": ("error", "✕"), "accepted": ("success", "◆")}
_LINE = {
    "matched": ("success", "✓"), "within": ("success", "≈"), "off": ("error", "✕"), "only_ours": ("error", "✕"),
    "only_theirs": ("error", "✕"), "waiting": ("cancelled", "◌"),
}  # fmt: skip
_EXCEPTION = {
    "open": ("refused", "▲"), "explained": ("success", "✓"), "adjusted": ("success", "✓"),
    "ignored": ("cancelled", "○"), "gone": ("cancelled", "○"),
}  # fmt: skip
_CLASSES = {
    "uncached_input": "Input, not cached", "cache_read": "Cache read", "cache_write_5m": "Cache write 5 min",
    "cache_write_1h": "Cache write 1 h", "output": "Output", "web_search": "Web search",
}  # fmt: skip


@register.filter
def token_class(name: str) -> str:
    """A token class in words; one that this version does not know under its own name."""
    words = name.replace("_", " ")
    return _CLASSES.get(name) or words[:1].upper() + words[1:]


@register.simple_tag
def day_state(row: ReconciliationDay) -> SafeString:
    if row.waiting_since is not None:
        return _status("refused", "◌", "Waits to be compared")
    word = "No report" if row.state == "open" and row.theirs_nano_usd is None else row.get_state_display()
    return _status(*_DAY[row.state], word)


@register.simple_tag
def line_state(line: ReconciliationLine) -> SafeString:
    return _status(*_LINE[line.status], line.get_status_display())


@register.simple_tag
def exception_state(row: ReconciliationException) -> SafeString:
    return _status(*_EXCEPTION[row.status], row.get_status_display())


@register.simple_tag
def line_difference(line: ReconciliationLine) -> str:
    """Ours less theirs; nothing where they have not said."""
    return "" if line.theirs_nano_usd is None else usd_exact(line.ours_nano_usd - line.theirs_nano_usd)


@register.simple_tag
def drift_share(drift: int, theirs: int) -> str:
    """A drift in percent of theirs with its sign: `+0.12%`, `−3.4%`, `<0.01%`, a dash for none."""
    if not drift or not theirs:
        return DASH
    percent = 100 * drift / theirs
    sign = "+" if percent > 0 else "−"
    return f"{sign}<0.01%" if abs(percent) < 0.005 else f"{sign}{abs(percent):,.2f}%"


@register.simple_tag
def month_state(page: MonthPage) -> str:
    active = [lock for lock in page.locks if lock.unlocked_at is None]
    if any(lock.customer_id is None for lock in active):
        return "Locked"
    return "Partly locked" if active else "Open"


@register.simple_tag
def day_sentence(page: DayPage) -> str:
    row = page.row
    if row.waiting_since is not None:
        return "Newer figures came: a worker compares them within a few minutes."
    if row.theirs_nano_usd is None:
        return "Anthropic's cost report of this day is not there yet."
    if not row.is_final:
        return "The day may still change on both sides: exceptions are opened a day after its end."
    open_ones = sum(exception.status == "open" for exception in page.exceptions)
    match row.state:
        case "matched":
            return "Every cell is equal or within the tolerance."
        case "accepted":
            return "What differed is decided."
    return f"{open_ones} exception{' waits' if open_ones == 1 else 's wait'} for a decision."


def _status(tone: str, mark: str, word: str) -> SafeString:
    return format_html('<span class="ob-status is-{}"><i aria-hidden="true">{}</i>{}</span>', tone, mark, word)
