"""Searches a long range piece by piece, newest first or oldest first, for as long as a page may take.

What no index answers (a part of a name, an outcome that is rare) would read millions of rows before it said "nothing".
Instead the range is looked through in stretches that grow as long as they are quick; when the time is up the page says
how far it came, and its next page goes on from there.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta

SECONDS = 0.1
"""How long one search may take; the stretch that is under way ends a little later."""
FIRST = timedelta(minutes=15)
GROWTH = 4.0


def stretches(
    start: datetime,
    end: datetime,
    *,
    newest_first: bool = True,
    seconds: float = SECONDS,
    clock: Callable[[], float] = time.monotonic,
) -> Iterator[tuple[datetime, datetime]]:
    """Pieces [from, to) of the range that touch each other, until it is through or the time is up.

    What the caller does with a piece before it asks for the next one is what is timed: no piece is made larger than
    the time that is left lets expect.
    """
    began, width = clock(), FIRST
    while start < end:
        if newest_first:
            piece = max(start, end - width), end
            end = piece[0]
        else:
            piece = start, min(end, start + width)
            start = piece[1]
        before = clock()
        yield piece
        now = clock()
        left = seconds - (now - began)
        if left <= 0:
            return
        width *= min(GROWTH, left / max(now - before, 1e-4))
