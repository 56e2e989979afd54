"""The preview of a re-pricing: one line for each request whose cost changes, computed in resumable chunks."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any

from django.db import transaction
from django.db.models import Q
from django.utils import timezone

from governance.catalog import price_book
from governance.domain.access import matches
from governance.domain.ids import new_ulid
from governance.domain.pricing import PriceBook
from governance.models import Price, Repricing, RepricingLine
from observability.models import Request
from observability.repricing.closed import CLOSED, ClosedMonths
from observability.repricing.cost import reprice

CHUNK_ROWS = 1_000
_COLUMNS = (
    "id", "started_at", "customer", "customer_id", "model", "region", "attempts", "status", "stop_reason",
    "input_tokens", "output_tokens", "thinking_tokens", "cache_read_tokens", "cache_write_5m_tokens",
    "cache_write_1h_tokens", "web_searches", "speed", "inference_geo", "service_tier", "iterations", "cost_nano_usd",
    "cost_quality", "price_id", "cache",
)  # fmt: skip


def compute(repricing: Repricing) -> None:
    """Compute what is left of a queued run; it is ready for a decision afterwards."""
    book = price_book()
    platforms = dict(Price.objects.order_by().values_list("pk", "platform"))
    closed = ClosedMonths()
    while _chunk(repricing.pk, book, platforms, closed):
        pass


def _chunk(pk: int, book: PriceBook, platforms: Mapping[int, str], closed: ClosedMonths) -> bool:
    """One chunk and where the next begins, in one transaction; False when nothing is left.

    Race: two workers may sweep at once; the lock on the run lets them take turns, each from where the other ended.
    """
    with transaction.atomic():
        run = Repricing.objects.select_for_update().get(pk=pk)
        if run.status != Repricing.Status.QUEUED:
            return False
        rows = _rows(run)
        left_out: Counter[str] = Counter(run.left_out)
        lines = []
        for row in rows:
            if row.model and matches(tuple(run.model_patterns), row.model):
                line = _line(run, row, book, platforms, closed, left_out)
                run.requests += 1
                if line is not None:
                    lines.append(line)
                    run.changed += 1
                    run.old_nano_usd += line.old_nano_usd
                    run.new_nano_usd += line.new_nano_usd
        RepricingLine.objects.bulk_create(lines, batch_size=500)
        run.left_out = dict(left_out)
        if rows:
            run.progress = f"{rows[-1].started_at.isoformat()} {rows[-1].pk}"
        if len(rows) < CHUNK_ROWS:
            run.status, run.computed_at = Repricing.Status.READY, timezone.now()
        run.save()
        return bool(run.status == Repricing.Status.QUEUED)


def _rows(run: Repricing) -> list[Request]:
    """The next requests of the period, by time."""
    rows = Request.objects.filter(started_at__lt=run.ends_at).order_by("started_at", "id").only(*_COLUMNS)
    if run.customer_id is not None:
        rows = rows.filter(customer_id=run.customer_id)
    moment, _, last = run.progress.partition(" ")
    after = datetime.fromisoformat(moment) if moment else run.starts_at
    rows = rows.filter(started_at__gte=after)
    if last:
        rows = rows.filter(Q(started_at__gt=after) | Q(id__gt=last))
    return list(rows[:CHUNK_ROWS])


def _line(
    run: Repricing,
    row: Request,
    book: PriceBook,
    platforms: Mapping[int, str],
    closed: ClosedMonths,
    left_out: Counter[str],
) -> RepricingLine | None:
    """The line of a request whose cost changes, or that has a price now and had none."""
    if row.customer_id is None or row.cache != Request.Cache.NONE or not _used(row):
        return None
    new = reprice(row, book, platforms)
    if new.left_out:
        left_out[new.left_out] += 1
        return None
    if new.nano_usd == row.cost_nano_usd and row.cost_quality != Request.CostQuality.UNPRICED:
        return None
    if closed.holds(row.customer_id, row.started_at):
        left_out[CLOSED] += 1
        return None
    return RepricingLine(
        id=new_ulid(),
        repricing=run,
        request_id=row.pk,
        occurred_at=row.started_at,
        customer_name=row.customer,
        model=row.model,
        old_nano_usd=row.cost_nano_usd,
        new_nano_usd=new.nano_usd,
        old_quality=row.cost_quality,
        new_quality=new.quality,
        price_id=new.price_id,
        overrides=list(new.overrides),
    )


def _used(row: Request) -> bool:
    counts: Iterable[Any] = (
        row.input_tokens, row.output_tokens, row.cache_read_tokens, row.cache_write_5m_tokens,
        row.cache_write_1h_tokens, row.web_searches, row.iterations,
    )  # fmt: skip
    return any(counts)
