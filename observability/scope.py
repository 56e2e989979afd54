"""Which rows a user may see, as a value that filters rows in memory the way `visible_to` filters the table."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from django.contrib.auth import get_user_model
from django.db.models import Q, QuerySet


@dataclass(frozen=True, slots=True)
class Scope:
    """Memberships of one user at one moment."""

    everything: bool
    customers: frozenset[int]
    teams: frozenset[int]

    @classmethod
    def of(cls, user: Any, permission: str) -> Scope | None:
        """The user's scope now, or None where the account is gone, inactive, no staff, or lacks the permission."""
        if user is None or not user.is_authenticated:
            return None
        fresh = get_user_model()._default_manager.filter(pk=user.pk, is_active=True, is_staff=True).first()
        if fresh is None or not fresh.has_perm(permission):
            return None
        memberships = [] if fresh.is_superuser else list(fresh.memberships.values_list("customer_id", "team_id"))
        return cls(
            everything=fresh.is_superuser,
            customers=frozenset(customer for customer, team in memberships if team is None),
            teams=frozenset(team for _, team in memberships if team is not None),
        )

    def covers(self, row: Mapping[str, Any]) -> bool:
        return self.everything or row["customer_id"] in self.customers or row["team_id"] in self.teams

    def restrict(self, rows: QuerySet[Any]) -> QuerySet[Any]:
        if self.everything:
            return rows
        return rows.filter(Q(customer_id__in=self.customers) | Q(team_id__in=self.teams))
