"""The bookkeeping of client connections, with a clock that the test moves."""

from __future__ import annotations

from gateway.connections import QUIET_SECONDS, SPARE, SPARE_SECONDS, TOLD_SECONDS, Connections


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


class Line:
    """A connection that notes what is asked of it."""

    def __init__(self) -> None:
        self.asked: list[str] = []

    def head_overdue(self) -> None:
        self.asked.append("head overdue")

    def body_overdue(self) -> None:
        self.asked.append("body overdue")

    def end_keep_alive(self) -> None:
        self.asked.append("last answer")

    def close_unused(self) -> None:
        self.asked.append("close")


def made(most: int = 100) -> tuple[Connections, Clock]:
    clock = Clock()
    return Connections(most=most, head_seconds=30, body_seconds=60, idle_seconds=75, clock=clock), clock


def after(connections: Connections, clock: Clock, seconds: float) -> None:
    clock.now += seconds
    connections.sweep()


def answered(connections: Connections) -> Line:
    """A connection that is idle after its first answer."""
    line = Line()
    connections.opened(line)
    connections.head_waits(line)
    connections.asked(line)
    connections.idle(line)
    return line


def test_a_connection_without_a_byte_is_closed_after_the_time_of_a_head() -> None:
    connections, clock = made()
    line = Line()
    assert connections.opened(line)
    after(connections, clock, 29.9)
    assert line.asked == []
    after(connections, clock, 0.1)
    assert line.asked == ["close"]


def test_a_head_that_trickles_is_closed_whatever_comes_in_between() -> None:
    connections, clock = made()
    line = Line()
    connections.opened(line)
    clock.now += 20
    connections.head_waits(line)
    after(connections, clock, 29.9)
    assert line.asked == []
    after(connections, clock, 0.1)
    assert line.asked == ["head overdue"]


def test_a_whole_head_has_no_limit_any_more() -> None:
    connections, clock = made()
    line = Line()
    connections.opened(line)
    connections.head_waits(line)
    connections.asked(line)
    after(connections, clock, 10_000)
    assert line.asked == []


def test_a_body_may_take_long_but_not_be_silent() -> None:
    connections, clock = made()
    line = Line()
    connections.opened(line)
    connections.head_waits(line)
    connections.asked(line)
    for _ in range(10):
        connections.body_waits(line)
        after(connections, clock, 59)
    assert line.asked == []
    after(connections, clock, 1)
    assert line.asked == ["body overdue"]
    after(connections, clock, TOLD_SECONDS)
    assert line.asked == ["body overdue", "close"]


def test_a_body_that_goes_on_after_it_was_overdue_is_not_closed() -> None:
    connections, clock = made()
    line = Line()
    connections.opened(line)
    connections.head_waits(line)
    connections.asked(line)
    connections.body_waits(line)
    after(connections, clock, 60)
    connections.body_waits(line)
    after(connections, clock, 30)
    assert line.asked == ["body overdue"]
    connections.body_ended(line)
    after(connections, clock, 1000)
    assert line.asked == ["body overdue"]


def test_idle_connections_are_closed_in_the_order_in_which_they_became_idle() -> None:
    connections, clock = made()
    first, second = answered(connections), answered(connections)
    clock.now += 10
    connections.head_waits(first)
    connections.asked(first)
    connections.idle(first)
    after(connections, clock, 65)
    assert (first.asked, second.asked) == ([], ["close"])
    after(connections, clock, 10)
    assert first.asked == ["close"]


def test_without_room_the_longest_idle_one_goes() -> None:
    connections, clock = made(2)
    old, young = answered(connections), answered(connections)
    clock.now += QUIET_SECONDS
    assert connections.opened(Line())
    assert (old.asked, young.asked) == (["close"], [])
    assert len(connections) == 2


def test_without_room_and_nothing_idle_for_long_a_new_one_is_refused() -> None:
    connections, _clock = made(2)
    busy, recent = Line(), answered(connections)
    connections.opened(busy)
    late = Line()
    assert not connections.opened(late)
    assert (busy.asked, recent.asked, late.asked) == ([], [], [])
    assert connections.refused == 1
    connections.closed(busy)
    assert connections.opened(Line())


def test_refused_ones_that_stay_silent_are_closed_and_too_many_at_once() -> None:
    connections, clock = made(1)
    connections.opened(Line())
    refused = [Line() for _ in range(SPARE + 1)]
    assert not any(connections.opened(line) for line in refused)
    assert [line.asked for line in refused] == [[]] * SPARE + [["close"]]
    after(connections, clock, SPARE_SECONDS)
    assert refused[0].asked == ["close"]


def test_a_drain_lets_answers_end_and_closes_the_idle_once_they_are_quiet() -> None:
    connections, clock = made()
    long_idle = answered(connections)
    clock.now += 10
    busy, just_idle, silent = Line(), answered(connections), Line()
    connections.opened(busy)
    connections.head_waits(busy)
    connections.asked(busy)
    connections.opened(silent)
    connections.drain()
    assert connections.draining
    assert long_idle.asked == ["last answer", "close"]
    assert [busy.asked, just_idle.asked, silent.asked] == [["last answer"]] * 3
    after(connections, clock, QUIET_SECONDS)
    assert busy.asked == ["last answer"]
    assert just_idle.asked == silent.asked == ["last answer", "close"]


def test_what_is_closed_is_forgotten_in_every_phase() -> None:
    connections, clock = made()
    line = Line()
    connections.opened(line)
    connections.head_waits(line)
    connections.body_waits(line)
    connections.closed(line)
    connections.closed(line)
    connections.idle(line)
    after(connections, clock, 1000)
    assert (line.asked, len(connections)) == ([], 0)
