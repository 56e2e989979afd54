"""Closed months: in the customer's own zone, opened by another person, and nothing late is lost."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, date, datetime, timedelta
from threading import Event

import pytest
from django.contrib.auth.models import User
from django.core.exceptions import ValidationError
from django.db import connection, transaction
from django.test.utils import CaptureQueriesContext
from ulid import ULID

from governance import months, watched
from governance.models import (
    AuditEntry,
    ConfigurationVersion,
    Customer,
    LedgerEntry,
    MonthLock,
    ReconciliationException,
)
from governance.services.months import list_late_charges, lock_month, unlock_month

pytestmark = pytest.mark.django_db
OCTOBER, NOVEMBER = date(2026, 10, 1), date(2026, 11, 1)
NOW = datetime(2026, 12, 3, tzinfo=UTC)
BERLIN_NOVEMBER = datetime(2026, 10, 31, 23, tzinfo=UTC)
"""November begins in Berlin an hour before it does in UTC (winter time)."""


@pytest.fixture
def acme() -> Customer:
    return Customer.objects.create(name="Acme", timezone="Europe/Berlin")


@pytest.fixture
def globex() -> Customer:
    return Customer.objects.create(name="Globex")


def charge(customer: Customer, at: datetime, nano: int) -> None:
    id_ = str(ULID())
    LedgerEntry.objects.create(
        id=id_, request_id=id_, occurred_at=at, customer_id=customer.pk, team_id=1, virtual_key_id=1, model="m",
        amount_nano_usd=nano,
    )  # fmt: skip


def test_a_month_is_the_customers_own(acme: Customer, globex: Customer) -> None:
    lock_month(month=OCTOBER, customer=None, actor=None, now=NOW)
    last_hour = datetime(2026, 10, 31, 23, 30, tzinfo=UTC)
    assert not months.is_locked(acme.pk, last_hour)
    assert months.is_locked(globex.pk, last_hour)
    assert months.is_locked(acme.pk, datetime(2026, 9, 30, 22, tzinfo=UTC))
    assert not months.is_locked(globex.pk, datetime(2026, 9, 30, 22, tzinfo=UTC))
    assert months.first_open_moment(acme.pk, datetime(2026, 10, 5, tzinfo=UTC)) == BERLIN_NOVEMBER
    assert months.first_open_moment(acme.pk, last_hour) == last_hour
    lock_month(month=NOVEMBER, customer=acme, actor=None, now=NOW)
    assert months.first_open_moment(acme.pk, datetime(2026, 10, 5, tzinfo=UTC)) == datetime(
        2026, 11, 30, 23, tzinfo=UTC
    )
    assert not months.is_locked(globex.pk, datetime(2026, 11, 5, tzinfo=UTC))


def test_the_totals_of_the_lock_stay_and_what_is_late_is_listed(acme: Customer, globex: Customer) -> None:
    charge(acme, BERLIN_NOVEMBER, 100)
    charge(acme, datetime(2026, 11, 30, 22, 59, tzinfo=UTC), 20)
    charge(acme, datetime(2026, 11, 30, 23, tzinfo=UTC), 7)
    charge(globex, datetime(2026, 11, 2, tzinfo=UTC), 5)
    lock = lock_month(month=NOVEMBER, customer=acme, actor=None, now=NOW)
    assert (lock.total_nano_usd, lock.entries) == (120, 2)
    assert list_late_charges(now=NOW) == 0
    charge(acme, datetime(2026, 11, 12, 4, tzinfo=UTC), 40)
    charge(acme, datetime(2026, 11, 12, 5, tzinfo=UTC), 2)
    charge(acme, datetime(2026, 12, 1, tzinfo=UTC), 9)
    charge(globex, datetime(2026, 11, 12, tzinfo=UTC), 9)
    assert list_late_charges(now=NOW) == 1
    assert list_late_charges(now=NOW) == 0
    found = ReconciliationException.objects.get()
    assert (found.kind, found.customer, found.day, found.ours_nano_usd) == ("late", acme, date(2026, 11, 12), 42)
    assert "2 ledger row(s)" in found.remark
    assert months.locked_total(acme.pk, NOVEMBER) == 120
    assert months.locked_total(globex.pk, NOVEMBER) is None
    ReconciliationException.objects.update(status="explained")
    charge(acme, datetime(2026, 11, 12, 6, tzinfo=UTC), 3)
    assert list_late_charges(now=NOW) == 1
    assert ReconciliationException.objects.get(status="open").ours_nano_usd == 3
    assert LedgerEntry.objects.filter(customer_id=acme.pk).count() == 7


def test_another_zone_after_the_lock_makes_nothing_late(acme: Customer) -> None:
    charge(acme, BERLIN_NOVEMBER, 100)
    lock_month(month=NOVEMBER, customer=acme, actor=None, now=NOW)
    Customer.objects.update(timezone="America/New_York")
    assert list_late_charges(now=NOW) == 0


def test_another_zone_after_the_lock_opens_nothing_of_it(acme: Customer) -> None:
    lock_month(month=NOVEMBER, customer=acme, actor=None, now=NOW)
    Customer.objects.update(timezone="America/New_York")
    for moment in (BERLIN_NOVEMBER, datetime(2026, 11, 1, 3, 59, tzinfo=UTC), datetime(2026, 11, 30, 22, tzinfo=UTC)):
        assert months.is_locked(acme.pk, moment), moment
        # December of New York: what is still its November stands in no statement but the lock's.
        assert months.first_open_moment(acme.pk, moment) == datetime(2026, 12, 1, 5, tzinfo=UTC)
    assert not months.is_locked(acme.pk, BERLIN_NOVEMBER - timedelta(seconds=1))
    assert not months.is_locked(acme.pk, datetime(2026, 12, 1, 5, tzinfo=UTC))


def test_the_daily_look_for_late_charges_does_not_grow_with_the_years(acme: Customer, globex: Customer) -> None:
    closed = [date(2023 + number // 12, number % 12 + 1, 1) for number in range(47)]
    for month in closed:
        lock_month(month=month, customer=None, actor=None, now=NOW)
    old = datetime(2024, 5, 12, tzinfo=UTC)
    for customer in (acme, globex):
        charge(customer, old, 5)
        charge(customer, datetime(2026, 11, 12, tzinfo=UTC), 7)
    with CaptureQueriesContext(connection) as queries:
        assert list_late_charges(now=NOW) == 2
    # Three recent months that are locked and at most two older ones, each in two zones.
    assert sum('FROM "governance_ledgerentry"' in query["sql"] for query in queries) <= 10
    for number in range(1, 32):
        list_late_charges(now=NOW + timedelta(days=number))
    found = ReconciliationException.objects.filter(day=old.date())
    assert sorted(found.values_list("customer__name", "ours_nano_usd")) == [("Acme", 5), ("Globex", 5)]


def test_another_person_opens_it_again_with_a_reason(acme: Customer) -> None:
    alice, bob = User.objects.create_user("alice"), User.objects.create_user("bob")
    lock = lock_month(month=NOVEMBER, customer=acme, actor=alice, now=NOW)
    for actor, reason, words in (
        (alice, "typo", "another person"),
        (bob, " ", "Say why"),
        (None, "typo", "A person must"),
    ):
        with pytest.raises(ValidationError, match=words):
            unlock_month(lock=lock, reason=reason, actor=actor)
    assert months.is_locked(acme.pk, datetime(2026, 11, 5, tzinfo=UTC))
    unlock_month(lock=lock, reason="A credit note is missing", actor=bob)
    assert not months.is_locked(acme.pk, datetime(2026, 11, 5, tzinfo=UTC))
    with pytest.raises(ValidationError, match="open already"):
        unlock_month(lock=lock, reason="again", actor=bob)
    lock_month(month=NOVEMBER, customer=acme, actor=bob, now=NOW)
    trail = AuditEntry.objects.filter(action__startswith="month.").order_by("pk")
    assert [(entry.action, entry.actor_name) for entry in trail] == [
        ("month.locked", "alice"), ("month.unlocked", "bob"), ("month.locked", "bob"),
    ]  # fmt: skip
    assert trail[1].note == "A credit note is missing"


def test_what_cannot_be_locked(acme: Customer, globex: Customer) -> None:
    with pytest.raises(ValidationError, match="first day"):
        lock_month(month=date(2026, 11, 2), customer=acme, actor=None, now=NOW)
    with pytest.raises(ValidationError, match="not over yet for Acme"):
        lock_month(month=date(2026, 12, 1), customer=acme, actor=None, now=NOW)
    lock_month(month=NOVEMBER, customer=acme, actor=None, now=NOW)
    with pytest.raises(ValidationError, match="locked already"):
        lock_month(month=NOVEMBER, customer=acme, actor=None, now=NOW)
    whole = lock_month(month=NOVEMBER, customer=None, actor=None, now=NOW)
    assert set(whole.totals) == {str(globex.pk)}
    for customer in (None, globex):
        with pytest.raises(ValidationError, match="locked already"):
            lock_month(month=NOVEMBER, customer=customer, actor=None, now=NOW)
    assert MonthLock.objects.count() == 2


@pytest.mark.django_db(transaction=True)
@pytest.mark.skipif(connection.vendor != "postgresql", reason="SQLite has one writer at a time")
def test_a_lock_waits_for_the_batches_under_way() -> None:
    """Its insert raises the version, under a lock that each batch of charges shares: its totals miss none of them."""
    acme = Customer.objects.create(name="Acme", timezone="Europe/Berlin")
    reading, locked = Event(), Event()

    def post() -> None:
        with transaction.atomic():
            watched.pin()
            reading.set()
            assert not locked.wait(0.5), "the lock did not wait for the batch"
            charge(acme, BERLIN_NOVEMBER, 41)
        connection.close()

    with ThreadPoolExecutor(1) as pool:
        posting = pool.submit(post)
        assert reading.wait(10)
        lock = lock_month(month=NOVEMBER, customer=acme, actor=None, now=NOW)
        locked.set()
        posting.result(10)
    assert (lock.total_nano_usd, lock.entries) == (41, 1)
    assert list_late_charges(now=NOW) == 0


def test_a_lock_raises_the_version(acme: Customer) -> None:
    before = ConfigurationVersion.objects.get().version
    lock_month(month=NOVEMBER, customer=acme, actor=None, now=NOW)
    assert ConfigurationVersion.objects.get().version > before
