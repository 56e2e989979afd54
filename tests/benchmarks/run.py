"""One run of the benchmark: the sides side by side, then each variant of the gateway beside the first one."""

from __future__ import annotations

import sys
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.benchmarks.machine import Cores
from tests.benchmarks.native import Mock
from tests.benchmarks.report import Row
from tests.benchmarks.scenarios import BY_KEY, SCENARIOS, Failed, Meter, Pace
from tests.benchmarks.sides import Direct, Gateway, Nginx, Relay, Side
from tests.functional.product import database

SIDES = ("direct", "nginx", "relay", "gateway")
VARIANTS = ("database", "keys", "workers", "hard")
"""Gateways that differ from the first in one thing: the other database, many keys, several workers, hard budgets."""
VARIANT_SCENARIOS = ("2kb", "100kb", "paced")


@dataclass(frozen=True)
class Choice:
    """What to measure, and how."""

    scenarios: list[str]
    sides: list[str]
    variants: list[str]
    pace: Pace
    cores: Cores
    nginx: str | None
    """The program; None where there is none."""
    database: str
    enforcement: str
    workers: int
    keys: int
    keys_used: int
    client: str


@dataclass
class Result:
    """`books` are the audited sums of each gateway; rows of a variant carry its name as their `group`."""

    rows: list[Row] = field(default_factory=list)
    books: dict[str, dict[str, int]] = field(default_factory=dict)
    database: str = ""


def measure(choice: Choice, programs: dict[str, Path], folder: Path) -> Result:
    """Everything that was chosen. Raises Failed where a request failed or the books do not foot: the run is void."""
    result = Result()
    with ExitStack() as stack:
        mock = stack.enter_context(Mock(programs["mock"]))
        meter = Meter(programs["load"], folder, mock, lambda text: print(text, file=sys.stderr, flush=True))
        sides: list[Side] = []
        for name in choice.sides:
            match name:
                case "direct":
                    sides.append(Direct(choice.cores, mock))
                case "nginx" if choice.nginx:
                    sides.append(Nginx(choice.cores, mock, folder, choice.nginx))
                case "relay":
                    sides.append(Relay(choice.cores, mock, folder, choice.client))
                case "gateway":
                    sides.append(_gateway(stack, choice, mock, folder))
        for side in sides:
            _begin(stack, meter, side, choice.pace)
        for scenario in SCENARIOS:
            if scenario.key in choice.scenarios:
                result.rows += meter.measure(scenario, sides, choice.pace)
        for gateway in sides:
            if isinstance(gateway, Gateway):
                for name in choice.variants:
                    _variant(name, choice, gateway, meter, mock, folder, result)
                result.books[gateway.name] = _footed(gateway)
                result.database = gateway.books.version() if gateway.books else ""
    return result


def _gateway(stack: ExitStack, choice: Choice, mock: Mock, folder: Path, **different: Any) -> Gateway:
    kind = different.pop("database", choice.database)
    url = stack.enter_context(database(kind))
    made = Gateway(choice.cores, mock, folder, database_url=url, **{"enforcement": choice.enforcement, **different})
    stack.callback(made.close)
    return made


def _begin(stack: ExitStack, meter: Meter, side: Side, pace: Pace) -> None:
    stack.callback(side.stop)
    side.start()
    meter.warm(side, min(1.0, pace.busy))


def _variant(
    name: str, choice: Choice, gateway: Gateway, meter: Meter, mock: Mock, folder: Path, result: Result
) -> None:
    """One variant beside the gateway, at the limit alone; it is ended again before the next one."""
    different: dict[str, Any]
    match name:
        case "database":
            kind = "postgres" if choice.database == "sqlite" else "sqlite"
            group, different = kind, {"database": kind}
        case "keys":
            group = f"{choice.keys:,} keys"
            different = {"keys": choice.keys, "used": min(choice.keys, choice.keys_used)}
        case "workers":
            group, different = f"{choice.workers} workers", {"workers": choice.workers}
        case _:
            group, different = "hard budgets", {"enforcement": "hard"}
    with ExitStack() as stack:
        other = _gateway(stack, choice, mock, folder, name=f"gateway, {group}", **different)
        _begin(stack, meter, other, choice.pace)
        for key in VARIANT_SCENARIOS:
            if key in choice.scenarios:
                pair = meter.measure(BY_KEY[key], [gateway, other], choice.pace, calm=False)
                result.rows += [{**row, "group": group} for row in pair]
        result.books[other.name] = _footed(other)


def _footed(gateway: Gateway) -> dict[str, int]:
    """The figures of books that foot; nothing where requests failed, which its row says."""
    if gateway.broken:
        return {}
    try:
        return gateway.verify()
    except AssertionError as error:
        raise Failed(f"{gateway.name}: {error}") from error
