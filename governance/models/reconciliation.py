"""What a provider's own reports say, how it compares with the ledger, and months that are closed."""

from __future__ import annotations

from django.conf import settings
from django.core.exceptions import ValidationError
from django.db import models
from django.db.models import Q

from governance.fields import NanoUsdField
from governance.models.providers import ProviderCredential
from governance.models.tenants import Customer
from governance.querysets import CustomerOrInstallationQuerySet, InstallationQuerySet


class Workspace(models.Model):
    """Which workspace of the provider's organisation a credential belongs to; without a row: the default one."""

    credential = models.OneToOneField(
        ProviderCredential,
        on_delete=models.CASCADE,
        related_name="workspace",
        help_text="The API key that was made in this workspace.",
    )
    workspace_id = models.CharField(
        "workspace id", max_length=64, help_text="As the provider's reports name it, for example wrkspc_01Jw…."
    )
    name = models.CharField(max_length=120, blank=True, help_text="Shown instead of the id.")

    class Meta:
        ordering = ["name", "workspace_id"]

    def __str__(self) -> str:
        return self.name or self.workspace_id


class ReportImport(models.Model):
    """One reading of a report that changed something. Older ones are kept: the newest of each day counts."""

    class Source(models.TextChoices):
        API = "api", "Admin API"
        FILE = "file", "File"

    class Kind(models.TextChoices):
        COST = "cost", "Cost report"
        USAGE = "usage", "Usage report"

    source = models.CharField(max_length=4, choices=Source.choices)
    kind = models.CharField(max_length=5, choices=Kind.choices)
    first_day = models.DateField(help_text="UTC")
    last_day = models.DateField(help_text="UTC, included")
    imported_at = models.DateTimeField()
    imported_by = models.ForeignKey(
        settings.AUTH_USER_MODEL, on_delete=models.SET_NULL, null=True, blank=True, related_name="+"
    )
    imported_by_name = models.CharField(max_length=150, blank=True, help_text="Login, or the command that imported.")
    file_name = models.CharField(max_length=200, blank=True)
    sha256 = models.CharField("SHA-256", max_length=64, help_text="Of the report as it was received.")
    days = models.PositiveIntegerField(default=0, help_text="Days that were new or different.")
    lines = models.PositiveIntegerField(default=0)
    unknown = models.JSONField(
        default=list, blank=True, help_text="Fields and values that this version does not know; kept with their lines."
    )

    objects = InstallationQuerySet.as_manager()

    class Meta:
        ordering = ["-imported_at", "-pk"]

    def __str__(self) -> str:
        return f"{self.get_kind_display()} {self.first_day} to {self.last_day}"


class ReportDay(models.Model):
    """One day of one import. A day without lines says: the provider charged nothing."""

    report = models.ForeignKey(ReportImport, on_delete=models.CASCADE, related_name="report_days")
    kind = models.CharField(max_length=5, choices=ReportImport.Kind.choices)
    day = models.DateField()
    digest = models.CharField(max_length=64, help_text="SHA-256 of the day's lines: the same day is not stored twice.")
    is_current = models.BooleanField(default=True)

    class Meta:
        ordering = ["day", "kind"]
        constraints = [
            models.UniqueConstraint(
                fields=["kind", "day"], condition=Q(is_current=True), name="report_day_current_once"
            )
        ]

    def __str__(self) -> str:
        return f"{self.kind} {self.day}"


class ReportLine(models.Model):
    """One figure of a report, as the provider gave it."""

    report_day = models.ForeignKey(ReportDay, on_delete=models.CASCADE, related_name="lines")
    workspace_id = models.CharField(max_length=64, blank=True, help_text="Empty: the default workspace.")
    model = models.CharField(max_length=200, blank=True, help_text="Empty where the provider names none.")
    token_class = models.CharField(max_length=40)
    tokens = models.BigIntegerField(null=True, help_text="Tokens or searches; only a usage report has them.")
    cents = models.CharField(max_length=60, blank=True, help_text="The amount in cents, digit by digit as reported.")
    service_tier = models.CharField(max_length=32, blank=True)
    context_window = models.CharField(max_length=32, blank=True)
    inference_geo = models.CharField(max_length=32, blank=True)
    description = models.CharField(max_length=300, blank=True)
    extra = models.JSONField(default=dict, help_text="Fields that this version does not know.")

    class Meta:
        ordering = ["pk"]

    def __str__(self) -> str:
        return f"{self.report_day_id} {self.model} {self.token_class}"


class ReconciliationDay(models.Model):
    """One UTC day: what we charged, what the provider says, and what became of the difference."""

    class State(models.TextChoices):
        OPEN = "open", "Not final"
        MATCHED = "matched", "Matched"
        OFF = "off", "Off"
        ACCEPTED = "accepted", "Accepted"

    day = models.DateField(primary_key=True, help_text="UTC")
    state = models.CharField(max_length=8, choices=State.choices, default=State.OPEN)
    ours_nano_usd = NanoUsdField(
        "ours", default=0, help_text="From the request log, priced class by class, with what was adjusted before."
    )
    theirs_nano_usd = NanoUsdField("theirs", null=True, help_text="Empty while there is no cost report of the day.")
    drift_nano_usd = NanoUsdField("drift", null=True, help_text="Ours less theirs.")
    ledger_nano_usd = NanoUsdField(
        "ledger", default=0, help_text="What the same requests cost in the ledger, with the day's adjustments."
    )
    is_final = models.BooleanField(default=False, help_text="The day was over, with time for late figures.")
    compared_at = models.DateTimeField(null=True, help_text="Empty: not compared yet.")
    waiting_since = models.DateTimeField(
        null=True, help_text="Newer figures came, which a worker compares; empty: nothing newer came."
    )

    objects = InstallationQuerySet.as_manager()

    class Meta:
        ordering = ["-day"]
        verbose_name = "reconciled day"

    def __str__(self) -> str:
        return f"{self.day}"


class ReconciliationLine(models.Model):
    """One cell of a day's comparison; made anew with each comparison."""

    class Status(models.TextChoices):
        MATCHED = "matched", "Equal"
        WITHIN = "within", "Within tolerance"
        OFF = "off", "Off"
        ONLY_OURS = "only_ours", "Only ours"
        ONLY_THEIRS = "only_theirs", "Only theirs"
        WAITING = "waiting", "No cost report"

    day = models.ForeignKey(ReconciliationDay, on_delete=models.CASCADE, related_name="lines")
    model = models.CharField(max_length=200, blank=True)
    token_class = models.CharField(max_length=40)
    workspace_id = models.CharField(max_length=64, blank=True)
    ours_nano_usd = NanoUsdField(default=0)
    theirs_nano_usd = NanoUsdField(null=True)
    ours_tokens = models.BigIntegerField(default=0)
    theirs_tokens = models.BigIntegerField(null=True, help_text="Empty while there is no usage report of the day.")
    status = models.CharField(max_length=11, choices=Status.choices)
    remark = models.CharField(max_length=300, blank=True)

    class Meta:
        ordering = ["model", "token_class", "workspace_id"]
        constraints = [
            models.UniqueConstraint(
                fields=["day", "model", "token_class", "workspace_id"], name="reconciliation_line_once"
            )
        ]

    def __str__(self) -> str:
        return f"{self.day_id} {self.model} {self.token_class}"


class MonthLock(models.Model):
    """A closed month of one customer, or of every customer. Its totals are what statements say for good."""

    customer = models.ForeignKey(
        Customer,
        on_delete=models.PROTECT,
        null=True,
        blank=True,
        related_name="month_locks",
        help_text="Empty closes the month of every customer.",
    )
    month = models.DateField(help_text="Its first day; the month runs in each customer's own time zone.")
    locked_by = models.ForeignKey(
        settings.AUTH_USER_MODEL, on_delete=models.SET_NULL, null=True, blank=True, related_name="+"
    )
    locked_by_name = models.CharField(max_length=150)
    locked_at = models.DateTimeField()
    total_nano_usd = NanoUsdField("total", default=0, help_text="Of the ledger when the month was locked.")
    entries = models.BigIntegerField(default=0, help_text="Ledger rows when the month was locked.")
    totals = models.JSONField(
        default=dict, help_text='{"customer id": {"UTC day": [rows, nano-dollars]}} when the month was locked.'
    )
    unlocked_by = models.ForeignKey(
        settings.AUTH_USER_MODEL, on_delete=models.SET_NULL, null=True, blank=True, related_name="+"
    )
    unlocked_at = models.DateTimeField(null=True, blank=True)
    unlock_reason = models.CharField(max_length=300, blank=True)

    objects = CustomerOrInstallationQuerySet.as_manager()

    class Meta:
        ordering = ["-month", "customer__name"]
        permissions = [("unlock_monthlock", "Can unlock a month that another person locked")]
        constraints = [
            models.UniqueConstraint(
                fields=["customer", "month"],
                condition=Q(unlocked_at__isnull=True),
                name="month_lock_once",
                violation_error_message="This month is locked already.",
            ),
            models.UniqueConstraint(
                fields=["month"],
                condition=Q(unlocked_at__isnull=True, customer__isnull=True),
                name="month_lock_whole_once",
                violation_error_message="This month is locked already.",
            ),
        ]

    def __str__(self) -> str:
        return f"{self.month:%Y-%m} of {self.customer or 'every customer'}"

    def clean(self) -> None:
        if self.month and self.month.day != 1:
            raise ValidationError({"month": "Give the first day of the month."})


class ReconciliationException(models.Model):
    """One thing that does not add up and that a person decides about."""

    class Kind(models.TextChoices):
        DIFFERENCE = "difference", "Differs from the report"
        LEDGER = "ledger", "Request log and ledger differ"
        LATE = "late", "Charged after the lock"

    class Status(models.TextChoices):
        OPEN = "open", "Open"
        EXPLAINED = "explained", "Explained"
        ADJUSTED = "adjusted", "Adjusted"
        IGNORED = "ignored", "Ignored"
        GONE = "gone", "Gone with newer figures"

    kind = models.CharField(max_length=10, choices=Kind.choices, default=Kind.DIFFERENCE)
    day = models.DateField(help_text="UTC")
    model = models.CharField(max_length=200, blank=True)
    token_class = models.CharField(max_length=40, blank=True)
    workspace_id = models.CharField(max_length=64, blank=True)
    customer = models.ForeignKey(Customer, on_delete=models.PROTECT, null=True, blank=True, related_name="+")
    lock = models.ForeignKey(MonthLock, on_delete=models.PROTECT, null=True, blank=True, related_name="late")
    ours_nano_usd = NanoUsdField("ours", default=0)
    theirs_nano_usd = NanoUsdField("theirs", default=0)
    difference_nano_usd = NanoUsdField("difference", default=0, help_text="Ours less theirs.")
    adjusted_nano_usd = NanoUsdField(
        "adjusted", default=0, help_text="What its adjustment wrote to the ledger; later comparisons count it as ours."
    )
    ours_tokens = models.BigIntegerField(null=True)
    theirs_tokens = models.BigIntegerField(null=True)
    remark = models.CharField(max_length=300, blank=True, help_text="What is known about the cause.")
    status = models.CharField(max_length=9, choices=Status.choices, default=Status.OPEN)
    opened_at = models.DateTimeField()
    assigned_to = models.ForeignKey(
        settings.AUTH_USER_MODEL, on_delete=models.SET_NULL, null=True, blank=True, related_name="+"
    )
    note = models.CharField(max_length=300, blank=True)
    decided_by = models.ForeignKey(
        settings.AUTH_USER_MODEL, on_delete=models.SET_NULL, null=True, blank=True, related_name="+"
    )
    decided_at = models.DateTimeField(null=True, blank=True)

    objects = CustomerOrInstallationQuerySet.as_manager()

    class Meta:
        ordering = ["-day", "model", "token_class"]
        permissions = [("decide_reconciliationexception", "Can explain, ignore and adjust reconciliation exceptions")]
        constraints = [
            models.UniqueConstraint(
                fields=["kind", "day", "model", "token_class", "workspace_id"],
                condition=Q(status="open", kind="difference"),
                name="exception_difference_open_once",
            ),
            models.UniqueConstraint(
                fields=["day"], condition=Q(status="open", kind="ledger"), name="exception_ledger_open_once"
            ),
            models.UniqueConstraint(
                fields=["lock", "customer", "day"],
                condition=Q(status="open", kind="late"),
                name="exception_late_open_once",
            ),
        ]
        indexes = [models.Index(fields=["status", "-day"], name="exception_queue")]

    def __str__(self) -> str:
        if self.kind != self.Kind.DIFFERENCE:
            return f"{self.day} {self.get_kind_display().lower()}"
        return f"{self.day} {self.model} {self.token_class.replace('_', ' ')}".replace("  ", " ")
