"""The price catalog and the changes proposed to it."""

from __future__ import annotations

from typing import Any

from django.conf import settings
from django.core.exceptions import ValidationError
from django.db import models

from governance.validators import validate_multipliers, validate_tiers


def _rate(label: str, **options: Any) -> models.DecimalField[Any, Any]:
    return models.DecimalField(label, max_digits=15, decimal_places=9, help_text="USD per million tokens", **options)


class Price(models.Model):
    """Rates of one model on one platform from a date on. A used row is never edited: a change is a later row."""

    class Platform(models.TextChoices):
        ANTHROPIC = "anthropic", "Anthropic API"
        BEDROCK = "bedrock", "Amazon Bedrock"
        VERTEX = "vertex", "Google Vertex AI"
        FOUNDRY = "foundry", "Microsoft Foundry"
        OPENAI = "openai", "OpenAI and compatible"
        GEMINI = "gemini", "Google Gemini"

    platform = models.CharField(max_length=10, choices=Platform.choices, default=Platform.ANTHROPIC)
    model_id = models.CharField("model", max_length=200, help_text="Exact id; never matched by prefix.")
    effective_from = models.DateTimeField(help_text="Requests that start at or after this moment take it.")
    input = _rate("input")
    output = _rate("output")
    cache_read = _rate("cache read")
    cache_write_5m = _rate("cache write 5 min")
    cache_write_1h = _rate("cache write 1 h")
    tiers = models.JSONField(
        default=list,
        blank=True,
        help_text='[{"above_prompt_tokens": 100000, "input": "0.5", …}]: above it every token takes these rates.',
    )
    multipliers = models.JSONField(
        default=dict, blank=True, help_text='Factors of every token class: {"fast": "2", "us": "1.1", "batch": "0.5"}.'
    )
    web_search = models.DecimalField(max_digits=12, decimal_places=9, default=0, help_text="USD per search")
    context_tokens = models.PositiveIntegerField(null=True, blank=True)
    max_output_tokens = models.PositiveIntegerField(null=True, blank=True)
    source = models.CharField(max_length=300, blank=True, help_text="Where the rates were read.")
    version = models.CharField(max_length=64, blank=True, help_text="Version or digest of the source.")
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        ordering = ["platform", "model_id", "-effective_from"]
        constraints = [
            models.UniqueConstraint(
                fields=["platform", "model_id", "effective_from"],
                name="price_once",
                violation_error_message="This model has a price from this moment.",
            ),
            models.CheckConstraint(
                condition=models.Q(
                    input__gte=0,
                    output__gte=0,
                    cache_read__gte=0,
                    cache_write_5m__gte=0,
                    cache_write_1h__gte=0,
                    web_search__gte=0,
                ),
                name="price_not_negative",
                violation_error_message="A rate must not be negative.",
            ),
        ]

    def __str__(self) -> str:
        return f"{self.model_id} on {self.platform} from {self.effective_from:%Y-%m-%d}"

    def clean(self) -> None:
        """Tiers and multipliers that could not be read would leave the model without a price."""
        wrong: dict[str, list[str]] = {}
        for name, check in (("tiers", validate_tiers), ("multipliers", validate_multipliers)):
            try:
                check(getattr(self, name))
            except ValidationError as error:
                wrong[name] = error.messages
        for name in ("input", "output"):
            if getattr(self, name) == 0:
                wrong[name] = ["A rate of zero is taken for a gap and prices nothing: give the rate above zero."]
        if wrong:
            raise ValidationError(wrong)


class PriceProposal(models.Model):
    """A difference between the catalog and a source, waiting for a person or approved within the sanity bound."""

    class Status(models.TextChoices):
        PENDING = "pending", "Waiting"
        APPROVED = "approved", "Approved"
        AUTO_APPROVED = "auto_approved", "Approved by rule"
        REJECTED = "rejected", "Rejected"
        SUPERSEDED = "superseded", "Replaced by a newer proposal"

    platform = models.CharField(max_length=10, choices=Price.Platform.choices)
    model_id = models.CharField("model", max_length=200)
    current = models.ForeignKey(Price, on_delete=models.PROTECT, null=True, blank=True, related_name="proposals")
    effective_from = models.DateTimeField()
    proposed = models.JSONField(help_text="The fields of the price row that approval makes.")
    changes = models.JSONField(
        default=list, help_text='[{"field": "input", "old": "5", "new": "4", "percent": "-20.00"}]'
    )
    source = models.CharField(max_length=300)
    version = models.CharField(max_length=64, blank=True)
    status = models.CharField(max_length=14, choices=Status.choices, default=Status.PENDING)
    created_at = models.DateTimeField(auto_now_add=True)
    decided_at = models.DateTimeField(null=True, blank=True)
    decided_by = models.ForeignKey(
        settings.AUTH_USER_MODEL, on_delete=models.SET_NULL, null=True, blank=True, related_name="+"
    )
    decision_note = models.CharField(max_length=300, blank=True)
    price = models.ForeignKey(
        Price,
        on_delete=models.PROTECT,
        null=True,
        blank=True,
        related_name="+",
        help_text="The row that approval made.",
    )

    class Meta:
        ordering = ["-created_at", "model_id"]
        permissions = [("decide_priceproposal", "Can approve and reject price proposals")]
        constraints = [
            models.UniqueConstraint(
                fields=["platform", "model_id"],
                condition=models.Q(status="pending"),
                name="price_proposal_pending_once",
            ),
        ]

    def __str__(self) -> str:
        return f"{self.model_id} on {self.platform}"
