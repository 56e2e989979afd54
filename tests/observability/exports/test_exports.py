"""Exports read back: every row, every column, both formats; and what happens when a worker or a disk gives up."""

from __future__ import annotations

import gzip
import hashlib
import json
import os
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from django.core.exceptions import ValidationError
from django.utils import timezone

from governance.models import AuditEntry, Customer
from observability import rows, tasks
from observability.exports import services, worker
from observability.exports.columns import COLUMNS, SCHEMA
from observability.exports.services import NotAvailable
from observability.exports.writers import Counted, open_writer
from observability.models import LogExport, Request
from tests.observability.records import MORNING, a_record

pytestmark = pytest.mark.django_db
DAY = timedelta(days=1)
MIDNIGHT = MORNING.replace(hour=0, minute=0, second=0, microsecond=0)


@pytest.fixture(autouse=True)
def data_dir(settings: Any, tmp_path: Path) -> Path:
    settings.DATA_DIR = tmp_path
    return tmp_path


def export(format: str = "jsonl.gz", **values: Any) -> LogExport:
    return LogExport.objects.create(**{"format": format, "starts_at": MIDNIGHT, "ends_at": MIDNIGHT + DAY, **values})


def read(export: LogExport) -> list[dict[str, Any]]:
    with services.open_export(export) as file:
        if export.format == "parquet":
            table = pq.read_table(file)
            assert table.schema.equals(SCHEMA)
            return [
                {k: json.loads(v) if k in {"tags", "attempts", "tool_calls"} else v for k, v in row.items()}
                for row in table.to_pylist()
            ]
        lines = [json.loads(line) for line in gzip.decompress(file.read()).splitlines()]
        return [{**line, "started_at": datetime.fromisoformat(line["started_at"])} for line in lines]


@pytest.mark.parametrize("format", LogExport.Format.values)
def test_every_row_and_column_reads_back(format: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(worker, "CHUNK_ROWS", 7)
    records = [
        a_record(started_at=MIDNIGHT + timedelta(seconds=number // 3), cost_nano_usd=9_007_199_254_740_993 + number)
        for number in range(23)
    ]
    records.append(a_record(started_at=MORNING, error_message='Ü "quoted"\n', latency_ms=None, http_status=None))
    outside = [a_record(started_at=MIDNIGHT - timedelta(microseconds=1)), a_record(started_at=MIDNIGHT + DAY)]
    rows.insert([*records, *outside])
    wanted = export(format)
    assert tasks.run_exports() == 1
    wanted.refresh_from_db()
    assert (wanted.status, wanted.rows, wanted.error) == ("done", 24, "")
    expected = Request.objects.filter(id__in=[record.id for record in records]).order_by("started_at", "id")
    assert read(wanted) == list(expected.values(*COLUMNS))
    with services.open_export(wanted) as file:
        content = file.read()
    assert (wanted.bytes, wanted.sha256) == (len(content), hashlib.sha256(content).hexdigest())
    assert [path.name for path in worker.folder().iterdir()] == [wanted.path]
    assert (worker.folder() / wanted.path).stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize("format", LogExport.Format.values)
def test_an_empty_range_gives_a_readable_file(format: str) -> None:
    wanted = export(format)
    tasks.run_exports()
    wanted.refresh_from_db()
    assert (wanted.status, wanted.rows, read(wanted)) == ("done", 0, [])


def test_another_customers_rows_stay_out() -> None:
    customer = Customer.objects.create(name="Acme")
    mine = a_record(customer_id=customer.pk)
    rows.insert([mine, a_record(customer_id=customer.pk + 1), a_record(customer_id=None)])
    wanted = export(customer=customer)
    tasks.run_exports()
    wanted.refresh_from_db()
    assert [row["id"] for row in read(wanted)] == [mine.id]


def test_a_dead_workers_export_is_taken_up_again_and_a_live_ones_is_not() -> None:
    rows.insert([a_record()])
    dead = export(status="running", claimed_at=timezone.now() - worker.DEAD_AFTER * 2)
    alive = export(status="running", claimed_at=timezone.now())
    leftover = worker.folder() / f".{dead.pk}-0000.part"
    leftover.write_bytes(b"half a file")
    assert tasks.run_exports() == 1
    dead.refresh_from_db()
    alive.refresh_from_db()
    assert (dead.status, dead.rows, alive.status) == ("done", 1, "running")
    assert not leftover.exists()


def test_one_worker_claims_an_export_and_one_that_lost_it_publishes_nothing() -> None:
    rows.insert([a_record()])
    wanted = export()
    first = worker.claim(timezone.now())
    assert first is not None
    assert worker.claim(timezone.now()) is None
    second = worker.claim(timezone.now() + worker.DEAD_AFTER * 2)
    assert second is not None
    worker.run(first)
    wanted.refresh_from_db()
    assert (wanted.status, list(worker.folder().iterdir())) == ("running", [])
    worker.run(second)
    wanted.refresh_from_db()
    assert wanted.status == "done"


def test_a_worker_that_dies_while_publishing_is_made_good(monkeypatch: pytest.MonkeyPatch) -> None:
    rows.insert([a_record()])
    wanted = export()

    class Killed(BaseException):
        pass

    def rename_and_die(source: Path, target: Path) -> None:
        os.rename(source, target)
        raise Killed

    monkeypatch.setattr(worker.os, "replace", rename_and_die)
    with pytest.raises(Killed):
        tasks.run_exports()
    monkeypatch.undo()
    wanted.refresh_from_db()
    assert wanted.status == "running"
    LogExport.objects.update(claimed_at=timezone.now() - worker.DEAD_AFTER * 2)
    tasks.run_exports()
    wanted.refresh_from_db()
    assert (wanted.status, len(read(wanted))) == ("done", 1)


@pytest.mark.parametrize("format", LogExport.Format.values)
def test_a_full_disk_fails_the_export_with_a_sentence(format: str, monkeypatch: pytest.MonkeyPatch) -> None:
    rows.insert([a_record()])
    wanted = export(format)
    monkeypatch.setattr(worker.os, "fdopen", lambda descriptor, mode: _full_device(descriptor, mode))
    tasks.run_exports()
    wanted.refresh_from_db()
    assert (wanted.status, wanted.error) == (
        "failed",
        "The disk of the exports folder is full. Free some space, then ask for the export again.",
    )
    assert list(worker.folder().iterdir()) == []


def _full_device(descriptor: int, mode: str) -> Any:
    """The kernel's own full disk."""
    os.close(descriptor)
    return open("/dev/full", mode, buffering=0)


def test_a_folder_that_cannot_be_made_fails_the_export(data_dir: Path) -> None:
    (data_dir / "exports").write_text("a file in the way")
    wanted = export()
    tasks.run_exports()
    wanted.refresh_from_db()
    assert wanted.status == "failed"
    assert "could not be written" in wanted.error


def test_the_same_rows_give_the_same_bytes(tmp_path: Path) -> None:
    rows.insert([a_record()])
    chunk = list(Request.objects.values_list(*COLUMNS))
    digests = set()
    for _ in range(2):
        with (tmp_path / "file").open("wb") as file:
            counted = Counted(file)
            writer = open_writer("jsonl.gz", counted)
            writer.write(chunk)
            writer.close()
        digests.add(counted.sha256)
    assert len(digests) == 1


def test_days_are_scheduled_once_and_missed_ones_made_up_for() -> None:
    assert tasks.schedule_daily_export() == 2
    assert tasks.schedule_daily_export() == 0
    now = timezone.now()
    assert len(services.schedule_daily(now=now + 3 * DAY)) == 6
    assert len(services.schedule_daily(now=now + 400 * DAY)) == 2 * services.CATCH_UP_DAYS
    assert LogExport.objects.filter(format="parquet", scheduled=True).values("starts_at").distinct().count() == 35


@pytest.mark.django_db(transaction=True)
def test_a_request_is_queued_and_audited(admin_user: Any) -> None:
    customer = Customer.objects.create(name="Acme")
    wanted = services.request_export(
        format="parquet", starts_at=MIDNIGHT, ends_at=MIDNIGHT + DAY, customer=customer, actor=admin_user
    )
    assert (wanted.status, wanted.requested_by, wanted.scheduled) == ("queued", admin_user, False)
    entry = AuditEntry.objects.get(action="log_export.requested")
    assert (entry.actor, entry.customer_id, entry.target_id) == (admin_user, customer.pk, str(wanted.pk))
    with pytest.raises(NotAvailable, match="no file yet"):
        services.open_export(wanted)


@pytest.mark.parametrize(
    "wrong",
    [
        {"ends_at": MIDNIGHT},
        {"format": "csv"},
        {"starts_at": datetime(2026, 1, 1)},  # noqa: DTZ001  (what is tested)
    ],
)
def test_wrong_requests_are_refused(wrong: dict[str, Any], admin_user: Any) -> None:
    right: dict[str, Any] = {"format": "parquet", "starts_at": MIDNIGHT, "ends_at": MIDNIGHT + DAY}
    with pytest.raises(ValidationError):
        services.request_export(**{**right, **wrong}, customer=None, actor=admin_user)
    assert not LogExport.objects.exists()


@pytest.mark.parametrize("path", ["../secrets/key_pepper", "gone.jsonl.gz", "/etc/passwd"])
def test_only_files_of_the_folder_are_opened(path: str, data_dir: Path) -> None:
    (data_dir / "secrets").mkdir()
    (data_dir / "secrets" / "key_pepper").write_text("secret")
    with pytest.raises(NotAvailable):
        services.open_export(export(status="done", path=path, finished_at=datetime.now(UTC)))
