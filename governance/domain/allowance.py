"""Allowances: what a budget or a limit lets through, as values; `book.py` decides with them.

An allowance is (scope, unit, window, limit, enforcement). The database has one row for each of its windows: what is
settled, and what is held. Each process holds leases: parts of the headroom that it may spend without asking. An `Order`
is what a process asks of such a row, an `Answer` what it hears, `grant` the rule between them.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum

from governance.domain.windows import Period, Window, fixed_window, window_at

ALWAYS = datetime(1970, 1, 1, tzinfo=UTC)
"""Start of the one window of what rolls, never ends, or counts what runs at once."""


class Unit(StrEnum):
    """What an allowance counts: nano-dollars, requests, tokens, or requests at once."""

    USD = "usd"
    REQUESTS = "requests"
    TOKENS = "tokens"
    CONCURRENT = "concurrent"


class Enforcement(StrEnum):
    """`hard`: never above the limit, by worst case. `stop`: admit while headroom is left. `observe`: only tell."""

    HARD = "hard"
    STOP = "stop"
    OBSERVE = "observe"


@dataclass(frozen=True, slots=True)
class Allowance:
    """One limit on one target. `limit` is nano-dollars, requests or tokens according to the unit."""

    key: str
    """`budget:12` or `rate:5`: unique over all allowances."""
    id: int
    unit: Unit
    limit: int
    """Its base: carry-over and raises come on top, as the database knows them (`Answer.limit`)."""
    scope: str
    target: str
    """Name of what is limited, for people."""
    name: str
    enforcement: Enforcement = Enforcement.STOP
    models: tuple[str, ...] = ()
    period: Period | None = None
    """None only for requests at once and for windows given in seconds."""
    seconds: int = 0
    """Length of a rate limit's window, aligned to the epoch."""
    definition: str = ""
    """Changes whenever what is counted changes: figures of another definition are not this allowance's."""
    shared: bool = True
    """Whether several keys draw on it."""
    terms: str = ""
    """Changes whenever the limit in force may have: its base, a raise, carry-over."""
    turns: tuple[datetime, ...] = ()
    """Moments, ascending, at which a raise begins or ends: the limit in force is another one then."""
    ladder: Ladder | None = None

    @property
    def rolls(self) -> bool:
        return bool(self.period and self.period.rolling)

    @property
    def leased(self) -> bool:
        """Whether processes must hold a lease to admit: what only watches admits without."""
        return self.enforcement is not Enforcement.OBSERVE

    def window(self, now: datetime) -> Window:
        """The window that counts what happens at `now`. What rolls has one row, whose figure moves with time."""
        if self.seconds:
            return fixed_window(self.seconds, now)
        if self.period is None or self.period.rolling:
            return Window(ALWAYS, None)
        return window_at(self.period, now)


@dataclass(frozen=True, slots=True)
class Ladder:
    """What happens on the way to a budget's limit, by percent used; 0 leaves a step out."""

    downgrade_at: int = 0
    downgrade: tuple[tuple[str, str], ...] = ()
    """(pattern, model that takes its place)."""
    throttle_at: int = 0
    throttle_concurrent: int = 1


@dataclass(frozen=True, slots=True)
class Exhausted:
    """The allowance that refuses a request, with its figures at that moment."""

    allowance: Allowance
    limit: int
    """In force: base, carry-over and raises."""
    used: int
    held: int
    need: int
    """What the request would have needed."""
    resets_at: datetime | None
    retry_after: int
    """Whole seconds until the window ends, at least 1; meaningless where `resets_at` is None."""

    @property
    def passing(self) -> bool:
        """Whether room comes back in moments: only what is held for running and coming requests is in the way."""
        return self.used + self.need <= self.limit


@dataclass(frozen=True, slots=True)
class WindowState:
    """What the ledger says of one budget's window: settled nano-dollars, for one definition of the budget."""

    budget_id: int
    definition: str
    starts_at: datetime
    settled: int
    posted: int = 0
    """How much of it the batch that made this state added."""
    leased: int = 0
    """What is left of the lease of the process that wrote the batch."""
    version: int = 0
    """Of that lease, so that an older answer is known; 0 where it has none."""


@dataclass(frozen=True, slots=True)
class Order:
    """What a process asks of one window. Amounts in the allowance's unit, none negative."""

    allowance: Allowance
    window: Window
    least: int = 0
    """Nothing less helps anybody who waits; 0 where nobody waits."""
    need: int = 0
    """What all who wait would need."""
    want: int = 0
    """What would last for a while."""
    give: int = 0
    """Returned unused."""
    used: int = 0
    """Requests or tokens used up since the last order (money is settled with the ledger)."""

    @property
    def place(self) -> tuple[str, datetime, str]:
        """What names the window: allowance, start and definition."""
        return self.allowance.key, self.window.starts_at, self.allowance.definition


@dataclass(frozen=True, slots=True)
class Answer:
    """What a window looks like after an order. `leased` is the process's lease, whole."""

    allowance: str
    starts_at: datetime
    definition: str
    limit: int
    settled: int
    held: int
    leased: int
    version: int
    wanted: bool = False
    """Another process asked for more than is free: give back what is not needed."""

    @property
    def room(self) -> int:
        """What nobody has settled or holds."""
        return self.limit - self.settled - self.held


def grant(room: int, least: int, need: int, want: int, processes: int) -> int:
    """How much of the room a process gets: what those who wait need, and beyond that at most its share of a half.

    The half that stays is for the other processes: what one holds unused, another would be refused for.
    """
    extra = max(0, min(want, room // (2 * max(1, processes))))
    if not need:
        return extra
    if room < max(1, least):
        return 0
    return max(min(need, room), extra)
