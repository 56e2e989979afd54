"""What `/metrics` shows: the whole registry of this process, or of all of them, and the state of the budgets."""

from __future__ import annotations

import glob
import math
import os
import threading
import time
from collections.abc import Awaitable, Callable, Iterator
from datetime import UTC, datetime

from django.db import DatabaseError
from prometheus_client import REGISTRY, CollectorRegistry, generate_latest
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.multiprocess import MultiProcessCollector
from prometheus_client.registry import Collector

from governance.models import Budget
from governance.selectors import budget_statuses
from observability.processes import PROCESSES
from observability.reconciliation.drift import DRIFT

BUDGET_CACHE_S = 15.0
MAX_BUDGETS = 1_000
_SCOPES = ("customer", "team", "project")
"""Budgets of single keys and developers are no labels: their number is not bounded."""

Figure = tuple[str, int, int, int]
"""Label; limit in force, spent and held in nano-dollars."""


class BudgetCollector(Collector):
    """Limit, spent and held of each active budget of a customer, team or project, in USD."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._figures: list[Figure] = []
        self._read_at = float("-inf")

    def describe(self) -> list[GaugeMetricFamily]:
        """Names only: registering must not read the database."""
        return list(_families())

    def collect(self) -> Iterator[GaugeMetricFamily]:
        limit, spent, held = _families()
        for label, limit_nano_usd, spent_nano_usd, held_nano_usd in self._current():
            limit.add_metric([label], limit_nano_usd / 1e9)
            spent.add_metric([label], spent_nano_usd / 1e9)
            held.add_metric([label], held_nano_usd / 1e9)
        yield from (limit, spent, held)

    def forget(self) -> None:
        """Read the budgets anew at the next scrape."""
        self._read_at = float("-inf")

    def _current(self) -> list[Figure]:
        """The figures, at most 15 s old; one scrape at a time reads them."""
        with self._lock:
            if time.monotonic() - self._read_at >= BUDGET_CACHE_S:
                try:
                    self._figures = _read()
                except DatabaseError:
                    self._figures = []  # an absent series is honest, an old figure is not
                self._read_at = time.monotonic()
            return self._figures


remote: Callable[[], Awaitable[bytes]] | None = None
"""Asks another process for the text of a scrape, where one renders it; empty where that cannot."""


def shared() -> bool:
    """Whether this process counts into files that others read too."""
    return "PROMETHEUS_MULTIPROC_DIR" in os.environ


def render() -> bytes:
    """The text of a scrape. Costs milliseconds and may read the database: call it off the event loop."""
    if not shared():
        return generate_latest(REGISTRY)
    registry = CollectorRegistry()
    registry.register(_Files(None))  # type: ignore[no-untyped-call]
    for collector in COLLECTORS:
        registry.register(collector)
    return generate_latest(registry)


class _Files(MultiProcessCollector):
    """What all processes counted. A file without a byte belongs to a process that is starting in this moment."""

    def collect(self) -> Iterator[Metric]:
        files = [file for file in glob.glob(os.path.join(self._path, "*.db")) if os.path.getsize(file)]
        for metric in self.merge(files, accumulate=True):  # type: ignore[no-untyped-call]
            # What is no number stands for a series that is gone: the files forget none.
            metric.samples = [sample for sample in metric.samples if not math.isnan(sample.value)]
            yield metric


def _families() -> tuple[GaugeMetricFamily, GaugeMetricFamily, GaugeMetricFamily]:
    return (
        GaugeMetricFamily("comptroller_budget_limit_usd", "Limit of the budget in USD.", labels=["budget"]),
        GaugeMetricFamily("comptroller_budget_spent_usd", "Spent in its current period in USD.", labels=["budget"]),
        GaugeMetricFamily("comptroller_budget_held_usd", "Held by gateway processes in USD.", labels=["budget"]),
    )


def _read() -> list[Figure]:
    budgets = list(
        Budget.objects.filter(is_active=True, scope__in=_SCOPES)
        .select_related("customer", "team__customer", "project__customer")
        .order_by("pk")[:MAX_BUDGETS]
    )
    statuses = budget_statuses(budgets, datetime.now(UTC))
    figures: list[Figure] = []
    labels: set[str] = set()
    for budget in budgets:
        label = str(budget)
        if label in labels:  # two series of one name would make the whole scrape invalid
            label = f"{label} #{budget.pk}"
        labels.add(label)
        status = statuses[budget.pk]
        figures.append((label, status.limit, status.spent, status.held))
    return figures


BUDGETS = BudgetCollector()
COLLECTORS: tuple[Collector, ...] = (BUDGETS, DRIFT, PROCESSES)
"""What is read from the database at a scrape: the same from whichever process answers it."""
for _collector in COLLECTORS:
    REGISTRY.register(_collector)
