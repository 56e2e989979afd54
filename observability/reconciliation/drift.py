"""What `/metrics` says of the reconciliation: the last final day's drift by model, and the open exceptions."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime

from django.db import DatabaseError
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from governance.models import ReconciliationDay, ReconciliationException

CACHE_S = 60.0
MAX_MODELS = 30
"""Labels are bounded: a report may name any number of models; the rest is summed as `other`."""


class DriftCollector(Collector):
    """Series are absent while no day was compared: an absent series is honest, a zero is not."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._figures: tuple[dict[str, int], float | None, int] | None = None
        self._read_at = float("-inf")

    def describe(self) -> list[GaugeMetricFamily]:
        """Names only: registering must not read the database."""
        return list(_families())

    def collect(self) -> Iterator[GaugeMetricFamily]:
        drift, day, waiting = _families()
        if (figures := self._current()) is not None:
            by_model, midnight, open_ones = figures
            for model, nano in by_model.items():
                drift.add_metric([model], nano / 1e9)
            if midnight is not None:
                day.add_metric([], midnight)
            waiting.add_metric([], open_ones)
        yield from (drift, day, waiting)

    def forget(self) -> None:
        """Read anew at the next scrape."""
        self._read_at = float("-inf")

    def _current(self) -> tuple[dict[str, int], float | None, int] | None:
        with self._lock:
            if time.monotonic() - self._read_at >= CACHE_S:
                try:
                    self._figures = _read()
                except DatabaseError:
                    self._figures = None
                self._read_at = time.monotonic()
            return self._figures


def _families() -> tuple[GaugeMetricFamily, GaugeMetricFamily, GaugeMetricFamily]:
    return (
        GaugeMetricFamily(
            "comptroller_reconciliation_drift_usd",
            "Our cost less the provider's cost report on the last final day in USD.",
            labels=["model"],
        ),
        GaugeMetricFamily(
            "comptroller_reconciliation_last_day_timestamp_seconds",
            "Start of the last final day that was compared with a cost report.",
        ),
        GaugeMetricFamily("comptroller_reconciliation_exceptions_open", "Exceptions that wait for a decision."),
    )


def _read() -> tuple[dict[str, int], float | None, int]:
    waiting = ReconciliationException.objects.filter(status=ReconciliationException.Status.OPEN).count()
    last = ReconciliationDay.objects.filter(is_final=True, theirs_nano_usd__isnull=False).order_by("-day").first()
    if last is None:
        return {}, None, waiting
    drift: Counter[str] = Counter()
    for line in last.lines.all():
        drift[line.model or "(none)"] += line.ours_nano_usd - (line.theirs_nano_usd or 0)
    ranked = sorted(drift, key=lambda model: (-abs(drift[model]), model))
    kept = {model: drift[model] for model in ranked[:MAX_MODELS]}
    if rest := ranked[MAX_MODELS:]:
        kept["other"] = sum(drift[model] for model in rest)
    midnight = datetime(last.day.year, last.day.month, last.day.day, tzinfo=UTC).timestamp()
    return kept, midnight, waiting


DRIFT = DriftCollector()
