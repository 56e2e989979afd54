"""The soak: a long mix of everything at once; memory stays flat, no row is lost, nothing fails that was not to fail.

The suite runs the short form. `COMPTROLLER_TEST_SOAK=full` runs 200,000 requests and 2,000 streams, on
`COMPTROLLER_TEST_SOAK_DATABASE` (`sqlite` or `postgres`).
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from statistics import median

import httpx
import pytest

from tests.functional.faults.books import Books, Footprint, Process
from tests.functional.faults.site import EXACT_COST, LIMITS
from tests.functional.product import ROOT, Product, database
from tests.functional.soak.mix import KINDS

pytestmark = pytest.mark.functional

FULL = os.environ.get("COMPTROLLER_TEST_SOAK") == "full"
KIND = os.environ.get("COMPTROLLER_TEST_SOAK_DATABASE", "postgres" if FULL else "sqlite")
REQUESTS, STREAMS, CONNECTIONS = (200_000, 2_000, 48) if FULL else (5_000, 200, 32)
WARM = 0.2
"""The part of the run after which memory may not grow any more."""
MOST_GROWTH = 0.05
MOST_SECONDS = 3_600 if FULL else 300


@dataclass
class Soak:
    product: Product
    books: Books
    process: Process
    quiet: Footprint


@pytest.fixture
def soak(tmp_path: Path) -> Iterator[Soak]:
    with database(KIND) as url:
        product = Product(tmp_path / "soak", database_url=url, settings={"SOAK_CREDENTIAL": "sk-ant-test"}).prepare()
        provider = _spawn(product, "provider", stdin=subprocess.DEVNULL)
        try:
            assert provider.stdout is not None
            port = int(provider.stdout.readline())
            product.apply(_configuration(port))
            product.start_server()
            _wait_for_key(product)
            process, books = Process(product), Books(product)
            process.watch({port})
            yield Soak(product, books, process, process.rests())
            books.close()
        finally:
            product.stop()


def _spawn(product: Product, name: str, stdin: int = subprocess.PIPE) -> subprocess.Popen[str]:
    """A process of the soak; `Product.stop` ends it."""
    process = subprocess.Popen(
        [sys.executable, "-m", f"tests.functional.soak.{name}"],
        cwd=ROOT,
        stdin=stdin,
        stdout=subprocess.PIPE,
        text=True,
    )
    product.processes[name] = process
    return process


def _configuration(port: int) -> dict[str, object]:
    return {
        "providers": [
            {
                "name": "soak",
                "kind": "anthropic",
                "base_url": f"http://127.0.0.1:{port}",
                "credentials": [{"name": "main", "secret_env": "SOAK_CREDENTIAL"}],
            }
        ],
        "customers": [{"name": "Soak", "teams": [{"name": "Soak", "keys": [{"name": "soak", **LIMITS}], **LIMITS}]}],
    }


def _wait_for_key(product: Product) -> None:
    deadline = time.monotonic() + 20
    while httpx.get(f"{product.base_url}/v1/models", headers=product.headers("soak"), timeout=10).is_error:
        assert time.monotonic() < deadline, product.log("server")
        time.sleep(0.05)


def test_soak(soak: Soak) -> None:
    client = _spawn(soak.product, "client")
    assert client.stdin is not None
    assert client.stdout is not None
    orders = {
        "port": soak.product.port,
        "secret": soak.product.secrets["soak"],
        "requests": REQUESTS,
        "streams": STREAMS,
        "connections": CONNECTIONS,
    }
    client.stdin.write(json.dumps(orders) + "\n")
    client.stdin.close()
    curve: list[tuple[int, int]] = []
    deadline = time.monotonic() + MOST_SECONDS
    for line in client.stdout:
        assert time.monotonic() < deadline, curve[-3:]
        word, _, number = line.partition(" ")
        if word != "progress":
            result = json.loads(line)
            break
        curve.append((int(number), soak.process.rss()))
    client.wait(10)
    growth = _growth(curve)
    sent = Counter(result["sent"])
    _report(sent, result["seconds"], curve, growth)
    assert result["wrong"] == []
    assert sum(sent.values()) == REQUESTS + STREAMS
    _check_rows(soak, sent)
    soak.process.comes_back_to(soak.quiet, seconds=40)
    assert growth < MOST_GROWTH, f"memory grew by {growth:.1%}"


def _check_rows(soak: Soak, sent: Counter[str]) -> None:
    """One row for each request, of the status that its kind must have, and the ledger agrees to the nano-dollar."""
    expected: Counter[str] = Counter()
    for name, count in sent.items():
        expected[KINDS[name].row] += count
    deadline = time.monotonic() + 60
    while (rows := soak.books.statuses()) != expected and time.monotonic() < deadline:
        time.sleep(0.2)
    assert rows == expected
    assert soak.books.unlike() == 0
    charged = sum(count for name, count in sent.items() if KINDS[name].charged)
    exact = sum(count for name, count in sent.items() if KINDS[name].charged and KINDS[name].exact)
    entries, total = soak.books.charged()
    assert entries == charged, soak.books.cancelled()
    assert exact * EXACT_COST < total < charged * EXACT_COST


def _growth(curve: list[tuple[int, int]]) -> float:
    """How much more memory the last tenth of the run takes than the tenth after the warm-up, as a share."""
    last = REQUESTS + STREAMS
    warm = [rss for done, rss in curve if WARM * last <= done <= (WARM + 0.1) * last]
    end = [rss for done, rss in curve if done >= 0.9 * last]
    return median(end) / median(warm) - 1


def _report(sent: Counter[str], seconds: float, curve: list[tuple[int, int]], growth: float) -> None:
    count = sum(sent.values())
    print(f"\nsoak on {KIND}: {count:,} requests in {seconds:.0f} s, {count / seconds:,.0f}/s")
    print("  " + ", ".join(f"{name} {number:,}" for name, number in sorted(sent.items())))
    step = max(1, len(curve) // 20)
    print("  RSS in MB: " + " ".join(f"{rss / 1e6:.0f}" for _, rss in curve[::step]) + f"; growth {growth:+.1%}")
