"""The language of gateway and writer: whole messages however they are cut, and garbage that is told."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from governance.domain.allowance import WindowState
from observability.writing.messages import (
    BadFrame,
    Condition,
    Done,
    Drain,
    Drained,
    Frames,
    Metrics,
    Ready,
    Recovered,
    Scrape,
    ToGateway,
    ToWriter,
    Write,
    frame,
)
from tests.observability.records import MORNING

WINDOW = WindowState(7, "definition", MORNING, 1 << 60, 5, 6, 7)
TO_GATEWAY = [
    Ready(),
    Done([WINDOW], ["0" * 26], ["1" * 26], []),
    Condition("the database is away", MORNING, 3, True),
    Recovered([b"payload"]),
    Drained(),
    Metrics(b"# HELP"),
]
TO_WRITER = [Write([("0" * 26, b"payload"), ("1" * 26, b"")]), Drain(1.5), Scrape()]


@pytest.mark.parametrize(("messages", "kinds"), [(TO_GATEWAY, ToGateway), (TO_WRITER, ToWriter)])
def test_messages_arrive_whole_however_they_are_cut(messages: list[object], kinds: object) -> None:
    data = b"".join(frame(message) for message in messages)  # type: ignore[arg-type]
    for size in (1, 2, 3, 7, len(data)):
        frames: Frames[object] = Frames(kinds)
        parts = [data[start : start + size] for start in range(0, len(data), size)]
        assert [message for part in parts for message in frames.feed(part)] == messages


def test_a_message_that_has_grown_is_understood() -> None:
    body = msgspec.msgpack.encode(["drain", 2.5, "a field of the next release"])
    assert list(Frames(ToWriter).feed(len(body).to_bytes(4, "little") + body)) == [Drain(2.5)]


@given(st.binary(min_size=4, max_size=200))
def test_garbage_is_told_or_waited_for_but_no_message(garbage: bytes) -> None:
    frames: Frames[object] = Frames(ToWriter)
    try:
        found = list(frames.feed(garbage))
    except BadFrame:
        return
    assert all(isinstance(message, Write | Drain | Scrape) for message in found)


def test_a_length_beyond_all_bounds_is_garbage() -> None:
    with pytest.raises(BadFrame, match="bytes"):
        list(Frames(ToWriter).feed(b"\xff\xff\xff\xff"))


def test_what_came_before_the_garbage_is_heard() -> None:
    messages = Frames[object](ToWriter).feed(frame(Drain(1.0)) + b"\x01\x00\x00\x00\xc1")
    assert next(messages) == Drain(1.0)
    with pytest.raises(BadFrame):
        next(messages)
