"""The ledger: one row for each amount charged, never edited. Budgets and statements are sums over it."""

from __future__ import annotations

from django.db import models
from django.db.models import Q

from governance.fields import NanoUsdField


class LedgerEntry(models.Model):
    """A charge of one request, or an adjustment of an earlier one.

    The references are plain numbers, not foreign keys: what was charged stays when a key or project is gone.
    """

    class Kind(models.TextChoices):
        CHARGE = "charge", "Charge"
        ADJUSTMENT = "adjustment", "Adjustment"

    id = models.CharField(max_length=26, primary_key=True, help_text="ULID; a charge has its request's.")
    kind = models.CharField(max_length=10, choices=Kind.choices, default=Kind.CHARGE)
    request_id = models.CharField(max_length=26, help_text="The request that is charged or adjusted.")
    occurred_at = models.DateTimeField(help_text="When the request started: decides the period it counts in.")
    customer_id = models.BigIntegerField()
    team_id = models.BigIntegerField()
    project_id = models.BigIntegerField(null=True)
    developer_id = models.BigIntegerField(null=True)
    virtual_key_id = models.BigIntegerField()
    provider_access_id = models.BigIntegerField(null=True)
    model = models.CharField(max_length=200, help_text="Model served.")
    amount_nano_usd = NanoUsdField()
    tokens = models.BigIntegerField(default=0, help_text="Every token of the request, for token limits.")
    price_id = models.BigIntegerField(null=True)

    class Meta:
        verbose_name_plural = "ledger entries"
        ordering = ["-occurred_at"]
        indexes = [
            models.Index(fields=["customer_id", "occurred_at"], name="ledger_customer"),
            models.Index(fields=["team_id", "occurred_at"], name="ledger_team"),
            models.Index(fields=["virtual_key_id", "occurred_at"], name="ledger_key"),
            models.Index(
                fields=["developer_id", "occurred_at"], name="ledger_developer", condition=Q(developer_id__isnull=False)
            ),
            models.Index(
                fields=["project_id", "occurred_at"], name="ledger_project", condition=Q(project_id__isnull=False)
            ),
            models.Index(
                fields=["provider_access_id", "occurred_at"],
                name="ledger_access",
                condition=Q(provider_access_id__isnull=False),
            ),
            models.Index(fields=["request_id"], name="ledger_request"),
        ]

    def __str__(self) -> str:
        return f"{self.kind} {self.id}"
