"""Several gateway processes on one database, each on a port of its own, and many clients that share them."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

import httpx

from tests.functional.product import START_SECONDS, Product, free_port

MODEL = "claude-haiku-4-5"


@dataclass
class Fleet:
    """Gateway processes by name, all of one product."""

    product: Product
    ports: dict[str, int] = field(default_factory=dict)

    def start(self, *names: str) -> None:
        """Start processes side by side and wait until every one answers."""
        for name in names:
            port = self.ports.setdefault(name, free_port())
            self.product._spawn(name, "-m", "gateway.serve", "--port", str(port))
        deadline = time.monotonic() + START_SECONDS * 2
        for name in names:
            while True:
                with contextlib.suppress(httpx.HTTPError):
                    if httpx.get(f"http://127.0.0.1:{self.ports[name]}/healthz", timeout=2).status_code == 200:
                        break
                assert self.product.processes[name].poll() is None, self.product.log(name)
                assert time.monotonic() < deadline, f"{name} did not become ready:\n{self.product.log(name)}"
                time.sleep(0.05)

    def apply(self, configuration: dict[str, Any], key: str) -> None:
        """Apply a configuration and wait until every process knows its key."""
        self.product.apply(configuration)
        deadline = time.monotonic() + 15
        for port in self.ports.values():
            models = f"http://127.0.0.1:{port}/anthropic/v1/models"
            while httpx.get(models, headers=self.product.headers(key), timeout=10).status_code != 200:
                assert time.monotonic() < deadline, f"the process on port {port} does not know the key {key}"
                time.sleep(0.05)

    def kill(self, name: str) -> None:
        """kill -9, by pid."""
        process = self.product.processes.pop(name)
        process.kill()
        process.wait(10)

    def url(self, name: str) -> str:
        return f"http://127.0.0.1:{self.ports[name]}/anthropic/v1/messages"


@dataclass
class Outcome:
    """What clients saw: statuses, and successes by process."""

    statuses: Counter[int] = field(default_factory=Counter)
    successes: Counter[str] = field(default_factory=Counter)
    lost: int = 0
    """Requests whose connection broke."""


async def call(
    client: httpx.AsyncClient, fleet: Fleet, name: str, key: str, prompt: str, outcome: Outcome, **body: Any
) -> int:
    """One model call; 0 where the connection broke."""
    payload = {"model": MODEL, "max_tokens": 1000, "messages": [{"role": "user", "content": prompt}], **body}
    headers = {**fleet.product.headers(key), "x-comptroller-tags": f"via={name}"}
    try:
        answer = await client.post(fleet.url(name), json=payload, headers=headers)
    except httpx.HTTPError:
        outcome.lost += 1
        return 0
    outcome.statuses[answer.status_code] += 1
    if answer.status_code == 200:
        outcome.successes[name] += 1
    return answer.status_code


async def crowd(size: int, work: Callable[[httpx.AsyncClient, int], Awaitable[None]]) -> None:
    """Run `size` clients at once over shared connections."""
    limits = httpx.Limits(max_connections=size, max_keepalive_connections=size)
    async with httpx.AsyncClient(timeout=60, limits=limits) as client:
        await asyncio.gather(*(work(client, number) for number in range(size)))
