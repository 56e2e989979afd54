"""The audit after a run finds what is missing, and the report judges the goals by the right rows."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.benchmarks import books as audit
from tests.benchmarks import report
from tests.benchmarks.books import Books

TABLES = """
CREATE TABLE observability_request (id text, status text, cost_quality text, cost_nano_usd integer);
CREATE TABLE governance_ledgerentry
    (id text, amount_nano_usd integer, customer_id integer, team_id integer, virtual_key_id integer);
CREATE TABLE governance_budget
    (id integer, scope text, customer_id integer, team_id integer, virtual_key_id integer);
CREATE TABLE governance_allowancewindow (budget_id integer, settled integer);
INSERT INTO observability_request VALUES ('01A', 'success', 'exact', 150), ('01B', 'success', 'exact', 150);
INSERT INTO governance_ledgerentry VALUES ('01A', 150, 1, 1, 1), ('01B', 150, 1, 1, 2);
INSERT INTO governance_budget VALUES (1, 'customer', 1, NULL, NULL), (2, 'team', 1, 1, NULL),
    (3, 'virtual_key', 1, 1, 1), (4, 'virtual_key', 1, 1, 2), (5, 'virtual_key', 1, 1, 3);
INSERT INTO governance_allowancewindow VALUES (1, 300), (2, 100), (2, 200), (3, 150), (4, 150);
"""


@pytest.fixture
def database(tmp_path: Path) -> Iterator[sqlite3.Connection]:
    connection = sqlite3.connect(tmp_path / "books.sqlite3", isolation_level=None)
    connection.executescript(TABLES)
    yield connection
    connection.close()


@pytest.fixture
def books(database: sqlite3.Connection, tmp_path: Path) -> Iterator[Books]:
    opened = Books(tmp_path / "books.sqlite3", "")
    yield opened
    opened.close()


def test_books_that_foot(books: Books) -> None:
    assert books.wait_for(2) < 1
    assert books.verify(2) == {"rows": 2, "charges": 2, "nano_usd": 300, "budgets": 5}


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ("DELETE FROM observability_request WHERE id = '01B'", "the log has 1"),
        ("DELETE FROM governance_ledgerentry WHERE id = '01B'", "the ledger has 1 charges"),
        ("UPDATE observability_request SET status = 'error' WHERE id = '01B'", "of them 1 successes"),
        ("UPDATE observability_request SET cost_quality = 'estimated' WHERE id = '01B'", "1 at an exact price"),
        ("UPDATE observability_request SET cost_nano_usd = 149 WHERE id = '01B'", "costs sum to 299"),
        ("UPDATE governance_allowancewindow SET settled = 151 WHERE budget_id = 4", "Budget 4 says 151"),
        ("DELETE FROM governance_allowancewindow WHERE budget_id = 1", "Budget 1 says 0"),
    ],
)
def test_what_does_not_foot_is_said(database: sqlite3.Connection, books: Books, change: str, said: str) -> None:
    database.execute(change)
    with pytest.raises(AssertionError, match=said):
        books.verify(2)


def test_rows_that_do_not_come_are_said(books: Books, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(audit, "LOG_SECONDS", 0.05)
    with pytest.raises(AssertionError, match="3 requests were sent and only 2 are in the log"):
        books.wait_for(3)


def test_a_row_too_many_is_said(books: Books) -> None:
    with pytest.raises(AssertionError, match="1 requests were sent and 2 are in the log"):
        books.wait_for(1)


def a_row(scenario: str, side: str, **figures: Any) -> report.Row:
    return {"scenario": scenario, "title": scenario, "side": side, **figures}


def judged(rows: list[report.Row]) -> dict[str, bool | None]:
    return {goal.what: goal.met for goal in report.goals(rows)}


def test_goals_are_met_missed_or_not_measured() -> None:
    rows = [
        a_row("2kb", "nginx", cpu_ms=0.02),
        a_row("2kb", "gateway", cpu_ms=0.1, requests_per_s=5_100.0, log_lag_s=0.2, added_total_p50_ms=1.2),
        a_row("paced", "nginx", cpu_ms=4.0),
        a_row("paced", "gateway", cpu_ms=8.4),
        a_row("slow2000", "gateway", failed="2 of 2,000 failed"),
        # A variant, and the gateway beside it at that moment: twice the CPU of the one, not of the first run.
        a_row("2kb", "gateway", cpu_ms=0.3, group="1,000 keys"),
        a_row("2kb", "gateway, 1,000 keys", cpu_ms=0.6, group="1,000 keys"),
    ]
    found = judged(rows)
    assert found["2 KB, requests/s on one core, all logged"] is True
    assert found["2 KB, added p50 at 20/s"] is False
    assert found["2 KB, added time to first byte"] is None
    assert found["2 KB, CPU against nginx"] is True
    assert found["paced stream, CPU against nginx"] is False
    assert found["2,000 slow streams, errors"] is False
    assert found["500 slow streams, memory each"] is None
    assert next(g.figure for g in report.goals(rows) if g.number == 6) == pytest.approx(2.0)


def test_the_table_has_a_line_for_each_side_and_says_what_failed() -> None:
    shown = report.table([a_row("2kb", "nginx", cpu_ms=0.02), a_row("2kb", "gateway", cpu_ms=0.1)], "nginx")
    assert [line.split()[:2] for line in shown.splitlines()[2:]] == [["2kb", "nginx"], ["gateway", "5.0"]]
    assert "3 of 500 failed" in report.table([a_row("slow500", "gateway", failed="3 of 500 failed")], "nginx")
