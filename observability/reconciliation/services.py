"""Import reports, compare days and keep the queue of what does not add up."""

from __future__ import annotations

import logging
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal

from django.conf import settings
from django.core.exceptions import ValidationError
from django.db import transaction
from django.utils import timezone

from governance.domain.pricing import normalise
from governance.models import (
    ReconciliationDay,
    ReconciliationLine,
    ReportDay,
    ReportImport,
    ReportLine,
)
from governance.services import audit
from governance.services.audit import Actor
from observability.reconciliation import waiting
from observability.reconciliation.client import AdminApi
from observability.reconciliation.compare import Difference, Key, Tolerance, compare
from observability.reconciliation.ours import OurDay, our_day
from observability.reconciliation.parse import Kind, Line, Report, digest
from observability.reconciliation.queue import adjusted, one_at_a_time, open_exceptions, settle_state

logger = logging.getLogger(__name__)

FINAL_AFTER = timedelta(hours=24)
"""How long after its end a day may still change on either side: until then no exception is opened."""
MAX_DAYS = 400
KINDS: tuple[Kind, ...] = ("cost", "usage")
_NO_MODEL = {"web_search"}
_CELL_COLUMNS = (
    "model", "token_class", "workspace_id", "ours_nano_usd", "theirs_nano_usd", "ours_tokens", "theirs_tokens",
    "status", "remark",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Imported:
    """What an import changed; `report` is None where every day was the same as before."""

    report: ReportImport | None
    days: tuple[date, ...]
    unchanged: int


def admin_api() -> AdminApi | None:
    """The organisation's Admin API; None where no admin key is set."""
    options = settings.COMPTROLLER
    key = options["ANTHROPIC_ADMIN_KEY"]
    return AdminApi(options["COMPTROLLER_ANTHROPIC_ADMIN_BASE_URL"], key) if key else None


def tolerance() -> Tolerance:
    options = settings.COMPTROLLER
    return Tolerance(options["COMPTROLLER_RECONCILE_TOLERANCE_PERCENT"], options["COMPTROLLER_RECONCILE_TOLERANCE_USD"])


def import_report(
    *, report: Report, source: str, actor: Actor, actor_name: str = "", file_name: str = "", now: datetime | None = None
) -> Imported:
    """Keep each day of a report that differs from what is known of it; the newest one counts, older ones stay.

    Importing the same again changes nothing. Changed days wait to be compared, by a worker or by who calls this.
    Raises ValidationError for days that cannot be.
    """
    now = now or timezone.now()
    ahead = [day for day in report.days if day > now.astimezone(UTC).date()]
    if ahead:
        raise ValidationError(f"The report has figures of {ahead[0]}, which has not begun. Is it the right file?")
    if len(report.days) > MAX_DAYS:
        raise ValidationError(f"The report has {len(report.days)} days; import at most {MAX_DAYS} days at a time.")
    with transaction.atomic():
        one_at_a_time()
        known = dict(
            ReportDay.objects.filter(kind=report.kind, is_current=True, day__in=list(report.days)).values_list(
                "day", "digest"
            )
        )
        changed = {day: lines for day, lines in report.days.items() if known.get(day) != digest(lines)}
        if not changed:
            return Imported(None, (), len(report.days))
        named = actor.get_username() if actor is not None and actor.is_authenticated else ""
        made = ReportImport.objects.create(
            source=source,
            kind=report.kind,
            first_day=min(report.days),
            last_day=max(report.days),
            imported_at=now,
            imported_by_id=actor.pk if named and actor is not None else None,
            imported_by_name=(actor_name or named or "system")[:150],
            file_name=file_name[:200],
            sha256=report.sha256,
            days=len(changed),
            lines=sum(map(len, changed.values())),
            unknown=list(report.unknown),
        )
        ReportDay.objects.filter(kind=report.kind, is_current=True, day__in=list(changed)).update(is_current=False)
        for day, lines in changed.items():
            kept = ReportDay.objects.create(report=made, kind=report.kind, day=day, digest=digest(lines))
            ReportLine.objects.bulk_create(_stored(kept, lines), batch_size=500)
        waiting.mark_new(changed, now)
        audit.record(
            actor=actor,
            actor_name=actor_name,
            action="report.imported",
            target=made,
            changes={"days": [None, made.days], "lines": [None, made.lines], "sha256": [None, made.sha256]},
        )
    return Imported(made, tuple(changed), len(report.days) - len(changed))


def compare_day(day: date, *, now: datetime | None = None) -> ReconciliationDay:
    """Lay our day beside the newest reports of it, and open, update or close its exceptions."""
    now = now or timezone.now()
    horizon = log_begins(now)
    known: ReconciliationDay | None = ReconciliationDay.objects.filter(pk=day).first()
    if known is not None and known.compared_at is not None and horizon is not None and day < horizon:
        logger.info("The request rows of %s are deleted: its comparison of %s stays.", day, known.compared_at)
        _answered(day, known.waiting_since)
        return known
    # Race: a re-pricing that posts while we read marks the day again, with another moment, and it stays marked.
    asked = known.waiting_since if known is not None else None
    ours = our_day(day)
    with transaction.atomic():
        one_at_a_time()
        for key, nano in adjusted(day).items():
            ours.cells[key].adjust(nano)
            ours.ledger += nano
        cost, usage = _theirs(day, "cost"), _theirs(day, "usage")
        cells = compare(
            ours.cells,
            None if cost is None else {key: _usd(lines) for key, lines in cost.items()},
            None if usage is None else {key: sum(line.tokens or 0 for line in lines) for key, lines in usage.items()},
            tolerance(),
        )
        row = _keep(day, ours, cells, has_cost=cost is not None, now=now)
        if row.is_final:
            open_exceptions(row, cells, ours, now=now)
        settle_state(row)
        _answered(day, asked)
    return row


def _answered(day: date, asked: datetime | None) -> None:
    """Take the mark away that a comparison answered; a later one stays."""
    if asked is not None:
        ReconciliationDay.objects.filter(pk=day, waiting_since=asked).update(waiting_since=None)


def reconcile(
    *, first: date, last: date, api: AdminApi | None, actor: Actor = None, actor_name: str = "",
    now: datetime | None = None,
) -> list[ReconciliationDay]:  # fmt: skip
    """Read both reports of the days (UTC, both included) where there is an API, and compare each day.

    Raises Unreachable, BadReport, ValidationError; what was imported before that stays.
    """
    check_range(first, last)
    if api is not None:
        for kind in KINDS:
            report = api.report(kind, first, last)
            import_report(report=report, source="api", actor=actor, actor_name=actor_name, now=now)
    return [compare_day(day, now=now) for day in days_between(first, last)]


def check_range(first: date, last: date) -> None:
    """Raise ValidationError where these are no range of at most 400 days."""
    if last < first:
        raise ValidationError(f"The last day {last} lies before the first, {first}.")
    if (last - first).days >= MAX_DAYS:
        raise ValidationError(f"At most {MAX_DAYS} days at a time.")


def days_between(first: date, last: date) -> list[date]:
    return [first + timedelta(days=number) for number in range((last - first).days + 1)]


def _stored(kept: ReportDay, lines: Iterable[Line]) -> list[ReportLine]:
    return [
        ReportLine(
            report_day=kept,
            **{name: value for name, value in asdict(line).items() if name not in {"day", "extra"}},
            extra=dict(line.extra),
        )
        for line in lines
    ]


def _theirs(day: date, kind: Kind) -> Mapping[Key, list[ReportLine]] | None:
    """The newest lines by cell; None where there is no such report of the day."""
    kept = ReportDay.objects.filter(kind=kind, day=day, is_current=True).first()
    if kept is None:
        return None
    cells: dict[Key, list[ReportLine]] = defaultdict(list)
    for line in kept.lines.all():
        # A cost report names no model for web searches; a usage report does.
        model = "" if line.token_class in _NO_MODEL else normalise(line.model)
        cells[model, line.token_class, line.workspace_id].append(line)
    return cells


def _usd(lines: Iterable[ReportLine]) -> Decimal:
    return sum((Decimal(line.cents) for line in lines if line.cents), Decimal(0)) / 100


def _keep(day: date, ours: OurDay, cells: list[Difference], *, has_cost: bool, now: datetime) -> ReconciliationDay:
    theirs = sum(cell.theirs_nano_usd or 0 for cell in cells) if has_cost else None
    ends = datetime(day.year, day.month, day.day, tzinfo=UTC) + timedelta(days=1)
    row, _ = ReconciliationDay.objects.update_or_create(
        pk=day,
        defaults={
            "ours_nano_usd": ours.total,
            "theirs_nano_usd": theirs,
            "drift_nano_usd": None if theirs is None else ours.total - theirs,
            "ledger_nano_usd": ours.ledger,
            "is_final": now >= ends + FINAL_AFTER,
            "compared_at": now,
        },
    )
    row.lines.all().delete()
    ReconciliationLine.objects.bulk_create(
        [
            ReconciliationLine(
                day=row,
                **{name: getattr(cell, name) for name in _CELL_COLUMNS},
            )
            for cell in cells
        ],
        batch_size=500,
    )
    return row


def log_begins(now: datetime) -> date | None:
    """The first day whose request rows are all still there; None where none are ever deleted."""
    keep: int = settings.COMPTROLLER["COMPTROLLER_LOG_RETENTION_DAYS"]
    return (now - timedelta(days=keep)).astimezone(UTC).date() + timedelta(days=1) if keep else None
