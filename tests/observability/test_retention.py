"""Old request rows go, in batches; sums and charges stay."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from django.utils import timezone

from governance import ledger
from governance.models import LedgerEntry
from observability import retention, rollups, rows, tasks
from observability.models import HourlyUsage, Request
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
