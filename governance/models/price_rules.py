"""What changes the list price: what one customer pays instead, and which model prices an id that is not listed."""

from __future__ import annotations

from django.conf import settings
from django.db import models
from django.db.models import F, Q

from governance.models.prices import Price
from governance.models.tenants import Customer
from governance.querysets import PriceOverrideQuerySet
from governance.validators import validate_fixed_rates, validate_model_alias, validate_model_patterns


class PriceOverride(models.Model):
    """A discount, a markup or fixed rates of one customer, in force for a time.

    Never edited: a change is another row, and the old one is ended. Where several fit a request,
    `governance.domain.overrides` says which one it takes.
    """

    customer = models.ForeignKey(Customer, on_delete=models.PROTECT, related_name="price_overrides")
    model_patterns = models.JSONField("models", default=list, blank=True, validators=[validate_model_patterns])
    platform = models.CharField(
        max_length=10, choices=Price.Platform.choices, blank=True, help_text="Empty: every platform."
    )
    percent = models.DecimalField(
        "percent",
        max_digits=8,
        decimal_places=4,
        null=True,
        blank=True,
        help_text="Signed: -12.5 is a discount of 12.5 %, 8 a markup of 8 %, of tokens and web searches alike.",
    )
    rates = models.JSONField(
        "fixed rates",
        default=dict,
        blank=True,
        validators=[validate_fixed_rates],
        help_text="USD per million tokens by class, instead of a percentage; a class left out keeps the list's rate.",
    )
    effective_from = models.DateTimeField("from", help_text="Requests that start at or after this moment take it.")
    effective_to = models.DateTimeField("to", null=True, blank=True, help_text="Empty: until it is ended.")
    note = models.CharField(max_length=300, blank=True, help_text="The contract or the reason.")
    created_at = models.DateTimeField(auto_now_add=True)
    created_by = models.ForeignKey(
        settings.AUTH_USER_MODEL, on_delete=models.SET_NULL, null=True, blank=True, editable=False, related_name="+"
    )

    objects = PriceOverrideQuerySet.as_manager()

    class Meta:
        ordering = ["customer", "-effective_from", "-pk"]
        verbose_name = "customer's terms"
        verbose_name_plural = "customers' terms"
        constraints = [
            models.CheckConstraint(
                condition=Q(effective_to__isnull=True) | Q(effective_to__gte=F("effective_from")),
                name="price_override_range",
                violation_error_message="The end must not lie before the start.",
            ),
            models.CheckConstraint(
                condition=Q(percent__isnull=False, rates={}) | (Q(percent__isnull=True) & ~Q(rates={})),
                name="price_override_one_kind",
                violation_error_message="Give either a percentage or fixed rates, not both and not neither.",
            ),
            models.CheckConstraint(
                condition=Q(percent__isnull=True) | Q(percent__gt=-100, percent__lte=1000),
                name="price_override_percent",
                violation_error_message="A percentage lies above -100 and is at most 1000: nothing is free.",
            ),
        ]

    def __str__(self) -> str:
        return f"{self.terms} for {self.customer}"

    @property
    def terms(self) -> str:
        """What it does, in a few words: `-12.5 %`, `fixed input, output`."""
        if self.percent is not None:
            return f"{self.percent.normalize():+f} %"
        return f"Fixed {', '.join(name.replace('_', ' ') for name in self.rates)}"


class ModelAlias(models.Model):
    """An id that no price list knows, such as the ARN of a Bedrock inference profile, and the model that prices it."""

    platform = models.CharField(max_length=10, choices=Price.Platform.choices, default=Price.Platform.BEDROCK)
    alias = models.CharField(
        "id",
        max_length=200,
        validators=[validate_model_alias],
        help_text="Exactly as it is served, for example "
        "arn:aws:bedrock:us-east-1:123456789012:application-inference-profile/abc.",
    )
    model_id = models.CharField("priced as", max_length=200, help_text="An id of the price list on this platform.")
    region = models.CharField(
        max_length=10,
        blank=True,
        help_text="Bedrock only: whose rates apply (global, us, eu, apac, au, jp, us-gov). Empty: as listed.",
    )
    note = models.CharField(max_length=300, blank=True)
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        ordering = ["platform", "alias"]
        verbose_name = "model mapping"
        constraints = [
            models.UniqueConstraint(
                fields=["platform", "alias"],
                name="model_alias_once",
                violation_error_message="This id is mapped already; change that mapping.",
            )
        ]

    def __str__(self) -> str:
        return f"{self.alias} on {self.platform}"

    @property
    def target(self) -> str:
        """The id that is looked up in the price list."""
        return f"{self.region}.{self.model_id}" if self.region else self.model_id
