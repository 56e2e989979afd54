"""What a gateway and its writer say to each other: MessagePack behind its length. Pure: bytes in, values out.

The two may be of different releases where a writer starts again after an update: a message only ever grows at its end.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from datetime import datetime
from typing import Generic, TypeVar

import msgspec

from governance.domain.allowance import WindowState

MAX_FRAME = 256 << 20
"""Bytes of a frame at most; a length beyond it is garbage."""
_LENGTH = struct.Struct("<I")


class BadFrame(Exception):
    """What came over the link is no message: the other end must start anew."""


class Write(msgspec.Struct, array_like=True, tag="write", gc=False):
    """Gateway: write these finished requests; (id, payload of its FINISHED note) each."""

    items: list[tuple[str, bytes]]


class Drain(msgspec.Struct, array_like=True, tag="drain", gc=False):
    """Gateway: write what you have within so many seconds, and take nothing more."""

    seconds: float


class Scrape(msgspec.Struct, array_like=True, tag="scrape", gc=False):
    """Gateway: what do the metrics say?"""


class Ready(msgspec.Struct, array_like=True, tag="ready", gc=False):
    """Writer: send me what there is."""


class Done(msgspec.Struct, array_like=True, tag="done", gc=False):
    """Writer: one batch is committed."""

    windows: list[WindowState]
    """The budget windows it moved."""
    written: list[str]
    """Ids of the requests that are in the database."""
    aside: list[str]
    """Refused by the database for good, and kept in the file for a person."""
    lost: list[str]
    """In neither: they must stay in the spool."""


class Condition(msgspec.Struct, array_like=True, tag="condition", gc=False):
    """Writer: how I am, said twice a second."""

    error: str
    """Why nothing can be written now; empty where all is well."""
    flushed_at: datetime | None
    set_aside: int
    """Records set aside since the writer started, of dead processes too."""
    running: bool


class Recovered(msgspec.Struct, array_like=True, tag="recovered", gc=False):
    """Writer: requests of a dead process are written; the payloads of their notes, for the live log."""

    payloads: list[bytes]


class Drained(msgspec.Struct, array_like=True, tag="drained", gc=False):
    """Writer: I have written what I could."""


class Metrics(msgspec.Struct, array_like=True, tag="metrics", gc=False):
    """Writer: the text of a scrape; empty where it failed."""

    text: bytes


ToWriter = Write | Drain | Scrape
ToGateway = Ready | Done | Condition | Recovered | Drained | Metrics

_encode = msgspec.msgpack.Encoder().encode
M = TypeVar("M")


def frame(message: ToWriter | ToGateway) -> bytes:
    """The bytes of one message."""
    body = _encode(message)
    return _LENGTH.pack(len(body)) + body


class Frames(Generic[M]):
    """Takes bytes as they come and gives the whole messages among them."""

    def __init__(self, kinds: object) -> None:
        self._decode = msgspec.msgpack.Decoder(kinds).decode
        self._buffer = bytearray()

    def feed(self, data: bytes) -> Iterator[M]:
        """Raises BadFrame."""
        self._buffer += data
        start = 0
        try:
            while len(self._buffer) - start >= _LENGTH.size:
                (length,) = _LENGTH.unpack_from(self._buffer, start)
                if length > MAX_FRAME:
                    raise BadFrame(f"a frame of {length:,} bytes")
                end = start + _LENGTH.size + length
                if len(self._buffer) < end:
                    return
                body = bytes(self._buffer[start + _LENGTH.size : end])
                start = end
                try:
                    message: M = self._decode(body)
                except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
                    raise BadFrame(f"a frame that cannot be decoded: {error}") from None
                yield message
        finally:
            del self._buffer[:start]
