"""The bars above the request log: how many requests of each outcome, and the sums of exactly the rows listed below."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, tzinfo
from typing import Any

from django.db.models import Count, Q, Sum
from django.db.models.functions import TruncHour, TruncMinute

from observability.charts import Chart, stacked
from observability.models import Request
from observability.selectors.log import AHEAD, LogQuery, matching
from observability.selectors.stretches import stretches
from observability.selectors.usage import FIGURES, Figures, Usage

OUTCOMES = ("OK", "Refused", "Error", "Cancelled")
BUCKETS: dict[str, tuple[timedelta, str]] = {
    "1h": (timedelta(minutes=2), "%H:%M"),
    "24h": (timedelta(hours=1), "%H:%M"),
    "7d": (timedelta(hours=6), "%m-%d %H:%M"),
    "30d": (timedelta(days=1), "%m-%d"),
    "90d": (timedelta(days=3), "%m-%d"),
}
"""Width of a bar for each range, and how the axis names it."""


@dataclass(frozen=True, slots=True)
class Volume:
    chart: Chart
    totals: Figures
    since: datetime | None = None
    """From when on the rows were summed, where that is not the whole range: the time was up."""


def volume(user: Any, query: LogQuery, zone: tzinfo) -> Volume:
    """Bars and sums of the query's rows; without a search or a model they come from the roll-up where it is settled."""
    width, style = BUCKETS[query.range]
    since = None
    # The roll-up knows only the model served: what was refused is found by the model it asked for.
    if query.search or query.filter.model or width < timedelta(hours=1):
        moments, since = _from_rows(user, query, minutes=width < timedelta(hours=1))
    else:
        moments = Usage.between(user, query.start, query.end, UTC, query.filter).by_hour()
    # Bars begin on the reporting zone's own marks, so that a day is a day.
    first = _floor(query.start, width, zone)
    bars: dict[int, Figures] = defaultdict(Figures)
    totals = Figures()
    for moment, figures in moments.items():
        for sums in (bars[(moment - first) // width], totals):
            for name in FIGURES:
                setattr(sums, name, getattr(sums, name) + getattr(figures, name))
    slots = range(int((query.end - first) // width) + 1)
    starts = [(first + number * width).astimezone(zone) for number in slots]
    counts = [
        [
            sums.requests - sums.errors - sums.refused - sums.cancelled,
            sums.refused,
            sums.errors,
            sums.cancelled,
        ]
        for sums in (bars[number] for number in slots)
    ]
    chart = stacked(
        [f"{start:{style}}" for start in starts],
        [(name, [float(row[number]) for row in counts]) for number, name in enumerate(OUTCOMES)],
        names=[f"{start:%Y-%m-%d %H:%M}" for start in starts],
        width=1150,
        height=100,
        steps=2,
    )
    return Volume(chart, totals, since)


def _from_rows(user: Any, query: LogQuery, *, minutes: bool) -> tuple[dict[datetime, Figures], datetime | None]:
    """Sums by hour or minute, newest first for as long as a page may take; and since when, if that is not all."""
    rows = matching(Request.objects.visible_to(user), query)
    truncated = TruncMinute("started_at", tzinfo=UTC) if minutes else TruncHour("started_at", tzinfo=UTC)
    sums: dict[str, Any] = {f"sum_{name}": Sum(name) for name in FIGURES if name.endswith(("_tokens", "_usd"))}
    for name, status in (("errors", "error"), ("refused", "refused"), ("cancelled", "cancelled")):
        sums[f"sum_{name}"] = Count("pk", filter=Q(status=status))
    grouped = rows.annotate(moment=truncated).order_by().values("moment")
    found: dict[datetime, Figures] = {}
    reached = query.end
    for reached, last in stretches(query.start, query.end + AHEAD):
        stretch = grouped.filter(started_at__gte=reached, started_at__lt=last)
        for row in stretch.annotate(sum_requests=Count("pk"), **sums):
            found.setdefault(row["moment"], Figures()).add(row)
    return found, reached if reached > query.start else None


def _floor(moment: datetime, width: timedelta, zone: tzinfo) -> datetime:
    local = moment.astimezone(zone)
    midnight = local.replace(hour=0, minute=0, second=0, microsecond=0)
    if width >= timedelta(days=1):
        return midnight.astimezone(UTC)
    return (midnight + (local - midnight) // width * width).astimezone(UTC)
