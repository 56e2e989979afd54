"""Server-sent events: the same events for every way the bytes can be cut."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.wire.sse import MAX_EVENT_BYTES, PING, Decoder, Event, encode
from tests.gateway.wire import golden


def decode(*chunks: bytes, max_event_bytes: int = MAX_EVENT_BYTES) -> list[Event]:
    decoder = Decoder(max_event_bytes)
    return [event for chunk in chunks for event in decoder.feed(chunk)]


@pytest.mark.parametrize(
    ("raw", "events"),
    [
        (b"data: a\n\n", [(b"", b"a")]),
        (b"event: x\ndata: a\n\n", [(b"x", b"a")]),
        (b"event:x\ndata:a\n\n", [(b"x", b"a")]),
        (b"data:  two spaces\n\n", [(b"", b" two spaces")]),
        (b"event: x\r\ndata: a\r\n\r\n", [(b"x", b"a")]),
        (b"event: x\rdata: a\r\r", [(b"x", b"a")]),
        (b"event: x\ndata: a\r\n\ndata: b\n\r\n", [(b"x", b"a"), (b"", b"b")]),
        (b"data: a\ndata: b\ndata\n\n", [(b"", b"a\nb\n")]),
        (b": comment\ndata: a\n: another\n\n", [(b"", b"a")]),
        (b"\xef\xbb\xbfdata: a\n\n", [(b"", b"a")]),
        (b"\xef\xbb\xbf\n\ndata: a\n\n", [(b"", b"a")]),
        (b"data: a\n\n\xef\xbb\xbfdata: not at the start\n\n", [(b"", b"a")]),
        (b"event: x\n\n", []),
        (b": only a comment\n\n", []),
        (b"\n\n\n\ndata: a\n\n\n\n\ndata: b\n\n", [(b"", b"a"), (b"", b"b")]),
        (b"event: x\nevent: y\ndata: a\n\n", [(b"y", b"a")]),
        (b"id: 1\nretry: 5\nunknown: z\ndata: a\n\n", [(b"", b"a")]),
        (b"data: a: b: c\n\n", [(b"", b"a: b: c")]),
        (b"data: never ended\n", []),
        (b"", []),
        (b"\n", []),
    ],
)
def test_format(raw: bytes, events: list[tuple[bytes, bytes]]) -> None:
    assert decode(raw) == events
    assert decode(*(raw[i : i + 1] for i in range(len(raw)))) == events


@pytest.mark.parametrize("name", golden.STREAMS)
def test_every_single_cut_gives_the_same_events(name: str) -> None:
    raw = golden.stream(name)
    whole = decode(raw)
    assert whole
    for cut in range(len(raw) + 1):
        assert decode(raw[:cut], raw[cut:]) == whole, cut


_LINES = st.sampled_from(
    [
        b"data: a",
        b"data",
        b"event: x",
        b"event:",
        b": c",
        b"",
        b"",
        b"junk",
        b"\xef\xbb\xbf",
        b"id: \x00",
        b"data: \xff",
    ]
)
_ENDS = st.sampled_from([b"\n", b"\r\n", b"\r"])
_STREAMS = st.lists(st.tuples(_LINES, _ENDS).map(b"".join), max_size=30).map(b"".join)


@given(raw=_STREAMS | st.binary(max_size=200), cuts=st.lists(st.integers(0, 400), max_size=12))
def test_any_cuts_of_anything_give_the_same_events(raw: bytes, cuts: list[int]) -> None:
    places = [0, *sorted(min(cut, len(raw)) for cut in cuts), len(raw)]
    chunks = [raw[start:end] for start, end in pairwise(places)]
    assert decode(*chunks) == decode(raw) == decode(*(raw[i : i + 1] for i in range(len(raw))))


def reference(raw: bytes) -> list[Event]:
    """The HTML standard's algorithm, line by line over the whole stream: slow and plainly right."""
    text = raw.removeprefix(b"\xef\xbb\xbf").replace(b"\r\n", b"\n").replace(b"\r", b"\n")
    events, name, data = [], b"", []
    for line in text.split(b"\n")[:-1]:
        if not line:
            if data:
                events.append(Event(name, b"\n".join(data)))
            name, data = b"", []
            continue
        field, _, value = line.partition(b":")
        value = value.removeprefix(b" ")
        if field == b"data":
            data.append(value)
        elif field == b"event":
            name = value
    return events


@given(raw=_STREAMS)
def test_agrees_with_the_standard(raw: bytes) -> None:
    assert decode(raw) == reference(raw)


def test_a_large_event_passes_and_a_larger_one_is_skipped_without_holding_it() -> None:
    image = b"data: " + b"x" * (8 * 1024 * 1024)
    chunks = [image[i : i + 65_536] for i in range(0, len(image), 65_536)]
    assert [len(event.data) for event in decode(*chunks, b"\n", b"\n")] == [8 * 1024 * 1024]

    decoder = Decoder(max_event_bytes=1_000)
    assert decoder.feed(b"data: before\n\ndata: ") == [(b"", b"before")]
    for _ in range(1_000):
        assert decoder.feed(b"y" * 100) == []
        assert len(decoder._splitter._rest) <= 1_001
    assert decoder.feed(b"\n") == []
    assert decoder.feed(b"\ndata: after\n\n") == [(b"", b"after")]
    assert decoder.oversized == 1


@pytest.mark.parametrize("step", [1, 7, 50, 5_000])
def test_what_is_too_large_does_not_depend_on_the_cuts(step: int) -> None:
    raw = b"data: a\n\n" + b"data: " + b"z" * 300 + b"\n\ndata: b\n\ndata: " + b"z" * 94 + b"\n\n"
    decoder = Decoder(max_event_bytes=100)
    events = [event for i in range(0, len(raw), step) for event in decoder.feed(raw[i : i + step])]
    assert [event.data for event in events] == [b"a", b"b", b"z" * 94]
    assert decoder.oversized == 1


def test_encode_is_what_decode_reads() -> None:
    assert decode(encode("error", b'{"type":"error"}')) == [(b"error", b'{"type":"error"}')]
    assert decode(PING) == [(b"ping", b'{"type": "ping"}')]
