"""`make bench`: the same load straight to a provider and through the gateway, in one run, interleaved, as a table.

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

from tests.functional.product import ROOT, Product, database


@dataclass(frozen=True)
class Scenario:
    name: str
    kind: str
    body_bytes: int
    stream: bool = False


BODIES = (("2 KB", 2_000), ("100 KB", 100_000), ("1 MB", 1_000_000))
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
        self.server = psutil.Process(self.product.processes["server"].pid)
        self.server.cpu_affinity([GATEWAY_CORE])

    def close(self) -> None:
        self.product.stop()
        self.mock.terminate()
        self.mock.wait(10)
        if self.mock.stdout is not None:
            self.mock.stdout.close()

    def load(self, scenario: Scenario, through: bool, **how: Any) -> dict[str, Any]:
        """One measured stretch; adds CPU milliseconds of the gateway per request."""
        job = {
            "host": "127.0.0.1",
            "port": self.product.port if through else self.mock_port,
            "path": "/anthropic/v1/messages" if through else f"/{scenario.kind}/v1/messages",
            "secret": self.product.secrets[scenario.kind],
            "body_bytes": scenario.body_bytes,
            "stream": scenario.stream,
            "output": str(self.output),
            **how,
        }
        before = self.server.cpu_times()
        process = subprocess.Popen(
            [sys.executable, "-m", "tests.benchmarks.load", json.dumps(job)],
            cwd=ROOT,
        )
        psutil.Process(process.pid).cpu_affinity([LOAD_CORE])
        assert process.wait(how["seconds"] + 120) == 0
        result: dict[str, Any] = json.loads(self.output.read_text())
        if through:
            time.sleep(0.6)  # what the answers left to write belongs to them
        after = self.server.cpu_times()
        cpu = after.user + after.system - before.user - before.system
        result["cpu_ms"] = cpu * 1000 / max(1, result["requests"])
        assert result["failed"] == 0, f"{scenario.name}: {result['failed']} failed"
        return result


def percentile(values: list[float], share: float) -> float:
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(len(ordered) * share))]


def measure(bench: Bench, seconds: float, repeats: int) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = []
    for name, size in BODIES:
        scenario = Scenario(f"{name} body, 1 KB JSON answer", "json", size)
        latency = {True: [], False: []}  # type: dict[bool, list[float]]
        rates: list[float] = []
        cpus: list[float] = []
        direct_rates: list[float] = []
        for _ in range(repeats):
            for through in (False, True):
                paced = bench.load(scenario, through, connections=4, rate=20, seconds=seconds)
                latency[through] += paced["total"]
            busy = bench.load(scenario, True, connections=32, seconds=seconds)
            rates.append(busy["requests"] / busy["seconds"])
            cpus.append(busy["cpu_ms"])
            direct = bench.load(scenario, False, connections=32, seconds=seconds / 2)
            direct_rates.append(direct["requests"] / direct["seconds"])
        rows.append(
            {
                "scenario": scenario.name,
                "direct_p50_ms": percentile(latency[False], 0.5) * 1000,
                "added_p50_ms": (percentile(latency[True], 0.5) - percentile(latency[False], 0.5)) * 1000,
                "added_p99_ms": (percentile(latency[True], 0.99) - percentile(latency[False], 0.99)) * 1000,
                "cpu_ms": statistics.median(cpus),
                "requests_per_s": statistics.median(rates),
                "direct_requests_per_s": statistics.median(direct_rates),
            }
        )
    for kind in ("paced", "burst"):
        scenario = Scenario(f"{kind} stream of 300 events", kind, 2_000, stream=True)
        first = {True: [], False: []}  # type: dict[bool, list[float]]
        cpus, rates = [], []
        for _ in range(repeats):
            for through in (False, True):
                result = bench.load(scenario, through, connections=16, seconds=seconds)
                first[through] += result["first"]
                if through:
                    cpus.append(result["cpu_ms"])
                    rates.append(result["requests"] / result["seconds"])
        rows.append(
            {
                "scenario": scenario.name,
                "direct_p50_ms": percentile(first[False], 0.5) * 1000,
                "added_p50_ms": (percentile(first[True], 0.5) - percentile(first[False], 0.5)) * 1000,
                "added_p99_ms": (percentile(first[True], 0.99) - percentile(first[False], 0.99)) * 1000,
                "cpu_ms": statistics.median(cpus),
                "requests_per_s": statistics.median(rates),
                "direct_requests_per_s": None,
            }
        )
    return rows


def show(rows: list[dict[str, Any]]) -> str:
    lines = [
        f"{'':34}{'added p50':>10}{'added p99':>10}{'CPU':>8}{'requests/s':>12}{'direct/s':>10}",
        f"{'':34}{'ms':>10}{'ms':>10}{'ms':>8}{'one worker':>12}{'':>10}",
    ]
    for row in rows:
        direct = f"{row['direct_requests_per_s']:,.0f}" if row["direct_requests_per_s"] else "—"
        lines.append(
            f"{row['scenario']:34}{row['added_p50_ms']:>10.2f}{row['added_p99_ms']:>10.2f}{row['cpu_ms']:>8.2f}"
            f"{row['requests_per_s']:>12,.0f}{direct:>10}"
        )
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=4.0, help="length of each measured stretch")
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
