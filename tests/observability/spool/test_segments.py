"""The file format: whatever happens to a segment, every intact record comes back, once, and the rest is told."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from observability.spool.segments import MAGIC, OVERHEAD, Damage, Entry, Kind, Segment, pack, scan

OWNER = "01JD0000000000000000000000"
SIZE = 1 << 12


def an_id(number: int) -> str:
    return f"{number:026}"


def a_segment(folder: Path, payloads: list[bytes], size: int = SIZE) -> tuple[bytes, list[tuple[int, int]]]:
    """The bytes of a segment with these payloads, and where each record lies; the first is the segment's own."""
    segment = Segment(folder / "1.segment", OWNER, size)
    places = [(0, segment.used)]
    for number, payload in enumerate(payloads):
        record = pack(Kind.FINISHED, an_id(number), payload)
        places.append((segment.used, segment.used + len(record)))
        segment.append(record)
    segment.close()
    data = segment.path.read_bytes()
    segment.path.unlink()
    return data, places


def parts(data: bytes) -> tuple[list[Entry], list[Damage]]:
    found = list(scan(data))
    return [f for f in found if isinstance(f, Entry)], [f for f in found if isinstance(f, Damage)]


def ids(entries: list[Entry]) -> list[str]:
    return [entry.id for entry in entries if entry.kind == Kind.FINISHED]


PAYLOADS = [b"first" * 7, b"", b"third\0\0", MAGIC * 3, b"last"]


def test_what_was_written_comes_back(tmp_path: Path) -> None:
    data, _ = a_segment(tmp_path, PAYLOADS)
    entries, damage = parts(data)
    assert [entry.payload for entry in entries[1:]] == PAYLOADS
    assert ids(entries) == [an_id(n) for n in range(len(PAYLOADS))]
    assert (entries[0].kind, entries[0].id, damage) == (Kind.SEGMENT, OWNER, [])
    assert len(data) == SIZE


def test_a_cut_at_every_byte_leaves_what_lies_before_it(tmp_path: Path) -> None:
    data, places = a_segment(tmp_path, PAYLOADS)
    for cut in range(len(data)):
        entries, damage = parts(data[:cut])
        assert ids(entries) == [an_id(n) for n, (_, end) in enumerate(places[1:]) if end <= cut], cut
        assert damage, f"a cut at {cut} was not told"


def test_every_flipped_byte_costs_its_own_record_at_most(tmp_path: Path) -> None:
    data, places = a_segment(tmp_path, PAYLOADS)
    for position in range(places[-1][1]):
        for bits in (1, 0xFF):
            broken = bytearray(data)
            broken[position] ^= bits
            entries, damage = parts(bytes(broken))
            hit = next(n for n, (start, end) in enumerate(places) if start <= position < end)
            assert ids(entries) == [an_id(n) for n in range(len(PAYLOADS)) if n + 1 != hit], position
            assert len(damage) == 1, position
            assert damage[0].start == places[hit][0]
            if hit + 1 < len(places):
                assert damage[0].end == places[hit][1]


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    payloads=st.lists(st.binary(max_size=120), max_size=8),
    start=st.integers(0, SIZE - 1),
    garbage=st.binary(min_size=1, max_size=200),
)
def test_garbage_anywhere_costs_what_it_covers(
    tmp_path: Path, payloads: list[bytes], start: int, garbage: bytes
) -> None:
    data, places = a_segment(tmp_path, payloads)
    garbage = garbage[: SIZE - start]
    end = start + len(garbage)
    broken = data[:start] + garbage + data[end:]
    entries, damage = parts(broken)
    same = [n for n, (a, b) in enumerate(places[1:]) if broken[a:b] == data[a:b]]
    assert ids(entries) == [an_id(n) for n in same]
    if broken != data:
        assert damage
    else:
        assert not damage


def test_a_zeroed_page_in_the_middle_is_no_end(tmp_path: Path) -> None:
    data, places = a_segment(tmp_path, PAYLOADS)
    start, end = places[2][0], places[3][1]
    entries, damage = parts(data[:start] + bytes(end - start) + data[end:])
    assert len(ids(entries)) == len(PAYLOADS) - 2
    assert damage == [Damage(start, end)]


def test_an_empty_file_is_damage(tmp_path: Path) -> None:
    assert parts(b"") == ([], [Damage(0, 0)])


def test_a_record_of_an_unknown_kind_is_damage_and_not_an_error() -> None:
    record = bytearray(pack(Kind.FINISHED, an_id(1), b"x"))
    record[8] = 99
    assert parts(bytes(record))[1] == [Damage(0, len(record))]


def test_where_there_is_no_room_no_half_segment_stays(tmp_path: Path) -> None:
    with pytest.raises(OSError):
        Segment(tmp_path / "1.segment", OWNER, 1 << 60)
    assert list(tmp_path.iterdir()) == []


def test_the_room_of_a_segment_is_taken_at_once(tmp_path: Path) -> None:
    segment = Segment(tmp_path / "1.segment", OWNER, 1 << 20)
    assert (tmp_path / "1.segment").stat().st_blocks * 512 >= 1 << 20
    assert segment.used < 2 * OVERHEAD
    segment.close()
