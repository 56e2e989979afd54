"""Re-pricing of a period: the run with its preview and decision, and one line for each request whose cost changes."""

from __future__ import annotations

from django.conf import settings
from django.db import models
from django.db.models import F, Q

from governance.fields import NanoUsdField
from governance.models.tenants import Customer
from governance.querysets import RepricingQuerySet
from governance.validators import validate_model_patterns


class Repricing(models.Model):
    """A person asks; the preview is computed; another person approves; adjustments are posted."""

    class Status(models.TextChoices):
        QUEUED = "queued", "Computing the preview"
        READY = "ready", "Waiting for approval"
        APPROVED = "approved", "Posting"
        POSTED = "posted", "Posted"
        REJECTED = "rejected", "Rejected"
        FAILED = "failed", "Failed"

    customer = models.ForeignKey(
        Customer, on_delete=models.PROTECT, null=True, blank=True, related_name="+", help_text="Empty: every customer."
    )
    starts_at = models.DateTimeField("from", help_text="Requests that started at or after this moment (UTC).")
    ends_at = models.DateTimeField("to", help_text="Requests that started before this moment (UTC).")
    model_patterns = models.JSONField("models", default=list, blank=True, validators=[validate_model_patterns])
    reason = models.CharField(max_length=300, help_text="Why; it stands in the audit trail beside the adjustments.")
    status = models.CharField(max_length=8, choices=Status.choices, default=Status.QUEUED, editable=False)
    requests = models.BigIntegerField(default=0, editable=False, help_text="Requests looked at.")
    changed = models.BigIntegerField(default=0, editable=False, help_text="Requests whose cost changes.")
    old_nano_usd = NanoUsdField(default=0, editable=False, help_text="Of the requests that change, before.")
    new_nano_usd = NanoUsdField(default=0, editable=False, help_text="Of the requests that change, after.")
    posted = models.BigIntegerField(default=0, editable=False, help_text="Adjustments written.")
    posted_nano_usd = NanoUsdField(default=0, editable=False)
    left_out = models.JSONField(default=dict, editable=False, help_text='{"reason": requests} that were not re-priced.')
    progress = models.CharField(max_length=64, blank=True, editable=False, help_text="Where the next chunk begins.")
    error = models.TextField(blank=True, editable=False)
    requested_by = models.ForeignKey(
        settings.AUTH_USER_MODEL, on_delete=models.PROTECT, editable=False, related_name="+"
    )
    created_at = models.DateTimeField(auto_now_add=True)
    computed_at = models.DateTimeField(null=True, editable=False)
    decided_by = models.ForeignKey(
        settings.AUTH_USER_MODEL, on_delete=models.PROTECT, null=True, editable=False, related_name="+"
    )
    decided_at = models.DateTimeField(null=True, editable=False)
    decision_note = models.CharField(max_length=300, blank=True, editable=False)
    posted_at = models.DateTimeField(null=True, editable=False)

    objects = RepricingQuerySet.as_manager()

    class Meta:
        ordering = ["-pk"]
        verbose_name = "re-pricing"
        verbose_name_plural = "re-pricings"
        permissions = [("decide_repricing", "Can approve and reject re-pricing")]
        constraints = [
            models.CheckConstraint(
                condition=Q(ends_at__gt=F("starts_at")),
                name="repricing_range",
                violation_error_message="The end must lie after the start.",
            ),
            models.CheckConstraint(
                condition=~Q(status__in=["approved", "posted"])
                | (Q(decided_by__isnull=False) & ~Q(decided_by=F("requested_by"))),
                name="repricing_four_eyes",
                violation_error_message="Whoever asked for it cannot approve it.",
            ),
        ]

    def __str__(self) -> str:
        return f"{self.customer or 'Every customer'}, {self.starts_at:%Y-%m-%d %H:%M} to {self.ends_at:%Y-%m-%d %H:%M}"

    @property
    def difference_nano_usd(self) -> int:
        return int(self.new_nano_usd - self.old_nano_usd)


class RepricingLine(models.Model):
    """One request whose cost changes. Its id is that of the adjustment, so that it is written once."""

    id = models.CharField(max_length=26, primary_key=True, help_text="ULID of the adjustment in the ledger.")
    repricing = models.ForeignKey(Repricing, on_delete=models.PROTECT, related_name="lines")
    request_id = models.CharField(max_length=26)
    occurred_at = models.DateTimeField(help_text="When the request started.")
    customer_name = models.CharField(max_length=120, blank=True)
    model = models.CharField(max_length=200)
    old_nano_usd = NanoUsdField()
    new_nano_usd = NanoUsdField()
    old_quality = models.CharField(max_length=10)
    new_quality = models.CharField(max_length=10)
    price_id = models.BigIntegerField(null=True, help_text="The price that it takes now.")
    overrides = models.JSONField(default=list, help_text="Ids of the customer's overrides that it takes now.")
    posted_at = models.DateTimeField(null=True)
    skipped = models.CharField(max_length=200, blank=True, help_text="Why no adjustment was written.")

    class Meta:
        ordering = ["repricing", "occurred_at", "id"]
        constraints = [models.UniqueConstraint(fields=["repricing", "request_id"], name="repricing_line_once")]
        indexes = [models.Index(fields=["request_id"], name="repricing_line_request")]

    def __str__(self) -> str:
        return f"{self.request_id} in re-pricing {self.repricing_id}"
