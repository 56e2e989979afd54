"""How amounts, tokens, rates and budgets look on every page: `{% load money %}`.

Money is right-aligned with two decimals and no symbol (the header names the currency); a true zero is a dash, what
two decimals cannot show is `<0.01`, a credit stands in brackets. Nothing here follows the locale: a comma would be
invalid in CSS and ambiguous in a figure.
"""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from django import template
from django.utils.html import format_html
from django.utils.safestring import SafeString

from governance.domain.money import NANO, nano_to_usd

if TYPE_CHECKING:
    from governance.selectors import BudgetStatus

register = template.Library()
DASH = "—"


@register.filter
def usd(nano: int | None) -> str:
    """Nano-dollars for a column: `1,204.50`, `(12.00)`, `<0.01`, `—`; empty where nothing is known."""
    if nano is None:
        return ""
    if nano == 0:
        return DASH
    if abs(nano) < NANO // 200:
        return "<0.01" if nano > 0 else "(<0.01)"
    return _credit(nano, f"{abs(nano_to_usd(nano)):,.2f}")


@register.filter
def usd_total(nano: int | None) -> str:
    """Nano-dollars for a tile or a total: `$1,204.50`, `−$12.00`, `<$0.01`, `$0`."""
    if nano is None:
        return ""
    if nano == 0:
        return "$0"
    sign = "−" if nano < 0 else ""
    return f"{sign}<$0.01" if abs(nano) < NANO // 200 else f"{sign}${abs(nano_to_usd(nano)):,.2f}"


@register.filter
def usd_signed(nano: int) -> str:
    """A change for a sentence, always with its sign: `+$3.00`, `−$12.00`, `$0`."""
    return f"+{usd_total(nano)}" if nano > 0 else usd_total(nano)


@register.filter
def usd_exact(nano: int | None) -> str:
    """Nano-dollars of a single request, always six decimals so that the digits of a column line up: `0.004200`."""
    if nano is None:
        return ""
    if nano == 0:
        return DASH
    if abs(nano) < NANO // 1_000_000:
        return "<0.000001" if nano > 0 else "(<0.000001)"
    return _credit(nano, f"{abs(nano_to_usd(nano)):,.6f}")


@register.filter
def rate(usd_per_mtok: Decimal | None) -> str:
    """A price in USD per million tokens: `5.00`, `0.0375`; a true zero is a dash."""
    if usd_per_mtok is None:
        return ""
    if not usd_per_mtok:
        return DASH
    whole, _, fraction = f"{usd_per_mtok:,f}".partition(".")
    fraction = fraction.rstrip("0")
    return f"{whole}.{fraction.ljust(4 if len(fraction) == 3 else 2, '0')}"


@register.filter
def tokens(count: int | None) -> str:
    """A count, in full: `1,204,500`; a true zero is a dash."""
    return "" if count is None else f"{count:,}" if count else DASH


@register.filter
def tokens_short(count: int | None) -> str:
    """A count for a tile: `1.20M`, `45.1k`, `812`."""
    if count is None:
        return ""
    for unit, size in (("B", 10**9), ("M", 10**6), ("k", 10**3)):
        if abs(count) >= size:
            return f"{count / size:.2f}{unit}" if abs(count) < 10 * size else f"{count / size:.1f}{unit}"
    return f"{count:,}"


@register.filter
def percent(share: float | None) -> str:
    """A share of one: `86%`; just under the whole is never 100%, something is never 0%."""
    if share is None:
        return DASH
    if 0 < share < 0.01:
        return "<1%"
    return f"{int(share * 100 + 1e-9):,}%"


@dataclass(frozen=True, slots=True)
class Bar:
    """Geometry of a budget bar: positions and widths as CSS percentages, and the caption under it."""

    spent: str
    over_from: str
    over: str
    held_from: str
    held: str
    limit_at: str
    forecast_at: str
    ticks: tuple[str, ...]
    is_over: bool
    caption: str


def bar(*, spent: int, held: int, limit: int, forecast: int | None = None, thresholds: tuple[int, ...] = ()) -> Bar:
    """Lay out a bar, all amounts in nano-dollars.

    Where use or forecast pass the limit the scale grows with them, so that the limit moves left. A forecast far
    beyond stays at the right edge: the bar would shrink to nothing for it.
    """
    used = max(spent, 0) + held
    reach = max(used, min(forecast or 0, limit + limit // 2))
    scale = max(limit, reach, 1) * (1.04 if reach > limit else 1)
    within = min(max(spent, 0), limit)
    ticks = tuple(_css(limit * at / 100 / scale) for at in thresholds if at < 100)
    return Bar(
        spent=_css(within / scale),
        over_from=_css(within / scale),
        over=_css((max(spent, 0) - within) / scale),
        held_from=_css(max(spent, 0) / scale),
        held=_css(held / scale),
        limit_at=_css(limit / scale),
        forecast_at="" if forecast is None or forecast <= spent else _css(min(forecast / scale, 1)),
        ticks=ticks,
        is_over=used > limit,
        caption=caption(spent=spent, held=held, limit=limit),
    )


def caption(*, spent: int, held: int, limit: int) -> str:
    """`412.10 + 18.00 held of 500.00 · 86%`, in the currency of the page."""
    parts = _amount(spent) + (f" + {_amount(held)} held" if held else "")
    share = percent((spent + held) / limit) if limit else DASH
    return f"{parts} of {_amount(limit)} · {share}"


@register.inclusion_tag("admin/governance/budget_bar.html")
def budget_bar(status: BudgetStatus, *, with_caption: bool = True) -> dict[str, Any]:
    """The bar of a `governance.selectors.BudgetStatus`: spent, held, forecast, limit, thresholds and a caption."""
    return {
        "bar": bar(
            spent=status.spent,
            held=status.held,
            limit=status.limit,
            forecast=status.forecast,
            thresholds=tuple(status.budget.alerts),
        ),
        "with_caption": with_caption,
    }


@register.simple_tag
def state_badge(state: str) -> SafeString:
    """A state as a mark and a word, so that it is read without colour: ok, at_risk, blocked, over, off."""
    mark, word = _STATES[state]
    return format_html(
        '<span class="cmp-state cmp-state--{}"><span aria-hidden="true">{}</span> {}</span>', state, mark, word
    )


_STATES = {
    "ok": ("✓", "OK"),
    "at_risk": ("▲", "At risk"),
    "blocked": ("■", "Blocked"),
    "over": ("▲", "Over, only watched"),
    "off": ("○", "Off"),
}


def _amount(nano: int) -> str:
    return "0" if nano == 0 else usd(nano)


def _credit(nano: int, digits: str) -> str:
    return f"({digits})" if nano < 0 else digits


def _css(share: float) -> str:
    return f"{max(0.0, min(share, 1.0)) * 100:.3f}%"
