"""What one signed-in person has: own developer records, keys, budgets, spend and sessions. Nothing of others.

Amounts are nano-dollars. Secrets are nowhere; a key shows the public start of its current one.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from zoneinfo import ZoneInfo

from django.db.models import F, Prefetch, Q, QuerySet, Sum

from governance.models import Budget, Developer, KeySecret, LedgerEntry, VirtualKey
from governance.selectors import BudgetStatus, KeyStatus, budget_statuses, key_statuses
from observability.models import Request

RECENT = 500
"""So many of the last requests are read for sessions and errors: few milliseconds, whatever the log holds."""
SHOWN = 5
_RELATED = (
    "customer", "team__customer", "project__customer", "developer", "virtual_key",
    "provider_access__virtual_key", "provider_access__provider",
)  # fmt: skip
_OWN = {"virtual_key", "provider_access", "developer", "project", "team"}
"""Scopes for which a developer may ask for more: what is their own or their team's, not the whole customer's."""


@dataclass(frozen=True, slots=True)
class Key:
    """One own key: the row, the public start of its secret, and how it stands."""

    row: VirtualKey
    shown: str
    status: KeyStatus


@dataclass(slots=True)
class Session:
    """The requests of one session among the last ones."""

    id: str
    last_at: datetime
    requests: int = 0
    cost: int = 0


@dataclass(frozen=True, slots=True)
class Standing:
    """Everything that the page shows. `budgets` are those that count own requests, the nearest to its limit first."""

    developers: tuple[Developer, ...]
    keys: tuple[Key, ...]
    budgets: tuple[BudgetStatus, ...]
    today: int
    month: int
    sessions: tuple[Session, ...]
    troubles: tuple[Request, ...]
    zone: ZoneInfo

    @property
    def binding(self) -> BudgetStatus | None:
        """The budget that stops requests first: the one with the least left of those that stop.

        One of some models or one provider stops only those: it comes after those that count every request.
        """
        stopping = [status for status in self.budgets if status.budget.enforcement != Budget.Enforcement.OBSERVE]
        stopping = [one for one in stopping if one.counts_all] or [one for one in stopping if one.state != "blocked"]
        return min(stopping, key=lambda status: status.remaining, default=None)

    @property
    def askable(self) -> list[BudgetStatus]:
        """Those for which one may ask: not the whole customer's."""
        return [status for status in self.budgets if status.budget.scope in _OWN]

    @property
    def works(self) -> bool:
        return any(key.status.usable for key in self.keys)

    @property
    def partly(self) -> str:
        """What of the requests is blocked where no key works for all, as sentences; empty where one does."""
        usable = [key.status for key in self.keys if key.status.usable]
        return "" if not usable or any(one.state == "works" for one in usable) else usable[0].reason


def developers_of(user: Any) -> list[Developer]:
    """The active developer records that are this person, at the customers whose member the person is.

    The one linked to the login; and those of the same e-mail address, without a login of their own. Who has left
    keeps the login, and the link may stay for the record: neither shows anything without the membership.
    """
    mine = Q(user=user)
    if user.email:
        mine |= Q(user__isnull=True, email__iexact=user.email)
    members = Developer.objects.filter(is_active=True, customer__in=user.memberships.values("customer"))
    return list(members.filter(mine).select_related("customer", "team").order_by("pk"))


def keys_of(developers: Iterable[Developer]) -> list[VirtualKey]:
    """Keys issued to these developers, the newest first, those that were revoked last."""
    rows: QuerySet[VirtualKey] = VirtualKey.objects.filter(developer__in=list(developers))
    return list(
        rows.select_related("team__customer", "developer", "project", "activity")
        .prefetch_related(Prefetch("secrets", KeySecret.objects.order_by("-pk")))
        .order_by(F("revoked_at").desc(nulls_first=True), "-created_at", "-pk")
    )


def standing_of(user: Any, now: datetime) -> Standing:
    """How this person stands at a moment."""
    developers = developers_of(user)
    rows = keys_of(developers)
    budgets, statuses = _budgets(developers, rows, now)
    zone = ZoneInfo(developers[0].customer.timezone if developers else "UTC")
    midnight = now.astimezone(zone).replace(hour=0, minute=0, second=0, microsecond=0)
    recent = list(
        Request.objects.filter(virtual_key_id__in=[row.pk for row in rows])
        .only("id", "started_at", "session_id", "cost_nano_usd", "status", "error_type", "error_message", "model")
        .order_by("-started_at")[:RECENT]
    )
    return Standing(
        developers=tuple(developers),
        keys=tuple(Key(row, str(next(iter(row.secrets.all()), "no secret")), statuses[row.pk]) for row in rows),
        budgets=tuple(budgets),
        today=_spent(developers, midnight),
        month=_spent(developers, midnight.replace(day=1)),
        sessions=tuple(_sessions(recent)),
        troubles=tuple(_troubles(recent)),
        zone=zone,
    )


def _budgets(
    developers: list[Developer], rows: list[VirtualKey], now: datetime
) -> tuple[list[BudgetStatus], dict[int, KeyStatus]]:
    """Every budget that counts requests of these keys and developers, once, and the status of each key."""
    usable = [row for row in rows if row.revoked_at is None]
    statuses = key_statuses(rows, now, askable=_OWN)
    found = {status.budget.pk: status for row in usable for status in statuses[row.pk].budgets}
    own = Budget.objects.filter(scope="developer", developer__in=developers, is_active=True)
    rest = own.exclude(pk__in=found).select_related(*_RELATED)
    found |= budget_statuses(rest, now)
    return sorted(found.values(), key=lambda status: status.share, reverse=True), statuses


def _spent(developers: list[Developer], since: datetime) -> int:
    entries = LedgerEntry.objects.filter(developer_id__in=[row.pk for row in developers], occurred_at__gte=since)
    return entries.aggregate(total=Sum("amount_nano_usd"))["total"] or 0


def _sessions(recent: list[Request]) -> list[Session]:
    """The sessions of the last requests, the newest first."""
    found: dict[str, Session] = {}
    for row in recent:
        if not row.session_id:
            continue
        session = found.setdefault(row.session_id, Session(row.session_id, row.started_at))
        session.requests += 1
        session.cost += row.cost_nano_usd or 0
    return list(found.values())[:SHOWN]


def _troubles(recent: list[Request]) -> list[Request]:
    """The last errors and refusals, each sentence once."""
    found: dict[str, Request] = {}
    for row in recent:
        if row.error_message:
            found.setdefault(row.error_message, row)
    return list(found.values())[:SHOWN]
