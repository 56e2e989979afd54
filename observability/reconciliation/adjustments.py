"""Bring the ledger to the provider's figure: an exception's difference as rows of their own, never an edit.

The difference of a cell is spread over the keys that used it, in proportion to what each was charged there, to the
nano-dollar. Where we have nothing in the cell a person names the virtual key that it is charged to.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from datetime import datetime, timedelta

from django.core.exceptions import ValidationError
from django.db import transaction
from ulid import ULID

from governance import ledger, months
from governance.ledger import Posting
from governance.models import LedgerEntry, ReconciliationException, VirtualKey
from governance.services.audit import Actor
from observability.models import Request
from observability.reconciliation import queue
from observability.reconciliation.ours import bounds, requests_of


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


def plan(exception: ReconciliationException, *, key: VirtualKey | None = None) -> list[Share]:
    """What an adjustment would write, the largest first. Raises ValidationError where there is nothing to adjust."""
    if exception.kind != ReconciliationException.Kind.DIFFERENCE:
        raise ValidationError("There is no report to bring the ledger to: explain or ignore this one.")
    amount = -exception.difference_nano_usd
    if not amount:
        raise ValidationError("The amounts are equal, only the counts differ: explain or ignore this one.")
    cell = (exception.model, exception.token_class, exception.workspace_id)
    groups: dict[tuple[int | None, ...], list[tuple[Request, int]]] = defaultdict(list)
    for request, nano in requests_of(exception.day, cell):
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
    weights = {who: sum(nano for _, nano in rows) for who, rows in groups.items()}
    parts = spread(amount, list(weights.values()))
    shares = []
    for part, rows in zip(parts, groups.values(), strict=True):
        dearest = max(rows, key=lambda row: (row[1], row[0].pk))[0]
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
) -> list[Share]:
    """Write the adjustment and close the exception with it, in one transaction. Raises ValidationError, Vanished."""
    with transaction.atomic():
        row = queue.claim(exception, note)
        shares = plan(row, key=key)
        ledger.adjust([_posting(row, share) for share in shares])
        queue.close(
            row, row.Status.ADJUSTED, note, actor, actor_name,
            adjusted_nano_usd=[0, sum(share.nano_usd for share in shares)], ledger_rows=[0, len(shares)],
        )  # fmt: skip
    return shares


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
