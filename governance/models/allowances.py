"""What is left of each budget and limit, and which gateway process holds how much of it.

One row for each period of a budget or limit says what is settled and what is held; the holds are leases, one for each
process. `governance/leases.py` moves them.
"""

from __future__ import annotations

from django.db import models
from django.db.models import F, Q

from governance.models.budgets import Budget, RateLimit


class GatewayProcess(models.Model):
    """A gateway process that holds, or held, leases. All times by the database's clock where it has one."""

    id = models.CharField(max_length=26, primary_key=True, help_text="ULID, made at its start.")
    host = models.CharField(max_length=200)
    pid = models.IntegerField()
    started_at = models.DateTimeField()
    seen_at = models.DateTimeField(help_text="Its last sign of life.")
    ended_at = models.DateTimeField(
        null=True, blank=True, help_text="When it ended in order, or when its leases were recovered after its death."
    )
    note = models.CharField(max_length=300, blank=True, help_text="How it ended, and what was recovered.")

    class Meta:
        verbose_name_plural = "gateway processes"
        ordering = ["-started_at"]
        permissions = [("release_gatewayprocess", "Can release what a silent gateway process holds")]

    def __str__(self) -> str:
        return f"{self.host} process {self.pid}"


class AllowanceWindow(models.Model):
    """One period of one budget (nano-dollars) or limit (requests, tokens, requests at once)."""

    allowance = models.CharField(max_length=32, help_text="`budget:12` or `rate:5`.")
    budget = models.ForeignKey(Budget, on_delete=models.CASCADE, null=True, related_name="windows")
    rate_limit = models.ForeignKey(RateLimit, on_delete=models.CASCADE, null=True, related_name="windows")
    definition = models.CharField(
        max_length=16, help_text="Digest of what was counted then: see governance.ledger.definition."
    )
    starts_at = models.DateTimeField(help_text="1970 for what rolls or never ends.")
    ends_at = models.DateTimeField(null=True, blank=True)
    limit = models.BigIntegerField(default=0, help_text="In force when a lease was last granted.")
    settled = models.BigIntegerField(default=0)
    held = models.BigIntegerField(default=0, help_text="Sum of the leases.")
    summed_at = models.DateTimeField(
        null=True,
        blank=True,
        help_text="When settled was last summed from the ledger. Empty: to be done at its next use.",
    )
    beyond = models.BigIntegerField(
        default=0,
        help_text="How far settled and held may lie above the limit: what was out when the limit was lowered, "
        "and charges nobody could hold for. Shrinks as holds return.",
    )
    strict = models.BooleanField(default=False, help_text="A hard limit: settled + held never pass it.")
    wanted_at = models.DateTimeField(
        null=True, blank=True, help_text="When a process last asked for more than was free: others give back."
    )

    wanted_by = models.CharField(max_length=26, blank=True, help_text="That process.")

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["allowance", "starts_at", "definition"], name="allowance_window_once"),
            models.CheckConstraint(condition=Q(held__gte=0, beyond__gte=0), name="allowance_window_held"),
            models.CheckConstraint(
                condition=Q(strict=False) | Q(settled__lte=F("limit") + F("beyond") - F("held")),
                name="allowance_window_never_passed",
            ),
        ]
        indexes = [models.Index(fields=["ends_at"], name="allowance_window_ends")]

    def __str__(self) -> str:
        return f"{self.allowance}: from {self.starts_at:%Y-%m-%d %H:%M} UTC"


class Lease(models.Model):
    """The part of a window's headroom that one process may spend without asking."""

    window = models.ForeignKey(AllowanceWindow, on_delete=models.CASCADE, related_name="leases")
    owner = models.CharField(max_length=26, help_text="The process, see GatewayProcess.")
    amount = models.BigIntegerField(default=0)
    version = models.BigIntegerField(default=0, help_text="Counts its changes, so that an older answer is known.")

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["window", "owner"], name="lease_once"),
            models.CheckConstraint(condition=Q(amount__gte=0), name="lease_amount"),
        ]
        indexes = [models.Index(fields=["owner"], name="lease_owner")]

    def __str__(self) -> str:
        return f"{self.owner}: {self.amount} of {self.window_id}"
