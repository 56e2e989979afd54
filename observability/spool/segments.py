"""The spool's files: how a record lies in a segment, and how every intact one is found again in a damaged segment.

A segment is preallocated, so that a full disk is met when it is made and not in the middle of a request, and mapped
into memory, so that writing a record is one copy: no system call, and what was copied outlives the process.
"""

from __future__ import annotations

import mmap
import os
import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from enum import IntEnum
from pathlib import Path

MAGIC = b"\xc5SPL"
"""Begins each record. No UTF-8 text has these bytes, so nothing that a client writes can look like a record."""
SUFFIX = ".segment"
DRAFT = ".draft"
"""Of a segment that is being made: nothing was ever written to it."""

_CHECKED = struct.Struct("<BI26s")
"""Kind, length of the payload, id: what the checksum covers, together with the payload."""
_FRONT = struct.Struct("<4sI")
"""Magic and CRC-32."""
_checked, _crc = _CHECKED.pack, zlib.crc32
_sum = struct.Struct("<I").pack
OVERHEAD = _FRONT.size + _CHECKED.size
"""Bytes of a record beside its payload."""
_SIZE = struct.Struct("<Q")


class Kind(IntEnum):
    """What a record says of the request whose id it carries."""

    SEGMENT = 1
    """First record of a segment: the id is its owner's, the payload its size in bytes."""
    ADMITTED = 2
    """The next thing that happens is that the request's bytes go to a provider."""
    WITHDRAWN = 3
    """The attempt of the last ADMITTED ended without an answer that is charged."""
    FINISHED = 4
    """The request ended: its row and its charge."""


_KINDS = frozenset(kind.value for kind in Kind)


@dataclass(frozen=True, slots=True)
class Entry:
    """One intact record."""

    kind: int
    id: str
    payload: bytes


@dataclass(frozen=True, slots=True)
class Damage:
    """A stretch of a segment that holds no intact record: bytes from `start` up to `end`."""

    start: int
    end: int


def pack(kind: Kind, id: str, payload: bytes) -> bytes:
    """The bytes of one record; `id` is a ULID."""
    checked = _checked(kind, len(payload), id.encode())
    return b"".join((MAGIC, _sum(_crc(payload, _crc(checked))), checked, payload))


def scan(data: bytes) -> Iterator[Entry | Damage]:
    """Every intact record in its order, and the stretches between them that are none.

    Zeros up to the end are room that was never used. A segment that is shorter than it says is damaged at its end.
    """
    position, stated = 0, len(data)
    while position < len(data):
        entry = _read(data, position)
        if entry is None:
            found, following = _resync(data, position)
            if following is not None or data[position:found].strip(b"\0"):
                yield Damage(position, found)
            if following is None:
                break
            position, entry = found, following
        if entry.kind == Kind.SEGMENT:
            stated = _SIZE.unpack(entry.payload)[0] if len(entry.payload) == _SIZE.size else stated
        yield entry
        position += OVERHEAD + len(entry.payload)
    if len(data) < stated:
        yield Damage(len(data), stated)
    elif not data:
        yield Damage(0, 0)


def _resync(data: bytes, position: int) -> tuple[int, Entry | None]:
    """The next intact record after a stretch that is none; without one, the end of what is not zero."""
    at = data.find(MAGIC, position + 1)
    while at >= 0:
        entry = _read(data, at)
        if entry is not None:
            return at, entry
        at = data.find(MAGIC, at + 1)
    return max(position, len(data.rstrip(b"\0"))), None


def _read(data: bytes, position: int) -> Entry | None:
    """The record at a position, or None where there is no intact one."""
    if data[position : position + len(MAGIC)] != MAGIC or position + OVERHEAD > len(data):
        return None
    _, checksum = _FRONT.unpack_from(data, position)
    kind, length, id_ = _CHECKED.unpack_from(data, position + _FRONT.size)
    end = position + OVERHEAD + length
    if kind not in _KINDS or end > len(data):
        return None
    if zlib.crc32(memoryview(data)[position + _FRONT.size : end]) != checksum:
        return None
    return Entry(kind, id_.decode("ascii", "replace"), data[position + OVERHEAD : end])


class Segment:
    """One mapped file that records are appended to. Not safe for several threads at once."""

    def __init__(self, path: Path, owner: str, size: int) -> None:
        """Make the file, `size` bytes of it reserved on the disk. Raises OSError where there is no room."""
        self.path = path
        self.size = size
        self.outstanding = 0
        """Requests with a record here that are not in the database yet."""
        self.dirty = False
        draft = path.with_suffix(DRAFT)
        self._descriptor = os.open(draft, os.O_RDWR | os.O_CREAT | os.O_TRUNC, 0o600)
        try:
            _reserve(self._descriptor, size)
            self._map = mmap.mmap(self._descriptor, size)
        except BaseException:
            os.close(self._descriptor)
            draft.unlink(missing_ok=True)
            raise
        self.used = 0
        self.append(pack(Kind.SEGMENT, owner, _SIZE.pack(size)))
        self.flush()
        draft.rename(path)
        sync_folder(path.parent)

    @property
    def free(self) -> int:
        return self.size - self.used

    def append(self, record: bytes) -> bool:
        """Copy a record behind the last one; False where there is no room for it."""
        start = self.used
        end = start + len(record)
        if end > self.size:
            return False
        self._map[start:end] = record
        self.used = end
        self.dirty = True
        return True

    def flush(self) -> None:
        """Bring what was written onto the disk. Blocks, without the interpreter's lock (mmap's own flush holds it)."""
        self.dirty = False
        os.fdatasync(self._descriptor)

    def close(self) -> None:
        self._map.close()
        os.close(self._descriptor)


def _reserve(descriptor: int, size: int) -> None:
    if hasattr(os, "posix_fallocate"):
        os.posix_fallocate(descriptor, 0, size)
        return
    zeros = bytes(1 << 16)
    for start in range(0, size, len(zeros)):
        os.pwrite(descriptor, zeros[: size - start], start)


def sync_folder(folder: Path) -> None:
    """Bring the folder's list of names onto the disk."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
