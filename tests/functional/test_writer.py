"""The log's writer is killed, stopped and cut off: every request that the provider saw is charged once all the same."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest

from tests.functional.product import Product, configuration
from tests.functional.test_spool import KEY, Load, agree, running, serve, settle

pytestmark = pytest.mark.functional
KILLS = int(os.environ.get("COMPTROLLER_TEST_KILLS", "5"))
MODULE = "observability.writing"


def writers(product: Product) -> list[psutil.Process]:
    """The writers of the product's server."""
    server = psutil.Process(product.processes["server"].pid)
    return [child for child in server.children() if _is_writer(child)]


def _is_writer(process: psutil.Process) -> bool:
    try:
        return MODULE in process.cmdline() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def the_writer(product: Product, but: int = 0) -> psutil.Process:
    """Wait for the server's writer, for another one than `but`."""
    return until(lambda: next((w for w in writers(product) if w.pid != but), None), product)


def until(condition: Callable[[], Any], product: Product, seconds: float = 30) -> Any:
    deadline = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < deadline, product.log("server")
        time.sleep(0.02)
    return found


def recorder(product: Product) -> dict[str, Any]:
    answer = httpx.get(f"{product.url}/readyz", timeout=10).json()
    found: dict[str, Any] = answer["checks"]["recorder"]
    return found


def metric(product: Product, name: str, label: str = "") -> float:
    """The sum of a metric's series that have this label."""
    lines = httpx.get(f"{product.url}/metrics", timeout=20).text.splitlines()
    found = [line for line in lines if line.partition(" ")[0].partition("{")[0] == name and label in line]
    return sum(float(line.rpartition(" ")[2]) for line in found)


def served(product: Product) -> float:
    return metric(product, "comptroller_requests_total", 'model="claude-opus-5-5"')


def nothing_is_held(product: Product, load: Load) -> None:
    """The budget has what the rows cost, and nobody holds anything of it."""
    charged = sum(row["cost_nano_usd"] for row in load.rows())

    def settled() -> bool:
        (budget,) = product.api("GET", "budgets/")["results"]
        return Decimal(budget["held_usd"]) == 0 and Decimal(budget["spent_usd"]) * 10**9 == charged

    until(settled, product)


@pytest.mark.parametrize("kind", ["sqlite", "postgres"])
def test_a_writer_killed_under_load_loses_and_doubles_nothing(tmp_path: Path, kind: str) -> None:
    with running(tmp_path, kind) as product:
        product.apply(configuration(KEY, budgets=[{"limit_usd": 500, "period": "month", "enforcement": "hard"}]))
        load = Load(product)
        serve(product)
        last = 0
        for _ in range(KILLS):
            writer = the_writer(product, but=last)
            last = writer.pid

            async def kill_meanwhile(writer: psutil.Process = writer) -> None:
                sending = asyncio.create_task(load.run(100))
                await asyncio.sleep(0.3)
                writer.kill()
                await sending

            asyncio.run(kill_meanwhile())
        the_writer(product, but=last)
        settle(product, load)
        assert set(load.statuses) == {200}, "the writer is on nobody's way"
        assert set(agree(product, load)) == {"exact"}
        assert len(load.rows()) == 100 * KILLS
        nothing_is_held(product, load)
        until(lambda: recorder(product)["ok"], product)
        assert "The log's writer is gone" in product.log("server")


def test_a_server_that_is_killed_takes_its_writer_with_it(tmp_path: Path) -> None:
    with running(tmp_path, "sqlite") as product:
        load = Load(product)
        serve(product)
        writer = the_writer(product)
        asyncio.run(load.run(60, kill_after=0.3))
        writer.wait(5)
        serve(product)
        settle(product, load)
        agree(product, load)


def test_an_orderly_stop_ends_the_writer_last_and_leaves_nothing(tmp_path: Path) -> None:
    with running(tmp_path, "sqlite") as product:
        load = Load(product)
        serve(product)
        writer = the_writer(product)
        asyncio.run(load.run(60))
        product.stop("server")
        writer.wait(5)
        assert list((tmp_path / "data" / "spool").iterdir()) == []
        serve(product)
        assert len(load.rows()) == 60
        agree(product, load)


def test_a_writer_that_is_stopped_holds_no_request_up(tmp_path: Path) -> None:
    with running(tmp_path, "sqlite") as product:
        load = Load(product)
        serve(product)
        writer = the_writer(product)
        asyncio.run(load.run(10))
        until(lambda: len(load.rows()) == 10, product)
        writer.send_signal(signal.SIGSTOP)
        try:
            asyncio.run(load.run(50))
            assert load.statuses == {200: 60}
            assert len(load.rows()) == 10
            assert "has not answered" in until(
                lambda: recorder(product)["detail"] if not recorder(product)["ok"] else "", product
            )
            assert metric(product, "comptroller_spool_records") == 50
        finally:
            writer.send_signal(signal.SIGCONT)
        settle(product, load)
        agree(product, load)
        until(lambda: recorder(product)["ok"], product)


def test_a_stopped_writer_and_a_small_spool_refuse_before_anything_is_lost(tmp_path: Path) -> None:
    small = {"COMPTROLLER_SPOOL_MAX_BYTES": str(1 << 18), "COMPTROLLER_SPOOL_SEGMENT_BYTES": str(1 << 16)}
    with running(tmp_path, "sqlite", **small) as product:
        load = Load(product)
        serve(product)
        writer = the_writer(product)
        writer.send_signal(signal.SIGSTOP)
        try:
            asyncio.run(load.run(300))
        finally:
            writer.send_signal(signal.SIGCONT)
        assert set(load.statuses) == {200, 529}
        until(lambda: len([row for row in load.rows() if row["status"] == "success"]) == load.statuses[200], product)
        assert {row["tags"]["n"] for row in load.rows() if row["status"] == "success"} == set(load.seen())


def test_metrics_are_counted_on_by_the_next_writer(tmp_path: Path) -> None:
    with running(tmp_path, "sqlite") as product:
        load = Load(product)
        serve(product)
        first = the_writer(product)
        asyncio.run(load.run(20))
        until(lambda: served(product) == 20, product)
        first.kill()
        the_writer(product, but=first.pid)
        asyncio.run(load.run(20))
        until(lambda: served(product) == 40, product)
        until(lambda: metric(product, "comptroller_spool_records") == 0, product)


def test_a_thread_writes_where_the_setting_says_so(tmp_path: Path) -> None:
    with running(tmp_path, "sqlite", COMPTROLLER_WRITER="thread") as product:
        load = Load(product)
        serve(product)
        assert writers(product) == []
        asyncio.run(load.run(20))
        settle(product, load)
        agree(product, load)
        assert served(product) == 20
