"""What `/metrics` says of the gateway processes: how many are alive, and how many fell silent with money held."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from datetime import timedelta

from django.db import DatabaseError
from django.db.models.functions import Now
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from governance.leases import ALIVE, stranded
from governance.models import GatewayProcess

CACHE_S = 15.0
STRANDED = timedelta(minutes=2)
"""From so long a silence on, held money counts as stranded: a restart with a replay takes seconds."""


class ProcessCollector(Collector):
    """Both are absent while the database is away: an absent series is honest, an old figure is not."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._figures: tuple[int, int] | None = None
        self._read_at = float("-inf")

    def describe(self) -> list[GaugeMetricFamily]:
        """Names only: registering must not read the database."""
        return list(_families())

    def collect(self) -> Iterator[GaugeMetricFamily]:
        alive, held = _families()
        if (figures := self._current()) is not None:
            alive.add_metric([], figures[0])
            held.add_metric([], figures[1] / 1e9)
        yield from (alive, held)

    def forget(self) -> None:
        """Read anew at the next scrape."""
        self._read_at = float("-inf")

    def _current(self) -> tuple[int, int] | None:
        with self._lock:
            if time.monotonic() - self._read_at >= CACHE_S:
                try:
                    alive = GatewayProcess.objects.filter(ended_at__isnull=True, seen_at__gt=Now() - ALIVE).count()
                    self._figures = (alive, sum(stranded(STRANDED).values()))
                except DatabaseError:
                    self._figures = None
                self._read_at = time.monotonic()
            return self._figures


def _families() -> tuple[GaugeMetricFamily, GaugeMetricFamily]:
    return (
        GaugeMetricFamily("comptroller_gateway_processes", "Gateway processes with a sign of life in the last 15 s."),
        GaugeMetricFamily(
            "comptroller_stranded_usd",
            "Held by gateway processes silent for over 2 minutes in USD: replay their spools, or release it.",
        ),
    )


PROCESSES = ProcessCollector()
