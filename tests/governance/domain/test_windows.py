"""Windows: hand vectors around clock changes and fiscal years, and properties over many zones."""

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from governance.domain.windows import Period, Window, fixed_window, window_at

ZONES = [
    "UTC",
    "Europe/Berlin",
    "America/New_York",
    "America/Toronto",
    "America/Havana",
    "America/Sao_Paulo",
    "Asia/Kolkata",
    "Asia/Kathmandu",
    "Asia/Beirut",
    "Australia/Lord_Howe",
    "Pacific/Apia",
    "Pacific/Auckland",
    "Africa/Cairo",
]
MOMENTS = st.datetimes(
    datetime(1975, 1, 1),  # noqa: DTZ001 (hypothesis wants naive bounds)
    datetime(2099, 1, 1),  # noqa: DTZ001
    timezones=st.just(UTC),
)
KINDS = ["hour", "day", "week", "month", "quarter", "year"]


def at(text: str) -> datetime:
    return datetime.fromisoformat(text).astimezone(UTC)


def bounds(period: Period, now: str) -> tuple[str, str]:
    window = window_at(period, at(now))
    assert window.ends_at is not None
    assert window.starts_at.tzinfo is UTC
    return window.starts_at.isoformat()[:16], window.ends_at.isoformat()[:16]


@pytest.mark.parametrize(
    ("kind", "now", "expected"),
    [
        # Berlin is UTC+1 in winter, UTC+2 in summer; clocks change on 2026-03-29 and 2026-10-25 at 01:00 UTC.
        ("day", "2026-03-29T12:00+02:00", ("2026-03-28T23:00", "2026-03-29T22:00")),  # 23 hours
        ("day", "2026-10-25T12:00+01:00", ("2026-10-24T22:00", "2026-10-25T23:00")),  # 25 hours
        ("day", "2026-11-22T00:00+01:00", ("2026-11-21T23:00", "2026-11-22T23:00")),
        ("month", "2026-03-31T23:59+02:00", ("2026-02-28T23:00", "2026-03-31T22:00")),
        ("month", "2026-12-31T23:30:00+00:00", ("2026-12-31T23:00", "2027-01-31T23:00")),
        ("quarter", "2026-11-22T12:00+01:00", ("2026-09-30T22:00", "2026-12-31T23:00")),
        ("year", "2026-11-22T12:00+01:00", ("2025-12-31T23:00", "2026-12-31T23:00")),
        # 02:30 local happens twice on 2026-10-25: two windows of one hour each.
        ("hour", "2026-10-25T00:30+00:00", ("2026-10-25T00:00", "2026-10-25T01:00")),
        ("hour", "2026-10-25T01:30+00:00", ("2026-10-25T01:00", "2026-10-25T02:00")),
        # Monday 2026-10-19 to Sunday 2026-10-25: 169 hours.
        ("week", "2026-10-25T23:00+01:00", ("2026-10-18T22:00", "2026-10-25T23:00")),
    ],
)
def test_calendar_windows_in_berlin(kind: str, now: str, expected: tuple[str, str]) -> None:
    assert bounds(Period(kind, "Europe/Berlin"), now) == expected


@pytest.mark.parametrize(
    ("kind", "now", "expected"),
    [
        # New York is UTC-5 in winter, UTC-4 in summer; 2026: on 8 March at 07:00 UTC, on 1 November at 06:00 UTC.
        ("day", "2026-03-08T12:00-04:00", ("2026-03-08T05:00", "2026-03-09T04:00")),  # 23 hours
        ("day", "2026-11-01T12:00-05:00", ("2026-11-01T04:00", "2026-11-02T05:00")),  # 25 hours
        ("month", "2026-03-31T23:59-04:00", ("2026-03-01T05:00", "2026-04-01T04:00")),
        ("month", "2026-11-01T00:00-04:00", ("2026-11-01T04:00", "2026-12-01T05:00")),
        ("quarter", "2026-11-22T12:00-05:00", ("2026-10-01T04:00", "2027-01-01T05:00")),
        ("hour", "2026-03-08T06:59+00:00", ("2026-03-08T06:00", "2026-03-08T07:00")),  # 01:59, then 03:00
        ("hour", "2026-03-08T07:00+00:00", ("2026-03-08T07:00", "2026-03-08T08:00")),
        ("hour", "2026-11-01T05:30+00:00", ("2026-11-01T05:00", "2026-11-01T06:00")),  # 01:30 for the first time
        ("hour", "2026-11-01T06:30+00:00", ("2026-11-01T06:00", "2026-11-01T07:00")),  # and for the second
    ],
)
def test_calendar_windows_in_new_york(kind: str, now: str, expected: tuple[str, str]) -> None:
    assert bounds(Period(kind, "America/New_York"), now) == expected


@pytest.mark.parametrize(
    ("kind", "now", "expected"),
    [
        # Lord Howe moves by half an hour: 2026-04-05 02:00 (UTC+11) to 01:30 (UTC+10:30) at 15:00 UTC the day before,
        # 2026-10-04 02:00 (UTC+10:30) to 02:30 (UTC+11) at 15:30 UTC the day before.
        ("day", "2026-04-05T12:00+10:30", ("2026-04-04T13:00", "2026-04-05T13:30")),  # 24 and a half hours
        ("day", "2026-10-04T12:00+11:00", ("2026-10-03T13:30", "2026-10-04T13:00")),  # 23 and a half
        ("month", "2026-04-30T23:59+10:30", ("2026-03-31T13:00", "2026-04-30T13:30")),
        ("month", "2026-10-01T00:00+10:30", ("2026-09-30T13:30", "2026-10-31T13:00")),
        ("hour", "2026-10-03T15:29+00:00", ("2026-10-03T14:30", "2026-10-03T15:30")),
        ("hour", "2026-10-03T15:45+00:00", ("2026-10-03T15:30", "2026-10-03T16:00")),  # 02:30 to 03:00
    ],
)
def test_calendar_windows_on_lord_howe(kind: str, now: str, expected: tuple[str, str]) -> None:
    assert bounds(Period(kind, "Australia/Lord_Howe"), now) == expected


@pytest.mark.parametrize(
    ("zone", "now", "expected"),
    [
        # Sunday to Sunday over a change of the clock: 167, 169 and 168 and a half hours.
        ("America/New_York", "2026-03-14T23:59-04:00", ("2026-03-08T05:00", "2026-03-15T04:00")),
        ("America/New_York", "2026-11-01T00:00-04:00", ("2026-11-01T04:00", "2026-11-08T05:00")),
        ("Australia/Lord_Howe", "2026-04-05T00:00+11:00", ("2026-04-04T13:00", "2026-04-11T13:30")),
    ],
)
def test_weeks_from_sunday_over_a_change_of_the_clock(zone: str, now: str, expected: tuple[str, str]) -> None:
    assert bounds(Period("week", zone, week_start=6), now) == expected


@pytest.mark.parametrize(("week_start", "first"), [(0, 16), (1, 17), (2, 18), (3, 19), (4, 20), (5, 21), (6, 22)])
def test_a_week_begins_on_any_weekday(week_start: int, first: int) -> None:
    # 2026-11-22 is a Sunday.
    window = window_at(Period("week", week_start=week_start), at("2026-11-22T12:00+00:00"))
    assert window == Window(datetime(2026, 11, first, tzinfo=UTC), datetime(2026, 11, first + 7, tzinfo=UTC))


def test_a_week_may_begin_on_sunday() -> None:
    # 2026-11-22 is a Sunday.
    assert bounds(Period("week", week_start=6), "2026-11-22T00:00+00:00") == ("2026-11-22T00:00", "2026-11-29T00:00")
    assert bounds(Period("week", week_start=0), "2026-11-22T00:00+00:00") == ("2026-11-16T00:00", "2026-11-23T00:00")


@pytest.mark.parametrize(
    ("kind", "now", "expected"),
    [
        # A fiscal year from April: quarters begin in April, July, October and January.
        ("year", "2026-03-31T23:59+00:00", ("2025-04-01T00:00", "2026-04-01T00:00")),
        ("year", "2026-04-01T00:00+00:00", ("2026-04-01T00:00", "2027-04-01T00:00")),
        ("quarter", "2026-03-31T23:59+00:00", ("2026-01-01T00:00", "2026-04-01T00:00")),
        ("quarter", "2026-06-30T00:00+00:00", ("2026-04-01T00:00", "2026-07-01T00:00")),
    ],
)
def test_fiscal_years_and_quarters(kind: str, now: str, expected: tuple[str, str]) -> None:
    assert bounds(Period(kind, fiscal_start_month=4), now) == expected


def test_quarters_follow_a_fiscal_year_from_november() -> None:
    period = Period("quarter", fiscal_start_month=11)
    assert bounds(period, "2026-01-31T10:00+00:00") == ("2025-11-01T00:00", "2026-02-01T00:00")


@pytest.mark.parametrize(
    ("month", "year", "quarter"),
    [
        (1, ("2026-01-01", "2027-01-01"), ("2026-10-01", "2027-01-01")),
        (2, ("2026-02-01", "2027-02-01"), ("2026-11-01", "2027-02-01")),
        (3, ("2026-03-01", "2027-03-01"), ("2026-09-01", "2026-12-01")),
        (4, ("2026-04-01", "2027-04-01"), ("2026-10-01", "2027-01-01")),
        (5, ("2026-05-01", "2027-05-01"), ("2026-11-01", "2027-02-01")),
        (6, ("2026-06-01", "2027-06-01"), ("2026-09-01", "2026-12-01")),
        (7, ("2026-07-01", "2027-07-01"), ("2026-10-01", "2027-01-01")),
        (8, ("2026-08-01", "2027-08-01"), ("2026-11-01", "2027-02-01")),
        (9, ("2026-09-01", "2027-09-01"), ("2026-09-01", "2026-12-01")),
        (10, ("2026-10-01", "2027-10-01"), ("2026-10-01", "2027-01-01")),
        (11, ("2026-11-01", "2027-11-01"), ("2026-11-01", "2027-02-01")),
        (12, ("2025-12-01", "2026-12-01"), ("2026-09-01", "2026-12-01")),
    ],
)
def test_a_fiscal_year_may_begin_in_any_month(month: int, year: tuple[str, str], quarter: tuple[str, str]) -> None:
    for kind, (first, last) in (("year", year), ("quarter", quarter)):
        found = bounds(Period(kind, fiscal_start_month=month), "2026-11-22T12:00+00:00")
        assert found == (f"{first}T00:00", f"{last}T00:00")


@pytest.mark.parametrize(
    ("zone", "month", "now", "expected"),
    [
        ("America/New_York", 4, "2026-03-31T23:59-04:00", ("2025-04-01T04:00", "2026-04-01T04:00")),
        ("America/New_York", 12, "2026-11-30T23:59-05:00", ("2025-12-01T05:00", "2026-12-01T05:00")),
        ("Australia/Lord_Howe", 7, "2026-06-30T23:59+10:30", ("2025-06-30T13:30", "2026-06-30T13:30")),
    ],
)
def test_fiscal_years_begin_at_local_midnight(zone: str, month: int, now: str, expected: tuple[str, str]) -> None:
    assert bounds(Period("year", zone, fiscal_start_month=month), now) == expected


def test_a_midnight_that_the_clock_skips_begins_the_day_after_the_jump() -> None:
    # In Beirut 2024-03-31 begins at 01:00 local (UTC+3): 22:00 UTC the day before, after a day of 24 hours.
    period = Period("day", "Asia/Beirut")
    assert bounds(period, "2024-03-31T09:00+03:00") == ("2024-03-30T22:00", "2024-03-31T21:00")


def test_a_day_that_a_zone_left_out_has_no_window() -> None:
    # Samoa went from 2011-12-29 24:00 (UTC-10) to 2011-12-31 00:00 (UTC+14): the same moment, 10:00 UTC.
    period = Period("day", "Pacific/Apia")
    assert bounds(period, "2011-12-30T09:59+00:00") == ("2011-12-29T10:00", "2011-12-30T10:00")
    assert bounds(period, "2011-12-30T10:00+00:00") == ("2011-12-30T10:00", "2011-12-31T10:00")


@pytest.mark.parametrize(
    ("kind", "rolling", "now", "expected"),
    [
        ("week", 0, "2011-12-30T09:59+00:00", ("2011-12-26T10:00", "2012-01-01T10:00")),  # six days
        ("month", 0, "2011-12-30T10:00+00:00", ("2011-12-01T10:00", "2011-12-31T10:00")),  # thirty
        # Noon of the 31st, one day back: the 30th never was, so from the moment at which it was left out.
        ("day", 1, "2011-12-31T12:00+14:00", ("2011-12-30T10:00", "")),
        ("day", 2, "2011-12-31T12:00+14:00", ("2011-12-29T22:00", "")),
    ],
)
def test_longer_windows_over_a_day_that_a_zone_left_out(
    kind: str, rolling: int, now: str, expected: tuple[str, str]
) -> None:
    window = window_at(Period(kind, "Pacific/Apia", rolling=rolling), at(now))
    ends = window.ends_at.isoformat()[:16] if window.ends_at else ""
    assert (window.starts_at.isoformat()[:16], ends) == expected


def test_hours_are_cut_where_the_clock_moves_by_half_an_hour() -> None:
    # Lord Howe: 2026-04-05 02:00 (UTC+11) goes back to 01:30 (UTC+10:30), at 15:00 UTC.
    period = Period("hour", "Australia/Lord_Howe")
    assert bounds(period, "2026-04-04T14:59+00:00") == ("2026-04-04T14:00", "2026-04-04T15:00")
    assert bounds(period, "2026-04-04T15:10+00:00") == ("2026-04-04T15:00", "2026-04-04T15:30")


def test_hours_follow_the_clock_of_the_zone() -> None:
    assert bounds(Period("hour", "Asia/Kolkata"), "2026-11-22T10:29+00:00") == ("2026-11-22T09:30", "2026-11-22T10:30")


def test_lifetime_is_open() -> None:
    assert window_at(Period("lifetime"), at("2026-11-22T10:00+00:00")).ends_at is None


@pytest.mark.parametrize(
    ("kind", "rolling", "now", "start"),
    [
        ("hour", 24, "2026-10-25T12:00+01:00", "2026-10-24T11:00"),  # elapsed hours
        ("day", 1, "2026-10-25T12:00+01:00", "2026-10-24T10:00"),  # the same local time: 25 hours
        ("day", 30, "2026-11-22T12:00+01:00", "2026-10-23T10:00"),
        ("week", 2, "2026-11-22T12:00+01:00", "2026-11-08T11:00"),
        ("month", 1, "2026-03-31T12:00+02:00", "2026-02-28T11:00"),  # no 31 February
        ("month", 1, "2024-03-31T12:00+02:00", "2024-02-29T11:00"),  # a leap year
        ("month", 1, "2026-05-31T12:00+02:00", "2026-04-30T10:00"),
        ("month", 1, "2026-02-28T12:00+01:00", "2026-01-28T11:00"),  # the same day, not the month's last
        ("month", 2, "2026-12-31T12:00+01:00", "2026-10-31T11:00"),
        ("month", 3, "2026-05-31T12:00+02:00", "2026-02-28T11:00"),
        ("month", 12, "2024-02-29T12:00+01:00", "2023-02-28T11:00"),
        ("quarter", 1, "2026-05-31T12:00+02:00", "2026-02-28T11:00"),
        ("year", 4, "2028-02-29T12:00+01:00", "2024-02-29T11:00"),
        ("day", 1, "2026-03-30T02:30+02:00", "2026-03-29T01:00"),  # 02:30 was skipped: from the jump
        ("day", 1, "2026-10-26T02:30+01:00", "2026-10-25T00:30"),  # 02:30 came twice: from the first
        ("year", 1, "2024-02-29T12:00+01:00", "2023-02-28T11:00"),
        ("year", 30000, "2026-11-22T12:00+01:00", "1970-01-01T00:00"),
    ],
)
def test_rolling_windows_look_back_from_now(kind: str, rolling: int, now: str, start: str) -> None:
    window = window_at(Period(kind, "Europe/Berlin", rolling=rolling), at(now))
    assert window.ends_at is None
    assert window.starts_at.isoformat()[:16] == start


@given(
    zone=st.sampled_from(ZONES),
    kind=st.sampled_from(KINDS),
    week_start=st.integers(0, 6),
    fiscal=st.integers(1, 12),
    now=MOMENTS,
)
@example(zone="America/Havana", kind="day", week_start=0, fiscal=1, now=datetime(2026, 11, 1, 4, 30, tzinfo=UTC))
@example(zone="America/Toronto", kind="day", week_start=0, fiscal=1, now=datetime(2005, 10, 30, 5, 0, tzinfo=UTC))
@example(zone="America/Toronto", kind="day", week_start=0, fiscal=1, now=datetime(2005, 10, 30, 4, 1, tzinfo=UTC))
@settings(deadline=None, max_examples=400)
def test_windows_tile_time(zone: str, kind: str, week_start: int, fiscal: int, now: datetime) -> None:
    period = Period(kind, zone, week_start=week_start, fiscal_start_month=fiscal)
    window = window_at(period, now)
    assert window.ends_at is not None
    assert now in window
    assert window_at(period, window.starts_at) == window
    assert window_at(period, window.ends_at - timedelta(microseconds=1)) == window
    after = window_at(period, window.ends_at)
    assert after.starts_at == window.ends_at
    before = window_at(period, window.starts_at - timedelta(microseconds=1))
    assert before.ends_at == window.starts_at


@given(zone=st.sampled_from(ZONES), days=st.integers(0, 40000))
@settings(deadline=None)
def test_local_noon_lies_in_its_own_day(zone: str, days: int) -> None:
    noon = datetime(1990, 1, 1, 12, tzinfo=ZoneInfo(zone)) + timedelta(days=days)
    moment = noon.astimezone(UTC)
    window = window_at(Period("day", zone), moment)
    assert window.starts_at.astimezone(ZoneInfo(zone)).date() == moment.astimezone(ZoneInfo(zone)).date()


@given(
    zone=st.sampled_from(ZONES),
    kind=st.sampled_from(KINDS),
    rolling=st.integers(1, 400),
    now=MOMENTS,
    later=st.timedeltas(timedelta(0), timedelta(days=40)),
)
@settings(deadline=None)
def test_a_rolling_window_never_moves_back(zone: str, kind: str, rolling: int, now: datetime, later: timedelta) -> None:
    period = Period(kind, zone, rolling=rolling)
    first = window_at(period, now)
    assert now in first
    # An hour of slack: a local time that the clock repeats or skips may come out up to that much earlier.
    assert window_at(period, now + later).starts_at >= first.starts_at - timedelta(hours=1)


@given(
    seconds=st.sampled_from([1, 60, 3600, 86400]),
    now=MOMENTS,
)
def test_fixed_windows_are_aligned_to_utc(seconds: int, now: datetime) -> None:
    window = fixed_window(seconds, now)
    assert now in window
    assert window.ends_at == window.starts_at + timedelta(seconds=seconds)
    assert window.starts_at.timestamp() % seconds == 0


def test_a_naive_moment_is_refused() -> None:
    with pytest.raises(ValueError, match="time zone"):
        window_at(Period("day"), datetime(2026, 1, 1))  # noqa: DTZ001


@pytest.mark.parametrize(
    "wrong",
    [
        {"kind": "fortnight"},
        {"kind": "lifetime", "rolling": 3},
        {"kind": "day", "rolling": -1},
        {"kind": "week", "week_start": 7},
        {"kind": "year", "fiscal_start_month": 0},
    ],
)
def test_what_is_no_period_is_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(ValueError):
        Period(**wrong)  # type: ignore[arg-type]


def test_a_window_contains_its_start_and_not_its_end() -> None:
    window = Window(at("2026-01-01T00:00+00:00"), at("2026-01-02T00:00+00:00"))
    assert window.starts_at in window
    assert window.ends_at not in window
