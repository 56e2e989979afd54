"""The dashboard foots: to the log, to the ledger, and each table to its tile, however much is rolled up."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from django.contrib.auth.models import User
from django.db import connection
from django.db.models import Sum
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.utils import timezone
from hypothesis import given
from hypothesis import strategies as st

from governance.models import Customer, LedgerEntry, Provider
from observability import rollups
from observability.charts import scale, stacked
from observability.models import ChangedHour, HourlyTotal, HourlyUsage, Request
from observability.selectors.dashboard import build
from observability.selectors.usage import Usage
from tests.fakes import seed

NOW = datetime(2026, 11, 20, 15, 42, 10, tzinfo=UTC)
KOLKATA = ZoneInfo("Asia/Kolkata")
"""Half an hour off: each midnight cuts a UTC hour in two."""


@pytest.fixture
def made(db: None) -> seed.Installation:
    installation = seed.install(NOW)
    seed.requests(installation, NOW, days=40, rows=600)
    return installation


@pytest.fixture
def root(db: None) -> User:
    return User.objects.create_superuser("root", password="root-password-1")


def roll_up(part: str) -> None:
    """Sum none, all, or only the first of the hours; `stale` changes a summed hour afterwards."""
    if part == "some":
        rollups.roll_up(limit=150)
    elif part in ("all", "stale"):
        while rollups.roll_up():
            pass
    if part == "stale":
        row = Request.objects.order_by("started_at")[300]
        Request.objects.filter(pk=row.pk).update(cost_nano_usd=row.cost_nano_usd + 7)
        rollups.mark([row.started_at])


def logged(start: datetime, end: datetime, **only: Any) -> tuple[int, int]:
    rows = Request.objects.filter(started_at__gte=start, started_at__lt=end, **only)
    return rows.count(), rows.aggregate(total=Sum("cost_nano_usd"))["total"] or 0


@pytest.mark.parametrize("part", ["none", "some", "all", "stale"])
@pytest.mark.parametrize("zone", [ZoneInfo("UTC"), ZoneInfo("Europe/Berlin"), KOLKATA], ids=str)
def test_sums_equal_the_log_whatever_is_rolled_up(
    made: seed.Installation, root: User, part: str, zone: ZoneInfo
) -> None:
    roll_up(part)
    start = datetime(2026, 10, 28, tzinfo=zone)
    usage = Usage.between(root, start, NOW, zone)
    totals = usage.totals()
    assert (totals.requests, totals.cost_nano_usd) == logged(start, NOW)
    days = usage.by_day()
    assert sum(day.cost_nano_usd for day in days.values()) == totals.cost_nano_usd
    for day in (datetime(2026, 11, 3, tzinfo=zone), datetime(2026, 11, 19, tzinfo=zone)):
        figures = days[day.date()]
        assert (figures.requests, figures.cost_nano_usd) == logged(day, day + timedelta(days=1))
    for dimension in ("customer", "team", "model", "developer", "key"):
        ranking = usage.ranking(dimension)
        assert sum(figures.cost_nano_usd for _, figures in ranking) == totals.cost_nano_usd
        assert sum(figures.requests for _, figures in ranking) == totals.requests
        daily = usage.daily(dimension, [key for key, _ in ranking])
        assert sum(daily.values()) == totals.cost_nano_usd


def test_settled_hours_are_read_from_the_roll_up(made: seed.Installation, root: User) -> None:
    roll_up("all")
    HourlyUsage.objects.update(cost_nano_usd=0)
    HourlyTotal.objects.update(cost_nano_usd=0)
    start = datetime(2026, 11, 1, tzinfo=UTC)
    assert not ChangedHour.objects.exists()
    # The last, unfinished hour of the range is the log's; all before it is what the roll-up says.
    this_hour = NOW.replace(minute=0, second=0, microsecond=0)
    assert Usage.between(root, start, NOW, ZoneInfo("UTC")).totals().cost_nano_usd == logged(this_hour, NOW)[1]


def test_the_board_foots_to_log_and_ledger(made: seed.Installation, root: User) -> None:
    roll_up("some")
    board = build(root, days=30, now=NOW)
    month = datetime(2026, 11, 1, tzinfo=UTC)
    assert (board.totals.requests, board.totals.cost_nano_usd) == logged(board.start, NOW)
    assert (board.month.requests, board.month.cost_nano_usd) == logged(month, NOW)
    ledger = LedgerEntry.objects.filter(occurred_at__gte=month, occurred_at__lt=NOW)
    assert ledger.aggregate(total=Sum("amount_nano_usd"))["total"] == board.month.cost_nano_usd
    for breakdown in board.breakdowns:
        assert sum(line.figures.cost_nano_usd for line in breakdown.lines) == board.totals.cost_nano_usd
        assert sum(line.figures.requests for line in breakdown.lines) == board.totals.requests
        assert len(breakdown.lines) <= 10
    # A range shorter than the month asks for the month by itself.
    assert build(root, days=7, now=NOW).month == board.month


def test_each_user_sees_their_own_customers_only(made: seed.Installation) -> None:
    alice = seed.member("alice", customer=made.customers["Acme"])
    bob = seed.member("bob", team=made.teams["Acme/Core"])
    nobody = seed.member("nobody")
    acme, core = made.customers["Acme"].pk, made.teams["Acme/Core"].pk
    for part in ("none", "all"):
        roll_up(part)
        board = build(alice, days=30, now=NOW)
        assert (board.totals.requests, board.totals.cost_nano_usd) == logged(board.start, NOW, customer_id=acme)
        board = build(bob, days=30, now=NOW)
        assert (board.totals.requests, board.totals.cost_nano_usd) == logged(board.start, NOW, team_id=core)
        assert build(nobody, days=30, now=NOW).totals.requests == 0


def test_the_zone_is_the_customers_own_where_there_is_one(made: seed.Installation, root: User) -> None:
    assert build(root, days=7, now=NOW).zone.key == "UTC"
    alice = seed.member("alice", customer=made.customers["Acme"])
    board = build(alice, days=7, now=NOW)
    assert board.zone.key == "Europe/Berlin"
    assert board.start == datetime(2026, 11, 14, tzinfo=ZoneInfo("Europe/Berlin"))


def test_the_index_shows_a_members_figures_and_nobody_elses(made: seed.Installation, client: Client) -> None:
    now = timezone.now()
    Request.objects.all().delete()
    seed.requests(made, now, days=20, rows=300, seed=3)
    client.force_login(seed.member("charlie", customer=made.customers["Globex"]))
    page = client.get("/admin/?days=7")
    text = page.content.decode()
    assert page.status_code == 200
    assert "Platform" in text
    for foreign in ("Acme", "Initech", "ada@", "Core"):
        assert foreign not in text, foreign
    assert 'id="first-steps"' not in text
    assert client.get("/admin/?days=8;drop").context["board"].days == 30


def test_without_the_permission_there_are_no_figures(made: seed.Installation, client: Client) -> None:
    user = seed.member("alice", customer=made.customers["Acme"])
    user.user_permissions.clear()
    client.force_login(user)
    text = client.get("/admin/").content.decode()
    assert "permission to view the request log" in text
    assert 'href="/me/"' in text
    assert "Spend today" not in text


@pytest.mark.django_db
def test_an_empty_installation_is_told_its_first_steps(client: Client, root: User) -> None:
    Customer.objects.all().delete()
    client.force_login(root)
    text = client.get("/admin/").content.decode()
    assert 'id="first-steps"' in text
    assert "nothing to add up" in text
    assert text.count("To do:") == 5
    installation = seed.install(timezone.now())
    seed.requests(installation, timezone.now(), days=3, rows=20)
    text = client.get("/admin/").content.decode()
    assert text.count("To do:") == 1
    seed.budgets(installation, {})
    assert 'id="first-steps"' not in client.get("/admin/").content.decode()


def test_the_verdict_names_what_blocks(made: seed.Installation, root: User) -> None:
    assert "No budget is set" in build(root, days=30, now=NOW).verdict.text
    seed.budgets(made, {})
    board = build(root, days=30, now=NOW)
    blocked = [status for status in board.budgets if status.state == "blocked"]
    assert blocked
    assert board.verdict.tone == "bad"
    assert str(blocked[0].budget) in board.verdict.text
    assert "2026-12-01" in board.verdict.more


def test_the_number_of_queries_does_not_grow_with_the_log(made: seed.Installation, root: User, client: Client) -> None:
    client.force_login(root)
    seed.budgets(made, {})
    counts = []
    for rows in (0, 500):
        if rows:
            seed.requests(made, timezone.now(), days=25, rows=rows, seed=9)
            rollups.roll_up(limit=100)
        with CaptureQueriesContext(
            connection,
        ) as queries:
            client.get("/admin/")
        counts.append(len(queries))
    assert max(counts) <= 60, counts


@given(st.just(0.0) | st.floats(min_value=1e-9, max_value=1e9), st.integers(2, 5), st.booleans())
def test_an_axis_starts_at_zero_and_covers_the_largest_value(largest: float, steps: int, whole: bool) -> None:
    top, step = scale(largest, steps, whole=whole)
    assert top >= largest * (1 - 1e-9)
    assert round(top / step) == pytest.approx(top / step)
    assert 1 <= round(top / step) <= 6
    assert not whole or step == int(step)


def test_bars_stack_without_gap_from_the_base_line() -> None:
    chart = stacked(["a", "b"], [("big", [3.0, 0.0]), ("small", [1.0, 2.0])], unit="$")
    first = [bar for bar in chart.bars if bar.x == chart.bars[0].x]
    assert first[0].y + first[0].height == pytest.approx(chart.base)
    assert first[1].y + first[1].height == pytest.approx(first[0].y)
    assert first[0].height == pytest.approx(3 * first[1].height, rel=0.01)
    assert first[0].title == "a · big: $3.00"
    assert re.fullmatch(r"0", chart.y_ticks[0].label)


@pytest.mark.django_db
def test_who_has_a_role_and_no_membership_is_told_what_is_missing(client: Client) -> None:
    user = seed.member("nobody")
    client.force_login(user)
    assert "You see no customer yet" in client.get("/admin/").content.decode()


@pytest.mark.django_db
def test_simulated_money_is_called_simulated(client: Client, made: seed.Installation) -> None:
    client.force_login(User.objects.create_superuser("root"))
    assert Provider.objects.filter(kind=Provider.Kind.SIMULATED).exists()
    assert 'id="simulated"' in client.get("/admin/?days=90").content.decode()
    Provider.objects.update(is_active=False)
    assert 'id="simulated"' not in client.get("/admin/?days=90").content.decode()
