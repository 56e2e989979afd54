"""One page of the request log: newest first, by key set, without ever counting the table."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from django.db.models import Q, QuerySet
from django.utils.dateparse import parse_datetime

from observability.filters import BadFilter, LogFilter
from observability.models import Request
from observability.selectors.stretches import stretches

PAGE_ROWS = 50
MOMENT = timedelta(microseconds=1)
AHEAD = timedelta(minutes=5)
"""How far another process's clock may be ahead: its rows are the newest."""
LOWEST, HIGHEST = "0" * 26, "Z" * 26
"""Before and after every id."""
RANGES: dict[str, tuple[str, timedelta]] = {
    "1h": ("Last hour", timedelta(hours=1)),
    "24h": ("Last 24 hours", timedelta(hours=24)),
    "7d": ("Last 7 days", timedelta(days=7)),
    "30d": ("Last 30 days", timedelta(days=30)),
    "90d": ("Last 90 days", timedelta(days=90)),
}
DEFAULT_RANGE = "24h"
ULID = re.compile(r"[0-9A-HJKMNP-TV-Z]{26}")
UUID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")
LISTED = (
    "id", "started_at", "finished_at", "status", "http_status", "error_type", "customer", "team", "developer",
    "virtual_key", "model", "model_requested", "input_tokens", "output_tokens", "cache_read_tokens",
    "cache_write_5m_tokens", "cache_write_1h_tokens", "cost_nano_usd", "cost_quality", "latency_ms", "session_id",
    "provider", "attempts",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class LogQuery:
    """What the address of the page asks for."""

    filter: LogFilter
    range: str
    search: str
    start: datetime
    end: datetime
    before: tuple[datetime, str] | None = None
    after: tuple[datetime, str] | None = None

    @classmethod
    def parse(cls, values: Mapping[str, Any], now: datetime) -> LogQuery:
        """Raises BadFilter where a value makes no sense."""
        name = str(values.get("range") or DEFAULT_RANGE)
        if name not in RANGES:
            raise BadFilter(f"Range must be one of {', '.join(RANGES)}, not {name!r}.")
        # On a whole hour, so that the bars, the totals and the rows speak of the same requests.
        start = (now - RANGES[name][1]).astimezone(UTC).replace(minute=0, second=0, microsecond=0)
        return cls(
            filter=LogFilter.parse(values),
            range=name,
            search=str(values.get("q") or "").strip()[:200],
            start=start,
            end=now,
            before=_place(values.get("before")),
            after=_place(values.get("after")),
        )

    @property
    def names_one_thing(self) -> bool:
        """The search is a request or session id: it is found whatever its age."""
        return bool(ULID.fullmatch(self.search.upper()) or UUID.fullmatch(self.search.lower()))

    @property
    def is_sparse(self) -> bool:
        """No index leads to its rows, and there may be few in a long range."""
        return bool(self.search or self.filter.model or self.filter.status) and not self.names_one_thing


@dataclass(frozen=True, slots=True)
class LogPage:
    rows: list[Request]
    newer: str
    """The `after` of the page before this one, or empty."""
    older: str
    """The `before` of the next page, or empty."""
    searched: tuple[datetime, datetime] | None = None
    """From when to when was searched, where that is not the whole range: the time was up."""


def matching(rows: QuerySet[Any], query: LogQuery) -> QuerySet[Any]:
    """The rows that the query speaks of."""
    rows = query.filter.apply(rows)
    if not query.names_one_thing:
        rows = rows.filter(started_at__gte=query.start)
    if not query.search:
        return rows
    if ULID.fullmatch(query.search.upper()):
        return rows.filter(Q(pk=query.search.upper()))
    if UUID.fullmatch(query.search.lower()):
        return rows.filter(session_id__in={query.search, query.search.lower()})
    named = Q(developer__icontains=query.search) | Q(virtual_key__icontains=query.search)
    return rows.filter(named | Q(provider_request_id=query.search) | Q(session_id=query.search))


def page(rows: QuerySet[Any], query: LogQuery) -> LogPage:
    """`PAGE_ROWS` rows at the place that the query names. One query, however large the table.

    A sparse query has several that stop when the page has taken its time: see `stretches`.
    """
    rows = matching(rows, query).only(*LISTED)
    if query.after is not None:
        moment, pk = query.after
        # The bound beside the choice: of "this or that" alone no index and no partition's bounds are of use.
        rows = rows.filter(started_at__gte=moment).filter(Q(started_at__gt=moment) | Q(pk__gt=pk))
        rows = rows.order_by("started_at", "pk")
    else:
        if query.before is not None:
            moment, pk = query.before
            rows = rows.filter(started_at__lte=moment).filter(Q(started_at__lt=moment) | Q(pk__lt=pk))
        rows = rows.order_by("-started_at", "-pk")
    if query.is_sparse:
        return _search(rows, query)
    found = list(rows[: PAGE_ROWS + 1])
    more = len(found) > PAGE_ROWS
    found = found[:PAGE_ROWS]
    if query.after is not None:
        found.reverse()
        return LogPage(found, _mark(found[0]) if more else "", _mark(found[-1]) if found else "")
    return LogPage(found, _mark(found[0]) if query.before and found else "", _mark(found[-1]) if more else "")


def _search(rows: QuerySet[Any], query: LogQuery) -> LogPage:
    """The same for a query whose rows must be looked for: what was found when the page was full or the time was up."""
    newest_first = query.after is None
    start = query.after[0] if query.after else query.start
    end = query.before[0] + MOMENT if query.before else query.end + AHEAD
    found: list[Request] = []
    low, high = (end, end) if newest_first else (start, start)
    for first, last in stretches(start, end, newest_first=newest_first):
        low, high = (first, high) if newest_first else (low, last)
        found += rows.filter(started_at__gte=first, started_at__lt=last)[: PAGE_ROWS + 1 - len(found)]
        if len(found) > PAGE_ROWS:
            break
    full = len(found) > PAGE_ROWS
    whole = full or (low <= start if newest_first else high >= end)
    found = found[:PAGE_ROWS]
    searched = None if whole else (low, min(high, query.end))
    if newest_first:
        newer = _mark(found[0]) if query.before and found else ""
        older = _mark(found[-1]) if full else "" if whole else _place_of(low, LOWEST)
        return LogPage(found, newer, older, searched)
    found.reverse()
    newer = _mark(found[0]) if full else "" if whole else _place_of(high - MOMENT, HIGHEST)
    return LogPage(found, newer, _mark(found[-1]) if found else "", searched)


def _mark(row: Request) -> str:
    return _place_of(row.started_at, row.pk)


def _place_of(moment: datetime, pk: str) -> str:
    return f"{moment.astimezone(UTC):%Y-%m-%dT%H:%M:%S.%fZ}_{pk}"


def _place(value: Any) -> tuple[datetime, str] | None:
    if not value:
        return None
    moment, _, pk = str(value).partition("_")
    try:
        parsed = parse_datetime(moment)
    except ValueError:
        parsed = None
    if parsed is None or parsed.tzinfo is None or not ULID.fullmatch(pk):
        raise BadFilter("This page address is damaged; start again from the newest requests.")
    return parsed, pk
