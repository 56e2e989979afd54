"""Terms in force: by the clock alone, from their start to before their end."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from django.contrib.auth.models import User
from django.db import IntegrityError, transaction
from hypothesis import given
from hypothesis import strategies as st

from governance.models import ConfigurationVersion, Raise
from governance.raises import Term, in_force, raised
from tests.governance.raising import USD, Company, company

NOW = datetime(2026, 11, 22, 12, tzinfo=UTC)
TICK = timedelta(microseconds=1)
MOMENTS = st.integers(-50, 50).map(lambda hours: NOW + timedelta(hours=hours))


@pytest.fixture
def acme(db: None) -> Company:
    return company()


def term(acme: Company, starts_at: datetime, ends_at: datetime, **values: object) -> Raise:
    return Raise.objects.create(
        **{
            "budget": acme.core_month,
            "budget_name": "Core",
            "customer": acme.acme,
            "amount_nano_usd": 5 * USD,
            "reason": "why",
            "requester": acme.lee,
            "requester_name": "lee",
            "starts_at": starts_at,
            "ends_at": ends_at,
            "status": "approved",
            "decided_by": acme.fay,
            "decided_by_name": "fay",
            **values,
        }
    )


@pytest.mark.parametrize(
    ("start", "end", "expected"),
    [
        (timedelta(), timedelta(hours=1), 5),  # exactly at its start it counts
        (TICK, timedelta(hours=1), 0),
        (-timedelta(hours=1), timedelta(), 0),  # exactly at its end it is over
        (-timedelta(hours=1), TICK, 5),
        (-timedelta(hours=1), timedelta(hours=1), 5),
        (-timedelta(hours=2), -timedelta(hours=1), 0),
    ],
)
def test_edges(acme: Company, start: timedelta, end: timedelta, expected: int) -> None:
    row = term(acme, NOW + start, NOW + end)
    assert raised(in_force(None, NOW).get(acme.core_month.pk, []), NOW) == expected * USD
    assert row.is_in_force(NOW) is bool(expected)


def test_what_begins_later_is_told_and_what_is_over_is_not(acme: Company) -> None:
    later = term(acme, NOW + timedelta(days=1), NOW + timedelta(days=2))
    term(acme, NOW - timedelta(days=2), NOW)
    assert in_force([acme.core_month.pk], NOW) == {acme.core_month.pk: [Term(5 * USD, later.starts_at, later.ends_at)]}


@pytest.mark.parametrize("status", ["requested", "declined", "withdrawn", "ended_early"])
def test_only_what_was_approved_counts(acme: Company, status: str) -> None:
    term(acme, NOW - timedelta(hours=1), NOW + timedelta(hours=1), status=status)
    assert in_force(None, NOW) == {}


def test_one_query_whatever_is_asked_for(acme: Company, django_assert_num_queries) -> None:
    for budget in (acme.core_month, acme.web_month):
        term(acme, NOW, NOW + timedelta(hours=1), budget=budget)
    for ids, expected in (
        (None, {acme.core_month.pk, acme.web_month.pk}),
        ([acme.web_month.pk], {acme.web_month.pk}),
        ({acme.core_month.pk, *range(10**6, 10**6 + 5000)}, {acme.core_month.pk}),
    ):
        with django_assert_num_queries(1):
            assert set(in_force(ids, NOW)) == expected
    assert in_force([], NOW) == {}


@given(st.lists(st.tuples(st.integers(-(10**12), 10**12), MOMENTS, MOMENTS), max_size=8), MOMENTS)
def test_the_sum_is_that_of_the_terms_that_contain_the_moment(rows: list, moment: datetime) -> None:
    terms = [Term(nano, *sorted((a, b))) for nano, a, b in rows]
    expected = sum(t.nano_usd for t in terms if not (moment < t.starts_at or moment >= t.ends_at))
    assert raised(terms, moment) == expected


def test_every_process_hears_of_a_decision(acme: Company) -> None:
    before = ConfigurationVersion.objects.get().version
    row = term(acme, NOW, NOW + timedelta(hours=1), status="requested")
    Raise.objects.filter(pk=row.pk).update(status="approved")
    assert ConfigurationVersion.objects.get().version >= before + 2


@pytest.mark.parametrize(
    "values",
    [
        {"amount_nano_usd": 0},
        {"amount_nano_usd": -1},
        {"kind": "emergency", "amount_nano_usd": -1},
        {"kind": "transfer", "amount_nano_usd": 0},
        {"reason": ""},
        {"starts_at": NOW, "ends_at": NOW},
        {"decided_by_name": ""},
    ],
)
def test_the_database_refuses(acme: Company, values: dict) -> None:
    with pytest.raises(IntegrityError), transaction.atomic():
        term(acme, **{"starts_at": NOW, "ends_at": NOW + timedelta(hours=1), **values})


def test_the_database_refuses_that_one_decides_about_their_own(acme: Company) -> None:
    row = term(acme, NOW, NOW + timedelta(hours=1), status="requested", decided_by=None, decided_by_name="")
    with pytest.raises(IntegrityError), transaction.atomic():
        Raise.objects.filter(pk=row.pk).update(status="approved", decided_by=acme.lee, decided_by_name="lee")


def test_history_outlives_people_and_budgets(acme: Company) -> None:
    row = term(acme, NOW, NOW + timedelta(hours=1))
    User.objects.filter(pk__in=[acme.lee.pk, acme.fay.pk]).delete()
    acme.core_month.delete()
    row.refresh_from_db()
    assert (row.budget, row.requester, row.decided_by) == (None, None, None)
    assert (row.budget_name, row.requester_name, row.decided_by_name) == ("Core", "lee", "fay")
    assert in_force(None, NOW) == {}
    assert list(Raise.objects.visible_to(acme.frank)) == [row]
    assert not Raise.objects.visible_to(acme.charlie).exists()
