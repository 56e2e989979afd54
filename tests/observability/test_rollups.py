"""Hourly sums foot to the log to the nano-dollar, whenever its rows arrive."""

from __future__ import annotations

import threading
from datetime import timedelta
from typing import Any

import pytest
from django.db import connection, transaction
from django.db.models import Sum
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from observability import rollups, rows, tasks
from observability.models import ChangedHour, HourlyTotal, HourlyUsage, Request
from tests.observability.records import MORNING, a_record

pytestmark = pytest.mark.django_db


def write(*records: Any) -> None:
    """As the recorder does: rows and marks in one transaction."""
    with transaction.atomic():
        rows.insert(records)
        rollups.mark(record.started_at for record in records)


def totals(model: Any) -> dict[str, int]:
    return model.objects.aggregate(**{name: Sum(name) for name in rollups.SUMS})


def assert_foots() -> None:
    assert totals(HourlyUsage) == totals(Request)
    for sums in (HourlyUsage, HourlyTotal):
        assert totals(sums) == totals(Request)
        assert sums.objects.aggregate(n=Sum("requests"))["n"] == Request.objects.count()


def test_sums_by_hour_and_who() -> None:
    write(
        a_record(cost_nano_usd=1),
        a_record(cost_nano_usd=2, started_at=MORNING.replace(minute=59, second=59)),
        a_record(cost_nano_usd=4, started_at=MORNING + timedelta(minutes=30)),
        a_record(cost_nano_usd=8, virtual_key="bob", virtual_key_id=9),
        a_record(cost_nano_usd=0, status="refused"),
    )
    assert tasks.roll_up() == 2
    nine = HourlyUsage.objects.filter(hour=MORNING.replace(minute=0, second=0, microsecond=0))
    assert sorted(nine.values_list("virtual_key", "status", "requests", "cost_nano_usd")) == [
        ("ada-laptop", "refused", 1, 0),
        ("ada-laptop", "success", 2, 3),
        ("bob", "success", 1, 8),
    ]
    assert_foots()
    assert not ChangedHour.objects.exists()
    assert tasks.roll_up() == 0


def test_late_rows_change_an_hour_that_was_summed() -> None:
    write(a_record())
    tasks.roll_up()
    write(a_record(cost_nano_usd=5), a_record(started_at=MORNING - timedelta(days=40)))
    assert tasks.roll_up() == 2
    assert_foots()


def test_sums_stay_when_retention_has_emptied_the_hour() -> None:
    write(a_record(cost_nano_usd=7), a_record(cost_nano_usd=8))
    tasks.roll_up()
    Request.objects.all().delete()
    write(a_record(cost_nano_usd=1))
    tasks.roll_up()
    assert totals(HourlyUsage)["cost_nano_usd"] == 15
    assert not ChangedHour.objects.exists()


def test_a_change_while_the_sums_are_taken_is_summed_by_the_next_sweep(monkeypatch) -> None:
    write(a_record())
    summing = rollups._sums

    def late(hour: Any) -> Any:
        sums = list(summing(hour))
        write(a_record(cost_nano_usd=11))
        return sums

    monkeypatch.setattr(rollups, "_sums", late)
    tasks.roll_up()
    assert ChangedHour.objects.count() == 1
    monkeypatch.undo()
    tasks.roll_up()
    assert_foots()


@pytest.mark.django_db(transaction=True)
def test_workers_side_by_side_double_nothing() -> None:
    def sweep() -> None:
        try:
            for _ in range(15):
                rollups.roll_up()
        finally:
            connection.close()

    def record() -> None:
        try:
            for _ in range(15):
                write(*(a_record() for _ in range(5)))
        finally:
            connection.close()

    threads = [threading.Thread(target=target) for target in (sweep, sweep, record, record)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    while rollups.roll_up():
        pass
    assert Request.objects.count() == 150
    assert_foots()


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    batches=st.lists(
        st.lists(
            st.tuples(st.integers(0, 5 * 3600), st.integers(0, 10**15), st.sampled_from("ab"), st.integers(0, 10**9)),
            min_size=1,
            max_size=5,
        ),
        max_size=5,
    )
)
def test_any_order_of_arrival_foots(batches: list[list[tuple[int, int, str, int]]]) -> None:
    for batch in batches:
        write(
            *(
                a_record(
                    started_at=MORNING + timedelta(seconds=s), cost_nano_usd=cost, model=model, input_tokens=tokens
                )
                for s, cost, model, tokens in batch
            )
        )
        tasks.roll_up()
        assert_foots()
