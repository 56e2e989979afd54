"""How many requests one process serves at once, who waits for a place, and who is told to come back.

A request needs a place and room for its body. Without either it waits, for a bounded time and in a bounded queue.
Places that become free go to the key with the fewest requests running, in turn among equals, in order of arrival
within a key: a key with a thousand requests delays another key's single one by one turn. When the event loop is late
the number of places stops growing, and shrinks while it is very late: the process says no before it stops answering.

Pure: no sockets and no event loop; the clock and the dice are arguments. For one thread.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import Enum

MIN_LIMIT = 64
"""Places that stay however late the loop is: what makes it late may be something else on the machine."""
FEW = 20
"""Of so few places none is kept from a key."""
LATE_SECONDS = 1.0
"""How long the loop must have been late before the number of places is touched: a burst passes."""
VERY_LATE = 4.0
"""Times the bound on the lag from which on there are fewer places, not just no more."""
SMOOTHING = 0.3
"""Weight of the newest measurement of the lag."""
PEAK_KEPT = 0.99
"""What a tenth of a second leaves of the peak of running requests: it is forgotten within some ten seconds."""
MAX_RETRY_SECONDS = 30
"""Well below 60: from there on Claude Code gives up instead of waiting."""
CALM_SECONDS = 2.0
"""So long after the last refusal an overload is over."""


class Refusal(Enum):
    """Why a request got no place."""

    QUEUE_FULL = "queue_full"
    WAITED = "waited"
    STOPPING = "stopping"


@dataclass(frozen=True, slots=True)
class Bounds:
    """What one process takes on. `seconds` is the longest wait for a place; `lag` how many seconds the event loop may
    be late, 0 for any.
    """

    requests: int = 3000
    body_bytes: int = 1 << 30
    queue: int = 1000
    seconds: float = 10.0
    lag: float = 0.25


@dataclass(slots=True, eq=False)
class Waiter:
    """One request in the queue. `told` is called once: with None when it has its place, else with the reason. It must
    not call the gate.
    """

    key: int
    size: int
    since: float
    told: Callable[[Refusal | None], None]


@dataclass(slots=True, eq=False)
class _Key:
    """What one virtual key has running and waiting."""

    running: int = 0
    bytes: int = 0
    waiting: dict[Waiter, None] = field(default_factory=dict)
    """In order of arrival."""


class _Ranks:
    """Keys by a number, found by the least and the greatest; in order of arrival where it is the same."""

    def __init__(self) -> None:
        self._ranks: dict[int, dict[_Key, None]] = {}

    def add(self, rank: int, key: _Key) -> None:
        self._ranks.setdefault(rank, {})[key] = None

    def remove(self, rank: int, key: _Key) -> None:
        keys = self._ranks.get(rank)
        if keys is not None and key in keys:
            del keys[key]
            if not keys:
                del self._ranks[rank]

    def least(self) -> _Key | None:
        return next(iter(self._ranks[min(self._ranks)])) if self._ranks else None

    def greatest(self) -> tuple[int, _Key] | None:
        if not self._ranks:
            return None
        rank = max(self._ranks)
        return rank, next(iter(self._ranks[rank]))


class Gate:
    """The places of one process. After each `try_enter` that said yes and each waiter told None comes one `leave`."""

    def __init__(
        self,
        bounds: Bounds,
        clock: Callable[[], float] = time.monotonic,
        dice: Callable[[int, int], int] = random.randint,
    ) -> None:
        self.bounds = bounds
        self.running = 0
        self.bytes = 0
        """Of the bodies of running requests, as declared."""
        self.limit = bounds.requests
        """Places there are now: fewer than the bound while the event loop is late."""
        self.lingering = 0
        """Refused requests whose answer is held back for a moment; counted by who holds it back."""
        self.lag = 0.0
        """Smoothed, in seconds."""
        self._share = max(1, bounds.body_bytes // 2)
        self._most = bounds.requests if bounds.requests < FEW else bounds.requests * 9 // 10
        """Places of one key: a tenth stays for the others, however long its requests take."""
        self._clock = clock
        self._dice = dice
        self._keys: dict[int, _Key] = {}
        self._queue: dict[Waiter, None] = {}
        self._turns = _Ranks()
        """Keys with somebody waiting by what they have running, without those that used up their share of the bytes."""
        self._lengths = _Ranks()
        """The same keys, all of them, by how many wait."""
        self._stopping = False
        self._late_since: float | None = None
        self._held = False
        self._peak = 0.0
        self._left = 0
        self._rate = 0.0
        """Requests that end in a second, smoothed."""
        self._ticked = clock()
        self._refusing_since: float | None = None
        self._refused_at = float("-inf")

    @property
    def waiting(self) -> int:
        return len(self._queue)

    @property
    def refusing(self) -> bool:
        """Whether a request was refused within the last moments."""
        return self._clock() - self._refused_at < CALM_SECONDS

    def try_enter(self, key: int, size: int) -> bool:
        """Take a place at once, with `size` bytes of body; False where one must wait. Under a microsecond."""
        if self._queue or not self._has_room(size):
            return False
        mine = self._keys.get(key)
        if mine is None:
            mine = self._keys[key] = _Key()
        elif self._is_enough(mine, size):
            return False
        self._take(mine, size)
        return True

    def enter(self, key: int, size: int, told: Callable[[Refusal | None], None]) -> Waiter:
        """Queue for a place. A full queue loses the newest request of the key that has most waiting, with this one."""
        waiter = Waiter(key, size, self._clock(), told)
        if self._stopping:
            self._refuse(waiter, Refusal.STOPPING)
            return waiter
        mine = self._keys.get(key)
        if len(self._queue) >= self.bounds.queue:
            longest = self._lengths.greatest()
            if longest is None or longest[0] <= (len(mine.waiting) if mine else 0) + 1:
                self._refuse(waiter, Refusal.QUEUE_FULL)
                return waiter
            newest = next(reversed(longest[1].waiting))
            self._unqueue(newest)
            self._refuse(newest, Refusal.QUEUE_FULL)
        if mine is None:
            mine = self._keys[key] = _Key()
        self._queue[waiter] = None
        self._lengths.remove(len(mine.waiting), mine)
        mine.waiting[waiter] = None
        self._lengths.add(len(mine.waiting), mine)
        if len(mine.waiting) == 1:
            self._turns.add(mine.running, mine)
        self._fill()
        return waiter

    def give_up(self, waiter: Waiter) -> bool:
        """Take a waiter out of the queue without telling it; False where it was told already."""
        if waiter not in self._queue:
            return False
        self._unqueue(waiter)
        self._fill()
        return True

    def leave(self, key: int, size: int) -> None:
        """Give a place back, with what it holds of the bytes."""
        mine = self._keys[key]
        self.running -= 1
        self.bytes -= size
        self._left += 1
        if not mine.waiting:
            mine.running -= 1
            mine.bytes -= size
            if not mine.running:
                del self._keys[key]
        else:
            self._turns.remove(mine.running, mine)
            mine.running -= 1
            mine.bytes -= size
            self._turns.add(mine.running, mine)
        if self._queue:
            self._fill()

    def shrink(self, key: int, size: int) -> None:
        """Give back a part of the bytes of a running request: its body is shorter than was declared, or gone."""
        mine = self._keys[key]
        mine.bytes -= size
        self.bytes -= size
        if mine.waiting:
            self._turns.add(mine.running, mine)
        if self._queue:
            self._fill()

    def tick(self, late: float) -> None:
        """Ten times a second: how late the event loop is, in seconds. Moves the number of places; ends long waits."""
        now = self._clock()
        elapsed, self._ticked = now - self._ticked, now
        if elapsed > 0 and (self._left or self.running):
            # While nothing runs the rate stays what it was: a pause says nothing of how fast places become free.
            self._rate += (self._left / elapsed - self._rate) * SMOOTHING
            self._left = 0
        self.lag += (late - self.lag) * SMOOTHING
        self._peak = max(float(self.running), self._peak * PEAK_KEPT)
        self._follow_lag(now)
        while self._queue:
            oldest = next(iter(self._queue))
            if now - oldest.since < self.bounds.seconds:
                break
            self._unqueue(oldest)
            self._refuse(oldest, Refusal.WAITED)
        self._fill()
        if now - self._refused_at > CALM_SECONDS:
            self._refusing_since = None

    def stop(self) -> None:
        """Nobody waits any more: the process ends. Who finds a place at once is served, as long as requests come."""
        self._stopping = True
        for waiter in list(self._queue):
            self._unqueue(waiter)
            self._refuse(waiter, Refusal.STOPPING)

    def retry_after(self) -> int:
        """Whole seconds until a refused client should come back; they differ, so that not all come at once.

        As long as the queue takes at the present rate, and at least half of how long the overload has lasted already:
        Claude Code tries 11 times, which so lasts for minutes of overload and not for 11 times one second.
        """
        if self._stopping:
            return 1
        lasted = self._clock() - self._refusing_since if self._refusing_since is not None else 0.0
        served = (len(self._queue) + 1) / self._rate if self._rate else 0.0
        least = min(MAX_RETRY_SECONDS, max(1, round(max(served, lasted / 2))))
        return self._dice(least, min(MAX_RETRY_SECONDS, max(least + 2, least * 3 // 2)))

    def state(self) -> str:
        """One sentence for a person."""
        now = "late, " if self.limit < self.bounds.requests else ""
        return (
            f"{self.running:,} of {self.limit:,} requests running, {len(self._queue):,} waiting, "
            f"{self.bytes / 2**20:,.0f} of {self.bounds.body_bytes / 2**20:,.0f} MiB of bodies; "
            f"the event loop is {now}{self.lag * 1000:,.0f} ms behind"
        )

    def _has_room(self, size: int) -> bool:
        # A body larger than all the memory for bodies may come alone: it would wait for ever.
        return self.running < self.limit and (not self.bytes or self.bytes + size <= self.bounds.body_bytes)

    def _is_enough(self, mine: _Key, size: int) -> bool:
        """Whether a key has what one may have."""
        return mine.running >= self._most or (mine.bytes > 0 and mine.bytes + size > self._share)

    def _take(self, mine: _Key, size: int) -> None:
        self.running += 1
        self.bytes += size
        mine.running += 1
        mine.bytes += size

    def _fill(self) -> None:
        """Give free places out. A body without room lets nobody pass: smaller ones would starve it."""
        while (mine := self._turns.least()) is not None:
            waiter = next(iter(mine.waiting))
            if not self._has_room(waiter.size):
                return
            if self._is_enough(mine, waiter.size):
                # Its turn comes again when one of its own requests ends.
                self._turns.remove(mine.running, mine)
                continue
            self._unqueue(waiter)
            self._turns.remove(mine.running, mine)
            self._take(mine, waiter.size)
            self._keys[waiter.key] = mine
            if mine.waiting:
                self._turns.add(mine.running, mine)
            waiter.told(None)

    def _unqueue(self, waiter: Waiter) -> None:
        mine = self._keys[waiter.key]
        del self._queue[waiter]
        self._lengths.remove(len(mine.waiting), mine)
        del mine.waiting[waiter]
        if mine.waiting:
            self._lengths.add(len(mine.waiting), mine)
            # Where the first of a key had no room in its share, the next one may have.
            self._turns.add(mine.running, mine)
        else:
            self._turns.remove(mine.running, mine)
            if not mine.running:
                del self._keys[waiter.key]

    def _refuse(self, waiter: Waiter, why: Refusal) -> None:
        self._refused_at = self._clock()
        if self._refusing_since is None:
            self._refusing_since = self._refused_at
        waiter.told(why)

    def _follow_lag(self, now: float) -> None:
        bound = self.bounds.lag
        if not bound:
            return
        if self.lag <= bound:
            self._late_since, self._held = None, False
            self.limit = min(self.bounds.requests, self.limit + max(8, self.limit // 8))
            return
        if self._late_since is None:
            self._late_since = now
        if now - self._late_since < LATE_SECONDS:
            return
        if not self._held:
            # One in for one out. What ran of late is known to be carried; what is late may be something else.
            self._held = True
            self.limit = min(self.limit, max(MIN_LIMIT, int(self._peak)))
        elif self.lag > VERY_LATE * bound and self.running >= self.limit:
            self.limit = min(self.limit, max(MIN_LIMIT, self.limit - self.limit // 50))
