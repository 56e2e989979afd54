"""Which customers and teams a user may see."""

from __future__ import annotations

from django.conf import settings
from django.db import models

from governance.models.tenants import Customer, Team, same_customer


class Membership(models.Model):
    """Lets a user see one customer, or one team of it. Superusers see every customer without one."""

    user = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.CASCADE, related_name="memberships")
    customer = models.ForeignKey(Customer, on_delete=models.CASCADE, related_name="memberships")
    team = models.ForeignKey(
        Team,
        on_delete=models.CASCADE,
        null=True,
        blank=True,
        related_name="memberships",
        help_text="Leave empty for the whole customer.",
    )

    class Meta:
        constraints = [
            models.UniqueConstraint(
                fields=["user", "customer", "team"],
                name="membership_once",
                violation_error_message="This user has this membership.",
            ),
            models.UniqueConstraint(
                fields=["user", "customer"],
                condition=models.Q(team__isnull=True),
                name="membership_whole_once",
                violation_error_message="This user has this membership.",
            ),
        ]

    def __str__(self) -> str:
        return f"{self.user} in {self.team or self.customer}"

    def clean(self) -> None:
        same_customer(self.customer_id, team=self.team)
