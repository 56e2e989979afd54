"""Allowances: what budgets and rate limits let through, decided in memory.

An allowance is (scope, unit, window, limit, enforcement). A `Book` holds the state of all allowances of one process:
what is settled according to the ledger, what this process has settled but the ledger not yet written, and what running
requests hold. Nothing here does I/O; the ledger's figures come in through `load` and `posted`.

All methods are called from one thread (the event loop).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum

from governance.domain.windows import Period, Window, fixed_window, window_at


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


@dataclass(slots=True)
class Hold:
    """What one running request has taken from its allowances; given back exactly once."""

    allowances: tuple[Allowance, ...]
    nano_usd: int
    released: bool = False


@dataclass(frozen=True, slots=True)
class Exhausted:
    """The allowance that refuses a request, with its figures at that moment."""

    allowance: Allowance
    used: int
    held: int
    resets_at: datetime | None
    retry_after: int
    """Whole seconds until the window ends, at least 1; meaningless where `resets_at` is None."""


@dataclass(frozen=True, slots=True)
class WindowState:
    """What the ledger says of one budget's window: settled nano-dollars, for one definition of the budget."""

    budget_id: int
    definition: str
    starts_at: datetime
    settled: int
    posted: int = 0
    """How much of it the batch that made this state added."""


@dataclass(slots=True)
class _State:
    allowance: Allowance
    starts_at: datetime
    ends_at: datetime | None
    settled: int = 0
    """From the ledger (budgets), or counted here (rate limits)."""
    unposted: int = 0
    """Settled here, not yet in `settled`."""
    held: int = 0
    """Worst case of running requests (nano-dollars), or their number."""

    @property
    def rolls(self) -> bool:
        return bool(self.allowance.period and self.allowance.period.rolling)

    @property
    def used(self) -> int:
        return self.settled + self.unposted


class Book:
    """The allowances of one process."""

    def __init__(self) -> None:
        self._states: dict[str, _State] = {}
        self.posts = 0
        """Counts `posted` calls: figures read from the ledger before one of them are stale (see `load`)."""

    def admit(self, allowances: Iterable[Allowance], now: datetime, worst_nano_usd: int) -> Hold | Exhausted:
        """Take a hold on every allowance, or say which one refuses; the tightest in order of the list wins.

        `worst_nano_usd` is the most that the request can cost; only `hard` allowances look at it.
        """
        states = [self._state(allowance, now) for allowance in allowances]
        for state in states:
            if state.allowance.enforcement is not Enforcement.OBSERVE and not _has_room(state, worst_nano_usd):
                return self._exhausted(state, now)
        for state in states:
            match state.allowance.unit:
                case Unit.USD:
                    state.held += worst_nano_usd
                case Unit.REQUESTS:
                    state.settled += 1
                case Unit.CONCURRENT:
                    state.held += 1
                case Unit.TOKENS:
                    pass
        return Hold(tuple(state.allowance for state in states), worst_nano_usd)

    def release(self, hold: Hold) -> None:
        """Give a hold back. A second call for the same hold does nothing."""
        if hold.released:
            return
        hold.released = True
        for allowance in hold.allowances:
            state = self._states.get(allowance.key)
            if state is None:
                continue
            if allowance.unit is Unit.USD:
                state.held = max(0, state.held - hold.nano_usd)
            elif allowance.unit is Unit.CONCURRENT:
                state.held = max(0, state.held - 1)

    def charge(
        self, allowances: Iterable[Allowance], occurred_at: datetime, ended_at: datetime, nano_usd: int, tokens: int
    ) -> None:
        """Count what a request used: money in the window in which it started, tokens in that in which it ended.

        A budget's window follows from the ledger, which knows the start; a token limit would never see a request that
        runs longer than its window.
        """
        for allowance in allowances:
            when = ended_at if allowance.unit is Unit.TOKENS else occurred_at
            state = self._state(allowance, when)
            if when < state.starts_at or state.allowance.definition != allowance.definition:
                # Another window, or a definition that the ledger may never post it under: it would stay unposted.
                continue
            if allowance.unit is Unit.USD:
                state.unposted += nano_usd
            elif allowance.unit is Unit.TOKENS:
                state.settled += tokens

    def load(self, figures: Mapping[int, WindowState], *, posts: int) -> bool:
        """Take the ledger's figures by budget id, read while `self.posts` was `posts`.

        Where a batch was posted meanwhile they may be older than what is known here: then they are left and False
        is returned.
        """
        if posts != self.posts:
            return False
        for state in self._states.values():
            figure = figures.get(state.allowance.id) if state.allowance.unit is Unit.USD else None
            if figure is None or figure.definition != state.allowance.definition:
                continue
            if state.rolls or figure.starts_at == state.starts_at:
                state.settled = figure.settled
        return True

    def posted(self, windows: Sequence[WindowState]) -> None:
        """The ledger has written a batch: its figures replace ours, and what it wrote is no longer unposted."""
        self.posts += 1
        for window in windows:
            state = self._states.get(f"budget:{window.budget_id}")
            if state is None or state.allowance.definition != window.definition:
                continue
            if not state.rolls and state.starts_at != window.starts_at:
                continue
            # A budget that is younger than the charge never had it here: never below zero.
            state.unposted = max(0, state.unposted - window.posted)
            state.settled = state.settled + window.posted if state.rolls else window.settled

    def configure(self, allowances: Iterable[Allowance], figures: Mapping[int, WindowState], now: datetime) -> None:
        """Follow a change of configuration: new allowances start from the ledger, changed ones keep what they count."""
        fresh: dict[str, _State] = {}
        for allowance in allowances:
            old = self._states.get(allowance.key)
            if old is not None and old.allowance.definition == allowance.definition:
                old.allowance = allowance
                fresh[allowance.key] = old
                continue
            window = _window(allowance, now)
            state = _State(allowance, window.starts_at, window.ends_at)
            figure = figures.get(allowance.id) if allowance.unit is Unit.USD else None
            if figure is not None and figure.definition == allowance.definition:
                state.settled = figure.settled
            if old is not None:
                # What runs now was admitted under the old definition and gives back what it took there.
                state.held = old.held
            fresh[allowance.key] = state
        self._states = fresh

    def figures(self, allowance: Allowance, now: datetime) -> tuple[int, int]:
        """(used, held) at this moment, in the allowance's unit."""
        state = self._state(allowance, now)
        return state.used, state.held

    def resets_at(self, allowance: Allowance, now: datetime) -> datetime | None:
        """When the window ends; None where it has no end of its own (lifetime, rolling)."""
        return self._state(allowance, now).ends_at

    def held_by_budget(self) -> dict[int, int]:
        """Nano-dollars that running requests hold, by budget id. Safe to call from another thread."""
        return {s.allowance.id: s.held for s in list(self._states.values()) if s.allowance.unit is Unit.USD and s.held}

    def held_total(self) -> int:
        """Sum of all holds; zero when nothing runs."""
        return sum(state.held for state in self._states.values())

    def _state(self, allowance: Allowance, now: datetime) -> _State:
        state = self._states.get(allowance.key)
        if state is None:
            window = _window(allowance, now)
            state = self._states[allowance.key] = _State(allowance, window.starts_at, window.ends_at)
        elif state.ends_at is not None and now >= state.ends_at:
            window = _window(allowance, now)
            state.starts_at, state.ends_at = window.starts_at, window.ends_at
            state.settled = state.unposted = 0
        return state

    def _exhausted(self, state: _State, now: datetime) -> Exhausted:
        resets_at, period = state.ends_at, state.allowance.period
        if state.rolls and period is not None:
            # Room comes back bit by bit as charges leave the window: this is when to look again.
            resets_at = now + (timedelta(hours=1) if period.kind == "hour" else timedelta(days=1))
        if state.allowance.unit is Unit.CONCURRENT:
            resets_at = now + timedelta(seconds=1)
        seconds = (resets_at - now).total_seconds() if resets_at else 0.0
        return Exhausted(state.allowance, state.used, state.held, resets_at, max(1, int(-(-seconds // 1))))


def _has_room(state: _State, worst_nano_usd: int) -> bool:
    allowance = state.allowance
    match allowance.unit:
        case Unit.USD if allowance.enforcement is Enforcement.HARD:
            return state.settled + state.unposted + state.held + worst_nano_usd <= allowance.limit
        case Unit.USD | Unit.TOKENS | Unit.REQUESTS:
            return state.settled + state.unposted < allowance.limit
        case Unit.CONCURRENT:
            return state.held < allowance.limit


def _window(allowance: Allowance, now: datetime) -> Window:
    if allowance.seconds:
        return fixed_window(allowance.seconds, now)
    if allowance.period is None:
        return Window(datetime.min.replace(tzinfo=UTC), None)
    if allowance.period.rolling:
        # A rolling window has no end of its own: the ledger's figure moves with it.
        return Window(datetime.min.replace(tzinfo=UTC), None)
    return window_at(allowance.period, now)
