"""Who spends: customers, their teams, projects and developers."""

from __future__ import annotations

from typing import Any

from django.conf import settings
from django.core.exceptions import ValidationError
from django.db import models
from django.db.models.functions import Lower

from governance.fields import NanoUsdField
from governance.querysets import CustomerQuerySet, DeveloperQuerySet, ProjectQuerySet, TeamQuerySet
from governance.validators import validate_downgrade, validate_timezone


def same_customer(customer_id: int | None, **others: Any) -> None:
    """Raise ValidationError on each named row that belongs to another customer."""
    wrong = [name for name, row in others.items() if row is not None and customer_id not in (None, row.customer_id)]
    if wrong:
        raise ValidationError({name: f"This {name} belongs to another customer." for name in wrong})


class Customer(models.Model):
    """An organisation whose spend is kept apart from every other's."""

    class ContentPolicy(models.TextChoices):
        OFF = "off", "Never store prompts and answers"
        INHERIT = "allow", "Teams and keys may switch it on"

    class UnpricedPolicy(models.TextChoices):
        CHARGE = "charge", "Charge the dearest known Claude rate and mark it unpriced"
        REFUSE = "refuse", "Refuse the request"

    name = models.CharField(max_length=120, help_text="As it appears on statements.")
    timezone = models.CharField(
        "time zone",
        max_length=64,
        default="UTC",
        validators=[validate_timezone],
        help_text="Budgets and reports of this customer follow this zone, for example Europe/Berlin.",
    )
    currency_display = models.CharField(
        max_length=3,
        default="USD",
        choices=[("USD", "US dollar")],
        help_text="Providers bill in US dollars; every figure is shown in this currency.",
    )
    content_policy = models.CharField(
        max_length=8,
        choices=ContentPolicy.choices,
        default=ContentPolicy.OFF,
        help_text="Whether prompts and answers of this customer may ever be stored.",
    )
    unpriced_policy = models.CharField(
        "models without a price",
        max_length=8,
        choices=UnpricedPolicy.choices,
        default=UnpricedPolicy.CHARGE,
        help_text="What happens to a request for a model that the price catalog does not know.",
    )
    contact = models.CharField(
        "whom to ask",
        max_length=200,
        blank=True,
        help_text="Shown to developers when a budget blocks them: a name, an e-mail address or a link.",
    )
    emergency_reserve_nano_usd = NanoUsdField(
        "emergency reserve (USD)",
        default=0,
        help_text="What may be raised in a calendar month without waiting for an approver; 0 allows none.",
    )
    is_active = models.BooleanField(
        "active", default=True, help_text="Switch off to refuse every key of this customer."
    )
    created_at = models.DateTimeField(auto_now_add=True)

    objects = CustomerQuerySet.as_manager()

    class Meta:
        ordering = ["name"]
        constraints = [
            models.UniqueConstraint(
                Lower("name"), name="customer_name_once", violation_error_message="A customer of this name exists."
            )
        ]

    def __str__(self) -> str:
        return self.name


class Team(models.Model):
    """A group of developers inside a customer, usually a cost centre."""

    customer = models.ForeignKey(Customer, on_delete=models.PROTECT, related_name="teams")
    name = models.CharField(max_length=120)
    cost_center = models.CharField("cost centre", max_length=64, blank=True, help_text="Printed on chargeback reports.")
    model_aliases = models.JSONField(
        "model aliases",
        default=dict,
        blank=True,
        validators=[validate_downgrade],
        help_text='Another model takes the place of what is asked for: {"claude-opus-*": "claude-sonnet-5-5"}.',
    )
    is_active = models.BooleanField("active", default=True, help_text="Switch off to refuse every key of this team.")
    created_at = models.DateTimeField(auto_now_add=True)

    objects = TeamQuerySet.as_manager()

    class Meta:
        ordering = ["customer__name", "name"]
        constraints = [
            models.UniqueConstraint(
                "customer",
                Lower("name"),
                name="team_name_once",
                violation_error_message="This customer has a team of this name.",
            )
        ]

    def __str__(self) -> str:
        return f"{self.customer.name} / {self.name}"


class Project(models.Model):
    """What the money is spent for; chosen by header, key or working directory."""

    customer = models.ForeignKey(Customer, on_delete=models.PROTECT, related_name="projects")
    team = models.ForeignKey(
        Team,
        on_delete=models.PROTECT,
        null=True,
        blank=True,
        related_name="projects",
        help_text="Leave empty where several teams work on it.",
    )
    name = models.CharField(max_length=120)
    directories = models.JSONField(
        default=list,
        blank=True,
        help_text='Working directories that belong to it, as patterns: ["*/billing", "*/billing/*"]. '
        "A directory of the project's name always does.",
    )
    is_active = models.BooleanField("active", default=True)
    created_at = models.DateTimeField(auto_now_add=True)

    objects = ProjectQuerySet.as_manager()

    class Meta:
        ordering = ["customer__name", "name"]
        constraints = [
            models.UniqueConstraint(
                "customer",
                Lower("name"),
                name="project_name_once",
                violation_error_message="This customer has a project of this name.",
            )
        ]

    def __str__(self) -> str:
        return f"{self.customer.name} / {self.name}"

    def clean(self) -> None:
        same_customer(self.customer_id, team=self.team)


class Developer(models.Model):
    """A person whose requests are counted; may sign in when linked to a user."""

    customer = models.ForeignKey(Customer, on_delete=models.PROTECT, related_name="developers")
    team = models.ForeignKey(Team, on_delete=models.PROTECT, null=True, blank=True, related_name="developers")
    email = models.EmailField("e-mail")
    name = models.CharField(max_length=120, blank=True)
    user = models.OneToOneField(
        settings.AUTH_USER_MODEL,
        on_delete=models.SET_NULL,
        null=True,
        blank=True,
        related_name="developer",
        help_text="The login of this person, where there is one.",
    )
    is_active = models.BooleanField("active", default=True, help_text="Switch off to refuse every key of this person.")
    created_at = models.DateTimeField(auto_now_add=True)

    objects = DeveloperQuerySet.as_manager()

    class Meta:
        ordering = ["email"]
        constraints = [
            models.UniqueConstraint(
                "customer",
                Lower("email"),
                name="developer_email_once",
                violation_error_message="This customer has a developer of this e-mail address.",
            )
        ]

    def __str__(self) -> str:
        return self.name or self.email

    def clean(self) -> None:
        same_customer(self.customer_id, team=self.team)
