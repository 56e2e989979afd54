"""`make bench`: the same load straight to a provider, through a bare relay and through the gateway, interleaved.

The gateway runs on one core, the provider and the load client on the other. It runs as in production: keys, budgets,
the request log in the database, metrics. Only ratios within one run count: the machine's speed varies.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

from tests.functional.product import ROOT, Product, database, free_port


@dataclass(frozen=True)
class Scenario:
    name: str
    kind: str
    body_bytes: int
    stream: bool = False


SCENARIOS = (
    Scenario("2 KB body, 1 KB JSON answer", "json", 2_000),
    Scenario("100 KB body, 1 KB JSON answer", "json", 100_000),
    Scenario("1 MB body, 1 KB JSON answer", "json", 1_000_000),
    Scenario("paced stream of 300 events", "paced", 2_000, stream=True),
    Scenario("burst stream of 300 events", "burst", 2_000, stream=True),
)
SIDES = ("direct", "relay", "gateway")
"""Straight to the provider, through the floor of the same libraries (`relay.py`), and through Comptroller."""
GATEWAY_CORE, LOAD_CORE = 0, 1


class Bench:
    """A mock provider, a product whose provider it is, and the load client."""

    def __init__(self, folder: Path, database_url: str) -> None:
        self.output = folder / "load.json"
        self.mock = subprocess.Popen(
            [sys.executable, "-m", "tests.benchmarks.mock"], cwd=ROOT, stdout=subprocess.PIPE, text=True
        )
        assert self.mock.stdout is not None
        self.mock_port = int(self.mock.stdout.readline().split()[-1])
        psutil.Process(self.mock.pid).cpu_affinity([LOAD_CORE])
        self.product = Product(folder, database_url=database_url).prepare()
        self.product.apply(
            {
                "providers": [
                    {
                        "name": kind,
                        "kind": "anthropic",
                        "base_url": f"http://127.0.0.1:{self.mock_port}/{kind}",
                        "credentials": [{"name": "main", "secret_env": "BENCH_CREDENTIAL"}],
                    }
                    for kind in ("json", "paced", "burst")
                ],
                "customers": [
                    {
                        "name": "Bench",
                        "budgets": [{"limit_usd": 1000000, "period": "month"}],
                        "teams": [
                            {
                                "name": "Core",
                                "budgets": [{"limit_usd": 1000000, "period": "day"}],
                                "keys": [
                                    {
                                        "name": kind,
                                        "budgets": [{"limit_usd": 1000000, "period": "day"}],
                                        "providers": [{"name": kind}],
                                    }
                                    for kind in ("json", "paced", "burst")
                                ],
                            }
                        ],
                    }
                ],
            }
        )
        self.product.start_server()
        self.relay_port = free_port()
        self.relay = subprocess.Popen(
            [sys.executable, "-m", "tests.benchmarks.relay", str(self.relay_port)],
            cwd=ROOT,
            env={**os.environ, "MOCK_URL": f"http://127.0.0.1:{self.mock_port}"},
        )
        self.pids = {
            "direct": self.mock.pid,
            "relay": self.relay.pid,
            "gateway": self.product.processes["server"].pid,
        }
        for side in ("relay", "gateway"):
            psutil.Process(self.pids[side]).cpu_affinity([GATEWAY_CORE])

    def close(self) -> None:
        self.product.stop()
        for process in (self.relay, self.mock):
            process.terminate()
            process.wait(10)
        if self.mock.stdout is not None:
            self.mock.stdout.close()

    def load(self, scenario: Scenario, side: str, **how: Any) -> dict[str, Any]:
        """One measured stretch; adds CPU milliseconds of what is measured per request."""
        job = {
            "host": "127.0.0.1",
            "port": {"direct": self.mock_port, "relay": self.relay_port, "gateway": self.product.port}[side],
            "path": "/anthropic/v1/messages" if side == "gateway" else f"/{scenario.kind}/v1/messages",
            "secret": self.product.secrets[scenario.kind],
            "body_bytes": scenario.body_bytes,
            "stream": scenario.stream,
            "output": str(self.output),
            **how,
        }
        measured = psutil.Process(self.pids[side])
        before = measured.cpu_times()
        process = subprocess.Popen([sys.executable, "-m", "tests.benchmarks.load", json.dumps(job)], cwd=ROOT)
        psutil.Process(process.pid).cpu_affinity([LOAD_CORE])
        assert process.wait(how["seconds"] + 120) == 0
        result: dict[str, Any] = json.loads(self.output.read_text())
        if side == "gateway":
            time.sleep(0.6)  # what the answers left to write belongs to them
        after = measured.cpu_times()
        cpu = after.user + after.system - before.user - before.system
        result["cpu_ms"] = cpu * 1000 / max(1, result["requests"])
        result["rate"] = result["requests"] / result["seconds"]
        assert result["failed"] == 0, f"{scenario.name}, {side}: {result['failed']} failed"
        return result


def percentile(values: list[float], share: float) -> float:
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(len(ordered) * share))]


def measure(bench: Bench, seconds: float, repeats: int) -> list[dict[str, Any]]:
    """A row for each scenario and each of relay and gateway; all sides of a scenario are interleaved."""
    rows: list[dict[str, Any]] = []
    for scenario in SCENARIOS:
        latency: dict[str, list[float]] = {side: [] for side in SIDES}
        busy: dict[str, list[dict[str, Any]]] = {side: [] for side in SIDES}
        for _ in range(repeats):
            for side in SIDES:
                if scenario.stream:
                    result = bench.load(scenario, side, connections=16, seconds=seconds)
                    latency[side] += result["first"]
                else:
                    latency[side] += bench.load(scenario, side, connections=4, rate=20, seconds=seconds)["total"]
                    result = bench.load(scenario, side, connections=32, seconds=seconds)
                busy[side].append(result)
        rows += [_row(scenario, side, latency, busy) for side in SIDES[1:]]
    return rows


def _row(
    scenario: Scenario, side: str, latency: dict[str, list[float]], busy: dict[str, list[dict[str, Any]]]
) -> dict[str, Any]:
    return {
        "scenario": scenario.name,
        "side": side,
        "direct_p50_ms": percentile(latency["direct"], 0.5) * 1000,
        "added_p50_ms": (percentile(latency[side], 0.5) - percentile(latency["direct"], 0.5)) * 1000,
        "added_p99_ms": (percentile(latency[side], 0.99) - percentile(latency["direct"], 0.99)) * 1000,
        "cpu_ms": statistics.median(result["cpu_ms"] for result in busy[side]),
        "requests_per_s": statistics.median(result["rate"] for result in busy[side]),
    }


def show(rows: list[dict[str, Any]]) -> str:
    """The table: added time at 20 requests/s (streams: to the first byte, 16 at once), CPU and rate under load."""
    lines = [
        f"{'':34}{'':10}{'added p50':>10}{'added p99':>11}{'CPU':>8}{'requests/s':>12}",
        f"{'':34}{'':10}{'ms':>10}{'ms':>11}{'ms':>8}{'one core':>12}",
    ]
    for row in rows:
        name = row["scenario"] if row["side"] == SIDES[1] else ""
        lines.append(
            f"{name:34}{row['side']:10}{row['added_p50_ms']:>10.2f}{row['added_p99_ms']:>11.2f}"
            f"{row['cpu_ms']:>8.2f}{row['requests_per_s']:>12,.0f}"
        )
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=3.0, help="length of each measured stretch")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--database", choices=["sqlite", "postgres"], default="sqlite")
    parser.add_argument("--json", type=Path, help="also write the figures there")
    arguments = parser.parse_args()
    os.environ["BENCH_CREDENTIAL"] = "bench"
    with tempfile.TemporaryDirectory(prefix="comptroller-bench-") as folder, database(arguments.database) as url:
        bench = Bench(Path(folder), url)
        try:
            rows = measure(bench, arguments.seconds, arguments.repeats)
            logged = bench.product.python("from observability.models import Request; print(Request.objects.count())")
        finally:
            bench.close()
    machine = f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}, {arguments.database}"
    print(f"Comptroller on one core, provider and load on another ({machine}); {logged.strip()} rows in the log\n")
    print(show(rows))
    if arguments.json:
        arguments.json.write_text(json.dumps({"machine": machine, "rows": rows}, indent=1))


if __name__ == "__main__":
    main()
