"""Insert many rows with few statements on SQLite, whose driver pays for every statement and every new text of one."""

from __future__ import annotations

import json
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


def update_by_id(
    table: str, columns: Sequence[str], rows: Sequence[Sequence[Any]], *, moments: Sequence[str] = ()
) -> None:
    """Set columns of many rows with one statement. Each row is its id and the values; `moments` are time columns."""
    if not rows:
        return
    names = ("id", *columns)
    assigned = ", ".join(f'"{name}" = m."{name}"' for name in columns)
    if connection.vendor == "postgresql":
        kinds = [_TYPES.get(type(value), "text") for value in rows[0]]
        types = ["timestamptz" if name in moments else kind for name, kind in zip(names, kinds, strict=True)]
        given = ", ".join(f'"{name}" {kind}' for name, kind in zip(names, types, strict=True))
        source = f"json_to_recordset(%s) AS m({given})"
        document = json.dumps([dict(zip(names, row, strict=True)) for row in rows], default=str)
    else:
        picked = ", ".join(f"json_extract(value, '$[{index}]') AS \"{name}\"" for index, name in enumerate(names))
        source = f"(SELECT {picked} FROM json_each(%s)) AS m"  # noqa: S608
        document = json.dumps(list(rows), default=str)
    with connection.cursor() as cursor:
        cursor.execute(f'UPDATE {table} SET {assigned} FROM {source} WHERE {table}.id = m."id"', [document])  # noqa: S608


def upsert(table: str, columns: Sequence[str], key: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
    """Insert rows, or set what is there under the same key, with one statement."""
    if not rows:
        return
    row = f"({', '.join(['%s'] * len(columns))})"
    changed = ", ".join(f"{name} = excluded.{name}" for name in columns if name not in key)
    with connection.cursor() as cursor:
        cursor.execute(
            f"INSERT INTO {table} ({', '.join(columns)}) VALUES {', '.join([row] * len(rows))} "  # noqa: S608
            f"ON CONFLICT ({', '.join(key)}) DO UPDATE SET {changed}",
            [value for values in rows for value in values],
        )


_TYPES: dict[type, str] = {int: "bigint", bool: "boolean"}
