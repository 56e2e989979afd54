"""`visible_to(user)`: the one place that says which rows a user may see.

A superuser sees everything. Anybody else sees the customers and teams of their memberships, and nothing of another's.
"""

from __future__ import annotations

from typing import Any, Self

from django.apps import apps
from django.contrib.auth.models import AbstractBaseUser, AnonymousUser
from django.db import models
from django.db.models import Q

type_user = AbstractBaseUser | AnonymousUser


def scope_filter(user: Any, *, customer: str, team: str | None) -> Q | None:
    """A filter over the paths to a row's customer and team; None means no restriction.

    A membership of a whole customer shows every row of it; a membership of a team shows the rows of that team only.
    Where `team` is None the row belongs to a customer as a whole: a team membership shows it when the customer matches.
    """
    if not user.is_authenticated or not user.is_active:
        return Q(pk__in=[])
    if user.is_superuser:
        return None
    memberships = list(user.memberships.values_list("customer_id", "team_id"))
    whole = [customer_id for customer_id, team_id in memberships if team_id is None]
    teams = [team_id for _, team_id in memberships if team_id is not None]
    if team is None:
        return Q(**{f"{customer}__in": [customer_id for customer_id, _ in memberships]})
    return Q(**{f"{customer}__in": whole}) | Q(**{f"{team}__in": teams})


class VisibleQuerySet(models.QuerySet[Any]):
    """A queryset whose rows lead to a customer, and perhaps to a team."""

    customer_path = "customer_id"
    team_path: str | None = "team_id"

    def visible_to(self, user: Any) -> Self:
        restriction = scope_filter(user, customer=self.customer_path, team=self.team_path)
        return self if restriction is None else self.filter(restriction)


class CustomerQuerySet(VisibleQuerySet):
    customer_path, team_path = "pk", None


class TeamQuerySet(VisibleQuerySet):
    customer_path, team_path = "customer_id", "pk"


class ProjectQuerySet(VisibleQuerySet):
    """A project without a team belongs to all teams of its customer."""

    def visible_to(self, user: Any) -> Self:
        restriction = scope_filter(user, customer="customer_id", team="team_id")
        if restriction is None or not user.is_authenticated:
            return self if restriction is None else self.filter(restriction)
        customers = user.memberships.values_list("customer_id", flat=True)
        return self.filter(restriction | Q(team__isnull=True, customer_id__in=list(customers)))


class DeveloperQuerySet(VisibleQuerySet):
    pass


class VirtualKeyQuerySet(VisibleQuerySet):
    customer_path, team_path = "team__customer_id", "team_id"


class KeySecretQuerySet(VisibleQuerySet):
    customer_path, team_path = "virtual_key__team__customer_id", "virtual_key__team_id"


class ProviderAccessQuerySet(KeySecretQuerySet):
    pass


class ScopedLimitQuerySet(VisibleQuerySet):
    """Budgets and rate limits carry the customer and, where their target lies inside one team, the team."""


class RaiseQuerySet(VisibleQuerySet):
    """A raise is seen by who sees its budget; when that is gone, by who saw it then."""

    def visible_to(self, user: Any) -> Self:
        restriction = scope_filter(user, customer="budget__customer_id", team="budget__team_id")
        if restriction is None:
            return self
        kept = scope_filter(user, customer="customer_id", team="team_id") or Q()
        return self.filter(restriction | (Q(budget__isnull=True) & kept))


class AlertQuerySet(VisibleQuerySet):
    """An alert keeps the customer and team of its budget; one about a whole customer names no team."""


class AuditQuerySet(VisibleQuerySet):
    """Audit entries; those that belong to no customer are for who sees every customer as a whole."""

    def visible_to(self, user: Any) -> Self:
        restriction = scope_filter(user, customer="customer_id", team="team_id")
        if restriction is None:
            return self
        return self.filter(restriction | Q(customer_id__isnull=True) if sees_every_customer(user) else restriction)


class InstallationQuerySet(models.QuerySet[Any]):
    """Rows that sum up every customer: for who may see every customer as a whole."""

    def visible_to(self, user: Any) -> Self:
        return self if sees_every_customer(user) else self.none()


class RoutingRuleQuerySet(VisibleQuerySet):
    """A rule for everybody is seen by whoever may see rules at all: it decides about their requests, too."""

    def visible_to(self, user: Any) -> Self:
        restriction = scope_filter(user, customer="customer_id", team="team_id")
        if restriction is None or not user.is_authenticated or not user.is_active:
            return self if restriction is None else self.filter(restriction)
        return self.filter(restriction | Q(scope="global") | self._of_the_customer(user))

    def _of_the_customer(self, user: Any) -> Q:
        """What holds for a whole customer holds for each of its teams."""
        return Q(scope="customer", customer_id__in=list(user.memberships.values_list("customer_id", flat=True)))


class CustomerOrInstallationQuerySet(models.QuerySet[Any]):
    """Rows of one customer as a whole, or, where they name none, of every customer."""

    def visible_to(self, user: Any) -> Self:
        if sees_every_customer(user):
            return self
        if not user.is_authenticated or not user.is_active:
            return self.none()
        whole = user.memberships.filter(team__isnull=True).values_list("customer_id", flat=True)
        return self.filter(customer_id__in=list(whole))


def sees_every_customer(user: Any) -> bool:
    """A superuser, or a member of each customer that there is."""
    if not user.is_authenticated or not user.is_active:
        return False
    if user.is_superuser:
        return True
    customers = apps.get_model("governance", "Customer").objects
    whole = user.memberships.filter(team__isnull=True).values_list("customer_id", flat=True)
    return customers.exists() and not customers.exclude(pk__in=whole).exists()


class PriceOverrideQuerySet(VisibleQuerySet):
    """What a customer pays belongs to the customer as a whole."""

    team_path = None


class RepricingQuerySet(models.QuerySet[Any]):
    """Re-pricing reaches a whole customer; one of every customer is for superusers."""

    def visible_to(self, user: Any) -> Self:
        if not user.is_authenticated or not user.is_active:
            return self.none()
        if user.is_superuser:
            return self
        whole = user.memberships.filter(team__isnull=True).values_list("customer_id", flat=True)
        return self.filter(customer_id__in=list(whole))
