"""The lines of a re-pricing as CSV, one a request, for whoever checks them before or after the decision."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator
from typing import Any

from django.db.models import Count, Sum
from django.http import StreamingHttpResponse

from governance.domain.money import usd_string
from governance.models import Repricing, RepricingLine

COLUMNS = (
    "request_id", "started_at", "customer", "model", "old_usd", "new_usd", "difference_usd", "old_quality",
    "new_quality", "price_id", "overrides", "adjustment_id", "posted_at", "skipped",
)  # fmt: skip


def by_model(repricing: Repricing) -> list[dict[str, Any]]:
    """Sums by model, the largest difference first: model, requests, old, new, difference (nano-dollars)."""
    lines = repricing.lines.order_by().values("model")
    sums = lines.annotate(requests=Count("pk"), old=Sum("old_nano_usd"), new=Sum("new_nano_usd"))
    rows = [{**row, "difference": row["new"] - row["old"]} for row in sums]
    return sorted(rows, key=lambda row: (-abs(row["difference"]), row["model"]))


def as_csv(repricing: Repricing) -> StreamingHttpResponse:
    """The file, in pieces: a period may have more lines than fit in memory."""
    response = StreamingHttpResponse(_lines(repricing), content_type="text/csv; charset=utf-8")
    response["Content-Disposition"] = f'attachment; filename="repricing-{repricing.pk}.csv"'
    return response


def _lines(repricing: Repricing) -> Iterator[str]:
    yield _row(COLUMNS)
    for line in repricing.lines.order_by("occurred_at", "pk").iterator(chunk_size=2_000):
        yield _row(_values(line))


def _values(line: RepricingLine) -> list[Any]:
    return [
        line.request_id,
        line.occurred_at.isoformat(),
        _text(line.customer_name),
        _text(line.model),
        usd_string(line.old_nano_usd),
        usd_string(line.new_nano_usd),
        usd_string(line.new_nano_usd - line.old_nano_usd),
        line.old_quality,
        line.new_quality,
        line.price_id or "",
        " ".join(map(str, line.overrides)),
        line.pk if line.posted_at else "",
        line.posted_at.isoformat() if line.posted_at else "",
        line.skipped,
    ]


def _text(value: str) -> str:
    """A spreadsheet takes a text that begins like this for a formula; model ids come from clients."""
    return f"'{value}" if value[:1] in {"=", "+", "-", "@", "\t", "\r"} else value


def _row(values: Any) -> str:
    line = io.StringIO()
    csv.writer(line).writerow(values)
    return line.getvalue()
