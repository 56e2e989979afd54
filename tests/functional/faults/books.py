"""What a request left behind: its rows and charges in the database, and what the gateway's process still holds."""

from __future__ import annotations

import json
import sqlite3
import time
from dataclasses import dataclass, replace
from typing import Any

import httpx
import psutil
import psycopg

from tests.functional.product import Product

COLUMNS = ("id", "status", "http_status", "error_type", "error_message", "cost_nano_usd", "cost_quality", "attempts")


class Books:
    """Reads the product's database beside it."""

    def __init__(self, product: Product) -> None:
        self._sqlite = not product.database_url
        self._connection: Any
        if self._sqlite:
            path = product.folder / "data" / "comptroller.sqlite3"
            self._connection = sqlite3.connect(f"file:{path}?mode=ro", uri=True, isolation_level=None, timeout=20)
        else:
            self._connection = psycopg.connect(product.database_url, autocommit=True)

    def close(self) -> None:
        self._connection.close()

    def _read(self, sql: str, *values: Any) -> list[tuple[Any, ...]]:
        sql = sql if self._sqlite else sql.replace("?", "%s")
        found: list[tuple[Any, ...]] = self._connection.execute(sql, values).fetchall()
        return found

    def rows(self, key: str) -> list[dict[str, Any]]:
        """All model calls of a virtual key, oldest first."""
        found = self._read(
            f"SELECT {', '.join(COLUMNS)} FROM observability_request "
            "WHERE virtual_key = ? AND request_class <> 'models' ORDER BY id",
            key,
        )
        rows = [dict(zip(COLUMNS, row, strict=True)) for row in found]
        for row in rows:
            if isinstance(row["attempts"], str):
                row["attempts"] = json.loads(row["attempts"])
        return rows

    def statuses(self) -> dict[str, int]:
        """How many rows there are by status, those of model lists left out."""
        sql = "SELECT status, COUNT(*) FROM observability_request WHERE request_class <> 'models' GROUP BY status"
        return dict(self._read(sql))

    def cancelled(self) -> list[tuple[Any, ...]]:
        """Error, cost and tries of the requests whose client left, and how often each came."""
        attempts = "json_array_length(attempts)" if self._sqlite else "jsonb_array_length(attempts)"
        return self._read(
            f"SELECT error_type, cost_quality, cost_nano_usd > 0, {attempts}, COUNT(*) FROM observability_request "
            "WHERE status = 'cancelled' GROUP BY 1, 2, 3, 4"
        )

    def charges(self, request_id: str) -> list[int]:
        """Amounts of the ledger's entries of a request, in nano-dollars."""
        sql = "SELECT amount_nano_usd FROM governance_ledgerentry WHERE request_id = ?"
        return [int(amount) for (amount,) in self._read(sql, request_id)]

    def charged(self) -> tuple[int, int]:
        """Count and sum of all ledger entries."""
        ((count, total),) = self._read("SELECT COUNT(*), COALESCE(SUM(amount_nano_usd), 0) FROM governance_ledgerentry")
        return int(count), int(total)

    def unlike(self) -> int:
        """Requests whose row and ledger entries do not say the same amount."""
        sql = (
            "SELECT COUNT(*) FROM observability_request r WHERE r.cost_nano_usd <> COALESCE("
            "(SELECT SUM(l.amount_nano_usd) FROM governance_ledgerentry l WHERE l.request_id = r.id), 0)"
        )
        return int(self._read(sql)[0][0])


SPARE_TASKS = 2


@dataclass(frozen=True)
class Footprint:
    """What runs and is open in a gateway process at one moment."""

    tasks: int
    holds: int
    streams: int
    outstanding: int
    unwritten: int
    clients: int
    """Connections of clients, the one that asks not counted."""
    providers: int
    """Connections to providers, in whatever state."""

    def is_within(self, before: Footprint) -> bool:
        """Whether nothing more is open than before.

        But for two tasks: a scrape and a look at the configuration may be running whenever the gauge is set. A leak
        of one task a row shows at the third row.
        """
        return replace(self, tasks=0) == replace(before, tasks=0) and self.tasks <= before.tasks + SPARE_TASKS


class Process:
    """The gateway's process, seen from outside."""

    def __init__(self, product: Product) -> None:
        self._product = product
        self._process = psutil.Process(product.processes["server"].pid)
        self._provider_ports: set[int] = set()

    def watch(self, ports: set[int]) -> None:
        """These ports are providers'."""
        self._provider_ports |= ports

    def client_connections(self) -> int:
        """How many clients are connected."""
        return self._sockets()[0]

    def rss(self) -> int:
        """Resident bytes of the process and its children."""
        family = [self._process, *self._process.children(recursive=True)]
        return sum(int(each.memory_info().rss) for each in family)

    def footprint(self) -> Footprint:
        clients, providers = self._sockets()
        figures = metrics(self._product)
        return Footprint(
            tasks=int(figures["comptroller_event_loop_tasks"]),
            holds=int(figures["comptroller_open_holds"]),
            streams=int(figures["comptroller_active_streams"]),
            outstanding=int(figures["comptroller_spool_outstanding"]),
            unwritten=int(figures["comptroller_spool_records"]),
            clients=clients,
            providers=providers,
        )

    def comes_back_to(self, before: Footprint, seconds: float = 10.0) -> None:
        """Wait until nothing more is open than before; the gauges are set four times a second."""
        not_before = time.monotonic() + 0.3
        deadline = time.monotonic() + seconds
        while not (now := self.footprint()).is_within(before) or time.monotonic() < not_before:
            assert time.monotonic() < deadline, f"before: {before}\nafter:  {now}"
            time.sleep(0.05)

    def rests(self) -> Footprint:
        """The footprint of a process in which nothing runs: the same twice, half a second apart."""
        deadline = time.monotonic() + 20
        before = self.footprint()
        while True:
            time.sleep(0.5)
            now = self.footprint()
            if now == before and now == Footprint(now.tasks, 0, 0, 0, 0, 0, now.providers):
                return now
            assert time.monotonic() < deadline, f"does not come to rest: {now}"
            before = now

    def _sockets(self) -> tuple[int, int]:
        clients = providers = 0
        for connection in self._process.net_connections("tcp"):
            if connection.status == psutil.CONN_LISTEN:
                continue
            clients += connection.laddr.port == self._product.port
            providers += bool(connection.raddr) and connection.raddr.port in self._provider_ports
        return clients, providers


def metrics(product: Product) -> dict[str, float]:
    """Every sample without labels of a scrape, over a connection of its own that is closed again."""
    text = httpx.get(f"{product.url}/metrics", timeout=20, headers={"connection": "close"}).text
    found = {}
    for line in text.splitlines():
        name, _, value = line.rpartition(" ")
        if name and "{" not in name and not line.startswith("#"):
            found[name] = float(value)
    return found
