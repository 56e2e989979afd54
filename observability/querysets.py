"""Which rows of the log and its exports a user may see."""

from __future__ import annotations

from datetime import timedelta
from typing import Any, Self

from django.db import models
from django.db.models import Q

from governance.domain.ids import moment_of
from governance.querysets import VisibleQuerySet

NEAR = timedelta(days=1)
"""How far a request's start may lie from the moment in its id: far more than any clock is wrong."""


class RequestQuerySet(VisibleQuerySet):
    """Rows without a customer (a key that nobody knows) are for superusers."""

    customer_path, team_path = "customer_id", "team_id"

    def find(self, pk: str) -> Any:
        """The request of this id, or None.

        The id tells the month: PostgreSQL asks one partition instead of each. Where that finds nothing (ids of another
        making) all are asked.
        """
        made_at = moment_of(pk)
        near = made_at and self.filter(pk=pk, started_at__gte=made_at - NEAR, started_at__lte=made_at + NEAR).first()
        return near or self.filter(pk=pk).first()


class TotalQuerySet(VisibleQuerySet):
    """Sums of whole customers: who sees only a team of one may not read them (`sees_whole_customers`)."""

    customer_path, team_path = "customer_id", None


def sees_whole_customers(user: Any) -> bool:
    """Whether what the user may see is made of whole customers, without single teams of others."""
    return bool(user.is_superuser) or not user.memberships.filter(team__isnull=False).exists()


class ExportQuerySet(models.QuerySet[Any]):
    """Exports of a whole customer; an export of every customer is for superusers."""

    def visible_to(self, user: Any) -> Self:
        if not user.is_authenticated or not user.is_active:
            return self.none()
        if user.is_superuser:
            return self
        whole = user.memberships.filter(team__isnull=True).values_list("customer_id", flat=True)
        return self.filter(Q(customer_id__in=list(whole)))
