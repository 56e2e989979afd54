"""Prometheus metrics of the data plane (SPEC's names), counted from each committed batch, off the request
path.

Label values are bounded: providers, teams and models come from the configuration and the price catalog,
everything else is `other`. Keys and developers are no labels.
"""

from __future__ import annotations

import os
import time
from bisect import bisect_left
from collections import Counter as Counts
from collections import defaultdict, deque
from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

from django.db import DatabaseError
from prometheus_client import Counter, Gauge, Histogram

from governance.domain.model_ids import candidates, normalise
from governance.models import Price
from observability.records import RequestRecord

SECONDS = (0.1, 0.25, 0.5, 1, 2.5, 5, 10, 20, 30, 60, 120, 300, 600)
REQUESTS = Counter("comptroller_requests", "Requests that ended.", ["provider", "model", "team", "status"])
TOKENS = Counter("comptroller_tokens", "Tokens by class.", ["provider", "model", "team", "class"])
COST = Counter("comptroller_cost_usd", "Cost in USD.", ["provider", "model", "team"])
DURATION = Histogram("comptroller_request_duration_seconds", "Start to end of admitted requests.", buckets=SECONDS)
FIRST_TOKEN = Histogram("comptroller_time_to_first_token_seconds", "Start to the first content byte.", buckets=SECONDS)
OVERHEAD = Histogram(
    "comptroller_overhead_seconds",
    "Time of the gateway itself in a request.",
    buckets=(0.0001, 0.00025, 0.0005, 0.00075, 0.001, 0.0015, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.5),
)
ERRORS = Counter("comptroller_errors", "Requests that failed after admission.", ["provider", "type"])
REFUSALS = Counter("comptroller_refusals", "Requests that the gateway refused, by error type.", ["reason"])
CACHE_RATIO = Gauge(
    "comptroller_cache_tokens_ratio",
    "Prompt-cache hit rate: cache reads among all prompt tokens of the last 15 minutes.",
    multiprocess_mode="mostrecent",
)
FAILOVERS = Counter("comptroller_failovers", "Requests that went on to another target.", ["from", "to", "reason"])
RULE_ERRORS = Counter(
    "comptroller_routing_rule_errors", "Routing rules that could not be worked out for a request.", ["rule"]
)
UNPRICED = Counter("comptroller_unpriced_requests", "Requests charged at the dearest rate for want of a price.")
ACTIVE_STREAMS = Gauge("comptroller_active_streams", "Answers being relayed now.", multiprocess_mode="livesum")
LOOP_TASKS = Gauge(
    "comptroller_event_loop_tasks",
    "Tasks of the event loop: requests that run, and a handful that always do. One that grows by itself is a leak.",
    multiprocess_mode="livesum",
)
OPEN_HOLDS = Gauge(
    "comptroller_open_holds",
    "Holds that running requests have on budgets and limits; 0 when nothing runs.",
    multiprocess_mode="livesum",
)
SPOOL_OUTSTANDING = Gauge(
    "comptroller_spool_outstanding",
    "Requests noted in the spool that are not in the database yet: running ones, and finished ones that wait for it.",
    multiprocess_mode="livesum",
)
ABANDONED = Gauge(
    "comptroller_abandoned_requests",
    "Requests whose client has left and whose provider is read on for what it charges.",
    multiprocess_mode="livesum",
)
ACTIVE_REQUESTS = Gauge("comptroller_active_requests", "Requests that have a place now.", multiprocess_mode="livesum")
QUEUE_REQUESTS = Gauge("comptroller_queue_requests", "Requests that wait for a place now.", multiprocess_mode="livesum")
QUEUE_SECONDS = Histogram(
    "comptroller_queue_seconds",
    "How long those waited that found no place at once.",
    buckets=(0.01, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30),
)
BODY_MEMORY = Gauge(
    "comptroller_body_memory_bytes", "Room that request bodies take in memory now.", multiprocess_mode="livesum"
)
LOOP_LAG = Gauge(
    "comptroller_event_loop_lag_seconds", "How late the event loop is, smoothed.", multiprocess_mode="livemax"
)
PROVIDER_UP = Gauge("comptroller_provider_up", "1 while requests go there.", ["provider"], multiprocess_mode="livemin")
BREAKER_OPEN = Gauge(
    "comptroller_provider_breaker_open",
    "1 while requests are kept from it after too many failures.",
    ["provider"],
    multiprocess_mode="livemax",
)
CREDENTIALS_USABLE = Gauge(
    "comptroller_credentials_usable", "Credentials that may be used now.", ["provider"], multiprocess_mode="livemin"
)
CREDENTIALS_REJECTED = Counter(
    "comptroller_credentials_rejected", "Answers of a provider that refuse our credential.", ["provider"]
)
PENDING = Gauge(
    "comptroller_spool_records", "Finished requests that are not in the database yet.", multiprocess_mode="livesum"
)
SPOOL_BYTES = Gauge("comptroller_spool_bytes", "Size of this process's spool on disk.", multiprocess_mode="livesum")
SPOOL_FULL = Gauge("comptroller_spool_full", "1 while the spool gets no room.", multiprocess_mode="livemax")
SPOOL_UNNOTED = Counter(
    "comptroller_spool_unnoted",
    "Notes that found no room: requests refused, admitted without a note, or finished in memory alone.",
    ["what"],
)
SPOOL_REPLAYED = Counter(
    "comptroller_spool_replayed",
    "Requests of dead processes written from their spool: finished ones, orphans and those nothing is charged for.",
    ["kind"],
)
SPOOL_DAMAGED = Gauge(
    "comptroller_spool_damaged", "Files of the spool that could not be read in full.", multiprocess_mode="livemax"
)
SPOOL_SET_ASIDE = Gauge(
    "comptroller_spool_set_aside", "Records that the database refused, kept in a file.", multiprocess_mode="livemax"
)
FLUSH_SECONDS = Histogram(
    "comptroller_log_flush_seconds",
    "Writing one batch of the log and the ledger.",
    buckets=(0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 5, 20),
)

TOKEN_CLASSES = {
    "input": "input_tokens",
    "output": "output_tokens",
    "cache_read": "cache_read_tokens",
    "cache_write_5m": "cache_write_5m_tokens",
    "cache_write_1h": "cache_write_1h_tokens",
}
ERROR_TYPES = frozenset({
    "invalid_request_error", "authentication_error", "billing_error", "permission_error", "not_found_error",
    "request_too_large", "rate_limit_error", "timeout_error", "api_error", "overloaded_error",
})  # fmt: skip
"""Anthropic's, which are ours too."""
_MODELS_EVERY_S = 60.0
_RATIO_MINUTES = 15


def stream_started() -> None:
    ACTIVE_STREAMS.inc()


def stream_ended() -> None:
    ACTIVE_STREAMS.dec()


def set_running(*, tasks: int, holds: int, outstanding: int, abandoned: int) -> None:
    """What this process has under way at this moment."""
    LOOP_TASKS.set(tasks)
    OPEN_HOLDS.set(holds)
    SPOOL_OUTSTANDING.set(outstanding)
    ABANDONED.set(abandoned)


def set_load(*, running: int, waiting: int, body_bytes: int, lag: float) -> None:
    """What the gate of this process holds, ten times a second; `lag` in seconds."""
    ACTIVE_REQUESTS.set(running)
    QUEUE_REQUESTS.set(waiting)
    BODY_MEMORY.set(body_bytes)
    LOOP_LAG.set(lag)


def queued(seconds: float) -> None:
    QUEUE_SECONDS.observe(seconds)


def refused_without_row(record: RequestRecord) -> None:
    """Count a refusal that is left out of the log: the counters know every one."""
    REQUESTS.labels("", "", f"{record.customer}/{record.team}" if record.team else "", "refused").inc()
    REFUSALS.labels(_error_type(record)).inc()


def rule_failed(rule: str) -> None:
    """Rules come from the configuration: their names are bounded."""
    RULE_ERRORS.labels(rule).inc()


def credential_rejected(provider: str) -> None:
    CREDENTIALS_REJECTED.labels(provider).inc()


def set_providers(up: Mapping[str, bool]) -> None:
    """Replace the state of every provider, by name."""
    _replace(PROVIDER_UP, up)


def set_provider_pools(pools: Mapping[str, tuple[bool, int]]) -> None:
    """Replace (whether the breaker is open, how many credentials may be used) of every provider, by name."""
    _replace(BREAKER_OPEN, {name: is_open for name, (is_open, _) in pools.items()})
    _replace(CREDENTIALS_USABLE, {name: usable for name, (_, usable) in pools.items()})


def _replace(gauge: Gauge, values: Mapping[str, float]) -> None:
    for (name,) in [sample for sample in gauge._metrics if sample[0] not in values]:
        if "PROMETHEUS_MULTIPROC_DIR" in os.environ:
            # The files that processes share forget no series; `exposition` leaves out what is no number.
            gauge.labels(name).set(float("nan"))
        else:
            gauge.remove(name)
    for name, value in values.items():
        gauge.labels(name).set(value)


class Observer:
    """Counts batches; one for each process, called in the recorder's thread only."""

    def __init__(self) -> None:
        self._children: dict[tuple[Any, ...], Any] = {}
        self._added: defaultdict[tuple[Any, ...], float] = defaultdict(float)
        """What this batch adds to each counter, by metric and labels: each is raised once a batch."""
        self._models: frozenset[str] = frozenset()
        self._models_read_at = float("-inf")
        self._minutes: deque[tuple[int, int, int]] = deque()
        self._seen: tuple[tuple[Histogram, list[float]], ...] = ((DURATION, []), (FIRST_TOKEN, []), (OVERHEAD, []))
        """What this batch adds to each histogram, in seconds."""

    def __call__(self, batch: Sequence[RequestRecord]) -> None:
        self._read_models()
        self._added.clear()
        for _, values in self._seen:
            values.clear()
        read = prompt = 0
        for record in batch:
            self._count(record)
            read += record.cache_read_tokens
            prompt += record.input_tokens + record.cache_read_tokens
            prompt += record.cache_write_5m_tokens + record.cache_write_1h_tokens
        for key, amount in self._added.items():
            self._child(*key).inc(amount)
        for histogram, values in self._seen:
            _observe(histogram, values)
        self._note_cache(int(time.monotonic() // 60), read, prompt)

    def _count(self, record: RequestRecord) -> None:
        (_, durations), (_, first_tokens), (_, overheads) = self._seen
        team = f"{record.customer}/{record.team}" if record.team else ""
        who = (record.provider, self._model(record.model or record.model_requested), team)
        self._added[REQUESTS, *who, record.status] += 1
        for name, attribute in TOKEN_CLASSES.items():
            if tokens := getattr(record, attribute):
                self._added[TOKENS, *who, name] += tokens
        if record.cost_nano_usd > 0:
            self._added[COST, *who] += record.cost_nano_usd / 1e9
        if record.cost_quality == "unpriced":
            UNPRICED.inc()
        if record.status == "refused":
            self._added[REFUSALS, _error_type(record)] += 1
        else:
            if record.latency_ms is not None:
                durations.append(record.latency_ms / 1000)
            if record.ttft_ms is not None:
                first_tokens.append(record.ttft_ms / 1000)
        if record.status == "error":
            self._added[ERRORS, record.provider, _error_type(record)] += 1
        if record.gateway_overhead_us is not None:
            overheads.append(record.gateway_overhead_us / 1e6)
        if len(record.attempts) < 2:
            return
        for before, after in pairwise(record.attempts):
            if (before.get("provider"), before.get("credential")) != (
                after.get("provider"),
                after.get("credential"),
            ):
                ends = (str(before.get("provider", "")), str(after.get("provider", "")))
                self._added[FAILOVERS, *ends, str(before.get("reason") or before.get("status") or "connection")] += 1

    def _child(self, metric: Any, *labels: str) -> Any:
        """The labelled child; kept, since finding it anew costs more than counting."""
        key = (metric, *labels)
        child = self._children.get(key)
        if child is None:
            child = self._children[key] = metric.labels(*labels)
        return child

    def _model(self, model: str) -> str:
        """The catalog's own id of a model, or `other`: clients may ask for any text."""
        if not model or model in self._models:
            return model
        listed = (name for name, _ in candidates(normalise(model)) if name in self._models)
        return next(listed, "other")

    def _read_models(self) -> None:
        """Models of the price catalog, read once a minute; with the database away the last known ones stay."""
        now = time.monotonic()
        if now - self._models_read_at < _MODELS_EVERY_S:
            return
        self._models_read_at = now
        try:
            self._models = frozenset(Price.objects.values_list("model_id", flat=True).distinct())
        except DatabaseError:
            return

    def _note_cache(self, minute: int, read: int, prompt: int) -> None:
        if self._minutes and self._minutes[-1][0] == minute:
            _, read_before, prompt_before = self._minutes.pop()
            read, prompt = read + read_before, prompt + prompt_before
        self._minutes.append((minute, read, prompt))
        while self._minutes[0][0] <= minute - _RATIO_MINUTES:
            self._minutes.popleft()
        total = sum(entry[2] for entry in self._minutes)
        CACHE_RATIO.set(sum(entry[1] for entry in self._minutes) / total if total else 0.0)


def _observe(histogram: Histogram, values: list[float]) -> None:
    """Many values at once: the library takes one at a time, and where processes share files each costs microseconds."""
    if not values:
        return
    bounds, buckets = histogram._upper_bounds, histogram._buckets
    for index, count in Counts(bisect_left(bounds, value) for value in values).items():
        buckets[index].inc(count)
    histogram._sum.inc(sum(values))


observe = Observer()
"""The recorder's listener."""


def _error_type(record: RequestRecord) -> str:
    """A provider may answer any type; only known ones become labels."""
    return record.error_type if record.error_type in ERROR_TYPES else "other"
