"""The gateway's database as an auditor reads it: was every request logged, charged and counted against its budgets?"""

from __future__ import annotations

import sqlite3
import time
from pathlib import Path
from typing import Any

import psycopg

LOG_SECONDS = 60.0
"""How long the log may lag behind the last answer before a run counts as failed."""
_SCOPES = {"customer": "customer_id", "team": "team_id", "virtual_key": "virtual_key_id"}


class Books:
    """Reads a SQLite file or a PostgreSQL database beside the gateway. Raises AssertionError where they do not foot."""

    def __init__(self, sqlite: Path | None, address: str) -> None:
        self.vendor = "sqlite" if sqlite else "postgresql"
        self._connection: Any = (
            sqlite3.connect(f"file:{sqlite}?mode=ro", uri=True, isolation_level=None, timeout=10)
            if sqlite
            else psycopg.connect(address, autocommit=True)
        )
        self._written = ""
        """The greatest id of the rows that were waited for: ids are ULIDs and grow with time."""
        self._rows = 0

    def close(self) -> None:
        self._connection.close()

    def version(self) -> str:
        return (
            f"SQLite {sqlite3.sqlite_version}"
            if self.vendor == "sqlite"
            else f"PostgreSQL {self._one('SHOW server_version')}"
        )

    def wait_for(self, expected: int) -> float:
        """Wait until the log has `expected` rows in all; gives the seconds that it took."""
        began = time.monotonic()
        pause = 0.02
        while True:
            mark = "?" if self.vendor == "sqlite" else "%s"
            fresh = self._one(f"SELECT count(*) FROM observability_request WHERE id > {mark}", self._written)
            waited = time.monotonic() - began
            if self._rows + fresh >= expected:
                self._rows += fresh
                self._written = self._one("SELECT max(id) FROM observability_request") or ""
                assert self._rows == expected, f"{expected:,} requests were sent and {self._rows:,} are in the log"
                return waited
            assert waited < LOG_SECONDS, (
                f"{expected:,} requests were sent and only {self._rows + fresh:,} are in the log {waited:.0f} s later"
            )
            time.sleep(pause)

    def verify(self, requests: int) -> dict[str, int]:
        """Every request is in the log as a success at its exact price, charged once, and in the sum of each budget."""
        logged, succeeded, exact, cost = self._row(
            "SELECT count(*), sum(CASE WHEN status = 'success' THEN 1 ELSE 0 END), "
            "sum(CASE WHEN cost_quality = 'exact' THEN 1 ELSE 0 END), sum(cost_nano_usd) FROM observability_request"
        )
        charges, charged = self._row("SELECT count(*), sum(amount_nano_usd) FROM governance_ledgerentry")
        assert logged == succeeded == exact == charges == requests, (
            f"{requests:,} requests were sent; the log has {logged:,}, of them {succeeded:,} successes and "
            f"{exact:,} at an exact price; the ledger has {charges:,} charges"
        )
        assert cost == charged > 0, f"The log's costs sum to {cost:,} nano-dollars, the ledger's to {charged:,}"
        footed = 0
        for scope, column in _SCOPES.items():
            wrong = self._rows_of(
                f"SELECT b.id, coalesce(w.settled, 0), coalesce(l.charged, 0) FROM governance_budget b "
                f"LEFT JOIN (SELECT budget_id, sum(settled) AS settled FROM governance_allowancewindow "
                f"GROUP BY budget_id) w ON w.budget_id = b.id "
                f"LEFT JOIN (SELECT {column} AS target, sum(amount_nano_usd) AS charged FROM governance_ledgerentry "
                f"GROUP BY {column}) l ON l.target = b.{column} "
                f"WHERE b.scope = '{scope}' AND coalesce(w.settled, 0) <> coalesce(l.charged, 0)"
            )
            assert not wrong, f"Budget {wrong[0][0]} says {wrong[0][1]:,} nano-dollars, the ledger {wrong[0][2]:,}"
            footed += self._one(f"SELECT count(*) FROM governance_budget WHERE scope = '{scope}'")
        return {"rows": logged, "charges": charges, "nano_usd": int(charged), "budgets": footed}

    def backends(self) -> list[int]:
        """The process ids of PostgreSQL's backends for this database, without our own; none for SQLite."""
        if self.vendor == "sqlite":
            return []
        return [
            pid
            for (pid,) in self._rows_of(
                "SELECT pid FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()"
            )
        ]

    def _one(self, statement: str, *values: Any) -> Any:
        return self._row(statement, *values)[0]

    def _row(self, statement: str, *values: Any) -> Any:
        return self._connection.execute(statement, values or ()).fetchone()

    def _rows_of(self, statement: str) -> list[Any]:
        rows: list[Any] = self._connection.execute(statement).fetchall()
        return rows
