"""Everything the admin's index shows: verdict, tiles, spend over time by team, model and developer, budgets at risk."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta
from typing import Any
from zoneinfo import ZoneInfo

from governance.domain.money import NANO
from governance.models import Budget, Customer
from governance.selectors import BudgetStatus, budget_statuses
from governance.templatetags.money import usd_total
from observability.charts import SERIES, Chart, stacked
from observability.selectors.adjustments import adjusted_between
from observability.selectors.reporting import reporting_zone
from observability.selectors.usage import FIGURES, Figures, Usage

RANGES = (7, 30, 90)
DEFAULT_DAYS = 30
TOP_KEYS = 10
SHOWN_BUDGETS = 8
NOBODY = {
    "team": "No team (key unknown)",
    "model": "None served",
    "developer": "No developer",
    "key": "Key unknown",
}
"""How a line is called whose requests have none of these."""
RISKY = ("blocked", "over", "at_risk")


@dataclass(frozen=True, slots=True)
class Line:
    """One line of a breakdown. `series` is its colour in the chart, `target` the id its page is found by."""

    label: str
    series: int
    figures: Figures
    target: int | None = None
    linked: bool = False
    """Whether the log can be filtered by it."""


@dataclass(frozen=True, slots=True)
class Breakdown:
    """Spend by one thing: a chart of days, and the table that says the same in figures."""

    name: str
    title: str
    chart: Chart
    lines: list[Line]
    total: Figures


@dataclass(frozen=True, slots=True)
class Verdict:
    """The answer of the page in a sentence; `tone` is good, warn or bad."""

    tone: str
    text: str
    more: str = ""


@dataclass(frozen=True, slots=True)
class Dashboard:
    zone: ZoneInfo
    now: datetime
    start: datetime
    days: int
    verdict: Verdict
    today: Figures
    yesterday: Figures
    month: Figures
    """Requests only, as in the log."""
    month_adjusted: int
    """Nano-dollars that reconciliation added in the month; no request has them."""
    range_adjusted: int
    """The same over the range of the page."""
    month_limit: int
    """Sum of the customers' monthly budgets, nano-dollars; 0 where not every customer has one."""
    totals: Figures
    breakdowns: list[Breakdown]
    keys: list[Line]
    budgets: list[BudgetStatus]
    budgets_at_risk: int
    budgets_in_all: int

    @property
    def month_nano_usd(self) -> int:
        """What the ledger charges for the month, as budgets count it."""
        return self.month.cost_nano_usd + self.month_adjusted

    @property
    def range_nano_usd(self) -> int:
        return self.totals.cost_nano_usd + self.range_adjusted


def build(user: Any, *, days: int, now: datetime) -> Dashboard:
    """Figures of the last `days` days, today included, of what the user may see."""
    zone = reporting_zone(user)
    today = now.astimezone(zone).date()
    dates = [today - timedelta(days=back) for back in reversed(range(days))]
    usage = Usage.between(user, _midnight(dates[0], zone), now, zone)
    by_day = usage.by_day()
    totals = _sum(list(by_day.values()))
    month = _month(user, usage, by_day, today, zone, now)
    month_adjusted = adjusted_between(user, _midnight(today.replace(day=1), zone), now)
    customers = _customers(user)
    several = len(customers) > 1
    statuses = _statuses(user, now)
    risky = [status for status in statuses if status.state in RISKY]
    limit = _month_limit(customers, statuses)
    return Dashboard(
        zone=zone,
        now=now,
        start=usage.start,
        days=days,
        verdict=_verdict(month.cost_nano_usd + month_adjusted, limit, statuses, risky),
        today=by_day.get(today, Figures()),
        yesterday=by_day.get(today - timedelta(days=1), Figures()),
        month=month,
        month_adjusted=month_adjusted,
        range_adjusted=adjusted_between(user, usage.start, now),
        month_limit=limit,
        totals=totals,
        breakdowns=[
            _breakdown(usage, name, title, dates, by_day, totals, several, wide=name == "team")
            for name, title in (("team", "team"), ("model", "model"), ("developer", "developer"))
        ],
        keys=_lines(usage.ranking("key")[:TOP_KEYS], "key", several),
        budgets=(risky or statuses)[:SHOWN_BUDGETS],
        budgets_at_risk=len(risky),
        budgets_in_all=len(statuses),
    )


def _breakdown(
    usage: Usage,
    name: str,
    title: str,
    dates: Sequence[date],
    by_day: dict[date, Figures],
    totals: Figures,
    several: bool,
    *,
    wide: bool,
) -> Breakdown:
    ranking = usage.ranking(name)
    # A tenth line alone is shown by its name: "Other" of one thing would only hide it.
    shown = ranking if len(ranking) == SERIES + 1 else ranking[:SERIES]
    daily = usage.daily(name, [key for key, _ in shown])
    lines = _lines(shown, name, several)
    series = [
        (line.label, [daily.get((day, key), 0) / NANO for day in dates])
        for line, (key, _) in zip(lines, shown, strict=True)
    ]
    rest = ranking[len(shown) :]
    if rest:
        other = [
            max(0, by_day.get(day, Figures()).cost_nano_usd - sum(daily.get((day, key), 0) for key, _ in shown)) / NANO
            for day in dates
        ]
        lines.append(Line(f"Other ({len(rest)})", SERIES, _sum([figures for _, figures in rest])))
        series.append(("Other", other))
    chart = stacked(
        [f"{day:%m-%d}" for day in dates],
        series,
        unit="$",
        width=760 if wide else 540,
        height=300 if wide else 220,
        names=[f"{day:%Y-%m-%d}" for day in dates],
    )
    return Breakdown(name, title, chart, lines, totals)


def _lines(ranking: Sequence[tuple[tuple[Any, ...], Figures]], name: str, several: bool) -> list[Line]:
    lines = []
    for series, (key, figures) in enumerate(ranking):
        match name, key:
            case "team", (pk, team, customer):
                label, target = (f"{customer} / {team}" if several and team else team), pk
            case "key", (pk, virtual_key, team):
                label, target = (f"{virtual_key} ({team})" if virtual_key else ""), pk
            case "developer", (_, developer):
                label, target = developer, None
            case _:
                label, target = key[0], None
        lines.append(Line(label or NOBODY[name], min(series, SERIES), figures, target, linked=bool(label)))
    return lines


def _month(user: Any, usage: Usage, by_day: dict[date, Figures], today: date, zone: ZoneInfo, now: datetime) -> Figures:
    first = _midnight(today.replace(day=1), zone)
    if first >= usage.start:
        return _sum([figures for day, figures in by_day.items() if day >= today.replace(day=1)])
    return Usage.between(user, first, now, zone).totals()


def _statuses(user: Any, now: datetime) -> list[BudgetStatus]:
    """Every active budget the user may see, the one in most danger first."""
    if not user.has_perm("governance.view_budget"):
        return []
    budgets = Budget.objects.visible_to(user).filter(is_active=True)
    budgets = budgets.select_related(
        "customer", "team__customer", "project__customer", "developer", "virtual_key",
        "provider_access__virtual_key", "provider_access__provider",
    )  # fmt: skip
    order = {state: place for place, state in enumerate(RISKY)}
    found = budget_statuses(budgets, now).values()
    return sorted(found, key=lambda status: (order.get(status.state, len(RISKY)), -status.share, status.budget.pk))


def _month_limit(customers: set[int], statuses: Sequence[BudgetStatus]) -> int:
    limits: dict[int, int] = {}
    for status in statuses:
        budget = status.budget
        if budget.scope == "customer" and budget.period == "month" and not budget.rolling and not budget.model_patterns:
            limits[budget.customer_id] = min(limits.get(budget.customer_id, status.limit), status.limit)
    return sum(limits.values()) if customers == set(limits) else 0


def _customers(user: Any) -> set[int]:
    return set(Customer.objects.visible_to(user).filter(is_active=True).values_list("pk", flat=True))


def _verdict(month: int, limit: int, statuses: Sequence[BudgetStatus], risky: Sequence[BudgetStatus]) -> Verdict:
    spent = f"{usd_total(month)} this month" + (f" of {usd_total(limit)}" if limit else "")
    blocked = [status for status in risky if status.state == "blocked"]
    if blocked:
        names = ", ".join(f"“{status.budget}”" for status in blocked[:3])
        verb = "budget is used up and blocks" if len(blocked) == 1 else "budgets are used up and block"
        first = blocked[0]
        until = f"until {first.resets_at:%Y-%m-%d %H:%M %Z}, " if first.resets_at else ""
        more = f"Requests that “{first.budget}” counts are refused {until}or until its limit is raised."
        return Verdict("bad", f"{len(blocked)} {verb} requests: {names}. {spent}.", more)
    if risky:
        first = risky[0]
        when = f" runs out on {first.runs_out_at.astimezone(first.zone):%Y-%m-%d}" if first.runs_out_at else ""
        resets = f", before its reset on {first.resets_at:%Y-%m-%d}" if when and first.resets_at else ""
        word = "budget is" if len(risky) == 1 else "budgets are"
        what = f"“{first.budget}”{when}{resets}." if when else f"“{first.budget}” is nearly or fully used."
        return Verdict("warn", f"{len(risky)} {word} at risk. {spent}.", f"First: {what}")
    if not statuses:
        return Verdict("warn", f"{spent}. No budget is set: spend is unlimited.")
    word = "The one budget is" if len(statuses) == 1 else f"All {len(statuses)} budgets are"
    return Verdict("good", f"On track: {spent}. {word} in order.")


def _sum(parts: Sequence[Figures]) -> Figures:
    total = Figures()
    for part in parts:
        for name in FIGURES:
            setattr(total, name, getattr(total, name) + getattr(part, name))
    return total


def _midnight(day: date, zone: ZoneInfo) -> datetime:
    return datetime.combine(day, time(), zone)
