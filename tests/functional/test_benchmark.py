"""The benchmark itself runs: a short look at the gateway, every request in the log and every budget footing."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.functional.product import ROOT

pytestmark = [pytest.mark.functional, pytest.mark.compiler]


def test_a_run_measures_the_gateway_and_audits_its_books(tmp_path: Path) -> None:
    figures = tmp_path / "figures.json"
    flags = ["--seconds", "0.3", "--calm-seconds", "0.3", "--repeats", "1", "--json", str(figures)]
    chosen = ["--scenarios", "2kb", "burst", "--sides", "direct", "relay", "gateway", "--variants", "hard"]
    done = subprocess.run(
        [sys.executable, "-m", "tests.benchmarks", *flags, *chosen],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=180,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    told = json.loads(figures.read_text())
    measured = {(row["scenario"], row["side"]): row for row in told["rows"] if "group" not in row}
    assert measured.keys() == {(key, side) for key in ("2kb", "burst") for side in ("direct", "relay", "gateway")}
    assert all(row["cpu_ms"] > 0 and row["requests_per_s"] > 0 for row in measured.values())
    assert measured["2kb", "gateway"]["cpu_ms"] > measured["2kb", "relay"]["cpu_ms"]
    assert {"gateway", "gateway, hard budgets"} == told["books"].keys()
    assert all(book["rows"] == book["charges"] > 0 and book["budgets"] == 12 for book in told["books"].values())
    assert "requests sent, as many rows in the log" in done.stdout
