"""Everything that must hold, in one command: lint, types, import contracts, migrations and all tests.

`make test` runs it; `make test ARGS=sqlite` runs one step. With CI=true whatever is missing or skipped is a failure;
else it is left out and said in the last lines.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import time
import xml.etree.ElementTree as ElementTree
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

from tests import services

ROOT = services.ROOT
RESULTS = ROOT / "build" / "tests"
CI = os.environ.get("CI", "").lower() in {"1", "true"}
BIN = Path(sys.executable).parent

CHECKS = {
    "lint": [str(BIN / "ruff"), "check", "."],
    "format": [str(BIN / "ruff"), "format", "--check", "."],
    "types": [str(BIN / "mypy"), "gateway", "governance", "observability"],
    "imports": [str(BIN / "lint-imports")],
    "migrations": [sys.executable, "manage.py", "makemigrations", "--check", "--dry-run"],
}
TESTS = ("sqlite", "postgres", "functional")


@dataclass
class Report:
    """What came out, step by step."""

    failed: list[str] = field(default_factory=list)
    left_out: list[str] = field(default_factory=list)
    counts: Counter[str] = field(default_factory=Counter)
    passed: set[str] = field(default_factory=set)
    skipped: dict[str, str] = field(default_factory=dict)

    @property
    def never_ran(self) -> list[str]:
        """Tests that were skipped and did not pass in another step either (on the other database, for example)."""
        return [f"{test}: {reason}" for test, reason in self.skipped.items() if test not in self.passed]


def main() -> int:
    parser = argparse.ArgumentParser(prog="make test", description=__doc__)
    parser.add_argument("steps", nargs="*", choices=[*CHECKS, *TESTS, []], help="Only these steps.")
    chosen = parser.parse_args().steps or [*CHECKS, *TESTS]
    report = Report()
    RESULTS.mkdir(parents=True, exist_ok=True)
    for name, command in CHECKS.items():
        if name in chosen and _run(name, command, {"COMPTROLLER_DATA_DIR": str(RESULTS / "data")}) != 0:
            report.failed.append(name)
    if set(TESTS) & set(chosen):
        with services.found() as available:
            report.left_out += available.missing.values()
            for name in TESTS:
                if name in chosen:
                    _tests(name, available, report)
    return _close(report)


def _tests(name: str, available: services.Services, report: Report) -> None:
    """One run of pytest; markers whose service is missing are deselected."""
    missing = list(available.missing)
    environ = dict(available.environ)
    arguments = ["-n", "2"]
    match name:
        case "sqlite":
            chosen = ["not functional", "not postgres"]
        case "postgres" if "postgres" in missing:
            return
        case "postgres":
            chosen = ["not functional"]
            environ["DATABASE_URL"] = environ["TEST_POSTGRES_URL"].rpartition("/")[0] + "/comptroller"
            arguments += ["-p", "tests.database_only"]
        case _:
            chosen = ["functional"]
            arguments += ["--dist", "loadfile"]
            if "postgres" in missing:
                arguments += ["-k", "not postgres"]
    expression = " and ".join([*chosen, *(f"not {marker}" for marker in missing if f"not {marker}" not in chosen)])
    results = RESULTS / f"{name}.xml"
    results.unlink(missing_ok=True)
    command = [sys.executable, "-m", "pytest", "-q", *arguments, "-m", expression, f"--junitxml={results}"]
    code = _run(f"tests: {name}", command, environ)
    if code != 0:
        report.failed.append(f"tests: {name}" + (" (no test was chosen)" if code == 5 else ""))
    if results.exists():
        _count(results, report)


def _count(results: Path, report: Report) -> None:
    for case in ElementTree.parse(results).iter("testcase"):  # noqa: S314  (pytest wrote it just now)
        outcome = next((child.tag for child in case if child.tag in {"failure", "error", "skipped"}), "passed")
        report.counts[{"failure": "failed", "error": "failed"}.get(outcome, outcome)] += 1
        test = f"{case.get('classname')}.{case.get('name')}"
        if outcome == "skipped":
            report.skipped[test] = next(child.get("message", "") for child in case if child.tag == "skipped")
        elif outcome == "passed":
            report.passed.add(test)


def _run(name: str, command: list[str], environ: dict[str, str]) -> int:
    print(f"\n=== {name}: {' '.join(command).replace(str(BIN) + os.sep, '')}", flush=True)
    started = time.monotonic()
    kept = {key: value for key, value in os.environ.items() if key not in {"DATABASE_URL", "REDIS_URL"}}
    code = subprocess.run(command, cwd=ROOT, env={**kept, **environ}, check=False).returncode
    print(f"=== {name}: {'ok' if code == 0 else f'FAILED ({code})'} in {time.monotonic() - started:.0f} s", flush=True)
    return code


def _close(report: Report) -> int:
    """The last lines: what was left out or skipped, what failed, and the count that CI reads."""
    print()
    left_out = [*report.left_out, *report.never_ran]
    for sentence in left_out:
        print(f"Left out: {sentence}")
    if CI and left_out:
        report.failed.append("CI=true, and something was left out")
    if report.failed:
        print(f"FAILED: {', '.join(report.failed)}")
    skipped = f", {report.counts['skipped']} skipped" if report.counts["skipped"] else ""
    print(f"{report.counts['passed']} passed, {report.counts['failed']} failed{skipped}", flush=True)
    return 1 if report.failed else 0


if __name__ == "__main__":
    sys.exit(main())
