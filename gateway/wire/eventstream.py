"""Frames of Amazon's event streams, written: `application/vnd.amazon.eventstream`.

A frame is its length, its headers' length, a checksum of both, headers, payload, and a checksum of all that (CRC-32);
numbers are big-endian. Source: Smithy's specification of the Amazon event stream.
"""

from __future__ import annotations

import struct
from binascii import crc32
from collections.abc import Mapping
from functools import lru_cache
from typing import Final

_STRING: Final = 7
"""The type of a header's value; Bedrock sends no other."""
_AROUND: Final = 16
"""Bytes of a frame beside headers and payload."""


def frame(headers: Mapping[str, str], payload: bytes) -> bytes:
    """One frame."""
    return _framed(_headers(tuple(headers.items())), payload)


def _framed(fields: bytes, payload: bytes) -> bytes:
    prelude = struct.pack(">II", _AROUND + len(fields) + len(payload), len(fields))
    begun = b"%b%b%b%b" % (prelude, struct.pack(">I", crc32(prelude)), fields, payload)
    return begun + struct.pack(">I", crc32(begun))


@lru_cache(maxsize=64)
def _headers(items: tuple[tuple[str, str], ...]) -> bytes:
    """The same few with every frame of a kind."""
    return b"".join(_header(name.encode(), value.encode()) for name, value in items)


def _header(name: bytes, value: bytes) -> bytes:
    return struct.pack(">B", len(name)) + name + struct.pack(">BH", _STRING, len(value)) + value
