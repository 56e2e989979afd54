"""A product whose providers are all scripted: each script has a port, and a key that may use it alone."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

from tests.fakes.wire_client import WireClient, request
from tests.fakes.wire_provider import INPUT_TOKENS, OUTPUT_TOKENS, Line, Script, WireProvider, wire_provider
from tests.functional.faults.books import Books, Footprint, Process
from tests.functional.product import Product, database

INPUT_COST = INPUT_TOKENS * 4_000
EXACT_COST = INPUT_COST + OUTPUT_TOKENS * 20_000
"""Nano-dollars, at opus 5.5's $4 and $20 per million tokens."""
LIMITS = {
    "budgets": [{"limit_usd": 100_000, "period": "month", "enforcement": "hard"}],
    "rate_limits": [{"concurrent": 5_000}],
}
"""Of every key and of the team: so that each request holds something."""


@dataclass
class Site:
    """The running product and its providers; `quiet` is what its process has open when nothing runs."""

    product: Product
    provider: WireProvider
    books: Books
    process: Process
    quiet: Footprint

    def line(self, name: str) -> Line:
        return self.provider.lines[name]

    def request(self, name: str, **how: Any) -> bytes:
        """A model call under the key of a script."""
        return request(self.product.secrets[name], **how)

    def connect(self, **how: Any) -> WireClient:
        return WireClient(self.product.port, **how)

    def rows(self, name: str, count: int, seconds: float = 20) -> list[dict[str, Any]]:
        """The rows of a key, waited for until there are so many."""
        deadline = time.monotonic() + seconds
        while len(rows := self.books.rows(name)) < count:
            assert time.monotonic() < deadline, f"{len(rows)} of {count} rows: {self.product.log('server')}"
            time.sleep(0.02)
        assert len(rows) == count, rows
        return rows

    def without_clients(self, seconds: float = 10) -> None:
        """Wait until the gateway has dropped the connection of every client that left."""
        deadline = time.monotonic() + seconds
        while self.process.client_connections() > self.quiet.clients:
            assert time.monotonic() < deadline, "the gateway keeps the connection of a client that left"
            time.sleep(0.01)


@contextlib.contextmanager
def site(
    kind: str, folder: Path, scripts: Mapping[str, Sequence[Script | None]], settings: Mapping[str, str]
) -> Iterator[Site]:
    """Start it. Several scripts of one key are providers that are tried in this order, `name`, `name-2` and so on."""
    with wire_provider() as provider, database(kind) as url:
        product = Product(folder, database_url=url, settings={"WIRE_CREDENTIAL": "sk-ant-test", **settings}).prepare()
        product.apply(_configuration(provider, scripts))
        try:
            product.start_server()
            _wait_for_key(product, next(iter(scripts)))
            process = Process(product)
            process.watch({line.port for line in provider.lines.values()})
            with contextlib.closing(Books(product)) as books:
                # Whatever opens with the first scrape is open before the first count.
                for _ in range(5):
                    httpx.get(f"{product.url}/metrics", timeout=20)
                    httpx.get(f"{product.url}/readyz", timeout=20)
                yield Site(product, provider, books, process, process.rests())
        finally:
            product.stop()


def _configuration(provider: WireProvider, scripts: Mapping[str, Sequence[Script | None]]) -> dict[str, Any]:
    providers: list[dict[str, Any]] = []
    keys: list[dict[str, Any]] = []
    for key, chain in scripts.items():
        names = [key if not rank else f"{key}-{rank + 1}" for rank in range(len(chain))]
        for rank, (name, script) in enumerate(zip(names, chain, strict=True)):
            providers.append(
                {
                    "name": name,
                    "kind": "anthropic",
                    "base_url": f"http://127.0.0.1:{provider.line(name, script).port}",
                    "rank": rank,
                    "credentials": [{"name": "main", "secret_env": "WIRE_CREDENTIAL"}],
                }
            )
        keys.append({"name": key, "providers": [{"name": name} for name in names], **LIMITS})
    return {
        "providers": providers,
        "customers": [{"name": "Faults", "teams": [{"name": "Matrix", "keys": keys, **LIMITS}]}],
    }


def _wait_for_key(product: Product, key: str) -> None:
    deadline = time.monotonic() + 20
    while httpx.get(f"{product.base_url}/v1/models", headers=product.headers(key), timeout=10).is_error:
        assert time.monotonic() < deadline, product.log("server")
        time.sleep(0.05)
