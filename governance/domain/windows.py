"""Periods of budgets and limits as half-open stretches of time, calendar-aligned in their own zone or rolling.

A calendar window is a pure function of its start in local time, so windows tile time: each ends where the
next begins, and a "reset" is nothing that happens. Bounds are UTC. Days of 23 and 25 hours, a midnight that
the clock skips and an hour that it repeats come out as the zone has them.
"""

from __future__ import annotations

from calendar import monthrange
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from functools import lru_cache
from typing import Literal, get_args
from zoneinfo import ZoneInfo

Kind = Literal["hour", "day", "week", "month", "quarter", "year", "lifetime"]

_HOUR = timedelta(hours=1)
_SECOND = timedelta(seconds=1)
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MONTHS = {"month": 1, "quarter": 3, "year": 12}


@dataclass(frozen=True, slots=True)
class Period:
    """How long an allowance lasts. Raises ValueError for values that make no period.

    The zone is an IANA name.
    """

    kind: str
    timezone: str = "UTC"
    rolling: int = 0
    """0 follows the calendar; N looks back over the last N of the kind from now."""
    week_start: int = 0
    """Weekday that begins a week: 0 Monday to 6 Sunday."""
    fiscal_start_month: int = 1
    """Month, 1 to 12, that begins the fiscal year, and with it the quarters."""

    def __post_init__(self) -> None:
        if self.kind not in get_args(Kind):
            raise ValueError(f"{self.kind!r} is not a period; use one of {', '.join(get_args(Kind))}")
        if self.rolling < 0 or (self.rolling and self.kind == "lifetime"):
            raise ValueError("rolling must be 0 or a number of periods, and a lifetime does not roll")
        if not 0 <= self.week_start <= 6 or not 1 <= self.fiscal_start_month <= 12:
            raise ValueError("week_start must lie between 0 and 6, fiscal_start_month between 1 and 12")


@dataclass(frozen=True, slots=True)
class Window:
    """A stretch of time in UTC: from `starts_at`, to before `ends_at`, or open where that is None."""

    starts_at: datetime
    ends_at: datetime | None

    def __contains__(self, moment: datetime) -> bool:
        return self.starts_at <= moment and (self.ends_at is None or moment < self.ends_at)


def window_at(period: Period, now: datetime) -> Window:
    """The window of a period that contains `now` (aware; ValueError where it is naive).

    A lifetime and a rolling window are open at the end. A rolling one starts exactly N periods ago: hours by
    elapsed time, the others by the calendar (the same local time N days, weeks, months, … earlier; on the
    month's last day where the month has no such day).
    """
    if now.tzinfo is None:
        raise ValueError("now must carry a time zone")
    now = now.astimezone(UTC)
    if period.kind == "lifetime":
        return Window(_EPOCH, None)
    zone = _zone(period.timezone)
    if period.rolling:
        return Window(_back(period, zone, now), None)
    if period.kind == "hour":
        return _hour(zone, now)
    return _days(period, zone, now)


def fixed_window(seconds: int, now: datetime) -> Window:
    """The window of a rate limit.

    So many seconds long, aligned to UTC (a minute begins at :00, a day at 00:00).
    """
    start = _EPOCH + timedelta(seconds=(now - _EPOCH) // _SECOND // seconds * seconds)
    return Window(start, start + timedelta(seconds=seconds))


@lru_cache(maxsize=256)
def _zone(name: str) -> ZoneInfo:
    return ZoneInfo(name)


def _days(period: Period, zone: ZoneInfo, now: datetime) -> Window:
    """A window that begins and ends at local midnights."""
    first = _first_day(period, now.astimezone(zone).date())
    starts_at, ends_at = _midnight(first, zone), _midnight(_next(period, first), zone)
    # Where the clock goes back over midnight, local dates do not follow the order of time: the bounds decide.
    while now < starts_at:
        first = _first_day(period, first - timedelta(days=1))
        starts_at, ends_at = _midnight(first, zone), starts_at
    while now >= ends_at:
        first = _next(period, first)
        starts_at, ends_at = ends_at, _midnight(_next(period, first), zone)
    return Window(starts_at, ends_at)


def _first_day(period: Period, day: date) -> date:
    """The first day of the window that a day belongs to."""
    match period.kind:
        case "day":
            return day
        case "week":
            return day - timedelta(days=(day.weekday() - period.week_start) % 7)
        case kind:
            months = _MONTHS[kind]
            index = day.year * 12 + day.month - 1
            offset = (period.fiscal_start_month - 1) % months
            return _month((index - offset) // months * months + offset)


def _next(period: Period, first: date) -> date:
    """The first day of the following window."""
    match period.kind:
        case "day":
            return first + timedelta(days=1)
        case "week":
            return first + timedelta(days=7)
        case kind:
            return _month(first.year * 12 + first.month - 1 + _MONTHS[kind])


def _month(index: int) -> date:
    return date(index // 12, index % 12 + 1, 1)


def _midnight(day: date, zone: ZoneInfo) -> datetime:
    return _instant(datetime.combine(day, time()), zone)


def _instant(local: datetime, zone: ZoneInfo) -> datetime:
    """The first moment at which the zone's clock shows a local time (naive), or has just jumped over it."""
    moment = local.replace(tzinfo=zone).astimezone(UTC)
    if moment.astimezone(zone).replace(tzinfo=None) == local:
        return moment
    # In a gap: with the offset of before it (fold 0) the moment lies at or after the jump, with that of after
    # it (fold 1) before the jump.
    return _jump(zone, local.replace(tzinfo=zone, fold=1).astimezone(UTC), moment)


def _hour(zone: ZoneInfo, now: datetime) -> Window:
    """The clock hour; cut where the zone changes its offset, so a repeated hour is a window of its own."""
    local = now.astimezone(zone)
    starts_at = now - timedelta(minutes=local.minute, seconds=local.second, microseconds=local.microsecond)
    ends_at = starts_at + _HOUR
    if _offset(zone, starts_at) != local.utcoffset():
        starts_at = _jump(zone, starts_at, now)
    if _offset(zone, ends_at) != local.utcoffset():
        ends_at = _jump(zone, now, ends_at)
    return Window(starts_at, ends_at)


def _offset(zone: ZoneInfo, moment: datetime) -> timedelta | None:
    return moment.astimezone(zone).utcoffset()


def _jump(zone: ZoneInfo, before: datetime, after: datetime) -> datetime:
    """The moment, to the second, between two moments of different offsets at which the offset changes."""
    offset = _offset(zone, before)
    low = before.replace(microsecond=0)
    seconds = (after - low) // _SECOND + 1
    known = 0
    while seconds - known > 1:
        middle = (known + seconds) // 2
        if _offset(zone, low + middle * _SECOND) == offset:
            known = middle
        else:
            seconds = middle
    return low + seconds * _SECOND


def _back(period: Period, zone: ZoneInfo, now: datetime) -> datetime:
    """The moment N periods before now; never before 1970, when nothing was spent."""
    count = period.rolling
    if period.kind == "hour":
        return max(now - count * _HOUR, _EPOCH)
    local = now.astimezone(zone)
    if period.kind in _MONTHS:
        index = local.year * 12 + local.month - 1 - count * _MONTHS[period.kind]
        if index < 1970 * 12:
            return _EPOCH
        first = _month(index)
        day = first.replace(day=min(local.day, monthrange(first.year, first.month)[1]))
    else:
        days = count * (7 if period.kind == "week" else 1)
        if local.date().toordinal() - days < _EPOCH.toordinal():
            return _EPOCH
        day = local.date() - timedelta(days=days)
    return max(_instant(datetime.combine(day, local.time()), zone), _EPOCH)
