"""Requests whose client has left: their provider is read on for what it says it used, within bounds.

What a provider has begun it charges, whether somebody listens or not: only its end says how much. So that nobody can
have it work for nobody without end, few are read on at once, and none for long; the others are given up and estimated.
"""

from __future__ import annotations

import asyncio
from typing import Any


class Abandoned:
    """Those of one process; used in its event loop."""

    def __init__(self, *, most: int, seconds: float) -> None:
        self._most = most
        self._seconds = seconds
        self._timers: dict[asyncio.Task[Any], asyncio.TimerHandle] = {}
        self._given_up: set[asyncio.Task[Any]] = set()

    def __len__(self) -> int:
        return len(self._timers)

    def add(self, task: asyncio.Task[Any]) -> None:
        """The client of the request that runs in this task has left. The task is cancelled when its time is over."""
        if task in self._timers or task in self._given_up:
            return
        if len(self._timers) >= self._most:
            self.give_up(task)
        else:
            self._timers[task] = asyncio.get_running_loop().call_later(self._seconds, self.give_up, task)

    def give_up(self, task: asyncio.Task[Any]) -> None:
        """Read no further for this one."""
        self._forget_timer(task)
        self._given_up.add(task)
        task.cancel()

    def is_given_up(self, task: asyncio.Task[Any]) -> bool:
        """Whether the cancellation of a task came from here."""
        return task in self._given_up

    def discard(self, task: asyncio.Task[Any]) -> None:
        """The request has ended; harmless for one that was never added."""
        self._forget_timer(task)
        self._given_up.discard(task)

    def _forget_timer(self, task: asyncio.Task[Any]) -> None:
        timer = self._timers.pop(task, None)
        if timer is not None:
            timer.cancel()
