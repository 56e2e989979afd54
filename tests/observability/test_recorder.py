"""The recorder on the real database, with its own thread: nothing lost, nothing twice, nothing blocked."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import psycopg
import pytest
from django.db import InterfaceError, connection, connections

from governance import ledger
from governance.domain.allowance import WindowState
from governance.ledger import Posting
from governance.models import AllowanceWindow, Budget, Customer, KeyActivity, LedgerEntry, Team, VirtualKey
from observability.models import ChangedHour, Request
from observability.recorder import BATCH_ROWS, Recorder
from observability.records import RequestRecord
from observability.spool import Spool, aside, folders
from tests.observability.records import MORNING, a_posting, a_record
from tests.observability.spool.test_writer import an_admission

pytestmark = pytest.mark.django_db(transaction=True)


class Heard:
    """A listener that can be waited for."""

    def __init__(self) -> None:
        self.records: list[RequestRecord] = []
        self.windows: list[WindowState] = []
        self._news = threading.Condition()

    def committed(self, batch: list[RequestRecord]) -> None:
        with self._news:
            self.records += batch
            self._news.notify_all()

    def posted(self, windows: list[WindowState]) -> None:
        self.windows += windows

    def wait_for(self, count: int, timeout: float = 20) -> None:
        with self._news:
            assert self._news.wait_for(lambda: len(self.records) >= count, timeout), len(self.records)


@pytest.fixture
def heard() -> Heard:
    return Heard()


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "spool"


@pytest.fixture
def recorder(heard: Heard, root: Path) -> Iterator[Recorder]:
    recorder = Recorder(
        listeners=[heard.committed], on_posted=[heard.posted], interval_s=0.02, spool=Spool(root, fsync_ms=5)
    )
    yield recorder
    recorder.drain(10)


@pytest.fixture
def tenant() -> Callable[..., tuple[RequestRecord, Posting]]:
    """Makes requests, with their charges, of a key that exists."""
    customer = Customer.objects.create(name="Acme")
    team = Team.objects.create(customer=customer, name="Core")
    key = VirtualKey.objects.create(team=team, name="ada-laptop")

    def charge(**values: Any) -> tuple[RequestRecord, Posting]:
        record = a_record(customer_id=customer.pk, team_id=team.pk, virtual_key_id=key.pk, developer_id=None, **values)
        return record, a_posting(record)

    return charge


def wait_until(condition: Callable[[], object]) -> None:
    """Poll what another thread reports; only for states that announce nothing."""
    tick = threading.Event()
    for _ in range(1_000):
        if condition():
            return
        tick.wait(0.01)
    raise AssertionError("It did not come true within 10 s.")


def test_rows_charges_windows_marks_and_last_use_are_written_together(recorder, heard, tenant) -> None:
    budget = Budget.objects.create(scope="customer", customer=Customer.objects.get(), limit_nano_usd=10**12)
    recorder.start()
    pairs = [tenant() for _ in range(3)]
    for record, posting in pairs:
        recorder.put(record, posting)
    heard.wait_for(3)
    total = 3 * 123_456_789
    assert set(Request.objects.values_list("id", flat=True)) == {record.id for record, _ in pairs}
    assert sum(LedgerEntry.objects.values_list("amount_nano_usd", flat=True)) == total
    assert AllowanceWindow.objects.get(budget=budget).settled == total
    assert ChangedHour.objects.get().hour == MORNING.replace(minute=0, second=0, microsecond=0)
    assert recorder.drain(10) == 0
    assert [(state.budget_id, state.settled) for state in heard.windows][-1] == (budget.pk, total)
    assert KeyActivity.objects.get().client == "claude-code/2.1.330"


def test_the_same_request_twice_is_written_and_charged_once(recorder, heard, tenant) -> None:
    recorder.start()
    record, posting = tenant()
    recorder.put(record, posting)
    heard.wait_for(1)
    recorder.put(record, posting)
    heard.wait_for(2)
    assert (Request.objects.count(), LedgerEntry.objects.count()) == (1, 1)


def test_many_threads_lose_nothing(recorder, heard) -> None:
    recorder.start()

    def send() -> None:
        for _ in range(500):
            recorder.put(a_record())

    senders = [threading.Thread(target=send) for _ in range(4)]
    for sender in senders:
        sender.start()
    for sender in senders:
        sender.join()
    heard.wait_for(2_000)
    assert Request.objects.count() == 2_000


def test_drain_writes_what_waits_and_refuses_more(recorder) -> None:
    recorder.start()
    for _ in range(BATCH_ROWS * 3 + 7):
        recorder.put(a_record())
    assert recorder.drain(20) == 0
    assert Request.objects.count() == BATCH_ROWS * 3 + 7
    state = recorder.state()
    assert (state.pending, state.accepting, state.running, state.last_error) == (0, False, False, "")
    assert state.last_flush_at is not None


def test_one_bad_row_does_not_block_the_others(recorder, heard, tenant) -> None:
    good = [tenant() for _ in range(5)]
    # Too large for the column on PostgreSQL, for the driver on SQLite.
    bad = tenant(web_searches=1 << 70, client_ip="nonsense", error_message="a\0b")
    for record, posting in [*good[:2], bad, *good[2:]]:
        recorder.put(record, posting)
    recorder.start()
    heard.wait_for(6)
    assert Request.objects.count() == LedgerEntry.objects.count() == 6
    stored = Request.objects.get(pk=bad[0].id)
    assert (stored.error_message, stored.client_ip) == ("ab", None)
    assert stored.web_searches >= (1 << 31) - 1


def test_a_row_that_cannot_be_mended_is_set_aside(recorder, heard, tenant, root: Path) -> None:
    recorder.spool.start()
    good = tenant()
    broken = tenant()
    recorder.put(*good)
    recorder.put(broken[0], a_posting(broken[0], amount_nano_usd=1 << 80))
    recorder.start()
    heard.wait_for(1)
    wait_until(lambda: recorder.state().set_aside == 1)
    (line,) = aside.path(root).read_text().splitlines()
    kept = json.loads(line)
    assert (kept["record"]["id"], kept["posting"]["amount_nano_usd"]) == (broken[0].id, 1 << 80)
    assert aside.path(root).stat().st_mode & 0o777 == 0o600
    assert [record.id for record in heard.records] == [good[0].id]
    assert Request.objects.count() == LedgerEntry.objects.count() == 1
    assert "1 records set aside" in recorder.spool.check().detail
    assert recorder.drain(10) == 0
    recorder.spool.discard()
    assert folders.owners(root) == [], "what is set aside needs no replay"


def test_a_missing_table_keeps_the_rows_until_it_is_back(recorder, heard, tenant) -> None:
    table = Request._meta.db_table
    with connection.cursor() as cursor:
        cursor.execute(f"ALTER TABLE {table} RENAME TO away")
    recorder.start()
    for _ in range(3):
        recorder.put(*tenant())
    wait_until(lambda: recorder.state().last_error)
    state = recorder.state()
    assert (state.pending, state.accepting, state.running) == (3, True, True)
    assert state.lag_s > 0
    assert not LedgerEntry.objects.exists()
    with connection.cursor() as cursor:
        cursor.execute(f"ALTER TABLE away RENAME TO {table}")
    heard.wait_for(3)
    assert Request.objects.count() == LedgerEntry.objects.count() == 3
    assert recorder.state().last_error == ""


@pytest.mark.skipif(connection.vendor != "sqlite", reason="SQLite's lock")
def test_a_locked_file_keeps_the_rows_until_it_is_free(recorder, heard, tenant, monkeypatch) -> None:
    pairs = [tenant() for _ in range(3)]
    options = dict(connections.settings["default"]["OPTIONS"], timeout=0.05)
    monkeypatch.setitem(connections.settings["default"], "OPTIONS", options)
    with connection.cursor() as cursor:
        cursor.execute("BEGIN IMMEDIATE")
        recorder.start()
        for pair in pairs:
            recorder.put(*pair)
        wait_until(lambda: "locked" in recorder.state().last_error)
        assert recorder.state().pending == 3
        cursor.execute("COMMIT")
    heard.wait_for(3)
    assert Request.objects.count() == LedgerEntry.objects.count() == 3


@pytest.mark.skipif(connection.vendor != "postgresql", reason="terminates PostgreSQL sessions")
def test_sessions_that_the_server_ends_lose_and_double_nothing(recorder, heard, tenant) -> None:
    recorder.start()
    stop = threading.Event()
    parameters = connection.get_connection_params()
    name, own = parameters["dbname"], connection.connection.info.backend_pid

    def end_sessions() -> None:
        with psycopg.connect(
            host=parameters.get("host"),
            port=parameters.get("port"),
            user=parameters.get("user"),
            dbname="postgres",
            autocommit=True,
        ) as server:
            while not stop.wait(0.03):
                server.execute(
                    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s AND pid <> %s",
                    [name, own],
                )

    killer = threading.Thread(target=end_sessions)
    killer.start()
    try:
        pairs = [tenant() for _ in range(3_000)]
        for number, pair in enumerate(pairs):
            recorder.put(*pair)
            if number % 100 == 0:
                threading.Event().wait(0.02)
    finally:
        stop.set()
        killer.join()
    heard.wait_for(3_000)
    assert Request.objects.count() == LedgerEntry.objects.count() == len(heard.records) == 3_000


def test_a_full_recorder_says_so_and_still_takes_what_runs(heard, tenant) -> None:
    recorder = Recorder(listeners=[heard.committed], max_pending=5, interval_s=0.02)
    for _ in range(5):
        assert recorder.accepting
        recorder.put(a_record())
    assert not recorder.accepting
    recorder.put(*tenant())
    recorder.start()
    heard.wait_for(6)
    wait_until(lambda: recorder.accepting)
    assert recorder.drain(10) == 0
    assert Request.objects.count() == 6


@pytest.fixture
def away() -> Iterator[Callable[[], None]]:
    """Makes the database refuse every batch until it is called again."""
    names = [Request._meta.db_table, "away"]

    def rename() -> None:
        with connection.cursor() as cursor:
            cursor.execute(f"ALTER TABLE {names[0]} RENAME TO {names[1]}")
        names.reverse()

    yield rename
    if names[0] == "away":
        rename()


def test_what_cannot_be_drained_is_written_by_the_next_process(recorder, heard, tenant, root: Path, away) -> None:
    away()
    recorder.start()
    pairs = [tenant() for _ in range(250)]
    for pair in pairs:
        recorder.put(*pair)
    assert recorder.drain(0.3) == 250
    away()
    assert aside.count(root) == 0
    following = Recorder(listeners=[heard.committed], interval_s=0.02, spool=Spool(root, fsync_ms=5))
    following.start()
    heard.wait_for(250)
    assert following.drain(10) == 0
    following.spool.discard()
    assert sorted(record.id for record in heard.records) == sorted(record.id for record, _ in pairs)
    assert Request.objects.count() == LedgerEntry.objects.count() == 250
    assert folders.owners(root) == []


def test_without_room_in_the_spool_nothing_is_lost_either(heard, tenant, root: Path, away) -> None:
    root.write_text("a file in the way")  # no spool can be made
    away()
    recorder = Recorder(listeners=[heard.committed], interval_s=0.02, spool=Spool(root, fsync_ms=5))
    recorder.start()
    assert not recorder.accepting
    pairs = [tenant() for _ in range(3)]
    recorder.put(*pairs[0])
    wait_until(lambda: recorder.state().last_error)
    root.unlink()
    wait_until(lambda: recorder.accepting)
    recorder.put(*pairs[1])
    wait_until(lambda: not recorder._in_memory)  # noted later, once there was room
    assert recorder.drain(0.1) == 2
    away()
    following = Recorder(listeners=[heard.committed], interval_s=0.02, spool=Spool(root, fsync_ms=5))
    following.start()
    heard.wait_for(2)
    following.drain(10)
    assert LedgerEntry.objects.count() == 2


def test_what_is_in_memory_alone_at_the_end_is_set_aside(heard, tenant, root: Path, away) -> None:
    away()
    recorder = Recorder(listeners=[heard.committed], interval_s=0.02, spool=Spool(root, max_bytes=1, fsync_ms=5))
    recorder.start()
    pair = tenant()
    recorder.put(*pair)
    assert recorder.drain(0.1) == 1
    late = tenant()
    recorder.put(*late)
    away()
    assert [id_ for id_, _ in aside.entries(root)] == [pair[0].id, late[0].id]


def test_refusals_do_not_fill_a_full_log_but_what_was_noted_ends_in_it(heard, root: Path) -> None:
    recorder = Recorder(listeners=[heard.committed], max_pending=1, interval_s=0.02, spool=Spool(root, fsync_ms=5))
    assert recorder.spool is not None
    recorder.spool.start()
    noted = an_admission()
    assert recorder.admit(noted)
    recorder.put(a_record())
    recorder.put(a_record())
    recorder.put(noted.record)
    assert recorder.state().pending == 2
    recorder.start()
    heard.wait_for(2)
    recorder.drain(10)
    assert Request.objects.filter(pk=noted.record.id).exists()


def test_a_failing_listener_keeps_nobody_from_hearing(recorder, heard) -> None:
    def fail(batch: list[RequestRecord]) -> None:
        raise RuntimeError("a listener's own trouble")

    recorder.listeners.insert(0, fail)
    recorder.start()
    recorder.put(a_record())
    heard.wait_for(1)


def test_trouble_with_the_last_use_ends_nothing(recorder, heard, tenant, monkeypatch) -> None:
    def fail(used: object) -> None:
        raise InterfaceError("the connection is closed")  # no DatabaseError

    monkeypatch.setattr(ledger, "touch_keys", fail)
    recorder.start()
    for number in (1, 2):
        recorder.put(*tenant())
        heard.wait_for(number)
    assert recorder.state().running


def test_budgets_hear_of_a_batch_before_anything_else_is_done(recorder, heard, tenant, monkeypatch) -> None:
    Budget.objects.create(scope="customer", customer=Customer.objects.get(), limit_nano_usd=10**12)
    known: list[int] = []
    monkeypatch.setattr(ledger, "touch_keys", lambda used: known.append(len(heard.windows)))
    recorder.start()
    recorder.put(*tenant())
    heard.wait_for(1)
    wait_until(lambda: known)
    assert known == [1]


def test_last_use_is_noted_at_most_once_a_minute(recorder, heard, tenant) -> None:
    now = datetime.now(UTC).replace(microsecond=0)
    recorder.start()
    for number, (seconds, expected) in enumerate([(0, 0), (30, 0), (61, 61)], 1):
        recorder.put(*tenant(started_at=now + timedelta(seconds=seconds)))
        heard.wait_for(number)
        when = now + timedelta(seconds=expected)
        wait_until(lambda when=when: list(KeyActivity.objects.values_list("last_used_at", flat=True)) == [when])
