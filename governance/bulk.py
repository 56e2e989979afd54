"""Insert many rows with few statements on SQLite, whose driver pays for every statement and every new text of one."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Any

from django.db import connection

MOST_ROWS = 128


def insert_values(table: str, columns: Sequence[str], rows: Sequence[Sequence[Any]], tail: str) -> list[Any]:
    """Insert rows of plain values inside the caller's transaction; gives what a RETURNING in `tail` answers."""
    connection.ensure_connection()
    answered: list[Any] = []
    start = 0
    while start < len(rows):
        # Powers of two: eight statements at most, so that the driver finds each one prepared.
        size = min(MOST_ROWS, 1 << ((len(rows) - start).bit_length() - 1))
        values = [value for row in rows[start : start + size] for value in row]
        with connection.wrap_database_errors:
            # Django's cursor would rewrite every placeholder of a long statement on each call.
            answered += connection.connection.execute(_statement(table, tuple(columns), size, tail), values).fetchall()
        start += size
    return answered


@lru_cache(maxsize=64)
def _statement(table: str, columns: tuple[str, ...], rows: int, tail: str) -> str:
    row = f"({', '.join('?' * len(columns))})"
    return f"INSERT INTO {table} ({', '.join(columns)}) VALUES {', '.join([row] * rows)} {tail}"  # noqa: S608
