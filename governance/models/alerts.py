"""Whom the product tells, what it told, and how each message fared."""

from __future__ import annotations

import uuid

from django.core.exceptions import ValidationError
from django.db import models
from django.db.models import Q
from django.db.models.functions import Lower

from governance.domain.ids import new_ulid
from governance.encryption import EncryptedTextField
from governance.fields import NanoUsdField
from governance.models.budgets import Budget
from governance.models.tenants import Customer, Team
from governance.querysets import AlertQuerySet, CustomerOrInstallationQuerySet
from governance.validators import validate_emails


class AlertChannel(models.Model):
    """Where messages go besides the e-mail addresses of each budget."""

    class Kind(models.TextChoices):
        EMAIL = "email", "E-mail"
        SLACK = "slack", "Slack-compatible webhook"
        WEBHOOK = "webhook", "Signed webhook"

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    customer = models.ForeignKey(
        Customer,
        on_delete=models.CASCADE,
        null=True,
        blank=True,
        related_name="alert_channels",
        help_text="Empty hears of every customer; only an administrator of the installation can make such a channel.",
    )
    name = models.CharField(max_length=120, help_text="As the delivery log calls it, for example Finance in Slack.")
    kind = models.CharField(max_length=8, choices=Kind.choices, default=Kind.EMAIL)
    emails = models.JSONField("e-mail addresses", default=list, blank=True, validators=[validate_emails])
    # The address of a Slack webhook is itself a secret: whoever knows it may post.
    url = EncryptedTextField(blank=True, default="", editable=False)
    host = models.CharField(max_length=255, blank=True, editable=False, help_text="The part of the address shown.")
    signing_secret = EncryptedTextField(blank=True, default="", editable=False)
    thresholds_from = models.PositiveSmallIntegerField(
        "budget thresholds from %",
        null=True,
        blank=True,
        default=50,
        help_text="Tells of each budget's thresholds from this percentage on. Empty: of none.",
    )
    on_unpriced = models.BooleanField(
        "models without a price", default=True, help_text="A model was charged that the price list does not know."
    )
    on_zero_cost = models.BooleanField(
        "tokens that cost nothing", default=True, help_text="A model answered with tokens and was charged zero."
    )
    on_raises = models.BooleanField(
        "raises", default=True, help_text="A raise of a budget was asked for, decided, or has ended."
    )
    on_providers = models.BooleanField(
        "providers and credentials",
        default=True,
        help_text="A provider rejects a credential or keeps failing, or works again. Only for channels that hear of "
        "every customer.",
    )
    on_routing = models.BooleanField(
        "routing rules that fail", default=True, help_text="A rule could not be worked out for a request."
    )
    is_active = models.BooleanField("active", default=True)
    created_at = models.DateTimeField(auto_now_add=True)

    objects = CustomerOrInstallationQuerySet.as_manager()

    class Meta:
        ordering = ["customer__name", "name"]
        constraints = [
            models.UniqueConstraint(
                "customer",
                Lower("name"),
                name="alert_channel_name_once",
                violation_error_message="This customer has a channel of this name.",
            ),
            models.UniqueConstraint(
                Lower("name"),
                condition=Q(customer__isnull=True),
                name="alert_channel_installation_name_once",
                violation_error_message="The installation has a channel of this name.",
            ),
        ]

    def __str__(self) -> str:
        return self.name

    def clean(self) -> None:
        if self.kind == self.Kind.EMAIL:
            if not self.emails:
                raise ValidationError({"emails": "Give at least one e-mail address."})
            if self.url:
                raise ValidationError({"kind": "An e-mail channel has no address on the web."})
        elif not self.url:
            raise ValidationError("Give the address that messages are posted to.")
        elif self.emails:
            raise ValidationError({"emails": "A webhook has no e-mail addresses; make a second channel for them."})

    @property
    def where(self) -> str:
        """Its destination as people may see it: addresses, or the host without the secret rest."""
        return ", ".join(self.emails) if self.kind == self.Kind.EMAIL else str(self.host)


class Alert(models.Model):
    """One thing that happened and was told, with its figures at that moment.

    `key` names what happened, and is unique: that is what makes it once, whatever number of workers looks.
    Names stay readable after the things are gone.
    """

    class Kind(models.TextChoices):
        THRESHOLD = "threshold", "Budget threshold"
        UNPRICED = "unpriced", "Model without a price"
        ZERO_COST = "zero_cost", "Tokens that cost nothing"
        RAISE = "raise", "Raise"
        PROVIDER = "provider", "Provider or credential"
        ROUTING = "routing", "Routing rule that fails"

    id = models.CharField(max_length=26, primary_key=True, default=new_ulid, help_text="ULID.")
    key = models.CharField(max_length=300, unique=True)
    kind = models.CharField(max_length=9, choices=Kind.choices)
    created_at = models.DateTimeField()
    told = models.BooleanField(
        default=True, help_text="False where a higher threshold was passed at the same moment and only that was told."
    )
    customer = models.ForeignKey(Customer, on_delete=models.SET_NULL, null=True, related_name="alerts")
    customer_name = models.CharField("customer's name", max_length=120, blank=True)
    team = models.ForeignKey(Team, on_delete=models.SET_NULL, null=True, related_name="alerts")
    team_name = models.CharField("team's name", max_length=120, blank=True)
    budget = models.ForeignKey(Budget, on_delete=models.SET_NULL, null=True, related_name="raised_alerts")
    budget_name = models.CharField("budget's name", max_length=300, blank=True)
    scope = models.CharField(max_length=16, blank=True, help_text="Kind of thing that the budget limits.")
    target_name = models.CharField("limits", max_length=300, blank=True)
    enforcement = models.CharField(max_length=8, blank=True)
    contact = models.CharField("whom to ask", max_length=254, blank=True)
    period = models.CharField(max_length=24, blank=True, help_text="month, or last 30 days.")
    period_start = models.DateTimeField(null=True)
    period_end = models.DateTimeField(null=True)
    timezone = models.CharField("time zone", max_length=64, default="UTC")
    threshold = models.PositiveSmallIntegerField("threshold %", null=True)
    spent_nano_usd = NanoUsdField("spent (USD)", null=True)
    limit_nano_usd = NanoUsdField("limit (USD)", null=True, help_text="In force at that moment.")
    forecast_nano_usd = NanoUsdField("forecast (USD)", null=True)
    runs_out_at = models.DateTimeField(null=True)
    model = models.CharField(max_length=200, blank=True)
    requests = models.BigIntegerField(null=True)
    tokens = models.BigIntegerField(null=True)
    event = models.CharField(
        max_length=11,
        blank=True,
        help_text="Of a raise: requested, approved, declined, ended. Of a credential: rejected, accepted; of a "
        "provider: failing, recovered.",
    )
    amount_nano_usd = NanoUsdField("amount (USD)", null=True, help_text="Of a raise.")
    note = models.CharField(
        max_length=900, blank=True, help_text="Of a raise: who, how much, until when, why. Of a rule: why."
    )

    objects = AlertQuerySet.as_manager()

    class Meta:
        ordering = ["-created_at", "-id"]
        indexes = [
            models.Index(fields=["-created_at", "-id"], name="alert_newest"),
            models.Index(fields=["customer", "-created_at"], name="alert_customer"),
            models.Index(fields=["budget", "-created_at"], name="alert_budget"),
        ]

    def __str__(self) -> str:
        match self.kind:
            case self.Kind.THRESHOLD:
                return f"{self.budget_name}: {self.threshold}%"
            case self.Kind.RAISE:
                return f"{self.budget_name}: raise"
            case self.Kind.PROVIDER:
                return f"{self.target_name}: {self.event}"
            case self.Kind.ROUTING:
                return f"{self.get_kind_display()}: {self.target_name}"
        return f"{self.get_kind_display()}: {self.model}"


class AlertDelivery(models.Model):
    """One message to one destination: e-mail address or channel. Claimed and settled by compare-and-set."""

    class Status(models.TextChoices):
        WAITING = "waiting", "Waiting"
        SENT = "sent", "Sent"
        FAILED = "failed", "Failed"

    alert = models.ForeignKey(Alert, on_delete=models.CASCADE, related_name="deliveries")
    customer = models.ForeignKey(
        Customer,
        on_delete=models.SET_NULL,
        null=True,
        related_name="+",
        help_text="Whose destination it is; empty for a channel of the whole installation.",
    )
    channel = models.ForeignKey(AlertChannel, on_delete=models.SET_NULL, null=True, related_name="deliveries")
    kind = models.CharField(max_length=8, choices=AlertChannel.Kind.choices)
    destination = models.CharField(max_length=254, help_text="An e-mail address, or `channel:` and its id.")
    name = models.CharField("to", max_length=400, help_text="Destination as people read it.")
    status = models.CharField(max_length=7, choices=Status.choices, default=Status.WAITING)
    attempts = models.PositiveSmallIntegerField(default=0)
    next_try_at = models.DateTimeField(null=True)
    tried_at = models.DateTimeField("last tried at", null=True)
    sent_at = models.DateTimeField(null=True)
    response_status = models.PositiveSmallIntegerField("answer", null=True, help_text="HTTP status or SMTP code.")
    last_error = models.CharField(max_length=500, blank=True)
    created_at = models.DateTimeField()

    objects = CustomerOrInstallationQuerySet.as_manager()

    class Meta:
        verbose_name_plural = "alert deliveries"
        ordering = ["-created_at", "-pk"]
        permissions = [("retry_alertdelivery", "Can send a failed message again")]
        constraints = [models.UniqueConstraint(fields=["alert", "destination"], name="alert_delivery_once")]
        indexes = [
            models.Index(fields=["next_try_at"], name="alert_delivery_due", condition=Q(status="waiting")),
            models.Index(fields=["-created_at", "-id"], name="alert_delivery_newest"),
        ]

    def __str__(self) -> str:
        return f"{self.alert} to {self.name}"
