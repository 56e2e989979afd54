"""Gateways that are killed, and a database that is away: what the provider saw and what the ledger says is the same.

The provider's own journal is the witness: each request carries a number in a header and in a tag of its row.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
import random
import socket
import threading
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.functional.product import Product, configuration, database, free_port

pytestmark = pytest.mark.functional

KEY = "spool"
KILLS = 5
CLIENTS = 12
PER_ROUND = 110
"""The simulated provider keeps its newest thousand requests."""


class Load:
    """Numbered requests over the gateway; many of them never get their answer."""

    def __init__(self, product: Product) -> None:
        self.product = product
        self._numbers = itertools.count()
        self.statuses: Counter[int] = Counter()

    def request(self, prompt: str = "") -> dict[str, Any]:
        """A body and headers. The number comes to the provider in a header: it may see that before it is cut off."""
        number = f"n{next(self._numbers)}"
        slow = random.choice(("", "", "[[sim: ttft_ms=150]]", '[[sim: text="a b c d" chunks=4 delay_ms=40]]'))
        content = {
            "model": "claude-opus-5-5",
            "max_tokens": 64,
            "stream": random.random() < 0.5,
            "messages": [{"role": "user", "content": f"{number} {prompt or slow}"}],
        }
        headers = {"x-number": number, "x-comptroller-tags": f"n={number}"}
        return {"json": content, "headers": self.product.headers(KEY, **headers)}

    async def run(self, requests: int, kill_after: float | None = None) -> None:
        """So many requests from a dozen clients at once; the gateway is killed meanwhile."""
        budget = iter(range(requests))

        async def client(http: httpx.AsyncClient) -> None:
            for _ in budget:
                try:
                    answer = await http.post(f"{self.product.base_url}/v1/messages", **self.request())
                    self.statuses[answer.status_code] += 1
                except httpx.HTTPError:
                    self.statuses[0] += 1
                    if kill_after is not None:
                        return

        async def kill() -> None:
            if kill_after is not None:
                await asyncio.sleep(kill_after)
                self.product.processes["server"].kill()

        async with httpx.AsyncClient(timeout=30) as http:
            await asyncio.gather(kill(), *[client(http) for _ in range(CLIENTS)])
        if kill_after is not None:
            self.product.processes.pop("server").wait(10)

    def seen(self) -> Counter[str]:
        """How often the provider saw each number."""
        journal = self.product.simulator("GET", "requests")["requests"]
        return Counter(dict(entry["headers"])["x-number"] for entry in journal)

    def rows(self) -> list[dict[str, Any]]:
        return [row for row in self.product.rows() if row["tags"].get("n")]


@contextlib.contextmanager
def running(folder: Path, kind: str, **settings: str) -> Iterator[Product]:
    with database(kind) as url:
        product = Product(folder, database_url=url, settings=settings).prepare()
        try:
            product.start_simulator()
            product.apply(configuration(KEY))
            yield product
        finally:
            product.stop()


def serve(product: Product) -> None:
    """Start the gateway and wait until it serves."""
    product.start_server()
    deadline = time.monotonic() + 20
    while httpx.get(f"{product.base_url}/v1/models", headers=product.headers(KEY), timeout=10).is_error:
        assert time.monotonic() < deadline, product.log("server")
        time.sleep(0.05)


def spool(product: Product) -> dict[str, Any]:
    answer = httpx.get(f"{product.url}/readyz", timeout=10).json()
    found: dict[str, Any] = answer["checks"]["spool"] if "checks" in answer else answer["spool"]
    return found


def settle(product: Product, load: Load, alive: int = 1) -> None:
    """Wait until dead processes are replayed and everything that the provider saw is a row."""
    deadline = time.monotonic() + 40
    while (
        len([path for path in (product.folder / "data" / "spool").iterdir() if len(path.name) == 26]) > alive
        or len(load.rows()) < len(load.seen())
    ):  # fmt: skip
        assert time.monotonic() < deadline, (len(load.rows()), len(load.seen()), product.log("server"))
        time.sleep(0.2)


def ledger(product: Product) -> dict[str, int]:
    code = (
        "from governance.models import LedgerEntry as L; import json;"
        "print(json.dumps(list(L.objects.values_list('request_id', 'amount_nano_usd'))))"
    )
    pairs = json.loads(product.python(code))
    assert len(pairs) == len({request_id for request_id, _ in pairs}), "a request is charged twice"
    return dict(pairs)


def agree(product: Product, load: Load) -> Counter[str]:
    """The provider's journal, the rows and the ledger hold the same requests, once; gives the rows' qualities."""
    seen, rows, charges = load.seen(), load.rows(), ledger(product)
    assert set(seen.values()) == {1}
    tags = Counter(row["tags"]["n"] for row in rows)
    assert set(tags.values()) <= {1}
    charged = {row["tags"]["n"] for row in rows if row["id"] in charges}
    assert charged == set(seen), (sorted(set(seen) - charged), sorted(charged - set(seen)))
    for row in rows:
        assert charges.get(row["id"], 0) == row["cost_nano_usd"]
        assert row["cost_nano_usd"] > 0
        assert (row["cost_quality"] == "estimated") == (row["error_type"] == "gateway_died"), row
    return Counter(row["cost_quality"] for row in rows)


@pytest.mark.parametrize("kind", ["sqlite", "postgres"])
def test_killed_under_load_again_and_again(tmp_path: Path, kind: str) -> None:
    with running(tmp_path, kind) as product:
        load = Load(product)
        for _ in range(KILLS):
            serve(product)
            asyncio.run(load.run(PER_ROUND, kill_after=random.uniform(0.1, 0.8)))
        serve(product)
        asyncio.run(load.run(20))
        settle(product, load)
        qualities = agree(product, load)
        assert qualities["estimated"] > 0, "no request was cut off: this shows nothing"
        assert qualities["exact"] >= 20
        assert spool(product)["ok"], spool(product)


def test_killed_between_two_tries_nothing_is_charged(tmp_path: Path) -> None:
    with running(tmp_path, "sqlite") as product:
        load = Load(product)
        serve(product)
        request = load.request("[[sim: status=529]]")

        def ask() -> None:
            with contextlib.suppress(httpx.HTTPError):
                httpx.post(f"{product.base_url}/v1/messages", timeout=30, **request)

        asking = threading.Thread(target=ask)
        asking.start()
        product.simulator("GET", "stats?until=answered:2&seconds=20")  # the third try comes a second later
        time.sleep(0.3)
        product.processes["server"].kill()
        product.processes.pop("server").wait(10)
        asking.join()
        assert product.simulator("GET", "stats")["received"] == 2
        listed = product.manage("spool")
        assert "2 admitted" in listed, listed
        assert "2 withdrawn" in listed, listed
        serve(product)
        deadline = time.monotonic() + 20
        while not (rows := load.rows()):
            assert time.monotonic() < deadline, product.log("server")
            time.sleep(0.1)
        (row,) = rows
        assert (row["error_type"], row["cost_nano_usd"], row["cost_quality"]) == ("gateway_died", 0, "exact")
        assert ledger(product) == {}


def test_a_living_gateway_writes_what_a_dead_one_left(tmp_path: Path) -> None:
    with running(tmp_path, "postgres") as product:
        load = Load(product)
        serve(product)
        product.processes["first"] = product.processes.pop("server")
        survivor, product.port = product.port, free_port()
        serve(product)
        asyncio.run(load.run(PER_ROUND, kill_after=0.4))
        product.port = survivor
        settle(product, load)
        assert agree(product, load)["estimated"] > 0
        assert "was replayed" in product.log("server")


class Proxy:
    """A PostgreSQL server's address that can go away and come back."""

    def __init__(self, host: str, port: int) -> None:
        self.target = (host, port)
        self.up = True
        self._sockets: set[socket.socket] = set()
        self._server = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._server.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def down(self) -> None:
        self.up = False
        for each in list(self._sockets):
            with contextlib.suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        self.down()
        self._server.close()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._server.accept()
                if not self.up:
                    client.close()
                    continue
                server = socket.create_connection(self.target)
            except OSError:
                return
            self._sockets |= {client, server}
            for pair in ((client, server), (server, client)):
                threading.Thread(target=self._pump, args=pair, daemon=True).start()

    def _pump(self, source: socket.socket, sink: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(65536):
                sink.sendall(data)
        for each in (source, sink):
            with contextlib.suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)


def test_a_kill_while_the_database_is_away_loses_nothing(tmp_path: Path) -> None:
    with running(tmp_path, "postgres") as product:
        direct = httpx.URL(product.database_url)
        proxy = Proxy(direct.host, direct.port or 5432)
        product.settings["DATABASE_URL"] = (
            f"postgresql://{direct.userinfo.decode()}@127.0.0.1:{proxy.port}{direct.path}"
        )
        load = Load(product)
        try:
            serve(product)
            asyncio.run(load.run(30))
            proxy.down()
            asyncio.run(load.run(60))
            assert load.statuses == {200: 90}, "the database is on nobody's way"
            asyncio.run(load.run(60, kill_after=0.2))
            proxy.up = True
            serve(product)
            settle(product, load)
            qualities = agree(product, load)
            assert qualities["exact"] >= 90
        finally:
            product.stop("server")
            proxy.close()


def test_a_full_spool_refuses_tells_and_recovers(tmp_path: Path) -> None:
    """The database is away for longer than the spool has room."""
    small = {"COMPTROLLER_SPOOL_MAX_BYTES": str(1 << 18), "COMPTROLLER_SPOOL_SEGMENT_BYTES": str(1 << 16)}
    with running(tmp_path, "postgres", **small) as product:
        direct = httpx.URL(product.database_url)
        proxy = Proxy(direct.host, direct.port or 5432)
        product.settings["DATABASE_URL"] = (
            f"postgresql://{direct.userinfo.decode()}@127.0.0.1:{proxy.port}{direct.path}"
        )
        load = Load(product)
        try:
            serve(product)
            asyncio.run(load.run(12))
            proxy.down()
            asyncio.run(load.run(250))
            assert load.statuses[529] > 0
            refused = load.statuses[529]
            assert set(load.statuses) == {200, 529}
            state = spool(product)
            assert not state["ok"]
            assert "COMPTROLLER_SPOOL_MAX_BYTES" in state["detail"]
            assert "new requests are refused" in state["detail"]
            proxy.up = True
            deadline = time.monotonic() + 30
            while not spool(product)["ok"]:
                assert time.monotonic() < deadline, spool(product)
                time.sleep(0.2)
            asyncio.run(load.run(12))
            assert load.statuses[529] == refused
            rows = {row["tags"]["n"] for row in load.rows() if row["status"] == "success"}
            deadline = time.monotonic() + 10
            while rows != set(load.seen()) and time.monotonic() < deadline:
                rows = {row["tags"]["n"] for row in load.rows() if row["status"] == "success"}
            assert rows == set(load.seen())
            assert len(rows) == load.statuses[200]
        finally:
            product.stop("server")
            proxy.close()
