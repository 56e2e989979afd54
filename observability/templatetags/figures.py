"""Figures, outcomes and charts in templates."""

from __future__ import annotations

from datetime import datetime, tzinfo
from decimal import Decimal
from typing import Any

from django import template
from django.utils import timezone
from django.utils.html import format_html
from django.utils.safestring import SafeString

from governance.domain.money import nano_to_usd
from observability.charts import Chart
from observability.durations import duration
from observability.models import Request
from observability.selectors.usage import Figures

register = template.Library()

MARKS = {"success": ("✓", "OK"), "refused": ("■", "Refused"), "error": ("✕", "Error"), "cancelled": ("◌", "Cancelled")}

DASH = "—"
register.filter("duration", duration)


@register.filter
def line_label(label: str) -> str:
    """A cost line's class in words: `cache_write_5m` is `Cache write 5 min`."""
    words = label.replace("_", " ").replace("write 5m", "write 5 min").replace("write 1h", "write 1 h")
    return words[:1].upper() + words[1:]


@register.filter
def plain_decimal(value: Decimal) -> str:
    """An exact amount with all its digits, at least two decimals, and no exponent: `0.0042005`."""
    whole, _, fraction = f"{value:,f}".partition(".")
    return f"{whole}.{fraction.rstrip('0').ljust(2, '0')}"


@register.filter
def nano_decimal(nano: int) -> str:
    """Nano-dollars as USD with every digit: what a proof compares."""
    return f"{nano_to_usd(nano):,.9f}"


@register.filter
def proof_decimal(usd: Decimal) -> str:
    """The exact amount of a line of a proof: nine decimals line up, more where there are more."""
    whole, _, fraction = f"{usd:,f}".partition(".")
    return f"{whole}.{fraction.rstrip('0').ljust(9, '0')}"


@register.simple_tag
def share(part: int, whole: int) -> str:
    """A share with the digits it needs: `86%`, `0.4%`, `<0.1%`; a dash where there is nothing to share."""
    if whole == 0:
        return DASH
    if part and part * 1000 < whole:
        return "<0.1%"
    percent = 100 * part / whole
    return f"{percent:.0f}%" if percent >= 10 or part == 0 else f"{percent:.1f}%"


@register.simple_tag
def moment(value: datetime | None, zone: tzinfo, style: str = "minute") -> str:
    """A time in the page's zone: `minute`, `second`, `hour` and `clock` (time of day only) or `milli`."""
    if value is None:
        return DASH
    local = timezone.localtime(value, zone)
    match style:
        case "clock":
            return f"{local:%H:%M:%S}"
        case "hour":
            return f"{local:%H:%M}"
        case "second":
            return f"{local:%Y-%m-%d %H:%M:%S}"
        case "milli":
            return f"{local:%Y-%m-%d %H:%M:%S}.{local.microsecond // 1000:03d}"
    return f"{local:%Y-%m-%d %H:%M}"


@register.simple_tag
def outcome(status: str, detail: Any = "") -> SafeString:
    """An icon and a word; `detail` (an error type or an HTTP status) follows in small print."""
    icon, word = MARKS.get(status, ("?", status))
    tail = format_html(' <span class="ob-small ob-faint">{}</span>', detail) if detail else ""
    return format_html(
        '<span class="ob-status is-{}"><i aria-hidden="true">{}</i>{}</span>{}', status, icon, word, tail
    )


@register.simple_tag
def day(value: datetime, zone: tzinfo) -> str:
    """A date in the given zone."""
    return f"{timezone.localtime(value, zone):%Y-%m-%d}"


@register.filter
def mode(enforcement: str) -> str:
    """What a budget does at its limit, in one word."""
    return {"stop": "Block", "hard": "Hard", "observe": "Watch"}.get(enforcement, enforcement)


@register.filter
def cached(row: Request) -> int:
    """Prompt tokens of a request that were read from or written to the cache."""
    return row.cache_read_tokens + written(row)


@register.filter
def written(row: Request) -> int:
    """Prompt tokens of a request that were written to the cache."""
    return row.cache_write_5m_tokens + row.cache_write_1h_tokens


@register.inclusion_tag("admin/observability/token_classes.html")
def token_classes(figures: Figures) -> dict[str, Any]:
    """One bar of all token classes, and the table beside it."""
    classes = (
        ("Input, not cached", figures.input_tokens),
        ("Cache read", figures.cache_read_tokens),
        ("Cache write 5 min", figures.cache_write_5m_tokens),
        ("Cache write 1 h", figures.cache_write_1h_tokens),
        ("Output", figures.output_tokens),
    )
    parts = [
        {"name": name, "count": count, "series": series, "width": f"{100 * count / max(1, figures.tokens):.3f}%"}
        for series, (name, count) in enumerate(classes)
    ]
    return {"parts": parts, "total": figures.tokens}


@register.inclusion_tag("admin/observability/chart.html")
def bar_chart(chart: Chart, label: str, unit: str = "", palette: str = "") -> dict[str, Any]:
    """The chart as SVG; `label` says in words what it shows, `unit` what the axis counts."""
    return {"chart": chart, "label": label, "unit": unit, "palette": palette}
