"""A connection whose client does not take its last answer does not stay open for ever."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from gateway.connections import Connections
from gateway.line import direct
from gateway.line.direct import Front


class Transport:
    """A connection's buffer, in bytes that the client has not taken, and what was done to it."""

    def __init__(self) -> None:
        self.left = 0
        self.ended = ""

    def get_write_buffer_size(self) -> int:
        return self.left

    def close(self) -> None:
        self.ended = "closed"

    def abort(self) -> None:
        self.ended = "aborted"


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


CLOCK = Clock()
IDLE_SECONDS = 75.0


def sweep() -> None:
    """Look after the connections when one has been idle for as long as it may."""
    CLOCK.now += IDLE_SECONDS
    direct.CONNECTIONS.sweep()


@pytest.fixture
def front(monkeypatch: pytest.MonkeyPatch) -> Any:
    """An answered connection."""
    monkeypatch.setattr(direct, "CONNECTIONS", Connections(idle_seconds=IDLE_SECONDS, clock=CLOCK))
    made = Front.__new__(Front)
    made.transport = Transport()  # type: ignore[assignment]
    made.cycle = SimpleNamespace(response_complete=True)
    assert direct.CONNECTIONS.opened(made)
    direct.CONNECTIONS.asked(made)
    direct.CONNECTIONS.idle(made)
    return made


def test_one_that_has_taken_all_is_closed(front: Any) -> None:
    sweep()
    assert front.transport.ended == "closed"


def test_one_that_takes_nothing_is_aborted_at_the_second_look(front: Any) -> None:
    front.transport.left = 1000
    sweep()
    assert front.transport.ended == ""
    sweep()
    assert front.transport.ended == "aborted"


def test_one_that_still_takes_its_answer_is_waited_for(front: Any) -> None:
    for left in (1000, 600, 300):
        front.transport.left = left
        sweep()
        assert front.transport.ended == ""
    front.transport.left = 0
    sweep()
    assert front.transport.ended == "closed"


def test_a_drain_leaves_the_answer_to_its_own_deadline(front: Any) -> None:
    direct.CONNECTIONS.draining = True
    front.transport.left = 1000
    for _ in range(3):
        sweep()
    assert front.transport.ended == ""
