"""Replay of what dead processes left, from real files into the real database: everything once, and nothing silent."""

from __future__ import annotations

import json
import shutil
import threading
from collections.abc import Callable
from datetime import timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from django.core.management import call_command
from django.db import connection

from governance.catalog import seed_prices
from governance.ledger import Posting
from governance.models import Customer, LedgerEntry, Price, PriceOverride, Team, VirtualKey
from observability import replay
from observability.batch import Outage
from observability.models import ChangedHour, Request
from observability.records import RequestRecord
from observability.replay import Replay
from observability.selectors.detail import sentence
from observability.selectors.proof import prove
from observability.spool import Admitted, Spool, aside, folders
from observability.spool.segments import Entry, Kind, pack, scan
from tests.observability.records import a_posting, a_record

pytestmark = pytest.mark.django_db(transaction=True)

Finished = tuple[RequestRecord, Posting]


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "spool"


@pytest.fixture
def tenant() -> Callable[..., Finished]:
    customer = Customer.objects.create(name="Acme")
    team = Team.objects.create(customer=customer, name="Core")
    key = VirtualKey.objects.create(team=team, name="ada-laptop")

    def charge(**values: Any) -> Finished:
        ids = {"customer_id": customer.pk, "team_id": team.pk, "virtual_key_id": key.pk, "developer_id": None}
        record = a_record(**{**ids, **values})
        return record, a_posting(record)

    return charge


@pytest.fixture
def admitted(tenant) -> Callable[..., Admitted]:
    def note(tokens: int = 1_000, model: str = "claude-opus-5-5", **values: Any) -> Admitted:
        record, _ = tenant(
            finished_at=None, status="error", http_status=None, cost_nano_usd=0, input_tokens=0, output_tokens=0,
            cache_read_tokens=0, attempts=[], model="", model_requested=model, request_bytes=3 * tokens, **values,
        )  # fmt: skip
        return Admitted(record, "anthropic", "main", "anthropic", model, None, tokens)

    return note


def leave(root: Path, *what: Finished | Admitted | str, **options: Any) -> str:
    """A process that notes these things (a text withdraws a request) and is gone; gives its id."""
    spool = Spool(root, fsync_ms=0, **options)
    spool.start()
    for each in what:
        if isinstance(each, Admitted):
            assert spool.admit(each)
        elif isinstance(each, str):
            spool.withdraw(each)
        else:
            assert spool.finish(*each)
    spool.close()
    return spool.owner


def sweep(root: Path, listeners: Any = ()) -> Replay:
    done = Replay(root, listeners=listeners)
    for _ in done.sweep():
        pass
    return done


def counts() -> tuple[int, int]:
    return Request.objects.count(), LedgerEntry.objects.count()


def test_finished_requests_are_written_once_and_heard_of(root: Path, tenant, monkeypatch) -> None:
    recovered: list[str] = []
    heard: list[RequestRecord] = []
    monkeypatch.setattr(replay, "on_recovered", [recovered.append])
    pairs = [tenant() for _ in range(450)]
    owner = leave(root, *pairs, segment_bytes=1 << 20)
    (result,) = sweep(root, [heard.extend]).done
    assert (result.owner, result.finished, result.orphans) == (owner, 450, 0)
    assert counts() == (450, 450)
    assert sorted(record.id for record in heard) == sorted(record.id for record, _ in pairs)
    assert ChangedHour.objects.exists()
    assert recovered == [owner]
    assert list(root.iterdir()) == []
    assert sweep(root).done == []


def test_what_the_database_has_already_is_neither_written_nor_told_again(root: Path, tenant) -> None:
    heard: list[RequestRecord] = []
    pairs = [tenant() for _ in range(3)]
    leave(root, *pairs)
    shutil.copytree(root, root.with_name("copy"))
    sweep(root)
    again = sweep(root.with_name("copy"), [heard.extend])
    assert again.done[0].finished == 0
    assert (heard, counts()) == ([], (3, 3))


def test_an_orphan_is_charged_its_estimated_prompt(root: Path, admitted, tenant) -> None:
    seed_prices()
    note, ended = admitted(tokens=1_000), admitted()
    done = tenant(id=ended.record.id)
    leave(root, note, ended, done)
    (result,) = sweep(root).done
    assert (result.finished, result.orphans) == (1, 1)
    row = Request.objects.get(pk=note.record.id)
    price = Price.objects.filter(platform="anthropic", model_id="claude-opus-5-5").latest("effective_from")
    assert row.cost_nano_usd == 1_000 * price.input * 1_000
    assert row.cost_nano_usd > 0
    assert (row.status, row.error_type, row.cost_quality) == ("error", "gateway_died", "estimated")
    assert (row.input_tokens, row.output_tokens, row.model, row.provider) == (1_000, 0, "claude-opus-5-5", "anthropic")
    assert "1,000 tokens from 3,000 bytes" in row.error_message
    assert row.attempts[0]["cost_nano_usd"] == row.cost_nano_usd
    charge = LedgerEntry.objects.get(pk=note.record.id)
    assert (charge.amount_nano_usd, charge.tokens, charge.price_id) == (row.cost_nano_usd, 1_000, row.price_id)
    assert Request.objects.get(pk=done[0].id).status == "success"
    assert counts() == (2, 2)


def test_an_orphan_is_charged_under_the_customers_terms_and_its_proof_ties(root: Path, admitted) -> None:
    seed_prices()
    note = admitted(tokens=1_000)
    PriceOverride.objects.create(
        customer=Customer.objects.get(), percent=Decimal(-10), effective_from=note.record.started_at - timedelta(days=1)
    )
    leave(root, note)
    sweep(root)
    row = Request.objects.get()
    price = Price.objects.filter(platform="anthropic", model_id="claude-opus-5-5").latest("effective_from")
    assert row.cost_nano_usd == 1_000 * price.input * 1_000 * Decimal("0.9")
    proof = prove(row)
    assert (proof.ties, proof.computed) == (True, row.cost_nano_usd)
    assert "The customer's terms apply" in proof.note
    assert sentence(row).startswith("The gateway ended before the answer was complete; charged 0.00")


def test_an_orphan_of_bedrocks_is_charged_by_bedrocks_name(root: Path, admitted) -> None:
    seed_prices()
    note = admitted(tokens=1_000)
    name = "eu.anthropic.claude-opus-5-5"
    leave(root, Admitted(note.record, "bedrock", "main", "bedrock", note.model, None, 1_000, name))
    sweep(root)
    row = Request.objects.get()
    # $4.40 a million: a profile of a geography costs a tenth more.
    assert (row.model, row.cost_nano_usd, row.cost_quality) == ("claude-opus-5-5", 4_400_000, "estimated")
    assert prove(row).ties


def test_an_orphan_without_a_price_is_marked(root: Path, admitted) -> None:
    seed_prices()
    note = admitted(model="claude-nobody-knows-9")
    leave(root, note)
    sweep(root)
    row = Request.objects.get()
    assert (row.cost_quality, row.price_id) == ("unpriced", None)
    assert row.cost_nano_usd > 0


def test_a_request_that_is_in_the_database_is_no_orphan(root: Path, admitted, tenant) -> None:
    seed_prices()
    note, purged = admitted(), admitted()
    for admission in (note, purged):
        leave(root.with_name("other"), tenant(id=admission.record.id))
    sweep(root.with_name("other"))
    Request.objects.filter(pk=purged.record.id).delete()  # its retention was over; the charge stays
    leave(root, note, purged)
    assert sweep(root).done[0].orphans == 0
    assert counts() == (1, 2)


def test_between_two_attempts_nothing_is_charged(root: Path, admitted) -> None:
    seed_prices()
    waiting, tried_again = admitted(), admitted()
    again = Admitted(tried_again.record, "second", "other", "anthropic", "claude-opus-5-5", None, 500)
    leave(root, waiting, waiting.record.id, tried_again, tried_again.record.id, again)
    (result,) = sweep(root).done
    assert (result.orphans, result.uncharged) == (1, 1)
    free = Request.objects.get(pk=waiting.record.id)
    assert (free.cost_nano_usd, free.error_type, free.cost_quality) == (0, "gateway_died", "exact")
    assert "nothing is charged" in free.error_message
    charged = Request.objects.get(pk=tried_again.record.id)
    assert (charged.provider, charged.input_tokens) == ("second", 500)
    assert list(LedgerEntry.objects.values_list("pk", flat=True)) == [charged.pk]


def test_a_living_owner_is_left_alone(root: Path, tenant) -> None:
    spool = Spool(root, fsync_ms=0)
    spool.start()
    spool.finish(*tenant())
    assert sweep(root).done == []
    assert counts() == (0, 0)
    spool.close()
    assert len(sweep(root).done) == 1
    assert counts() == (1, 1)


def test_two_at_once_write_everything_once(root: Path, tenant) -> None:
    for _ in range(4):
        leave(root, *[tenant() for _ in range(50)])
    sweeps = [Replay(root), Replay(root)]
    steps = [each.sweep() for each in sweeps]
    ended: set[int] = set()
    while len(ended) < 2:  # turn by turn
        for number, step in enumerate(steps):
            if next(step, "end") == "end":
                ended.add(number)
    assert all(each.done for each in sweeps), "one of them did everything: this shows nothing"
    assert counts() == (200, 200)
    assert folders.owners(root) == []


def test_a_replay_that_is_cut_off_anywhere_is_done_again(root: Path, tenant, admitted) -> None:
    seed_prices()
    pairs = [tenant() for _ in range(450)]
    owner = leave(root, *pairs, *[admitted() for _ in range(5)], segment_bytes=1 << 20)
    steps = 0
    while folders.owners(root):
        cut = Replay(root).sweep()
        for _ in range(steps):
            next(cut, None)
        cut.close()  # type: ignore[attr-defined]
        steps += 1
        assert steps < 20
    assert steps > 4, "it was never cut off"
    assert counts() == (455, 455)
    assert not (root / owner).exists()


def test_with_the_database_away_it_comes_again(root: Path, tenant) -> None:
    leave(root, *[tenant() for _ in range(3)])
    table = Request._meta.db_table
    with connection.cursor() as cursor:
        cursor.execute(f"ALTER TABLE {table} RENAME TO away")
    try:
        with pytest.raises(Outage):
            sweep(root)
    finally:
        with connection.cursor() as cursor:
            cursor.execute(f"ALTER TABLE away RENAME TO {table}")
    assert counts() == (0, 0)
    assert len(folders.owners(root)) == 1
    sweep(root)
    assert counts() == (3, 3)


def test_a_recovery_that_fails_keeps_the_folder_and_holds_nobody_up(root: Path, tenant, monkeypatch) -> None:
    first = leave(root, tenant())
    second = leave(root, tenant())
    recovered: list[str] = []

    def recover(owner: str) -> None:
        if owner == first and len(recovered) < 3:
            recovered.append("tried")
            raise RuntimeError("not yet")
        recovered.append(owner)

    monkeypatch.setattr(replay, "on_recovered", [recover])
    done = Replay(root)
    for _ in range(2):
        for _ in done.sweep():
            pass
    assert (list(done.failed), [r.owner for r in done.done]) == ([first], [second])
    assert counts() == (2, 2)
    for _ in range(2):
        for _ in done.sweep():
            pass
    assert (done.failed, folders.owners(root)) == ({}, [])
    assert recovered.count(first) == 1


def test_a_damaged_segment_gives_what_is_intact_and_is_kept(root: Path, tenant, admitted) -> None:
    seed_prices()
    notes = [admitted() for _ in range(6)]
    pairs = [tenant(id=note.record.id) for note in notes]
    owner = leave(root, *notes, *pairs)
    path = root / owner / "00000001.segment"
    data = bytearray(path.read_bytes())
    data[data.rfind(pairs[2][0].id.encode()) - 60] ^= 0x40  # in the posting, the last part of its FINISHED
    path.write_bytes(data)
    (result,) = sweep(root).done
    assert (result.finished, result.orphans, len(result.damaged)) == (5, 1, 1)
    assert counts() == (6, 6)
    lost = Request.objects.get(cost_quality="estimated")
    assert lost.pk == pairs[2][0].id, "its end is unreadable, its beginning is not: estimated"
    (kept,) = folders.damaged(root)
    assert kept.read_bytes() == bytes(data)
    note = json.loads(kept.with_name(kept.name + folders.NOTE).read_text())
    assert (note["owner"], len(note["ranges"])) == (owner, 1)
    assert folders.owners(root) == []
    check = Spool(root).check()
    assert (check.ok, check.required) == (False, False)
    assert "1 damaged files kept" in check.detail


@pytest.mark.parametrize("name", ["00000001.segment", "notes.txt", "00000009.segment"])
def test_files_that_make_no_sense_are_kept_and_told(root: Path, tenant, name: str) -> None:
    owner = leave(root, tenant())
    (root / owner / name).write_bytes(b"" if name.endswith("1.segment") else b"not ours")
    (result,) = sweep(root).done
    assert len(result.damaged) == 1
    assert counts() == ((0, 0) if name == "00000001.segment" else (1, 1))
    assert [path.name for path in folders.damaged(root)] == [f"{owner}-{name}"]


def test_a_segment_that_was_being_made_is_nothing(root: Path, tenant) -> None:
    owner = leave(root, tenant())
    (root / owner / "00000009.draft").write_bytes(b"")
    assert sweep(root).done[0].damaged == []
    assert list(root.iterdir()) == []


def test_an_intact_record_that_makes_no_sense_keeps_its_file(root: Path, tenant) -> None:
    owner = leave(root, tenant())
    path = root / owner / "00000001.segment"
    strange = pack(Kind.FINISHED, f"{7:026}", b"\x93\x01\x02\x03") + pack(Kind.ADMITTED, f"{8:026}", b"\xc1")
    data = path.read_bytes()
    used = len(data.rstrip(b"\0"))
    path.write_bytes(data[:used] + bytes(8) + strange + data[used + 8 + len(strange) :])
    (result,) = sweep(root).done
    assert (result.finished, len(result.damaged)) == (1, 1)
    (kept,) = folders.damaged(root)
    note = json.loads(kept.with_name(kept.name + folders.NOTE).read_text())
    assert note["ids"] == [f"{7:026}", f"{8:026}"]


def test_every_cut_of_a_segment_loses_no_request_that_was_sent_before_it(root: Path, tenant, admitted) -> None:
    """The notes before the cut decide: finished, else estimated; each request once."""
    seed_prices()
    for cut in range(60, 9_000, 173):
        notes = [admitted() for _ in range(3)]
        pairs = [tenant(id=note.record.id) for note in notes]
        owner = leave(root, notes[0], notes[1], pairs[0], notes[2], pairs[1], pairs[2])
        path = root / owner / "00000001.segment"
        path.write_bytes(path.read_bytes()[:cut])
        before = [entry for entry in scan(path.read_bytes()) if isinstance(entry, Entry)]
        finished = {entry.id for entry in before if entry.kind == Kind.FINISHED}
        sent = {entry.id for entry in before if entry.kind == Kind.ADMITTED}
        sweep(root)
        ids = [note.record.id for note in notes]
        rows = dict(Request.objects.filter(pk__in=ids).values_list("pk", "cost_quality"))
        assert rows == {id_: "exact" if id_ in finished else "estimated" for id_ in sent | finished}, cut
        assert set(LedgerEntry.objects.filter(pk__in=ids).values_list("pk", flat=True)) == set(rows)
    assert (len(sent), len(finished)) == (3, 3), "the last cut leaves everything"


def test_what_the_database_refuses_for_good_is_set_aside_and_can_be_retried(root: Path, tenant, settings) -> None:
    good, (record, _) = tenant(), tenant()
    broken = (record, a_posting(record, amount_nano_usd=1 << 80))
    leave(root, good, broken)
    (result,) = sweep(root).done
    assert (result.finished, result.set_aside) == (1, 1)
    assert counts() == (1, 1)
    assert [id_ for id_, _ in aside.entries(root)] == [record.id]
    assert list(folders.owners(root)) == []
    settings.DATA_DIR = root.parent
    call_command("spool", "--retry")
    assert aside.count(root) == 1, "refused again"
    text = aside.path(root).read_text()
    aside.path(root).write_text(text.replace(str(1 << 80), "1234") + "not a line of ours\n")
    call_command("spool", "--retry")
    assert LedgerEntry.objects.get(pk=record.id).amount_nano_usd == 1234
    assert [reason for _, reason in aside.entries(root)] == ["a line that cannot be read"]


def test_the_command_lists_and_replays(root: Path, tenant, settings, capsys) -> None:
    settings.DATA_DIR = root.parent
    call_command("spool")
    assert "empty" in capsys.readouterr().out
    dead = leave(root, tenant(), tenant())
    alive = Spool(root, fsync_ms=0)
    alive.start()
    call_command("spool")
    told = capsys.readouterr().out
    assert f"{dead}  dead" in told
    assert "2 finished" in told
    assert f"{alive.owner}  alive" in told
    call_command("spool", "--replay")
    assert f"{dead}: 2 finished requests written" in capsys.readouterr().out
    assert counts() == (2, 2)
    assert [path.name for path in folders.owners(root)] == [alive.owner]
    alive.close()


def test_a_stopping_thread_gives_the_folder_back(root: Path, tenant) -> None:
    leave(root, *[tenant() for _ in range(450)])
    steps = Replay(root).sweep()
    next(steps)
    (folder,) = folders.owners(root)
    assert folders.take(folder) is None
    ended = threading.Thread(target=steps.close)  # type: ignore[attr-defined]
    ended.start()
    ended.join()
    owned = folders.take(folder)
    assert owned is not None
    owned.release()
