"""Inflates an answer that came compressed although it was asked for in plain, a bounded piece at a time."""

from __future__ import annotations

import zlib
from typing import Final

from gateway.upstream.errors import UpstreamError

MOST_BYTES: Final = 256 * 1024
"""Largest piece: what a small body inflates to is not in memory at once."""
_WITH_HEADER: Final = zlib.MAX_WBITS | 32  # gzip or zlib, as the first bytes say

KNOWN: Final = frozenset({b"gzip", b"x-gzip", b"deflate"})


class Inflater:
    """Takes what arrived with `feed`, gives it in plain with `next` until that is empty."""

    __slots__ = ("_began", "_inflate", "_pending")

    def __init__(self) -> None:
        self._inflate = zlib.decompressobj(_WITH_HEADER)
        self._pending = b""
        self._began = False

    def feed(self, data: bytes) -> None:
        self._began = True
        self._pending = self._pending + data if self._pending else data

    def next(self) -> bytes:
        """The next piece, at most `MOST_BYTES`; empty until more is fed. Raises UpstreamError where it is broken."""
        try:
            while self._pending:
                if self._inflate.eof:
                    self._inflate = zlib.decompressobj(_WITH_HEADER)  # gzip may have several members, RFC 1952 §2.2
                plain = self._inflate.decompress(self._pending, MOST_BYTES)
                self._pending = self._inflate.unused_data if self._inflate.eof else self._inflate.unconsumed_tail
                if plain:
                    return plain
            # What filled a piece exactly may have left something inside.
            return b"" if self._inflate.eof else self._inflate.decompress(b"", MOST_BYTES)
        except zlib.error as error:
            raise UpstreamError(f"its compressed answer is broken ({error})") from None

    def finish(self) -> None:
        """Called at the body's end, once `next` gave all. Raises UpstreamError where something is missing."""
        if self._began and not self._inflate.eof:
            raise UpstreamError("its compressed answer is broken (it ends early)")
