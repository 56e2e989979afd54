"""Old request rows go, in batches; sums and charges stay."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from django.db import connection
from django.utils import timezone

from governance import ledger, partitions
from governance.models import LedgerEntry
from observability import retention, rollups, rows, tasks
from observability.models import HourlyUsage, Request
from observability.months import LOG, ensure_months
from tests.observability.records import a_posting, a_record

pytestmark = pytest.mark.django_db


def test_rows_past_their_time_go_and_the_rest_stays(settings: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retention, "BATCH_ROWS", 3)
    now = timezone.now()
    old = [a_record(started_at=now - timedelta(days=31, seconds=n)) for n in range(8)]
    new = [a_record(started_at=now - timedelta(days=29))]
    rows.insert([*old, *new])
    rollups.mark(record.started_at for record in [*old, *new])
    ledger.post([a_posting(record) for record in [*old, *new]])

    settings.COMPTROLLER = {**settings.COMPTROLLER, "COMPTROLLER_LOG_RETENTION_DAYS": 30}
    assert tasks.apply_retention() == 0, "rows go only after they are summed"
    tasks.roll_up()
    assert retention.delete_old(now=now, keep_days=30, max_batches=2) == 6
    assert tasks.apply_retention() == 2
    assert list(Request.objects.values_list("id", flat=True)) == [new[0].id]
    assert LedgerEntry.objects.count() == 9
    assert sum(HourlyUsage.objects.values_list("requests", flat=True)) == 9


def test_no_retention_keeps_everything() -> None:
    rows.insert([a_record(started_at=timezone.now() - timedelta(days=5000))])
    assert tasks.apply_retention() == 0
    assert Request.objects.count() == 1


def test_a_whole_month_past_its_time_is_dropped_and_the_rest_goes_by_rows(settings: Any) -> None:
    if connection.vendor != "postgresql":
        pytest.skip("SQLite has no partitions")
    now = timezone.now()
    month = partitions.month_of(now - timedelta(days=70))
    middle = partitions.next_month(month) + timedelta(days=3)
    old = [a_record(started_at=month + timedelta(minutes=n)) for n in range(5)]
    part = [a_record(started_at=middle - timedelta(seconds=1)), a_record(started_at=middle)]
    rows.insert([*old, *part])
    rollups.mark(record.started_at for record in [*old, *part])
    ledger.post([a_posting(record) for record in [*old, *part]])
    ensure_months(now=now)
    names = {month.name for month in partitions.listed(LOG.name)}
    assert {f"{LOG.name}_{month:%Y_%m}", f"{LOG.name}_{middle:%Y_%m}"} <= names

    def sweep() -> int:
        return retention.delete_old(now=middle + timedelta(days=30), keep_days=30)

    assert sweep() == 0, "a month is dropped only after it is summed"
    tasks.roll_up()
    assert sweep() == 6
    assert names - {month.name for month in partitions.listed(LOG.name)} == {f"{LOG.name}_{month:%Y_%m}"}
    assert list(Request.objects.values_list("id", flat=True)) == [part[1].id]
    assert LedgerEntry.objects.count() == 7
    assert sum(HourlyUsage.objects.values_list("requests", flat=True)) == 7
    # A late row of the month that is gone: kept, summed without harm to the sums that stand, gone with the next.
    rows.insert([late := a_record(started_at=month)])
    rollups.mark([late.started_at])
    tasks.roll_up()
    assert sum(HourlyUsage.objects.values_list("requests", flat=True)) == 7
    assert sweep() == 1
