"""More money for a time: raises, emergency raises, transfers and resets, each asked for and decided."""

from __future__ import annotations

from datetime import datetime
from zoneinfo import ZoneInfo

from django.conf import settings
from django.db import models
from django.db.models import F, Q

from governance.fields import NanoUsdField
from governance.models.budgets import Budget
from governance.models.tenants import Customer, Team
from governance.querysets import RaiseQuerySet


class Raise(models.Model):
    """A change of one budget's limit from a moment to before another, and who asked for it and decided.

    The clock alone ends it: nothing has to run. Rows are never deleted; the names stay when people and budgets go.
    """

    class Kind(models.TextChoices):
        RAISE = "raise", "Raise"
        EMERGENCY = "emergency", "Emergency raise"
        TRANSFER = "transfer", "Transfer"
        RESET = "reset", "Reset"

    class Status(models.TextChoices):
        REQUESTED = "requested", "Waiting"
        APPROVED = "approved", "Approved"
        DECLINED = "declined", "Declined"
        WITHDRAWN = "withdrawn", "Withdrawn"
        ENDED_EARLY = "ended_early", "Ended early"

    kind = models.CharField(max_length=9, choices=Kind.choices, default=Kind.RAISE)
    budget = models.ForeignKey(Budget, on_delete=models.SET_NULL, null=True, related_name="raises")
    budget_name = models.CharField(max_length=300)
    customer = models.ForeignKey(Customer, on_delete=models.CASCADE, related_name="raises")
    team = models.ForeignKey(Team, on_delete=models.SET_NULL, null=True, related_name="+")
    amount_nano_usd = NanoUsdField("amount (USD)", help_text="Below zero where a transfer takes it away.")
    reason = models.CharField(max_length=500, help_text="Why: whoever decides and whoever audits reads it.")
    requester = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.SET_NULL, null=True, related_name="+")
    requester_name = models.CharField("asked by", max_length=150)
    created_at = models.DateTimeField("asked", auto_now_add=True)
    starts_at = models.DateTimeField("from")
    ends_at = models.DateTimeField("until", help_text="The limit falls back by itself at this moment.")
    status = models.CharField(max_length=11, choices=Status.choices, default=Status.REQUESTED)
    decided_by = models.ForeignKey(
        settings.AUTH_USER_MODEL, on_delete=models.SET_NULL, null=True, related_name="+", help_text="Another person."
    )
    decided_by_name = models.CharField("decided by", max_length=150, blank=True)
    decided_at = models.DateTimeField("decided", null=True)
    decision_note = models.CharField(max_length=300, blank=True)
    ended_at = models.DateTimeField("ended early", null=True)
    ended_by_name = models.CharField("ended by", max_length=150, blank=True)
    counterpart = models.ForeignKey(
        "self", on_delete=models.SET_NULL, null=True, related_name="+", help_text="The other half of a transfer."
    )

    objects = RaiseQuerySet.as_manager()

    class Meta:
        ordering = ["-created_at", "-pk"]
        permissions = [
            ("decide_raise", "Can approve and decline raises"),
            ("emergency_raise", "Can raise at once, out of the customer's emergency reserve"),
        ]
        constraints = [
            models.CheckConstraint(
                condition=Q(ends_at__gt=F("starts_at")),
                name="raise_ends_after_start",
                violation_error_message="It must end after it starts.",
            ),
            models.CheckConstraint(
                condition=Q(amount_nano_usd__gt=0) | Q(kind="transfer", amount_nano_usd__lt=0),
                name="raise_amount",
                violation_error_message="The amount must be above zero.",
            ),
            models.CheckConstraint(condition=~Q(reason=""), name="raise_reason", violation_error_message="Say why."),
            models.CheckConstraint(
                condition=Q(requester__isnull=True) | Q(decided_by__isnull=True) | ~Q(decided_by=F("requester")),
                name="raise_other_person",
                violation_error_message="Who asked for it cannot decide about it.",
            ),
            models.CheckConstraint(
                condition=Q(status__in=["requested", "withdrawn"]) | ~Q(decided_by_name=""),
                name="raise_decided_by",
                violation_error_message="A decision names who took it.",
            ),
        ]
        indexes = [models.Index(fields=["status", "ends_at"], name="raise_in_force")]

    def __str__(self) -> str:
        return f"{self.get_kind_display()} of {self.budget_name}"

    @property
    def zone(self) -> ZoneInfo:
        """Its budget's time zone, or the customer's where that is gone."""
        return ZoneInfo((self.budget.timezone if self.budget else "") or self.customer.timezone)

    def is_in_force(self, now: datetime) -> bool:
        """From its start to before its end, when it was approved."""
        return self.status == self.Status.APPROVED and self.starts_at <= now < self.ends_at

    def has_lapsed(self, now: datetime) -> bool:
        """Nobody decided before it, or the other half of a transfer, would have ended: nothing is left to approve."""
        if self.status != self.Status.REQUESTED:
            return False
        other = self.counterpart
        return self.ends_at <= now or (other is not None and other.ends_at <= now)
