"""The request log, its hourly roll-up, and log exports."""

from __future__ import annotations

from django.conf import settings
from django.db import models

from governance.fields import NanoUsdField
from observability.querysets import ExportQuerySet, RequestQuerySet, TotalQuerySet


class Request(models.Model):
    """One request of a client, however it ended. Field names are a contract (log, exports, live log, API, UI).

    Names are kept as text beside plain ids: the row stays readable after the things are gone.
    """

    class Status(models.TextChoices):
        SUCCESS = "success", "Success"
        REFUSED = "refused", "Refused"
        ERROR = "error", "Error"
        CANCELLED = "cancelled", "Cancelled"

    class CostQuality(models.TextChoices):
        EXACT = "exact", "Exact"
        ESTIMATED = "estimated", "Estimated"
        UNPRICED = "unpriced", "Unpriced"
        RECONCILED = "reconciled", "Reconciled"

    class Cache(models.TextChoices):
        NONE = "none", "None"
        HIT_EXACT = "hit_exact", "Exact hit"
        HIT_SEMANTIC = "hit_semantic", "Semantic hit"

    id = models.CharField(max_length=26, primary_key=True, help_text="ULID; the request-id header of the answer.")
    started_at = models.DateTimeField()
    finished_at = models.DateTimeField()
    status = models.CharField(max_length=9, choices=Status.choices)
    http_status = models.PositiveSmallIntegerField(null=True)
    error_type = models.CharField(max_length=64, blank=True)
    error_message = models.TextField(blank=True)

    customer = models.CharField(max_length=120, blank=True)
    customer_id = models.BigIntegerField(null=True)
    team = models.CharField(max_length=120, blank=True)
    team_id = models.BigIntegerField(null=True)
    project = models.CharField(max_length=120, blank=True)
    project_id = models.BigIntegerField(null=True)
    developer = models.CharField(max_length=254, blank=True)
    developer_id = models.BigIntegerField(null=True)
    virtual_key = models.CharField(max_length=120, blank=True)
    virtual_key_id = models.BigIntegerField(null=True)
    session_id = models.CharField(max_length=64, blank=True)
    agent_id = models.CharField(max_length=64, blank=True)
    parent_agent_id = models.CharField(max_length=64, blank=True)
    prompt_id = models.CharField(max_length=64, blank=True)
    request_class = models.CharField(max_length=32, blank=True)
    client = models.CharField(max_length=120, blank=True, help_text="Name/version.")
    device_id = models.CharField(max_length=64, blank=True)
    working_directory = models.CharField(max_length=300, blank=True)
    client_ip = models.GenericIPAddressField(null=True)
    tags = models.JSONField(default=dict)

    endpoint = models.CharField(max_length=64, blank=True)
    provider = models.CharField(max_length=64, blank=True)
    provider_credential = models.CharField(max_length=64, blank=True)
    region = models.CharField(max_length=64, blank=True)
    model_requested = models.CharField(max_length=200, blank=True)
    model = models.CharField(max_length=200, blank=True, help_text="Model served.")
    route_rule = models.CharField(max_length=120, blank=True)
    attempts = models.JSONField(
        default=list, help_text="[{provider, credential, status, latency_ms, tokens, cost_nano_usd}]"
    )
    stream = models.BooleanField(default=False)

    input_tokens = models.BigIntegerField(default=0)
    output_tokens = models.BigIntegerField(default=0)
    thinking_tokens = models.BigIntegerField(default=0)
    cache_read_tokens = models.BigIntegerField(default=0)
    cache_write_5m_tokens = models.BigIntegerField(default=0)
    cache_write_1h_tokens = models.BigIntegerField(default=0)
    web_searches = models.PositiveIntegerField(default=0)
    speed = models.CharField(max_length=16, blank=True)
    inference_geo = models.CharField(max_length=32, blank=True)
    service_tier = models.CharField(max_length=16, blank=True)
    iterations = models.JSONField(default=list)
    cost_nano_usd = NanoUsdField(default=0)
    cost_quality = models.CharField(max_length=10, choices=CostQuality.choices, default=CostQuality.EXACT)
    price_id = models.BigIntegerField(null=True)

    latency_ms = models.FloatField(null=True)
    ttft_ms = models.FloatField(null=True)
    gateway_overhead_us = models.PositiveIntegerField(null=True)
    cache = models.CharField(max_length=12, choices=Cache.choices, default=Cache.NONE)
    stop_reason = models.CharField(max_length=32, blank=True)
    tool_calls = models.JSONField(default=dict, help_text="Name counts.")
    lines_added = models.PositiveIntegerField(default=0)
    lines_removed = models.PositiveIntegerField(default=0)
    provider_request_id = models.CharField(max_length=128, blank=True)
    request_bytes = models.PositiveBigIntegerField(default=0)
    routing = models.JSONField(
        default=dict,
        help_text="{rule, looked, steps: [{rule, scope, told, failed}], complexity, targets, left_out}: by rules.",
    )
    budget_decision = models.JSONField(
        default=list, help_text="[{budget, scope, settled, held, limit, outcome}] at admission."
    )

    objects = RequestQuerySet.as_manager()

    class Meta:
        ordering = ["-started_at", "-id"]
        indexes = [
            models.Index(fields=["-started_at", "-id"], name="request_newest"),
            models.Index(fields=["customer_id", "-started_at"], name="request_customer"),
            models.Index(fields=["team_id", "-started_at"], name="request_team"),
            models.Index(fields=["virtual_key_id", "-started_at"], name="request_key"),
            models.Index(fields=["session_id", "-started_at"], name="request_session"),
            models.Index(fields=["finished_at"], name="request_finished"),
        ]

    def __str__(self) -> str:
        return self.id


class HourlyUsage(models.Model):
    """Sums of one hour for one combination of who and what. Rebuilt from the log, never added to."""

    hour = models.DateTimeField(help_text="Start of the hour, UTC.")
    customer = models.CharField(max_length=120, blank=True)
    customer_id = models.BigIntegerField(null=True)
    team = models.CharField(max_length=120, blank=True)
    team_id = models.BigIntegerField(null=True)
    project = models.CharField(max_length=120, blank=True)
    developer = models.CharField(max_length=254, blank=True)
    virtual_key = models.CharField(max_length=120, blank=True)
    virtual_key_id = models.BigIntegerField(null=True)
    provider = models.CharField(max_length=64, blank=True)
    model = models.CharField(max_length=200, blank=True)
    status = models.CharField(max_length=9, choices=Request.Status.choices)
    requests = models.BigIntegerField(default=0)
    input_tokens = models.BigIntegerField(default=0)
    output_tokens = models.BigIntegerField(default=0)
    cache_read_tokens = models.BigIntegerField(default=0)
    cache_write_5m_tokens = models.BigIntegerField(default=0)
    cache_write_1h_tokens = models.BigIntegerField(default=0)
    web_searches = models.BigIntegerField(default=0)
    cost_nano_usd = NanoUsdField(default=0)

    objects = RequestQuerySet.as_manager()

    class Meta:
        verbose_name_plural = "hourly usage"
        indexes = [
            models.Index(fields=["hour", "customer_id"], name="hourly_hour"),
            models.Index(fields=["team_id", "hour"], name="hourly_team"),
            models.Index(fields=["virtual_key_id", "hour"], name="hourly_key"),
            models.Index(fields=["model", "customer_id", "team_id"], name="hourly_model"),
        ]

    def __str__(self) -> str:
        return f"{self.hour:%Y-%m-%d %H:00} {self.team} {self.model}"


class HourlyTotal(models.Model):
    """Sums of one hour for one customer and outcome, made with `HourlyUsage`: what a whole customer's bars need."""

    hour = models.DateTimeField(help_text="Start of the hour, UTC.")
    customer_id = models.BigIntegerField(null=True)
    status = models.CharField(max_length=9, choices=Request.Status.choices)
    requests = models.BigIntegerField(default=0)
    input_tokens = models.BigIntegerField(default=0)
    output_tokens = models.BigIntegerField(default=0)
    cache_read_tokens = models.BigIntegerField(default=0)
    cache_write_5m_tokens = models.BigIntegerField(default=0)
    cache_write_1h_tokens = models.BigIntegerField(default=0)
    web_searches = models.BigIntegerField(default=0)
    cost_nano_usd = NanoUsdField(default=0)

    objects = TotalQuerySet.as_manager()

    class Meta:
        indexes = [models.Index(fields=["hour", "customer_id"], name="hourly_total_hour")]

    def __str__(self) -> str:
        return f"{self.hour:%Y-%m-%d %H:00} {self.status}"


class ChangedHour(models.Model):
    """An hour whose rows changed since its roll-up; written in the transaction of the change, so none is missed."""

    hour = models.DateTimeField(primary_key=True, help_text="Start of the hour, UTC.")
    token = models.CharField(
        max_length=16,
        help_text="Another one with each change: a roll-up removes the mark it began with, and no later one.",
    )

    def __str__(self) -> str:
        return f"{self.hour:%Y-%m-%d %H:00}"


class LogExport(models.Model):
    """One export of the request log to files: on demand or by schedule."""

    class Format(models.TextChoices):
        JSONL = "jsonl.gz", "JSON lines, gzip"
        PARQUET = "parquet", "Parquet"

    class Status(models.TextChoices):
        QUEUED = "queued", "Queued"
        RUNNING = "running", "Running"
        DONE = "done", "Done"
        FAILED = "failed", "Failed"

    format = models.CharField(max_length=8, choices=Format.choices, default=Format.JSONL)
    starts_at = models.DateTimeField("from", help_text="Rows that started at or after this moment (UTC).")
    ends_at = models.DateTimeField("to", help_text="Rows that started before this moment (UTC).")
    customer = models.ForeignKey(
        "governance.Customer",
        on_delete=models.CASCADE,
        null=True,
        blank=True,
        related_name="+",
        help_text="Empty exports every customer.",
    )
    status = models.CharField(max_length=8, choices=Status.choices, default=Status.QUEUED, editable=False)
    scheduled = models.BooleanField(default=False, editable=False)
    rows = models.BigIntegerField(default=0, editable=False)
    bytes = models.BigIntegerField(default=0, editable=False)
    sha256 = models.CharField("SHA-256", max_length=64, blank=True, editable=False)
    path = models.CharField(max_length=300, blank=True, editable=False, help_text="Relative to the exports folder.")
    error = models.TextField(blank=True, editable=False)
    requested_by = models.ForeignKey(
        settings.AUTH_USER_MODEL, on_delete=models.SET_NULL, null=True, blank=True, editable=False, related_name="+"
    )
    created_at = models.DateTimeField(auto_now_add=True)
    claimed_at = models.DateTimeField(
        null=True, editable=False, help_text="Last sign of life of the worker that writes it."
    )
    finished_at = models.DateTimeField(null=True, editable=False)

    objects = ExportQuerySet.as_manager()

    class Meta:
        ordering = ["-created_at"]
        constraints = [
            models.CheckConstraint(
                condition=models.Q(ends_at__gt=models.F("starts_at")),
                name="export_range",
                violation_error_message="The end must lie after the start.",
            ),
            models.UniqueConstraint(
                fields=["format", "starts_at", "ends_at"],
                condition=models.Q(scheduled=True),
                name="export_scheduled_once",
            ),
        ]

    def __str__(self) -> str:
        return f"{self.starts_at:%Y-%m-%d %H:%M} to {self.ends_at:%Y-%m-%d %H:%M} UTC, {self.format}"
