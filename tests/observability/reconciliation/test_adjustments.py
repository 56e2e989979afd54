"""Adjustments: rows of their own that come to the difference exactly, in a month that is open."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from threading import Event
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.core.exceptions import ValidationError
from django.db import connection
from django.db.models import Sum
from hypothesis import given
from hypothesis import strategies as st

from governance.models import (
    AuditEntry,
    LedgerEntry,
    MonthLock,
    Price,
    ReconciliationDay,
    ReconciliationException,
    ReconciliationLine,
    VirtualKey,
)
from governance.services import months as month_services
from observability.models import Request
from observability.reconciliation import adjustments
from observability.reconciliation.adjustments import adjust, plan, spread
from observability.reconciliation.parse import read_file
from observability.reconciliation.services import compare_day, import_report
from observability.repricing.services import approve_repricing, request_repricing
from observability.tasks import compare_waiting_days, run_repricings
from tests.observability.reconciliation.books import DAY, LATER, NOON, OPUS, Books, reports_of

NEXT_MONTH = datetime(2026, 12, 2, 12, tzinfo=UTC)


@given(st.integers(-(10**12), 10**12), st.lists(st.integers(1, 10**12), min_size=1, max_size=20))
def test_the_parts_come_to_the_amount_exactly(amount: int, weights: list[int]) -> None:
    parts = spread(amount, weights)
    assert sum(parts) == amount
    assert all(abs(part - amount * weight / sum(weights)) <= 1.001 for part, weight in zip(parts, weights, strict=True))


@pytest.fixture
def books(db: None) -> Books:
    return Books()


def off_by(cents: str, books: Books, now: datetime = LATER) -> ReconciliationException:
    """A day on which the report has so many cents more of output tokens; gives the exception."""
    cost, _ = reports_of(DAY, output=cents)
    return from_cost(cost, now)


def from_cost(cost: dict[str, Any], now: datetime = LATER) -> ReconciliationException:
    report = read_file(json.dumps({"data": [cost], "has_more": False}).encode(), "cost")
    import_report(report=report, source="file", actor=None, now=now)
    compare_day(DAY, now=now)
    return ReconciliationException.objects.get(status="open")


def test_the_difference_is_spread_over_the_keys_that_used_the_cell(books: Books) -> None:
    other = VirtualKey.objects.create(team=books.core, name="bob-laptop")
    for tokens, key in ((100_000, books.key), (150_000, books.key), (50_000, other)):
        books.request(output=tokens, virtual_key_id=key.pk, virtual_key=key.name)
    found = off_by("300", books)
    before = list(LedgerEntry.objects.order_by("pk").values())
    shares = adjust(exception=found, note="As billed", actor=None, actor_name="Fin")
    assert [(share.name, share.nano_usd) for share in shares] == [
        ("ada-laptop", 2_500_000_000), ("bob-laptop", 500_000_000),
    ]  # fmt: skip
    rows = LedgerEntry.objects.filter(kind="adjustment")
    assert rows.aggregate(total=Sum("amount_nano_usd"))["total"] == 3_000_000_000
    assert {row.occurred_at for row in rows} == {NOON}
    assert all(row.request_id != row.pk and row.tokens == 0 and row.model == OPUS for row in rows)
    assert list(LedgerEntry.objects.filter(kind="charge").order_by("pk").values()) == before
    found.refresh_from_db()
    assert found.status == "adjusted"
    assert ReconciliationDay.objects.get().state == "accepted"
    assert compare_day(DAY, now=LATER).state == "accepted"
    entry = AuditEntry.objects.get(action="exception.adjusted")
    assert entry.changes["adjusted_nano_usd"] == [0, 3_000_000_000]
    with pytest.raises(ValidationError, match="decided already"):
        adjust(exception=found, note="again", actor=None)
    assert rows.count() == 2


def test_a_credit_where_we_charged_more(books: Books) -> None:
    books.request(output=100_000)
    adjust(exception=off_by("-50", books), note="As billed", actor=None)
    assert LedgerEntry.objects.get(kind="adjustment").amount_nano_usd == -500_000_000


def test_what_we_have_nothing_of_is_charged_to_a_named_key(books: Books) -> None:
    books.request(output=1)
    cost, _ = reports_of(DAY)
    cost["results"].append({**cost["results"][0], "amount": "700", "token_type": "uncached_input_tokens"})
    found = from_cost(cost)
    with pytest.raises(ValidationError, match="name the virtual key"):
        adjust(exception=found, note="Used from the Console", actor=None)
    assert not LedgerEntry.objects.filter(kind="adjustment").exists()
    adjust(exception=found, note="Used from the Console", actor=None, key=books.key)
    row = LedgerEntry.objects.get(kind="adjustment")
    assert (row.request_id, row.amount_nano_usd) == (f"exception-{found.pk}", 7_000_000_000)
    assert (row.virtual_key_id, row.team_id, row.customer_id) == (books.key.pk, books.core.pk, books.acme.pk)


def test_a_closed_month_stays_as_it_is(books: Books) -> None:
    books.request(output=100_000)
    lock = month_services.lock_month(month=date(2026, 11, 1), customer=None, actor=None, now=NEXT_MONTH)
    found = off_by("300", books, NEXT_MONTH)
    (share,) = plan(found)
    assert share.moved
    adjust(exception=found, note="As billed", actor=None)
    # The month of Berlin begins at 23:00 UTC.
    assert LedgerEntry.objects.get(kind="adjustment").occurred_at == datetime(2026, 11, 30, 23, tzinfo=UTC)
    assert month_services.list_late_charges(now=NEXT_MONTH) == 0
    lock.refresh_from_db()
    assert lock.total_nano_usd == 2_000_000_000


def ledger_total() -> int:
    return int(LedgerEntry.objects.aggregate(total=Sum("amount_nano_usd"))["total"])


def cell_now() -> ReconciliationLine:
    return ReconciliationLine.objects.get(token_class="output")


def test_what_was_adjusted_is_not_adjusted_again(books: Books) -> None:
    books.request(output=100_000)
    adjust(exception=off_by("200", books), note="As billed", actor=None)
    shown = ReconciliationDay.objects.get()
    assert (shown.drift_nano_usd, shown.ledger_nano_usd, cell_now().status) == (0, 4 * 10**9, "matched")
    again = compare_day(DAY, now=LATER)
    assert (again.drift_nano_usd, again.ledger_nano_usd, cell_now().status) == (0, 4 * 10**9, "matched")
    revised = off_by("210", books)
    assert revised.difference_nano_usd == -(10**8)
    assert "$2.00 of ours was adjusted before" in revised.remark
    adjust(exception=revised, note="As billed at last", actor=None)
    assert ledger_total() == 4_100_000_000
    assert compare_day(DAY, now=LATER).state == "accepted"


def test_the_same_difference_once_more_is_another_one(books: Books) -> None:
    books.request(output=100_000)
    for number, cents in enumerate(("200", "400", "200"), 1):
        adjust(exception=off_by(cents, books), note="As billed", actor=None)
        assert LedgerEntry.objects.filter(kind="adjustment").count() == number
        assert ledger_total() == 2 * 10**9 + int(cents) * 10**7


def reprice(books: Books, row: Request, to: int) -> None:
    """As a posted re-pricing leaves it: rates of its own for the request's charge, once."""
    price = Price.objects.create(
        platform="anthropic", model_id=OPUS, effective_from=datetime(2026, 11, 2, tzinfo=UTC), input=4,
        output=Decimal(to) / 10**9 / row.output_tokens * 10**6, cache_read="0.4", cache_write_5m=5, cache_write_1h=8,
        web_search="0.01",
    )  # fmt: skip
    asked = request_repricing(
        customer=None, starts_at=NOON, ends_at=NOON + timedelta(hours=1), reason="billed otherwise",
        actor=User.objects.create_superuser("ann"),
    )  # fmt: skip
    run_repricings()
    asked.refresh_from_db()
    approve_repricing(repricing=asked, actor=User.objects.create_superuser("ben"))
    run_repricings()
    row.refresh_from_db()
    assert (row.cost_nano_usd, row.price_id) == (to, price.pk)


def test_a_re_pricing_leaves_log_and_ledger_in_step(books: Books) -> None:
    row = books.request(output=100_000)
    reprice(books, row, 3 * 10**9)
    compared = compare_day(DAY, now=LATER)
    assert (compared.ours_nano_usd, compared.ledger_nano_usd) == (3 * 10**9, 3 * 10**9)
    assert not ReconciliationException.objects.exists()


def test_what_was_adjusted_and_then_re_priced_is_off_again(books: Books) -> None:
    row = books.request(output=100_000)
    adjust(exception=off_by("100", books), note="As billed", actor=None)
    assert compare_waiting_days() == 0
    reprice(books, row, 3 * 10**9)
    assert ledger_total() == 4 * 10**9
    assert ReconciliationDay.objects.get().waiting_since is not None
    assert compare_waiting_days() == 1
    found = ReconciliationException.objects.get(status="open")
    assert (found.kind, found.difference_nano_usd, found.token_class) == ("difference", 10**9, "output")
    assert (ReconciliationDay.objects.get().state, ReconciliationDay.objects.get().drift_nano_usd) == ("off", 10**9)
    adjust(exception=found, note="Re-priced since", actor=None)
    assert ledger_total() == 3 * 10**9
    assert (compare_day(DAY, now=LATER).state, ReconciliationDay.objects.get().drift_nano_usd) == ("accepted", 0)


def test_what_was_re_priced_since_the_comparison_is_not_adjusted(books: Books) -> None:
    row = books.request(output=100_000)
    found = off_by("100", books)
    reprice(books, row, 3 * 10**9)
    with pytest.raises(ValidationError, match="Compare the day again first"):
        adjust(exception=found, note="As billed", actor=None)
    assert ledger_total() == 3 * 10**9
    compare_day(DAY, now=LATER)
    found.refresh_from_db()
    assert found.status == "gone"


@pytest.mark.django_db(transaction=True)
@pytest.mark.skipif(connection.vendor != "postgresql", reason="SQLite has one writer at a time")
def test_no_month_is_closed_between_the_look_and_the_row(monkeypatch: pytest.MonkeyPatch) -> None:
    books = Books()
    books.request(output=100_000)
    found = off_by("300", books, NEXT_MONTH)
    looked, locked = Event(), Event()

    def lock() -> None:
        assert looked.wait(10)
        month_services.lock_month(month=date(2026, 11, 1), customer=None, actor=None, now=NEXT_MONTH)
        locked.set()
        connection.close()

    real = adjustments.months.first_open_moment

    def look(*arguments: Any) -> datetime:
        moment = real(*arguments)
        looked.set()
        assert not locked.wait(1), "a month was closed between the look and the row"
        return moment

    monkeypatch.setattr(adjustments.months, "first_open_moment", look)
    with ThreadPoolExecutor(1) as pool:
        closing = pool.submit(lock)
        adjust(exception=found, note="As billed", actor=None)
        closing.result(10)
    assert MonthLock.objects.get().total_nano_usd == 5 * 10**9


def test_without_a_note_or_without_a_difference_nothing_is_written(books: Books) -> None:
    books.request(output=100_000)
    found = off_by("300", books)
    with pytest.raises(ValidationError, match="Say why"):
        adjust(exception=found, note="", actor=None)
    ReconciliationException.objects.filter(pk=found.pk).update(kind="ledger")
    with pytest.raises(ValidationError, match="explain or ignore"):
        adjust(exception=found, note="x", actor=None)
    assert not LedgerEntry.objects.filter(kind="adjustment").exists()
