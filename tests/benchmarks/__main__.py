"""`make bench`: the same load straight to a provider, through nginx, a bare relay and the gateway, in one run.

What is measured runs on one core, the mock provider and the load client on another; both are C programs. The gateway
runs as in production: keys, budgets, the spool, the request log and the ledger in a database, metrics. Only ratios
within one run count: the machine's speed varies. `docs/performance.md` says what each figure means.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
from dataclasses import asdict
from pathlib import Path

from tests.benchmarks import machine, native, report, run
from tests.benchmarks.relay import CLIENTS
from tests.benchmarks.scenarios import BY_KEY, Failed, Pace
from tests.benchmarks.sides import nginx_program

QUICK = Pace(busy=1.0, calm=1.0, repeats=1, slow_events=8)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks", description=__doc__)

    def several(flag: str, names: tuple[str, ...], what: str) -> None:
        parser.add_argument(
            flag, nargs="*", metavar="NAME", choices=names, default=list(names), help=f"{what}: {', '.join(names)}"
        )

    several("--scenarios", tuple(BY_KEY), "what is asked")
    several("--sides", run.SIDES, "who is asked")
    several("--variants", run.VARIANTS, "gateways that differ in one thing; nothing after the flag leaves all out")
    parser.add_argument("--quick", action="store_true", help="one short repeat of each: a look, no figures to quote")
    parser.add_argument("--seconds", type=float, default=3.0, help="length of each stretch at the limit")
    parser.add_argument("--calm-seconds", type=float, default=5.0, help="length of each stretch at a fixed rate")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--ramp", type=float, default=0.0, help="seconds within which slow streams are opened")
    parser.add_argument("--database", choices=["sqlite", "postgres"], default="sqlite")
    parser.add_argument("--enforcement", choices=["stop", "hard"], default="stop", help="of the gateway's budgets")
    parser.add_argument("--workers", type=int, default=2, help="of the variant workers")
    parser.add_argument("--keys", type=int, default=100_000, help="of the variant keys")
    parser.add_argument("--keys-used", type=int, default=1_000, help="so many of them send requests, in turn")
    parser.add_argument("--writer-core", type=int, help="core of the gateway's child processes; else its own")
    parser.add_argument("--client", choices=CLIENTS, default="own", help="of the relay, towards the provider")
    parser.add_argument("--json", type=Path, help="also write the figures there")
    return parser.parse_args()


def main() -> None:
    given = _arguments()
    try:
        programs = native.build()
    except native.NoCompiler as error:
        sys.exit(str(error))
    nginx = nginx_program()
    if nginx is None and "nginx" in given.sides:
        _warn("nginx is not installed (Debian and Ubuntu: apt-get install nginx-light): there is no ratio to it.")
    cores = machine.Cores.chosen(given.writer_core)
    if cores.proxy == cores.load:
        _warn("There is one core for everything: the figures are of little use.")
    pace = QUICK if given.quick else Pace(given.seconds, given.calm_seconds, given.repeats, given.ramp)
    choice = run.Choice(
        given.scenarios,
        given.sides,
        given.variants,
        pace,
        cores,
        nginx,
        given.database,
        given.enforcement,
        given.workers,
        given.keys,
        given.keys_used,
        given.client,
    )
    about = machine.described(nginx)
    os.sched_setaffinity(0, {cores.load})
    with tempfile.TemporaryDirectory(prefix="comptroller-bench-") as folder:
        try:
            result = run.measure(choice, programs, Path(folder))
        except Failed as error:
            sys.exit(f"The run is void. {error}")
    about["database"] = result.database
    print(report.shown(about, result.rows, result.books))
    if given.json:
        goals = [{**asdict(goal), "met": goal.met} for goal in report.goals(result.rows)]
        told = {"machine": about, "rows": result.rows, "goals": goals, "books": result.books}
        given.json.write_text(json.dumps(told, indent=1) + "\n")


def _warn(sentence: str) -> None:
    print(sentence, file=sys.stderr)


if __name__ == "__main__":
    main()
