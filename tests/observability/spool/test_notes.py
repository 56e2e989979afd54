"""What the spool's records hold: small, and readable by other releases."""

from __future__ import annotations

import msgspec
import pytest

from observability.records import RequestRecord
from observability.spool import Admitted, Finished, notes
from tests.observability.records import a_posting, a_record


def in_full(value: object) -> object:
    """A note as the first releases wrote it: every field by name, those with their default too."""
    if isinstance(value, msgspec.Struct):
        return {name: in_full(item) for name, item in msgspec.structs.asdict(value).items()}
    return value


def a_note() -> Admitted:
    return Admitted(a_record(finished_at=None), "anthropic", "main", "anthropic", "claude-opus-5", None, 1_000)


def test_a_field_with_its_default_takes_no_room() -> None:
    record = RequestRecord(id="0" * 26, started_at=a_record().started_at)
    found = msgspec.msgpack.decode(notes.encode(Finished(record, None)))
    assert found["record"].keys() == {"id", "started_at"}
    assert notes.finished(notes.encode(Finished(record, None))) == Finished(record, None)


def test_notes_that_name_every_field_are_read() -> None:
    record = a_record(tags={}, session_id="")
    for posting in (a_posting(record), None):
        finished = Finished(record, posting)
        assert notes.finished(msgspec.msgpack.encode(in_full(finished))) == finished
    note = a_note()
    assert notes.admitted(msgspec.msgpack.encode(in_full(note))) == note


@pytest.mark.parametrize("form", [msgspec.msgpack.encode, notes.encode_json])
def test_fields_of_another_release_are_no_obstacle(form) -> None:
    note = a_note()
    plain = in_full(note)
    plain["record"]["colour"], plain["shape"] = "red", [1]
    del plain["record"]["working_directory"]
    assert notes.admitted(form(plain)) == note
    finished = Finished(a_record(), a_posting(a_record()))
    plain = in_full(finished)
    plain["posting"]["colour"] = plain["record"]["colour"] = "red"
    assert notes.finished(form(plain)) == finished
