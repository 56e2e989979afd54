"""Which rows of the log and its exports a user may see."""

from __future__ import annotations

from typing import Any, Self

from django.db import models
from django.db.models import Q

from governance.querysets import VisibleQuerySet


class RequestQuerySet(VisibleQuerySet):
    """Rows without a customer (a key that nobody knows) are for superusers."""

    customer_path, team_path = "customer_id", "team_id"


class ExportQuerySet(models.QuerySet[Any]):
    """Exports of a whole customer; an export of every customer is for superusers."""

    def visible_to(self, user: Any) -> Self:
        if not user.is_authenticated or not user.is_active:
            return self.none()
        if user.is_superuser:
            return self
        whole = user.memberships.filter(team__isnull=True).values_list("customer_id", flat=True)
        return self.filter(Q(customer_id__in=list(whole)))
