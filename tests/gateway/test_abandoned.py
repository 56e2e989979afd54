"""Requests whose client left are read on in bounded number and for a bounded time."""

from __future__ import annotations

import asyncio

import pytest

from gateway.abandoned import Abandoned


async def _endless() -> None:
    await asyncio.Event().wait()


async def test_one_too_many_is_given_up_at_once_and_the_others_are_read_on() -> None:
    abandoned = Abandoned(most=2, seconds=60)
    tasks = [asyncio.create_task(_endless()) for _ in range(3)]
    await asyncio.sleep(0)
    for task in tasks:
        abandoned.add(task)
    with pytest.raises(asyncio.CancelledError):
        await tasks[2]
    assert [abandoned.is_given_up(task) for task in tasks] == [False, False, True]
    assert [task.done() for task in tasks] == [False, False, True]
    # The first one ends: its place is free again.
    abandoned.discard(tasks[0])
    assert len(abandoned) == 1
    for task in tasks:
        abandoned.discard(task)
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    assert len(abandoned) == 0


async def test_none_is_read_for_longer_than_is_set() -> None:
    abandoned = Abandoned(most=2, seconds=0.05)
    task = asyncio.create_task(_endless())
    abandoned.add(task)
    abandoned.add(task)  # told twice: counted once
    assert len(abandoned) == 1
    with pytest.raises(asyncio.CancelledError):
        async with asyncio.timeout(5):
            await task
    assert abandoned.is_given_up(task)
    assert len(abandoned) == 0
    abandoned.discard(task)
    assert not abandoned.is_given_up(task)


async def test_one_that_ends_in_time_is_left_alone() -> None:
    abandoned = Abandoned(most=2, seconds=0.05)
    task = asyncio.create_task(asyncio.sleep(0.15, result="answer"))
    abandoned.add(task)
    abandoned.discard(task)
    assert await task == "answer"
