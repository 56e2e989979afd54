"""The book: what one process may let through, decided in memory against the leases it holds.

`admit` takes a hold or says what is missing; `release` gives the hold back and `charge` counts what was used. `orders`
says what to ask of the database and `answered` takes what it said; `posted` hears what the ledger has written. Nothing
here does I/O; all methods are called from one thread (the event loop).

A state's lease is split into what running requests reserve, what is used and not settled yet, what is on its way back,
and the rest, which is free. Only the free part admits.
"""

from __future__ import annotations

import itertools
from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from governance.domain.allowance import Allowance, Answer, Enforcement, Exhausted, Order, Unit, WindowState
from governance.domain.windows import Window

SLICE_SECONDS = 2.0
"""How long a slice should last."""
SLICE_PARTS = 256
"""A slice is at least this fraction of the limit, so that a slow key does not ask for every request."""
IDLE = timedelta(seconds=5)
"""A lease that nobody used for so long goes back."""
DRY = timedelta(seconds=1)
"""How long an answer that there is no room is believed."""
AHEAD = timedelta(seconds=1.5)
"""A window in use is leased so long before it begins."""
MOST_RESTING = 500
"""States that were not used since the last round and are looked after in one: their turn comes round."""
FORGET = timedelta(minutes=2)
"""A state without a lease or a running request is dropped after so long."""


@dataclass(slots=True, eq=False)
class State:
    """One window of one allowance, as this process sees it."""

    allowance: Allowance
    window: Window
    limit: int
    definition: str
    settled: int = 0
    """By all processes, as last heard."""
    elsewhere: int = 0
    """What the others hold, as last heard."""
    leased: int = 0
    version: int = 0
    reserved: int = 0
    used: int = 0
    """Used here and not settled yet."""
    returning: int = 0
    ordered: int = 0
    """What of `used` an order under way settles."""
    running: int = 0
    """Requests that hold something here."""
    asked: int = 0
    """The least that an order under way must bring to help anybody."""
    touched: datetime | None = None
    need: int = 0
    """What the last request needed."""
    taken: int = 0
    rate: float = 0.0
    """Taken a second, smoothed."""
    room: int = 0
    """What nobody held, when `dry_until` was set."""
    dry_until: datetime | None = None
    futile_until: datetime | None = None
    """Until then, waiting for what others hold is known not to help."""
    wanted: bool = False
    recall: bool = False
    """Its limit may have changed: what is free goes back and is asked for anew."""
    unsure: bool = False
    """An order's outcome is unknown: the next one only asks how things stand."""
    turns_at: datetime | None = None
    """When the limit in force changes next by the clock alone: what is leased under it is asked for anew then."""
    fresh: bool = False
    """Used since the last round."""
    awake: bool = False
    """Looked after now and then: something of it is leased or under way."""
    seen_at: datetime | None = None
    """When a round last looked after it."""
    ordering: bool = False
    """An order is under way."""
    heard: bool = False
    """The database was heard about it at least once."""
    retired: bool = False
    """Its allowance is gone or counts something else now."""

    @property
    def place(self) -> tuple[str, datetime, str]:
        """What names it: allowance, start and definition."""
        return self.allowance.key, self.window.starts_at, self.definition

    @property
    def figures(self) -> tuple[int, int, int]:
        """(used, held, limit in force), in the allowance's unit, as far as this process knows."""
        return self.settled + self.used, self.reserved + self.elsewhere, self.limit

    @property
    def free(self) -> int:
        return self.leased - self.reserved - self.used - self.returning

    def knows_no_room(self, need: int, now: datetime) -> bool:
        """Whether asking cannot help: not even with what the others might give back."""
        if self.dry_until is None or now >= self.dry_until or (self.turns_at is not None and now >= self.turns_at):
            return False
        others = 0 if self.futile_until is not None and now < self.futile_until else self.elsewhere
        return need > self.free + self.room + others

    def target(self) -> int:
        """What a lease should leave free."""
        if self.allowance.unit is Unit.CONCURRENT:
            return max(1, self.reserved // 4)
        return max(int(self.rate * SLICE_SECONDS), 4 * self.need, self.limit // SLICE_PARTS, 1)


@dataclass(slots=True)
class Hold:
    """What one running request has taken, state by state; given back exactly once."""

    taken: tuple[tuple[State, int], ...]
    released: bool = False

    @property
    def allowances(self) -> tuple[Allowance, ...]:
        return tuple(state.allowance for state, _ in self.taken)

    @property
    def states(self) -> tuple[State, ...]:
        """Of each allowance, as it stands now."""
        return tuple([state for state, _ in self.taken])


@dataclass(frozen=True, slots=True)
class Short:
    """Not enough is leased here: what to ask the database for, state by state."""

    missing: tuple[tuple[State, int], ...]


@dataclass(slots=True)
class Book:
    """The allowances of one process."""

    open_holds: int = 0
    """Holds that are not given back yet; zero when nothing runs."""
    _current: dict[str, State] = field(default_factory=dict)
    _all: dict[tuple[str, datetime, str], State] = field(default_factory=dict)
    _unwritten: dict[str, list[tuple[State, int]]] = field(default_factory=dict)
    """What each request has spent of which windows, until the ledger has it."""
    _fresh: list[State] = field(default_factory=list)
    _awake: deque[State] = field(default_factory=deque)
    _swept: datetime | None = None

    # --- the request path -----------------------------------------------------------------------------------
    def admit(
        self,
        allowances: Iterable[Allowance],
        at: datetime,
        nano_usd: int,
        tokens: int = 0,
        *,
        now: datetime | None = None,
        lenient: bool = False,
    ) -> Hold | Short | Exhausted:
        """Take a hold on every allowance; or say what is missing, or which one refuses.

        `at` is when the request began, which decides its windows; `now` may be later. `nano_usd` and `tokens` are the
        most that the request can use; only `hard` allowances look at them. `lenient` lets through what only hard
        allowances may refuse: the database cannot be asked.
        """
        now = now or at
        taken: list[tuple[State, int]] = []
        short: list[tuple[State, int]] = []
        for allowance in allowances:
            state = self._state(allowance, at)
            hard = allowance.enforcement is Enforcement.HARD
            unit = allowance.unit
            need = amount = 1
            if hard and unit is Unit.USD:
                need = amount = nano_usd
            elif hard and unit is Unit.TOKENS:
                need = amount = tokens
            elif unit is Unit.USD or unit is Unit.TOKENS:
                amount = 0
            state.touched = now
            if not state.fresh:
                self._wake(state)
            if (
                allowance.enforcement is not Enforcement.OBSERVE
                and (
                    state.leased - state.reserved - state.used - state.returning < need
                    or (state.turns_at is not None and now >= state.turns_at)
                )
                and not (lenient and not hard)
            ):
                if state.knows_no_room(need, now):
                    return self._exhausted(state, need, now)
                short.append((state, need))
            taken.append((state, amount))
        if short:
            return Short(tuple(short))
        for state, amount in taken:
            state.running += 1
            if state.allowance.unit is Unit.REQUESTS:
                state.used += 1
                state.taken += 1
            elif amount:
                state.reserved += amount
                state.taken += amount
                state.need = amount
        self.open_holds += 1
        return Hold(tuple(taken))

    def has_room(self, short: Short) -> bool:
        """Whether nobody holds what is missing, as last heard: others were served first, and asking again helps."""
        return all(state.room >= need for state, need in short.missing if state.free < need)

    def exhausted(self, short: Short, now: datetime) -> Exhausted:
        """Who refuses a request that asking did not help: the first allowance that still has too little."""
        state, need = next(((state, need) for state, need in short.missing if state.free < need), short.missing[0])
        return self._exhausted(state, need, now)

    def unheard(self, allowances: Iterable[Allowance], now: datetime) -> Short | None:
        """Those of which nothing was heard yet, so that their figures say nothing; None where all are known."""
        states = [self._state(allowance, now) for allowance in allowances if allowance.leased]
        missing = tuple((state, 1) for state in states if not state.heard)
        for state, _ in missing:
            state.touched = now
            self._wake(state)
        return Short(missing) if missing else None

    def release(self, hold: Hold) -> None:
        """Give a hold back. A second call for the same hold does nothing."""
        if hold.released:
            return
        hold.released = True
        self.open_holds -= 1
        for state, amount in hold.taken:
            state.running -= 1
            if state.allowance.unit is not Unit.REQUESTS:
                state.reserved -= amount

    def charge(
        self,
        request_id: str,
        allowances: Iterable[Allowance],
        started_at: datetime,
        ended_at: datetime,
        nano_usd: int,
        tokens: int,
    ) -> None:
        """Count what a request used: money in the window in which it started, as the ledger does.

        Tokens count in the window in which the request ended, or a limit would never see one that runs longer than
        its window; a hard one holds from the start, so they count there.
        """
        for allowance in allowances:
            unit, amount = allowance.unit, nano_usd
            when = started_at
            if unit is Unit.TOKENS:
                amount = tokens
                when = started_at if allowance.enforcement is Enforcement.HARD else ended_at
            elif unit is not Unit.USD:
                continue
            current = self._current.get(allowance.key)
            if current is not None:
                # The ledger posts it under the definition of now, whatever it was admitted under.
                allowance = current.allowance
            state = self._counting(allowance, current, when)
            state.used += amount
            self._wake(state)
            if unit is Unit.USD and amount:
                self._unwritten.setdefault(request_id, []).append((state, amount))
            if allowance.enforcement is not Enforcement.HARD:
                state.taken += amount
                state.need = amount

    # --- figures for people ---------------------------------------------------------------------------------
    def figures(self, allowance: Allowance, now: datetime) -> tuple[int, int, int]:
        """(used, held, limit in force) at this moment, in the allowance's unit, as far as this process knows."""
        return self._state(allowance, now).figures

    def resets_at(self, allowance: Allowance, now: datetime) -> datetime | None:
        """When the window ends; None where it has no end of its own (lifetime, rolling)."""
        return self._state(allowance, now).window.ends_at

    def reserved_total(self) -> int:
        """Sum of what running requests reserve; zero when nothing runs."""
        return sum(state.reserved for state in self._all.values())

    # --- beside the request path ----------------------------------------------------------------------------
    def configure(self, allowances: Mapping[str, Allowance]) -> None:
        """Follow a change of configuration: only what is in use here is looked at."""
        for place, state in self._all.items():
            fresh = allowances.get(place[0])
            self._wake(state)
            if fresh is None or fresh.definition != place[2]:
                state.retired = True
                if self._current.get(place[0]) is state:
                    del self._current[place[0]]
                continue
            state.retired = False
            if fresh.terms != state.allowance.terms or fresh.enforcement is not state.allowance.enforcement:
                state.limit += fresh.limit - state.allowance.limit
                state.recall, state.dry_until = True, None
            state.allowance = fresh
            state.turns_at = next(iter(fresh.turns), None)

    def orders(self, now: datetime, waiting: Sequence[Short] = (), *, closing: bool = False) -> list[Order]:
        """What to ask of the database: for those who wait, for what runs low, for what is not needed any more.

        Every order must be followed by `answered` or `failed`, one round at a time.
        """
        needs = _needs(waiting)
        self._reach_ahead(now)
        used, self._fresh = self._fresh, []
        used += [state for short in waiting for state, _ in short.missing]
        for state in used:
            state.fresh = False
        # Those that are not used but hold something take turns: a round must stay short, however many there are.
        number = len(self._awake) if closing else min(MOST_RESTING, len(self._awake))
        resting = [self._awake.popleft() for _ in range(number)]
        for state in resting:
            state.awake = False
        orders: list[Order] = []
        for state in {id(state): state for state in (*used, *resting)}.values():
            order = self._order(state, now, needs.get(id(state), []), closing)
            if order is not None:
                state.ordering = True
                orders.append(order)
            if not state.awake and (
                order is not None or state.leased or state.unsure or state.used or not self._idle(state, now)
            ):
                state.awake = True
                self._awake.append(state)
        self._forget(now)
        return orders

    def answered(self, answers: Iterable[Answer], now: datetime) -> None:
        """Take what the database said to the orders of this round."""
        for answer in answers:
            state = self._all.get((answer.allowance, answer.starts_at, answer.definition))
            if state is None:
                continue
            state.used -= state.ordered
            state.ordered = state.returning = 0
            state.ordering = False
            state.unsure = state.recall = False
            self._heard(state, answer)
            state.turns_at = next((turn for turn in state.allowance.turns if turn > now), None)
            state.room = max(0, answer.room)
            state.dry_until = now + DRY if answer.room < max(state.target(), state.asked) else None
            state.asked = 0

    def looked(self, answers: Iterable[Answer]) -> None:
        """Take how windows stand, without having ordered anything."""
        for answer in answers:
            state = self._all.get((answer.allowance, answer.starts_at, answer.definition))
            if state is not None:
                self._heard(state, answer)

    def void(self, orders: Iterable[Order]) -> None:
        """The database has no such window and makes none: what was counted here is not counted any more."""
        for order in orders:
            state = self._all.get(order.place)
            if state is not None:
                state.leased = state.returning = state.ordered = 0
                state.ordering = False
                state.unsure, state.retired = False, True
                if self._current.get(order.allowance.key) is state:
                    del self._current[order.allowance.key]

    def futile(self, short: Short, now: datetime) -> None:
        """Waiting for the others to give back did not help: do not let every request wait for it."""
        for state, need in short.missing:
            if state.free < need:
                state.futile_until = state.dry_until = now + DRY

    def failed(self, orders: Iterable[Order]) -> None:
        """The outcome of these orders is unknown: what was to go back is not used, and the next order only asks."""
        for order in orders:
            state = self._all.get(order.place)
            if state is not None:
                state.unsure, state.ordered, state.ordering = True, 0, False

    def posted(self, windows: Sequence[WindowState]) -> None:
        """The ledger has written a batch of this process: the windows' figures, and what is left of the leases.

        `written` must follow with the ids; in between, what was used counts twice, which admits too little, never too
        much.
        """
        for window in windows:
            state = self._all.get((f"budget:{window.budget_id}", window.starts_at, window.definition))
            if state is None:
                continue
            state.settled = window.settled
            if window.version > state.version:
                state.leased, state.version = window.leased, window.version

    def written(self, request_ids: Iterable[str]) -> None:
        """These requests are in the ledger: what they used is settled."""
        for request_id in request_ids:
            for state, amount in self._unwritten.pop(request_id, ()):
                state.used -= amount

    @property
    def holds_leases(self) -> bool:
        return bool(self._awake)

    def places(self) -> list[tuple[str, datetime, str]]:
        """The windows in use here, to be looked at."""
        looked = [*self._fresh, *itertools.islice(self._awake, MOST_RESTING)]
        return [state.place for state in looked if not state.retired]

    # --- inside ---------------------------------------------------------------------------------------------
    def _heard(self, state: State, answer: Answer) -> None:
        if answer.version >= state.version:
            # An older one than the ledger's own news would bring back what was settled and held before it.
            state.leased, state.version = answer.leased, answer.version
            state.settled, state.elsewhere = answer.settled, max(0, answer.held - answer.leased)
        state.limit = answer.limit
        state.heard = True
        state.wanted = answer.wanted
        if answer.wanted:
            self._wake(state)

    def _state(self, allowance: Allowance, now: datetime) -> State:
        """The state that counts what happens at `now`; the clock may have been set, in both directions."""
        state = self._current.get(allowance.key)
        if state is not None and state.allowance.definition == allowance.definition:
            window = state.window
            if window.starts_at <= now and (window.ends_at is None or now < window.ends_at):
                return state
        elif state is not None and not state.retired:
            # An exchange under an older configuration than the book's.
            return self._at(allowance, allowance.window(now))
        state = self._at(allowance, allowance.window(now))
        if not state.retired:
            self._current[allowance.key] = state
        return state

    def _counting(self, allowance: Allowance, current: State | None, when: datetime) -> State:
        """The state that counts what happened at a moment; a window of the past does not become the current one."""
        if current is not None:
            window = current.window
            if window.starts_at <= when and (window.ends_at is None or when < window.ends_at):
                return current
        return self._at(allowance, allowance.window(when))

    def _at(self, allowance: Allowance, window: Window) -> State:
        place = (allowance.key, window.starts_at, allowance.definition)
        state = self._all.get(place)
        if state is None:
            state = self._all[place] = State(allowance, window, allowance.limit, allowance.definition)
            state.turns_at = next(iter(allowance.turns), None)
        return state

    def _wake(self, state: State) -> None:
        if not state.fresh:
            state.fresh = True
            self._fresh.append(state)

    def _idle(self, state: State, now: datetime) -> bool:
        return state.touched is None or now - state.touched > IDLE

    def _reach_ahead(self, now: datetime) -> None:
        """Make the next window of what is in use, so that its first request finds a lease."""
        for state in list(self._fresh):
            ends_at = state.window.ends_at
            if ends_at is None or not state.allowance.leased or ends_at - now > AHEAD:
                continue
            if state.touched is None or now - state.touched > IDLE or now >= ends_at:
                continue
            ahead = self._at(state.allowance, state.allowance.window(ends_at))
            if ahead.touched is None:
                ahead.touched, ahead.rate, ahead.need = now, state.rate, state.need
                self._wake(ahead)

    def _order(self, state: State, now: datetime, needs: list[int], closing: bool) -> Order | None:
        elapsed = (now - state.seen_at).total_seconds() if state.seen_at else 0.0
        state.seen_at = now
        if elapsed > 0:
            share = min(1.0, elapsed)
            state.rate += share * (state.taken / elapsed - state.rate)
            state.taken = 0
        if state.touched is not None and state.touched > now:
            state.touched = now  # the clock was set back
        if state.dry_until is not None and state.dry_until > now + DRY:
            state.dry_until = state.futile_until = None
        if state.unsure:
            return Order(state.allowance, state.window)
        if state.turns_at is not None and now >= state.turns_at:
            state.recall, state.dry_until = True, None
        over = state.window.ends_at is not None and now >= state.window.ends_at
        done = over or state.retired or closing
        idle = self._idle(state, now)
        used = state.used if state.allowance.unit in {Unit.REQUESTS, Unit.TOKENS} else 0
        give = want = 0
        free, target, waited_for = state.free, state.target(), bool(needs)
        if not state.allowance.leased or state.recall:
            # Asked for anew under the limit of now, where somebody waits.
            give = max(0, free)
        elif done and not waited_for:
            # What a retired state used is settled elsewhere; what runs still needs its part.
            give = max(0, state.leased - state.reserved - state.returning - (0 if state.retired else state.used))
        elif (state.wanted or idle) and not waited_for:
            give = max(0, free)
        elif free > 2 * target and not waited_for:
            give = free - target
        elif free < target / 2 and not idle and (state.dry_until is None or now >= state.dry_until):
            want = target - free
        least, need = _missing(needs, free - give)
        if not (need or give or want or used or (state.recall and state.leased)):
            state.recall = False
            return None
        state.returning += give
        state.ordered, state.asked = used, least
        return Order(state.allowance, state.window, least, need, max(want, need), give, used)

    def _forget(self, now: datetime) -> None:
        """Drop what sleeps for long; only now and then, since it looks at every state."""
        if self._swept is not None and abs(now - self._swept) < FORGET / 4:
            return
        self._swept = now
        for place, state in list(self._all.items()):
            quiet = state.touched is None or now - state.touched > FORGET or now + FORGET < state.touched
            unused = not (state.running or state.leased or state.returning or state.unsure or state.ordering)
            resting = not (state.fresh or state.awake)
            if (quiet or state.retired) and unused and resting and (state.retired or not state.used):
                del self._all[place]
                if self._current.get(place[0]) is state:
                    del self._current[place[0]]

    def _exhausted(self, state: State, need: int, now: datetime) -> Exhausted:
        resets_at = state.window.ends_at
        allowance = state.allowance
        if allowance.rolls and allowance.period is not None:
            # Room comes back bit by bit as charges leave the window: this is when to look again.
            resets_at = now + (timedelta(hours=1) if allowance.period.kind == "hour" else timedelta(days=1))
        if allowance.unit is Unit.CONCURRENT:
            resets_at = now + timedelta(seconds=1)
        seconds = (resets_at - now).total_seconds() if resets_at else 0.0
        return Exhausted(
            allowance,
            state.limit,
            state.settled + state.used,
            state.reserved + state.elsewhere,
            need,
            resets_at,
            max(1, int(-(-seconds // 1))),
        )


def _needs(waiting: Sequence[Short]) -> dict[int, list[int]]:
    """What each of those who wait needs free, by state."""
    needs: dict[int, list[int]] = {}
    for short in waiting:
        for state, need in short.missing:
            needs.setdefault(id(state), []).append(need)
    return needs


def _missing(needs: list[int], free: int) -> tuple[int, int]:
    """(least, all) that must come for those whom the free part does not serve: the least helps one more of them."""
    left = free
    for need in sorted(needs):
        if need > left:
            return need - left, sum(needs) - free
        left -= need
    return 0, 0
