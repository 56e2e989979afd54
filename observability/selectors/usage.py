"""Sums over the log: settled hours from the roll-up, the rest from the rows themselves, so that totals equal the log.

An hour whose rows changed since its last roll-up is marked in the transaction of the change (`rollups.mark`): exactly
those are read from the log. So are the edges of a range that does not begin or end on a whole UTC hour, and the hours
that a day boundary of the reporting zone cuts in two (India: 18:30 UTC).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields
from datetime import UTC, date, datetime, time, timedelta, tzinfo
from typing import Any

from django.db.models import Count, F, Q, Sum
from django.db.models.functions import TruncDate, TruncHour

from observability.filters import LogFilter
from observability.models import ChangedHour, HourlyTotal, HourlyUsage, Request
from observability.querysets import sees_whole_customers
from observability.rollups import hour_of

HOUR = timedelta(hours=1)
MANY = 120
"""Separate spans of open hours above which the log is read from the first of them on, to keep the query small."""

DIMENSIONS: dict[str, tuple[str, ...]] = {
    "customer": ("customer_id", "customer"),
    "team": ("team_id", "team", "customer"),
    "model": ("model",),
    "developer": ("customer_id", "developer"),
    "key": ("virtual_key_id", "virtual_key", "team"),
}
"""Columns that tell one line of a breakdown from the next."""


@dataclass(slots=True)
class Figures:
    """Sums of a set of requests: tokens by class, cost in nano-dollars."""

    requests: int = 0
    errors: int = 0
    refused: int = 0
    cancelled: int = 0
    input_tokens: int = 0
    output_tokens: int = 0
    cache_read_tokens: int = 0
    cache_write_5m_tokens: int = 0
    cache_write_1h_tokens: int = 0
    cost_nano_usd: int = 0

    def add(self, row: dict[str, Any]) -> None:
        for name in FIGURES:
            setattr(self, name, getattr(self, name) + (row[f"sum_{name}"] or 0))

    @property
    def prompt_tokens(self) -> int:
        return self.input_tokens + self.cache_read_tokens + self.cache_write_5m_tokens + self.cache_write_1h_tokens

    @property
    def tokens(self) -> int:
        return self.prompt_tokens + self.output_tokens


FIGURES = tuple(field.name for field in fields(Figures))
_SUMMED = tuple(name for name in FIGURES if name.endswith("_tokens") or name == "cost_nano_usd")
_STATUS = {"errors": "error", "refused": "refused", "cancelled": "cancelled"}


@dataclass(frozen=True, slots=True)
class Usage:
    """Requests that started in [start, end), as far as `user` may see them; days are those of `zone`."""

    user: Any
    start: datetime
    end: datetime
    zone: tzinfo
    spans: tuple[tuple[datetime, datetime], ...]
    """Parts of the range that are read from the log itself, in order."""
    only: LogFilter

    @classmethod
    def between(cls, user: Any, start: datetime, end: datetime, zone: tzinfo, only: LogFilter | None = None) -> Usage:
        return cls(user, start, end, zone, open_spans(start, end, zone), only or LogFilter())

    def totals(self) -> Figures:
        total = Figures()
        for row in self._grouped([]):
            total.add(row)
        return total

    def by_day(self) -> dict[date, Figures]:
        return self._collect(["day"], lambda row: row["day"])

    def by_hour(self) -> dict[datetime, Figures]:
        return self._collect(["moment"], lambda row: row["moment"].astimezone(UTC))

    def ranking(self, dimension: str) -> list[tuple[tuple[Any, ...], Figures]]:
        """Every line of a breakdown, dearest first; a line's key holds the values of `DIMENSIONS[dimension]`."""
        columns = DIMENSIONS[dimension]
        found = self._collect(list(columns), lambda row: tuple(row[name] for name in columns))
        return sorted(found.items(), key=lambda line: (-line[1].cost_nano_usd, -line[1].requests, str(line[0])))

    def daily(self, dimension: str, lines: Sequence[tuple[Any, ...]]) -> dict[tuple[date, tuple[Any, ...]], int]:
        """Cost in nano-dollars for each day and each of the given lines."""
        if not lines:
            return {}
        columns = DIMENSIONS[dimension]
        chosen = Q()
        for line in lines:
            chosen |= Q(**{_lookup(name, value): _wanted(value) for name, value in zip(columns, line, strict=True)})
        found = self._collect(["day", *columns], lambda row: (row["day"], tuple(row[name] for name in columns)), chosen)
        return {key: figures.cost_nano_usd for key, figures in found.items()}

    def _collect(self, columns: list[str], key: Any, chosen: Q | None = None) -> dict[Any, Figures]:
        found: dict[Any, Figures] = defaultdict(Figures)
        for row in self._grouped(columns, chosen):
            found[key(row)].add(row)
        return dict(found)

    def _grouped(self, columns: list[str], chosen: Q | None = None) -> Iterable[dict[str, Any]]:
        by_hour = chosen is None and not {*columns} - {"day", "moment"}
        for rows, moment, sums in self._sources(by_hour):
            rows = self.only.apply(rows.visible_to(self.user))
            if chosen is not None:
                rows = rows.filter(chosen)
            if "day" in columns:
                rows = rows.annotate(day=TruncDate(moment, tzinfo=self.zone))
            if "moment" in columns:
                rows = rows.annotate(moment=TruncHour(moment, tzinfo=UTC))
            if columns:
                yield from rows.order_by().values(*columns).annotate(**sums)
            else:
                yield rows.aggregate(**sums)

    def _sources(self, by_hour: bool) -> Iterable[tuple[Any, str, dict[str, Any]]]:
        """Roll-ups and rows. Sums `by_hour` alone need not be added up from each key's."""
        narrow = self.only.team is not None or self.only.key is not None or bool(self.only.model)
        whole = by_hour and not narrow and sees_whole_customers(self.user)
        rolled: Any = (HourlyTotal if whole else HourlyUsage).objects.filter(hour__gte=self.start, hour__lt=self.end)
        logged = Q(pk__in=[])
        for first, last in self.spans:
            rolled = rolled.exclude(hour__gte=hour_of(first), hour__lt=last)
            logged |= Q(started_at__gte=first, started_at__lt=last)
        yield rolled, "hour", _sums(Sum("requests"), lambda status: Sum("requests", filter=Q(status=status)))
        if self.spans:
            rows = Request.objects.filter(logged)
            yield rows, "started_at", _sums(Count("pk"), lambda status: Count("pk", filter=Q(status=status)))


def open_spans(start: datetime, end: datetime, zone: tzinfo) -> tuple[tuple[datetime, datetime], ...]:
    """The parts of [start, end) that the roll-up does not answer for, joined where they touch, cut to the range."""
    marked = ChangedHour.objects.filter(hour__gt=start - HOUR, hour__lt=end).values_list("hour", flat=True)
    hours = set(marked) | {hour_of(moment) for moment in (start, end) if moment != hour_of(moment)}
    hours |= {hour_of(moment) for moment in _midnights(start, end, zone) if moment != hour_of(moment)}
    spans: list[list[datetime]] = []
    for hour in sorted(hours):
        if spans and spans[-1][1] == hour:
            spans[-1][1] = hour + HOUR
        else:
            spans.append([hour, hour + HOUR])
    if len(spans) > MANY:
        spans = [[spans[0][0], end]]
    return tuple((max(first, start), min(last, end)) for first, last in spans)


def _midnights(start: datetime, end: datetime, zone: tzinfo) -> Iterable[datetime]:
    day = start.astimezone(zone).date()
    while (moment := datetime.combine(day, time(), zone).astimezone(UTC)) < end:
        if moment > start:
            yield moment
        day += timedelta(days=1)


def _sums(requests: Any, of_status: Any) -> dict[str, Any]:
    sums = {f"sum_{name}": Sum(F(name)) for name in _SUMMED}
    sums["sum_requests"] = requests
    sums.update({f"sum_{name}": of_status(status) for name, status in _STATUS.items()})
    return sums


def _lookup(name: str, value: Any) -> str:
    return f"{name}__isnull" if value is None else name


def _wanted(value: Any) -> Any:
    return True if value is None else value
