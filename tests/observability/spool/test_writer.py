"""The spool of one process, with real files: notes, rotation, room, and what is left when it ends."""

from __future__ import annotations

import resource
import statistics
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from observability.spool import Admitted, Spool, folders, notes
from observability.spool.segments import Entry, Kind, scan
from tests.observability.records import a_posting, a_record

SEGMENT = 1 << 16


def an_admission(**values: object) -> Admitted:
    record = a_record(finished_at=None, status="error", attempts=[], cost_nano_usd=0, **values)
    return Admitted(record, "anthropic", "main", "anthropic", record.model_requested, 5, 1_000)


def entries(root: Path) -> list[Entry]:
    """Every record that lies under a spool's folder, without the segments' own."""
    found = [e for path in sorted(root.glob("*/*.segment")) for e in scan(path.read_bytes())]
    assert all(isinstance(entry, Entry) for entry in found)
    return [e for e in found if isinstance(e, Entry) and e.kind != Kind.SEGMENT]


def wait_until(condition: Callable[[], object]) -> None:
    """Poll what the spool's thread does; it announces nothing."""
    tick = threading.Event()
    for _ in range(1_000):
        if condition():
            return
        tick.wait(0.01)
    raise AssertionError("It did not come true within 10 s.")


@pytest.fixture
def make(tmp_path: Path) -> Iterator[Callable[..., Spool]]:
    made: list[Spool] = []

    def started(**options: object) -> Spool:
        values = {"segment_bytes": SEGMENT, "fsync_ms": 5, **options}
        spool = Spool(tmp_path / "spool", **values)  # type: ignore[arg-type]
        made.append(spool)
        spool.start()
        return spool

    yield started
    for spool in made:
        spool.close()


def fill(spool: Spool, limit: int = 10_000) -> list[str]:
    """Finish requests until no room can be had; gives the ids that were noted."""
    noted = []
    for _ in range(limit):
        record = a_record()
        if spool.finish(record, a_posting(record)):
            noted.append(record.id)
        elif spool.state().problem:
            return noted
        else:
            time.sleep(0.001)  # the thread that makes segments has not come to its turn
    raise AssertionError("the spool was never full")


def test_notes_are_in_the_file_at_once_and_tell_everything(make, tmp_path: Path) -> None:
    spool = make()
    note = an_admission(tags={"env": "dev"})
    assert spool.admit(note)
    spool.withdraw(note.record.id)
    record = a_record(id=note.record.id)
    posting = a_posting(record)
    assert spool.finish(record, posting)
    first, second, third = entries(tmp_path / "spool")
    assert (first.kind, second.kind, third.kind) == (Kind.ADMITTED, Kind.WITHDRAWN, Kind.FINISHED)
    assert {first.id, second.id, third.id} == {record.id}
    assert notes.admitted(first.payload) == note
    assert notes.finished(third.payload) == notes.Finished(record, posting)


def test_what_messagepack_cannot_hold_comes_back_all_the_same(make, tmp_path: Path) -> None:
    spool = make()
    record = a_record(web_searches=1 << 70, error_message="broken \ud800 text")
    posting = a_posting(record, amount_nano_usd=1 << 80)
    assert spool.finish(record, posting)
    found = notes.finished(entries(tmp_path / "spool")[0].payload)
    assert (found.record, found.posting) == (record, posting)


def test_a_withdrawal_of_what_was_never_noted_is_not_written(make, tmp_path: Path) -> None:
    spool = make()
    spool.withdraw(a_record().id)
    assert entries(tmp_path / "spool") == []


def test_an_orderly_end_leaves_nothing(make, tmp_path: Path) -> None:
    spool = make()
    record = a_record()
    spool.finish(record, None)
    spool.settled([record.id])
    assert spool.close()
    (folder,) = folders.owners(tmp_path / "spool")
    assert folders.take(folder) is None, "until what it leased is given back, nobody else may take it for dead"
    spool.discard()
    assert list((tmp_path / "spool").iterdir()) == []
    assert not spool.finish(a_record(), None), "a closed spool takes nothing"


def test_what_is_not_in_the_database_stays_and_is_free_to_be_taken(make, tmp_path: Path) -> None:
    spool = make()
    record = a_record()
    spool.finish(record, None)
    (folder,) = folders.owners(tmp_path / "spool")
    assert folders.take(folder) is None, "its owner lives"
    assert not spool.close()
    owned = folders.take(folder)
    assert owned is not None
    assert [entry.id for entry in entries(tmp_path / "spool")] == [record.id]
    owned.remove()
    assert folders.take(folder) is None


def test_segments_go_when_all_of_theirs_is_in_the_database(make, tmp_path: Path) -> None:
    spool = make(max_bytes=1 << 30)
    ids = []
    while spool.state().segments < 5:
        record = a_record()
        wait_until(lambda record=record: spool.finish(record, a_posting(record)))  # the next segment may be on its way
        ids.append(record.id)
        time.sleep(0.0005)
    spool.settled(ids[1:])
    wait_until(lambda: spool.state().segments == 3)  # the first request's, the one in use and the spare
    assert ids[0] in {entry.id for entry in entries(tmp_path / "spool")}
    spool.settled(ids[:1])
    wait_until(lambda: spool.state().segments == 2)
    assert spool.state().requests == 0


def test_a_record_larger_than_a_segment_gets_one_of_its_own(make, tmp_path: Path) -> None:
    spool = make()
    small = a_record()
    large = a_record(error_message="x" * 3 * SEGMENT)
    after = a_record()
    assert all(spool.finish(record, None) for record in (small, large, after))
    assert {entry.id for entry in entries(tmp_path / "spool")} == {small.id, large.id, after.id}
    assert spool.state().problem == ""


def test_a_full_spool_refuses_and_recovers_by_itself(make, tmp_path: Path) -> None:
    spool = make(max_bytes=4 * SEGMENT)
    noted = fill(spool)
    assert not spool.accepting
    assert not spool.admit(an_admission())
    check = spool.check()
    assert (check.ok, check.required) == (False, True)
    assert "COMPTROLLER_SPOOL_MAX_BYTES" in check.detail
    assert "refused" in check.detail
    assert folders.size(tmp_path / "spool") <= 4 * SEGMENT
    assert [entry.id for entry in entries(tmp_path / "spool")] == noted
    spool.settled(noted)
    wait_until(lambda: spool.accepting and not spool.state().problem)
    assert spool.admit(an_admission())
    assert spool.check().ok


def test_new_requests_are_refused_before_the_last_segment_is_full(make) -> None:
    spool = make(max_bytes=2 * SEGMENT)
    wait_until(lambda: spool.state().segments == 2)
    while spool.accepting:
        record = a_record()
        assert spool.finish(record, None), "no room for the end of a request that was let in"
        time.sleep(0.0002)
    assert spool.finish(a_record(), None)


def test_a_full_spool_that_continues_serves_without_a_note(make) -> None:
    spool = make(max_bytes=3 * SEGMENT, refuse_when_full=False)
    fill(spool)
    assert spool.accepting
    assert spool.admit(an_admission())
    check = spool.check()
    assert (check.ok, check.required) == (False, False)
    assert "without a note" in check.detail
    assert spool.state().unnoted >= 2


def test_a_folder_that_cannot_be_made_is_no_room(make, tmp_path: Path) -> None:
    (tmp_path / "spool").write_text("a file in the way")
    spool = make()
    assert not spool.accepting
    assert not spool.finish(a_record(), None)
    (tmp_path / "spool").unlink()
    wait_until(lambda: spool.accepting)
    assert spool.finish(a_record(), None)


def test_many_threads_note_whole_records(make, tmp_path: Path) -> None:
    spool = make(segment_bytes=1 << 20)
    made = [[a_record() for _ in range(300)] for _ in range(4)]
    threads = [threading.Thread(target=lambda mine=mine: [spool.finish(r, None) for r in mine]) for mine in made]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    found = [entry.id for entry in entries(tmp_path / "spool")]
    assert sorted(found) == sorted(record.id for mine in made for record in mine)


FULL_DISK = """
    import os, resource, sys, time
    os.environ["DJANGO_SETTINGS_MODULE"] = "gateway.settings"
    import django; django.setup()
    from pathlib import Path
    from observability.spool import Spool
    from tests.observability.records import a_record
    size = 1 << 16
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, resource.RLIM_INFINITY))  # as large as a segment, no more
    spool = Spool(Path(sys.argv[1]), segment_bytes=size, fsync_ms=5)
    spool.start()
    assert spool.accepting and spool.finish(a_record(), None)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100, resource.RLIM_INFINITY))
    count = 1
    while spool.finish(a_record(), None):
        count += 1
        time.sleep(0.001)
    assert not spool.accepting and "too large" in spool.state().problem, spool.state()
    resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    deadline = time.monotonic() + 10
    while not spool.accepting and time.monotonic() < deadline:
        time.sleep(0.01)
    assert spool.accepting and spool.finish(a_record(), None)
    print(count + 1, flush=True)
    os.kill(os.getpid(), 9)
"""


def test_a_process_that_may_write_no_more_goes_on_without_harm(tmp_path: Path) -> None:
    assert resource.getrlimit(resource.RLIMIT_FSIZE)[1] == resource.RLIM_INFINITY
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(FULL_DISK), str(tmp_path / "spool")], capture_output=True, text=True
    )
    assert done.returncode == -9, done.stderr
    assert len(entries(tmp_path / "spool")) == int(done.stdout)
    assert "has room again" in done.stderr


def test_a_note_costs_microseconds(make) -> None:
    spool = make(segment_bytes=64 << 20)
    note, record = an_admission(), a_record()
    posting = a_posting(record)
    timings: dict[str, list[int]] = {"admit": [], "finish": []}
    for _ in range(3_000):
        for name, write in (("admit", lambda: spool.admit(note)), ("finish", lambda: spool.finish(record, posting))):
            began = time.perf_counter_ns()
            write()
            timings[name].append(time.perf_counter_ns() - began)
        spool.settled([note.record.id, record.id])
    medians = {name: statistics.median(values) / 1000 for name, values in timings.items()}
    print(medians)  # µs
    assert max(medians.values()) < 200, medians
