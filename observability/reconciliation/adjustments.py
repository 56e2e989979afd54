"""Bring the ledger to the provider's figure: an exception's difference as rows of their own, never an edit.

The difference of a cell is spread over the keys that used it, in proportion to what each was charged there, to the
nano-dollar. Where we have nothing in the cell a person names the virtual key that it is charged to. The exception
keeps what was written: later comparisons of its day count it as ours, so that nothing is adjusted twice.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta

from django.core.exceptions import ValidationError
from django.db import transaction
from django.db.models import Case, F, Q, Value, When
from django.utils import timezone
from ulid import ULID

from governance import ledger, months, watched
from governance.domain.money import show_usd
from governance.ledger import Posting
from governance.models import (
    LedgerEntry,
    ReconciliationDay,
    ReconciliationException,
    ReconciliationLine,
    VirtualKey,
)
from governance.services.audit import Actor
from observability.models import Request
from observability.reconciliation import queue
from observability.reconciliation.compare import Key
from observability.reconciliation.ours import bounds, requests_of
from observability.reconciliation.services import log_begins


@dataclass(frozen=True, slots=True)
class Share:
    """One row that the adjustment writes."""

    request: Request | None
    """The dearest request of the key in the cell, which the row names; None where we have none."""
    key: VirtualKey | None
    name: str
    """Of the virtual key, as the log has it."""
    team: str
    nano_usd: int
    occurred_at: datetime
    moved: bool
    """Its own month is closed: it counts in the first open one."""


Used = Mapping[Key, Sequence[tuple[Request, int]]]
"""Requests of cells with what each has in them, in nano-dollars."""


def used_in(exceptions: Iterable[ReconciliationException]) -> dict[date, Used]:
    """The requests of many exceptions' cells by day, for `plan` and `adjust`: each day is read once."""
    cells: dict[date, set[Key]] = defaultdict(set)
    for exception in exceptions:
        if exception.kind == ReconciliationException.Kind.DIFFERENCE:
            cells[exception.day].add(_cell(exception))
    return {day: requests_of(day, keys) for day, keys in cells.items()}


def plan(exception: ReconciliationException, *, key: VirtualKey | None = None, used: Used | None = None) -> list[Share]:
    """What an adjustment would write, the largest first. Raises ValidationError where there is nothing to adjust."""
    if exception.kind != ReconciliationException.Kind.DIFFERENCE:
        raise ValidationError("There is no report to bring the ledger to: explain or ignore this one.")
    amount = -exception.difference_nano_usd
    if not amount:
        raise ValidationError("The amounts are equal, only the counts differ: explain or ignore this one.")
    cell = _cell(exception)
    rows = (requests_of(exception.day, [cell]) if used is None else used)[cell]
    _check_current(exception, sum(nano for _, nano in rows))
    groups: dict[tuple[int | None, ...], list[tuple[Request, int]]] = defaultdict(list)
    for request, nano in rows:
        if request.customer_id and request.virtual_key_id and nano > 0:
            who = (request.customer_id, request.team_id, request.project_id, request.developer_id)
            groups[*who, request.virtual_key_id].append((request, nano))
    if not groups:
        if key is None:
            raise ValidationError(
                {"virtual_key": "We have no request in this cell: name the virtual key that it is charged to."}
            )
        noon = bounds(exception.day)[0] + timedelta(hours=12)
        return [_share(None, key, key.name, str(key.team), amount, noon, key.team.customer_id)]
    weights = {who: sum(nano for _, nano in group) for who, group in groups.items()}
    parts = spread(amount, list(weights.values()))
    shares = []
    for part, group in zip(parts, groups.values(), strict=True):
        dearest = max(group, key=lambda row: (row[1], row[0].pk))[0]
        if part:
            customer_id = dearest.customer_id or 0
            shares.append(
                _share(dearest, None, dearest.virtual_key, dearest.team, part, dearest.started_at, customer_id)
            )
    return sorted(shares, key=lambda share: -abs(share.nano_usd))


def spread(amount: int, weights: list[int]) -> list[int]:
    """Whole parts of the amount in proportion to the weights (above zero); their sum is the amount exactly."""
    total = sum(weights)
    sign = -1 if amount < 0 else 1
    parts = [abs(amount) * weight // total for weight in weights]
    rest = abs(amount) - sum(parts)
    order = sorted(range(len(weights)), key=lambda n: (-(abs(amount) * weights[n] % total), n))
    for number in order[:rest]:
        parts[number] += 1
    return [sign * part for part in parts]


def adjust(
    *,
    exception: ReconciliationException,
    note: str,
    actor: Actor,
    actor_name: str = "",
    key: VirtualKey | None = None,
    used: Used | None = None,
) -> list[Share]:
    """Write the adjustment and close the exception with it, in one transaction. Raises ValidationError, Vanished."""
    with transaction.atomic():
        row = queue.claim(exception, note)
        # No month is closed between the look at it and the commit: closing one changes the configuration.
        watched.pin()
        shares = plan(row, key=key, used=used)
        postings = [_posting(row, share) for share in shares]
        ledger.adjust(postings)
        row.adjusted_nano_usd = sum(share.nano_usd for share in shares)
        row.save(update_fields=["adjusted_nano_usd"])
        _show(row)
        customers = {posting.customer_id for posting in postings}
        queue.close(
            row, row.Status.ADJUSTED, note, actor, actor_name,
            customer_id=customers.pop() if len(customers) == 1 else None,
            adjusted_nano_usd=[0, row.adjusted_nano_usd], ledger_rows=[0, len(shares)],
        )  # fmt: skip
    return shares


def _cell(exception: ReconciliationException) -> Key:
    return exception.model, exception.token_class, exception.workspace_id


def _check_current(exception: ReconciliationException, now_nano_usd: int) -> None:
    """Refuse what a re-pricing has made old: the difference would be written although it is gone."""
    begins = log_begins(timezone.now())
    if begins is not None and exception.day < begins:
        return  # the requests are deleted, and nothing re-prices them any more
    ours = now_nano_usd + queue.adjusted(exception.day).get(_cell(exception), 0)
    if ours != exception.ours_nano_usd:
        raise ValidationError(
            f"Our figure is {show_usd(ours)} now, the comparison found {show_usd(exception.ours_nano_usd)}: a request "
            "was re-priced or came late. Compare the day again first."
        )


def _show(row: ReconciliationException) -> None:
    """Let the day's page say what the next comparison will: the cell is equal, the drift smaller."""
    amount = row.adjusted_nano_usd
    cell = dict(zip(("model", "token_class", "workspace_id"), _cell(row), strict=True))
    lines = ReconciliationLine.objects.filter(day=row.day, **cell)
    same = Q(theirs_tokens=None) | Q(theirs_tokens=F("ours_tokens"))
    matched, within = Value(ReconciliationLine.Status.MATCHED), Value(ReconciliationLine.Status.WITHIN)
    lines.update(ours_nano_usd=F("ours_nano_usd") + amount, status=Case(When(same, then=matched), default=within))
    ReconciliationDay.objects.filter(pk=row.day).update(
        ours_nano_usd=F("ours_nano_usd") + amount,
        drift_nano_usd=F("drift_nano_usd") + amount,
        ledger_nano_usd=F("ledger_nano_usd") + amount,
    )


def _share(
    request: Request | None, key: VirtualKey | None, name: str, team: str, nano: int, at: datetime, customer_id: int
) -> Share:
    moment = months.first_open_moment(customer_id, at)
    return Share(request, key, name, team, nano, moment, moved=moment != at)


def _posting(row: ReconciliationException, share: Share) -> Posting:
    request, key = share.request, share.key
    project_id = developer_id = access_id = None
    if request is not None:
        customer_id, team_id, key_id = request.customer_id or 0, request.team_id or 0, request.virtual_key_id or 0
        project_id, developer_id = request.project_id, request.developer_id
        access_id = LedgerEntry.objects.filter(pk=request.pk).values_list("provider_access_id", flat=True).first()
        model, named = request.model, request.pk
    elif key is not None:
        customer_id, team_id, key_id = key.team.customer_id, key.team_id, key.pk
        model, named = row.model, f"exception-{row.pk}"
    else:
        raise ValueError("a share names a request or a key")
    return Posting(
        id=str(ULID()),
        request_id=named,
        occurred_at=share.occurred_at,
        customer_id=customer_id,
        team_id=team_id,
        project_id=project_id,
        developer_id=developer_id,
        virtual_key_id=key_id,
        provider_access_id=access_id,
        model=model,
        amount_nano_usd=share.nano_usd,
        tokens=0,
        price_id=None,
    )
