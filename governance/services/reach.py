"""The reach of a membership: what a user may write, which is less than what they may see."""

from __future__ import annotations

from typing import Any

from django.core.exceptions import PermissionDenied
from django.db.models import Model, Q

from governance.models import RoutingRule, RoutingSettings
from governance.querysets import sees_every_customer
from governance.services.audit import tenancy


class OutOfReach(PermissionDenied):
    """The row lies beyond the customers and teams that the user belongs to as a whole."""


def demand_reach(user: Any, row: Model) -> None:
    """Raise OutOfReach where a row lies beyond what the user's memberships cover as a whole.

    One may see more than one may change: a member of one team sees the customer and the projects of all teams.
    Rows of no customer (providers, prices) are left to the permission alone, but for rules that reach every customer.
    No user is the product itself.
    """
    customer_id, team_id = tenancy(row)
    if user is None or user.is_superuser:
        return
    if customer_id is None:
        if isinstance(row, RoutingRule | RoutingSettings) and not sees_every_customer(user):
            raise OutOfReach("This decides about every customer's requests: it is for who belongs to each of them.")
        return
    covering = Q(team__isnull=True) if team_id is None else Q(team__isnull=True) | Q(team_id=team_id)
    if not user.memberships.filter(covering, customer_id=customer_id).exists():
        raise OutOfReach("This reaches beyond the customers and teams that you belong to.")
