"""Keeps the book supplied: one task asks the database for slices, gives back what is not needed, and hears the others.

The request path asks only where its own slices do not reach (`ask`), and then waits for the next round, in which
everybody who waits is served at once. Rounds run one at a time, in a thread with a connection of its own.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TypeVar

from django.db import close_old_connections, connections

from governance import leases
from governance.allowance_rows import Place
from governance.domain.allowance import Answer, Order
from governance.domain.book import Book, Short

log = logging.getLogger(__name__)
_Result = TypeVar("_Result")

TICK_SECONDS = 0.25
"""How often slices are looked after: what another process wants goes back within this."""
LOOK_SECONDS = 1.0
"""How often the figures of the other processes are read, for what people see."""
BEAT_SECONDS = 2.0
"""Between two signs of life."""
ANSWER_SECONDS = 5.0
"""After so long without an answer the database counts as away."""


STOP_SECONDS = 5.0
"""Longest wait for the leases to go back at the end."""


class Away(Exception):
    """The database cannot be asked now."""


@dataclass(slots=True)
class _Heard:
    answers: list[Answer]
    gone: list[Order]
    looked: list[Answer]


class Leasing:
    """One for each process. `reload` follows the configuration at once: a window is not what this process believes."""

    def __init__(self, book: Book, owner: str, reload: Callable[[], Awaitable[None]]) -> None:
        self.book = book
        self.owner = owner
        self._reload = reload
        self._waiting: list[tuple[Short, asyncio.Future[None]]] = []
        self._wake = asyncio.Event()
        self._thread = ThreadPoolExecutor(1, "leases")
        self._task: asyncio.Task[None] | None = None
        self._round_began = 0.0
        self._looked = self._beaten = 0.0
        self._processes = 1
        self._registered = False
        self.problem = ""
        """Why the last round failed; empty while all is well."""

    def start(self) -> None:
        self._task = asyncio.get_running_loop().create_task(self._run())

    @property
    def away(self) -> bool:
        """Whether asking makes no sense now."""
        stuck = self._round_began and time.monotonic() - self._round_began > ANSWER_SECONDS
        return bool(self.problem or stuck)

    async def ask(self, short: Short) -> None:
        """Have what is missing asked for in the next round. Raises Away."""
        if self.away:
            self._wake.set()
            raise Away(self.problem or "The database does not answer.")
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append((short, future))
        self._wake.set()
        try:
            await asyncio.wait_for(future, ANSWER_SECONDS)
        except TimeoutError:
            raise Away("The database does not answer.") from None

    async def stop(self, *, written: bool) -> bool:
        """Give every lease back, once the ledger is written; False where it is not, or the database is away.

        Then they stay held until the spool of this process was replayed: what it still has to charge is covered.
        """
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        try:
            if not written:
                return False
            await asyncio.wait_for(self._in_thread(self._close), STOP_SECONDS)
        except Exception as error:
            log.warning("The leases of this process could not be given back: %s", error)
            return False
        finally:
            self._thread.submit(connections.close_all)
            self._thread.shutdown(wait=False)
        return True

    async def _run(self) -> None:
        while True:
            with contextlib.suppress(TimeoutError):
                # Not `wait_for`: it would make a task for each tick.
                async with asyncio.timeout(TICK_SECONDS):
                    await self._wake.wait()
            self._wake.clear()
            try:
                await self._round()
            except Exception as error:
                # Whatever it is, budgets must go on being followed; until then `away` and /readyz say so.
                log.exception("A round with the budgets and limits failed")
                self.problem = f"{type(error).__name__}: {error}"
                await asyncio.sleep(TICK_SECONDS)

    async def _round(self) -> None:
        waiting, self._waiting = self._waiting, []
        # Who left or gave up waiting needs nothing any more.
        waiting = [(short, future) for short, future in waiting if not future.done()]
        now = datetime.now(UTC)
        orders = self.book.orders(now, [short for short, _ in waiting])
        clock = time.monotonic()
        look = clock - self._looked >= LOOK_SECONDS
        places = self.book.places() if look else []
        share = self.book.holds_leases
        self._round_began = clock
        try:
            heard = await self._in_thread(lambda: self._talk(orders, places, share, now))
        except Exception as error:
            if not self.problem:
                log.warning("Budgets and limits cannot be followed: %s: %s", type(error).__name__, error)
            self.problem = f"{type(error).__name__}: {str(error).strip()[:300]}"
            self.book.failed(orders)
            for _, future in waiting:
                if not future.done():
                    future.set_exception(Away(self.problem))
            await asyncio.sleep(TICK_SECONDS)
            return
        finally:
            self._round_began = 0.0
        if self.problem:
            log.info("Budgets and limits are followed again.")
            self.problem = ""
        if look:
            self._looked = clock
        self.book.looked(heard.looked)
        self.book.answered(heard.answers, now)
        if heard.gone:
            self.book.void(heard.gone)
            await self._reload()
        for _, future in waiting:
            if not future.done():
                future.set_result(None)

    def _talk(self, orders: list[Order], places: list[Place], share: bool, now: datetime) -> _Heard:
        """One round with the database, in the thread. With `share`, hear what the others want back."""
        close_old_connections()
        if not self._registered:
            leases.register(self.owner, now)
            self._registered = True
        if time.monotonic() - self._beaten >= BEAT_SECONDS:
            self._processes = leases.beat(self.owner)
            self._beaten = time.monotonic()
        answers: list[Answer] = []
        gone: list[Order] = []
        if orders:
            answers, gone = leases.exchange(self.owner, orders, processes=self._processes, now=now)
        ordered = {order.place for order in orders}
        if share and not places:
            places = leases.wanted(self.owner)
        looked = leases.look(self.owner, [place for place in places if place not in ordered])
        return _Heard(answers, gone, looked)

    def _close(self) -> None:
        close_old_connections()
        now = datetime.now(UTC)
        orders = self.book.orders(now, closing=True)
        if orders:
            leases.exchange(self.owner, orders, processes=1, now=now)
        leases.recover(self.owner, note="ended in order")

    async def _in_thread(self, work: Callable[[], _Result]) -> _Result:
        return await asyncio.get_running_loop().run_in_executor(self._thread, work)
