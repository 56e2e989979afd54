"""What a run shows: a table of all sides, the goals with their figures, and the same as JSON."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

Row = dict[str, Any]
COLUMNS: tuple[tuple[str, str, str, str], ...] = (
    ("cpu_ms", "CPU, all", "ms", ".3f"),
    ("cpu_ms_writer", "of it writer", "ms", ".3f"),
    ("cpu_ms_database", "database", "ms", ".3f"),
    ("requests_per_s", "requests/s", "one core", ",.0f"),
    ("load_core_percent", "load core", "% busy", ".0f"),
    ("log_lag_s", "log lag", "s", ".2f"),
    ("added_total_p50_ms", "added p50", "ms", ".2f"),
    ("added_total_p99_ms", "added p99", "ms", ".2f"),
    ("added_first_p50_ms", "to 1st byte", "p50 ms", ".2f"),
    ("added_first_p99_ms", "to 1st byte", "p99 ms", ".2f"),
)
SLOW_COLUMNS: tuple[tuple[str, str, str, str], ...] = (
    ("first_p50_ms", "1st byte p50", "ms", ".0f"),
    ("first_p99_ms", "1st byte p99", "ms", ".0f"),
    ("open_at_once", "at once", "", ",.0f"),
    ("kb_per_stream", "KB/stream", "", ".1f"),
    ("resident_mb", "resident", "MB", ".0f"),
    ("files_per_stream", "files/stream", "", ".2f"),
    ("cpu_ms", "CPU/stream", "ms", ".2f"),
)


def table(rows: list[Row], base: str) -> str:
    """Rows under their scenario; CPU also as a multiple of the side `base` in the same scenario."""
    parts = []
    for columns, chosen in (
        (COLUMNS, [r for r in rows if not _slow(r)]),
        (SLOW_COLUMNS, [r for r in rows if _slow(r)]),
    ):
        if chosen:
            parts.append(_table(chosen, columns, base))
    return "\n\n".join(parts)


def _slow(row: Row) -> bool:
    return "streams" in row or "failed" in row


def _table(rows: list[Row], columns: tuple[tuple[str, str, str, str], ...], base: str) -> str:
    shown = [column for column in columns if any(column[0] in row for row in rows)]
    heads = ["", "", f"CPU / {base}", *(name for _, name, _, _ in shown)]
    units = ["", "", "times", *(unit for _, _, unit, _ in shown)]
    lines = [heads, units]
    last = ""
    for row in rows:
        name = ": ".join(filter(None, (row.get("group", ""), row["title"])))
        title, last = (name, name) if name != last else ("", last)
        if "failed" in row:
            lines.append([title, row["side"], row["failed"]])
            continue
        times = ratio(rows, row["scenario"], row["side"], base, row.get("group", ""))
        cells = [format(row[key], form) if key in row else "" for key, _, _, form in shown]
        lines.append([title, row["side"], f"{times:.1f}" if times else "", *cells])
    widths = [max(len(line[at]) for line in lines if len(line) == len(heads)) for at in range(len(heads))]
    return "\n".join(
        "  ".join(
            cell.ljust(width) if at < 2 else cell.rjust(width)
            for at, (cell, width) in enumerate(zip(line, widths, strict=False))
        ).rstrip()
        for line in lines
    )


def find(rows: Iterable[Row], scenario: str, side: str, group: str = "") -> Row | None:
    """The row of one side; `group` names the variant that the gateway was measured beside, empty the main run."""
    wanted = (scenario, side, group)
    return next((row for row in rows if (row["scenario"], row["side"], row.get("group", "")) == wanted), None)


def ratio(rows: list[Row], scenario: str, side: str, base: str, group: str = "") -> float | None:
    """CPU of one side over that of another in the same scenario and group; None where one was not measured."""
    one, other = find(rows, scenario, side, group), find(rows, scenario, base, group)
    if one is None or other is None or not other.get("cpu_ms") or "cpu_ms" not in one:
        return None
    return float(one["cpu_ms"] / other["cpu_ms"])


@dataclass(frozen=True)
class Goal:
    """A figure that must not pass its bound (`at_most`) or must reach it; None where it was not measured."""

    number: int
    what: str
    figure: float | None
    bound: float
    unit: str = ""
    at_most: bool = True

    @property
    def met(self) -> bool | None:
        if self.figure is None:
            return None
        return self.figure <= self.bound if self.at_most else self.figure >= self.bound

    def __str__(self) -> str:
        bound = f"{'at most' if self.at_most else 'at least'} {self.bound:,g}{self.unit}"
        if self.figure is None:
            return f"{self.number}  {'not measured':12}  {self.what}: {bound}"
        figure = f"{self.figure:,.0f}" if self.figure >= 1000 else f"{self.figure:.2f}"
        return f"{self.number}  {'met' if self.met else 'not met':12}  {self.what}: {figure}{self.unit}, {bound}"


FLAT = 1.15
"""A cost that grows by less than this counts as flat: repeats of the same measurement differ by up to a tenth."""


def goals(rows: list[Row], gateway: str = "gateway") -> list[Goal]:
    """The goals that a run of this harness can decide, in the project's numbering."""

    def figure(scenario: str, key: str, side: str = gateway, convert: Callable[[float], float] = float) -> float | None:
        row = find(rows, scenario, side)
        return convert(row[key]) if row and key in row else None

    found = [Goal(1, "2 KB, requests/s on one core, all logged", figure("2kb", "requests_per_s"), 5000, at_most=False)]
    found.append(Goal(1, "2 KB, the log's lag at that rate", figure("2kb", "log_lag_s"), 1.0, " s"))
    for key, name in (("2kb", "2 KB"), ("100kb", "100 KB")):
        found.append(Goal(2, f"{name}, added p50 at 20/s", figure(key, "added_total_p50_ms"), 1, " ms"))
        found.append(Goal(2, f"{name}, added time to first byte", figure(key, "added_first_p50_ms"), 1, " ms"))
    for key, name, most in (("2kb", "2 KB", 6), ("1mb", "1 MB", 3), ("paced", "paced stream", 2)):
        found.append(Goal(3, f"{name}, CPU against nginx", ratio(rows, key, gateway, "nginx"), most, "x"))
    second = 1 / 1000
    for share, most in (("p50", 0.2), ("p99", 0.4)):
        time = figure("slow500", f"first_{share}_ms", convert=lambda ms: ms * second)
        found.append(Goal(5, f"500 slow streams, time to first byte {share}", time, most, " s"))
    found.append(Goal(5, "500 slow streams, memory each", figure("slow500", "kb_per_stream"), 50, " KB"))
    crowd = find(rows, "slow2000", gateway)
    found.append(Goal(5, "2,000 slow streams, errors", None if crowd is None else float("failed" in crowd), 0))
    keys = [row for row in rows if row.get("group", "").endswith(" keys") and row["side"] != gateway]
    growth = ratio(rows, "2kb", keys[0]["side"], gateway, keys[0]["group"]) if keys else None
    found.append(Goal(6, "2 KB, CPU with many keys against few", growth, FLAT, "x"))
    return found


def shown(about: dict[str, Any], rows: list[Row], books: dict[str, dict[str, int]]) -> str:
    """Everything as text: the machine, the sides, the variants of the gateway, its books, the goals."""
    lines = [
        f"{about['cpu']}, {about['cores']} cores, {about['system']}, Linux {about['kernel']}, "
        f"Python {about['python']}, uvicorn {about['uvicorn']}, uvloop {about['uvloop']}, "
        f"nginx {about['nginx'] or 'not installed'}, {about['database'] or 'no database'}; "
        f"load average before: {', '.join(map(str, about['load_average_before']))}",
        "",
        table([row for row in rows if "group" not in row], "nginx"),
    ]
    if varied := [row for row in rows if "group" in row]:
        lines += ["", table(varied, "gateway")]
    for name, book in books.items():
        if book:
            lines += [
                "",
                f"{name}: {book['rows']:,} requests sent, as many rows in the log and charges in the ledger; "
                f"{book['budgets']:,} budgets foot with it ({book['nano_usd'] / 1e9:,.2f} USD).",
            ]
    return "\n".join([*lines, "", "Goals", *map(str, goals(rows))])
