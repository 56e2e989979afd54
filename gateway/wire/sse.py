"""Server-sent events, read incrementally: right for every way the bytes can be cut.

Rules: the `text/event-stream` format of the HTML standard. Lines end in LF, CRLF or CR; a blank line ends an event;
comments and unknown fields are skipped; an event without data is none.
"""

from __future__ import annotations

from typing import Final, NamedTuple

MAX_EVENT_BYTES: Final = 16 * 1024 * 1024
"""The largest event that is kept (a generated image in one delta is the largest seen: about 8 MB)."""

_BOM: Final = b"\xef\xbb\xbf"


class Event(NamedTuple):
    """One event. `name` is empty where the stream gave none; several data lines are joined by LF."""

    name: bytes
    data: bytes


class Splitter:
    """Cuts a stream into raw events, lines ended by LF; memory is bounded by one event.

    An event larger than `max_event_bytes` is skipped and counted in `oversized`; the next one is read as usual.
    """

    __slots__ = ("_after_cr", "_first", "_max", "_rest", "_skipping", "oversized")

    def __init__(self, max_event_bytes: int = MAX_EVENT_BYTES) -> None:
        self.oversized = 0
        self._max = max_event_bytes
        self._rest = bytearray()
        self._after_cr = False
        self._first = True
        self._skipping = False

    @property
    def at_boundary(self) -> bool:
        """Whether the next byte begins an event."""
        return not self._rest and not self._skipping and not self._after_cr and not self._first

    @property
    def rest(self) -> bytes:
        """The event that has not ended yet, as far as it came."""
        return b"" if self._skipping else bytes(self._rest)

    def feed(self, chunk: bytes) -> list[bytes]:
        """The raw events that this chunk completed."""
        if not chunk:
            return []
        if self._after_cr or b"\r" in chunk:
            chunk = self._with_lf(chunk)
        if not self._rest:
            end = chunk.rfind(b"\n\n")
            if end < 0:
                self._keep(chunk)
                return []
            complete, rest = chunk[:end], chunk[end + 2 :]
        else:
            searched = len(self._rest)
            self._rest += chunk
            end = self._rest.rfind(b"\n\n", searched - 1)
            if end < 0:
                self._bound()
                return []
            complete, rest = bytes(self._rest[:end]), bytes(self._rest[end + 2 :])
            self._rest.clear()
        blocks = complete.split(b"\n\n")
        if self._skipping:
            del blocks[0]
            self._skipping = False
        if self._first and blocks:
            blocks[0] = blocks[0].removeprefix(_BOM)
            self._first = False
        if len(complete) > self._max:
            self.oversized += sum(len(block) > self._max for block in blocks)
            blocks = [block for block in blocks if len(block) <= self._max]
        self._keep(rest)
        return blocks

    def _with_lf(self, chunk: bytes) -> bytes:
        if self._after_cr and chunk.startswith(b"\n"):
            # The second half of a CRLF that was cut between its bytes: the line has ended already.
            chunk = chunk[1:]
            self._after_cr = False
            if not chunk:
                return chunk
        self._after_cr = chunk.endswith(b"\r")
        return chunk.replace(b"\r\n", b"\n").replace(b"\r", b"\n")

    def _keep(self, rest: bytes) -> None:
        self._rest += rest
        self._bound()

    def _bound(self) -> None:
        if self._skipping or len(self._rest) > self._max + 1:
            if not self._skipping:
                self.oversized += 1
                self._skipping = True
                self._first = False
            # Only whether a line has just ended matters for finding the blank line.
            del self._rest[:-1]


class Decoder:
    """Bytes in, events out. Feed it whatever arrives; nothing is ever raised."""

    __slots__ = ("_splitter",)

    def __init__(self, max_event_bytes: int = MAX_EVENT_BYTES) -> None:
        self._splitter = Splitter(max_event_bytes)

    @property
    def oversized(self) -> int:
        """How many events were skipped because they were larger than the bound."""
        return self._splitter.oversized

    def feed(self, chunk: bytes) -> list[Event]:
        """The events that this chunk completed, in order."""
        blocks = self._splitter.feed(chunk)
        return [event for event in map(parse, blocks) if event is not None] if blocks else []


def parse(block: bytes) -> Event | None:
    """One raw event (LF line ends, without the blank line); None where it carries no data."""
    name = b""
    data: list[bytes] = []
    for line in block.split(b"\n"):
        field, _, value = line.partition(b":")
        if value.startswith(b" "):
            value = value[1:]
        if field == b"data":
            data.append(value)
        elif field == b"event":
            name = value
    return Event(name, b"\n".join(data)) if data else None


def encode(name: str, data: bytes) -> bytes:
    """One event as bytes. `data` must be JSON on one line, as every event of the Messages API is."""
    return b"event: %b\ndata: %b\n\n" % (name.encode(), data)


BROKEN_OFF: Final = b"\nevent: ping\n\n"
"""Ends whatever an answer stopped inside of, and changes nothing where it stopped between two events.

Half an event becomes a ping, since the last name of an event is the one that counts: clients read over a ping whatever
its data, where half a JSON text would be an error of its own and hide the one that follows.
"""
PING: Final = encode("ping", b'{"type": "ping"}')
"""The event that keeps a silent stream alive."""
