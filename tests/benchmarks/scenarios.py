"""What is measured: each scenario on each side, interleaved, and the medians of its repeats.

CPU and requests per second come from a closed loop that keeps the side at its limit, times from an open loop of a few
requests a second. A side that logs has written every row before its CPU is read: the writing belongs to the requests.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from tests.benchmarks import native, traffic
from tests.benchmarks.machine import Cost, seconds
from tests.benchmarks.native import Answers, Job, Mock
from tests.benchmarks.sides import Side

Row = dict[str, Any]


@dataclass(frozen=True)
class Scenario:
    """A kind of request. `connections` are kept busy in the closed loop, `rate` is of the open loop."""

    key: str
    title: str
    answer: str
    """The mock's name for what it answers."""
    body_bytes: int = 2_000
    connections: int = 32
    rate: float = 20.0
    stream: bool = False
    streams: int = 0
    """Open so many slow streams at once instead; `rate` and `connections` do not apply."""


SCENARIOS = (
    Scenario("2kb", "2 KB body, 1 KB JSON answer", "json"),
    Scenario("100kb", "100 KB body, 1 KB JSON answer", "json", 100_000),
    Scenario("1mb", "1 MB body, 1 KB JSON answer", "json", 1_000_000),
    Scenario("8mb", "8 MB body, 1 KB JSON answer", "json", 8_000_000, connections=8, rate=4),
    Scenario("paced", "stream of 300 events 5 ms apart", "paced", connections=16, stream=True),
    Scenario("burst", "stream of 300 events at once", "burst", stream=True),
    Scenario("slow500", "500 slow streams at once", "slow", stream=True, streams=500),
    Scenario("slow2000", "2,000 slow streams at once", "slow", stream=True, streams=2_000),
)
BY_KEY = {scenario.key: scenario for scenario in SCENARIOS}


MOST_WARM_SECONDS = 10.0


class Failed(Exception):
    """A stretch with failures, or an answer that came through changed; the message says which."""


@dataclass(frozen=True)
class Pace:
    """How long and how often is measured, in seconds of each stretch."""

    busy: float = 3.0
    calm: float = 5.0
    repeats: int = 3
    ramp: float = 0.0
    """Seconds within which slow streams are opened."""
    slow_events: int = 20
    """Events of a slow stream, one each half second: streams that are opened at once are all open at once."""


class Meter:
    """Runs stretches of load against sides and reads what they cost."""

    def __init__(self, program: Path, folder: Path, mock: Mock, say: Callable[[str], None]) -> None:
        self._program, self._folder, self._mock, self._say = program, folder, mock, say
        self._sizes: dict[str, int] = {}

    def stretch(self, scenario: Scenario, side: Side, job: Job, peak: list[Cost] | None = None) -> tuple[Answers, Row]:
        """One stretch: what the client saw, and what it cost for each request. Raises Failed."""
        body = traffic.body(scenario.body_bytes, scenario.stream)
        head = traffic.head(side.prefix, scenario.answer, len(body))
        side.pin()
        sample = None if peak is None else (lambda: peak.append(side.cost()))
        before, database, mock = side.cost(), side.database_seconds(), seconds(self._mock.pid)
        answers = native.load(self._program, self._folder, side.port, head, body, side.secrets, job, sample)
        if answers.failed:
            raise Failed(
                f"{scenario.title}, {side.name}: {answers.failed:,} of {answers.requests + answers.failed:,} failed: "
                + ", ".join(f"{count} {kind}" for kind, count in answers.failures.items() if count)
                + (f" (the last status was {answers.odd_status})" if answers.odd_status else "")
            )
        self._same_answer(scenario, side, answers)
        behind = answers.cpu_seconds + seconds(self._mock.pid) - mock
        side.sent += answers.requests
        lag = side.written()
        after, database_after = side.cost(), side.database_seconds()
        requests = max(1, answers.requests)
        took = max(answers.seconds, 1e-6)
        row: Row = {
            "requests": answers.requests,
            "requests_per_s": answers.requests / took,
            "load_core_percent": behind * 100 / took,
            "cpu_ms": (after.main + after.children - before.main - before.children) * 1000 / requests,
        }
        if side.logs:
            row["cpu_ms_main"] = (after.main - before.main) * 1000 / requests
            row["cpu_ms_writer"] = (after.children - before.children) * 1000 / requests
            row["log_lag_s"] = lag
        if database is not None and database_after is not None:
            row["cpu_ms_database"] = (database_after - database) * 1000 / requests
        return answers, row

    def _same_answer(self, scenario: Scenario, side: Side, answers: Answers) -> None:
        """Every answer of a scenario has the same size, on every side: nothing was lost or added on the way."""
        if not answers.requests:
            raise Failed(f"{scenario.title}, {side.name}: no answer came at all")
        least, most = answers.body_bytes
        known = self._sizes.setdefault(scenario.answer, least)
        if least != most or least != known:
            raise Failed(f"{scenario.title}, {side.name}: answers of {least} to {most} bytes instead of {known}")

    def measure(self, scenario: Scenario, sides: Iterable[Side], pace: Pace, *, calm: bool = True) -> list[Row]:
        """A row for each side, medians of the repeats; `calm` adds the open loop and its times."""
        chosen = list(sides)
        if scenario.streams:
            return [self._slow(scenario, side, pace) for side in chosen if side.name != "direct"]
        busy: dict[str, list[Row]] = {side.name: [] for side in chosen}
        first: dict[str, list[int]] = {side.name: [] for side in chosen}
        total: dict[str, list[int]] = {side.name: [] for side in chosen}
        for number in range(pace.repeats):
            for side in chosen:
                self._say(f"{scenario.title}: {side.name}, {number + 1} of {pace.repeats}")
                if calm:
                    job = Job(connections=64, seconds=pace.calm, rate=scenario.rate)
                    answers, _ = self.stretch(scenario, side, job)
                    first[side.name] += answers.first
                    total[side.name] += answers.total
                busy[side.name].append(
                    self.stretch(scenario, side, Job(connections=scenario.connections, seconds=pace.busy))[1]
                )
        rows = []
        for side in chosen:
            row = _medians(scenario, side, busy[side.name])
            if calm:
                row |= _times("first", first[side.name], first.get("direct"))
                row |= _times("total", total[side.name], total.get("direct"))
            rows.append(row)
        return rows

    def _slow(self, scenario: Scenario, side: Side, pace: Pace) -> Row:
        """All streams at once on fresh processes, which have served a few requests."""
        self._say(f"{scenario.title}: {side.name}")
        side.restart()
        self.warm(side, 0.3)
        before = side.cost()
        peak: list[Cost] = []
        scenario = replace(scenario, answer=f"slow-{pace.slow_events}-500")
        job = Job(connections=scenario.streams, streams=True, ramp=pace.ramp, failures=scenario.streams)
        try:
            answers, row = self.stretch(scenario, side, job, peak)
        except Failed as failed:
            # A side that does not hold the streams is a result; its books can no longer be compared with ours.
            side.broken = str(failed)
            return {"scenario": scenario.key, "title": scenario.title, "side": side.name, "failed": side.broken}
        row = _medians(scenario, side, [row]) | _times("first", list(answers.first), None)
        resident, files = max(c.resident for c in peak), max(c.files for c in peak)
        return row | {
            "streams": scenario.streams,
            "open_at_once": answers.peak_streams,
            "kb_per_stream": (resident - before.resident) / scenario.streams / 1000,
            "resident_mb": resident / 1e6,
            "files_per_stream": (files - before.files) / scenario.streams,
        }

    def warm(self, side: Side, for_seconds: float) -> None:
        """Let a side's connections, caches and code settle; each key is used at least once."""
        scenario = replace(BY_KEY["2kb"], title="warming up")
        while True:
            answers, _ = self.stretch(scenario, side, Job(connections=32, seconds=for_seconds))
            if answers.requests >= len(side.secrets) or for_seconds > MOST_WARM_SECONDS:
                return
            for_seconds *= 2


def _medians(scenario: Scenario, side: Side, rows: list[Row]) -> Row:
    medians = {name: statistics.median(row[name] for row in rows) for name in rows[0]}
    return {"scenario": scenario.key, "title": scenario.title, "side": side.name, **medians}


def _times(name: str, microseconds: list[int], direct: list[int] | None) -> Row:
    """p50 and p99 in milliseconds; with `direct`, also what comes on top of it."""
    row: Row = {}
    for share, label in ((0.5, "p50"), (0.99, "p99")):
        row[f"{name}_{label}_ms"] = percentile(microseconds, share) / 1000
        if direct is not None:
            added = percentile(microseconds, share) - percentile(direct, share)
            row[f"added_{name}_{label}_ms"] = added / 1000
    return row


def percentile(values: list[int], share: float) -> float:
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(len(ordered) * share))] if ordered else 0.0
