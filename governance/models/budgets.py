"""What may be spent: budgets in USD and limits of requests, tokens and concurrency, on one common scope."""

from __future__ import annotations

from typing import Any

from django.core.exceptions import ValidationError
from django.db import models
from django.db.models import Q

from governance.fields import NanoUsdField
from governance.models.keys import ProviderAccess, VirtualKey
from governance.models.tenants import Customer, Developer, Project, Team
from governance.querysets import ScopedLimitQuerySet
from governance.validators import validate_downgrade, validate_model_patterns, validate_thresholds, validate_timezone


class ScopedLimit(models.Model):
    """Common part of budgets and rate limits: what it applies to.

    `scope` names which of the columns is the target. `customer` is always filled, and `team` wherever the target lies
    inside one team, so that every row can be shown to the right people; the rest stay empty.
    """

    class Scope(models.TextChoices):
        CUSTOMER = "customer", "Customer"
        TEAM = "team", "Team"
        PROJECT = "project", "Project"
        DEVELOPER = "developer", "Developer"
        VIRTUAL_KEY = "virtual_key", "Virtual key"
        PROVIDER_ACCESS = "provider_access", "Provider of a key"

    scope = models.CharField(max_length=16, choices=Scope.choices)
    customer = models.ForeignKey(Customer, on_delete=models.CASCADE, related_name="%(class)ss")
    team = models.ForeignKey(Team, on_delete=models.CASCADE, null=True, blank=True, related_name="%(class)ss")
    project = models.ForeignKey(Project, on_delete=models.CASCADE, null=True, blank=True, related_name="%(class)ss")
    developer = models.ForeignKey(Developer, on_delete=models.CASCADE, null=True, blank=True, related_name="%(class)ss")
    virtual_key = models.ForeignKey(
        VirtualKey, on_delete=models.CASCADE, null=True, blank=True, related_name="%(class)ss"
    )
    provider_access = models.ForeignKey(
        ProviderAccess, on_delete=models.CASCADE, null=True, blank=True, related_name="%(class)ss"
    )
    model_patterns = models.JSONField(
        "models",
        default=list,
        blank=True,
        validators=[validate_model_patterns],
        help_text='Counts only these models, for example ["claude-opus-*"]; empty counts all.',
    )
    is_active = models.BooleanField("active", default=True)
    created_at = models.DateTimeField(auto_now_add=True)

    objects = ScopedLimitQuerySet.as_manager()

    class Meta:
        abstract = True

    def save(self, *args: Any, **kwargs: Any) -> None:
        self.fill_tenancy()
        super().save(*args, **kwargs)

    @property
    def target(self) -> Any:
        """The customer, team, project, developer, key or provider access that is limited."""
        return getattr(self, self.scope)

    def fill_tenancy(self) -> None:
        """Set `customer` and `team` from the target."""
        match self.scope:
            case self.Scope.TEAM if self.team:
                self.customer = self.team.customer
            case self.Scope.PROJECT if self.project:
                self.customer, self.team = self.project.customer, self.project.team
            case self.Scope.DEVELOPER if self.developer:
                self.customer, self.team = self.developer.customer, self.developer.team
            case self.Scope.VIRTUAL_KEY if self.virtual_key:
                self.customer, self.team = self.virtual_key.team.customer, self.virtual_key.team
            case self.Scope.PROVIDER_ACCESS if self.provider_access:
                self.team = self.provider_access.virtual_key.team
                self.customer = self.team.customer


def _one_target(prefix: str) -> list[models.CheckConstraint]:
    """The scope's own column is filled, and no finer one is."""
    finer = ["project", "developer", "virtual_key", "provider_access"]
    rule = Q(scope="customer", team__isnull=True, **{f"{column}__isnull": True for column in finer})
    rule |= Q(scope="team", team__isnull=False, **{f"{column}__isnull": True for column in finer})
    for scope in finer:
        rule |= Q(scope=scope, **{f"{column}__isnull": column != scope for column in finer})
    return [
        models.CheckConstraint(
            condition=rule,
            name=f"{prefix}_one_target",
            violation_error_message="Choose exactly the target that the scope names.",
        )
    ]


class Budget(ScopedLimit):
    """An amount of USD for a period."""

    class Period(models.TextChoices):
        HOUR = "hour", "Hour"
        DAY = "day", "Day"
        WEEK = "week", "Week"
        MONTH = "month", "Month"
        QUARTER = "quarter", "Quarter"
        YEAR = "year", "Year"
        LIFETIME = "lifetime", "Lifetime"

    class Enforcement(models.TextChoices):
        HARD = "hard", "Hard: never above the limit, by each request's worst case"
        STOP = "stop", "Block: no new request once the limit is reached"
        OBSERVE = "observe", "Watch: only tell"

    name = models.CharField(max_length=120, blank=True, help_text="Empty names it after its target and period.")
    limit_nano_usd = NanoUsdField("limit (USD)")
    period = models.CharField(max_length=8, choices=Period.choices, default=Period.MONTH)
    rolling = models.PositiveSmallIntegerField(
        default=0, help_text="0 follows the calendar; N looks back over the last N periods, for example 30 days."
    )
    timezone = models.CharField(
        "time zone", max_length=64, blank=True, validators=[validate_timezone], help_text="Empty takes the customer's."
    )
    week_start = models.PositiveSmallIntegerField(default=0, choices=[(0, "Monday"), (6, "Sunday")])
    fiscal_start_month = models.PositiveSmallIntegerField(
        default=1, help_text="First month of the fiscal year, 1 to 12: quarters and years start with it."
    )
    enforcement = models.CharField(max_length=8, choices=Enforcement.choices, default=Enforcement.STOP)
    alerts = models.JSONField(
        "alert at %",
        default=list,
        blank=True,
        validators=[validate_thresholds],
        help_text="Percentages at which to tell, for example [50, 80, 95, 100].",
    )
    carry_over = models.BooleanField(
        default=False, help_text="What was not spent in a period is added to the next one, once."
    )
    owner_email = models.EmailField("owner's e-mail", blank=True, help_text="Told at each threshold.")
    approver_email = models.EmailField("approver's e-mail", blank=True, help_text="Told too; decides about raises.")
    downgrade_at = models.PositiveSmallIntegerField(
        "downgrade at %",
        null=True,
        blank=True,
        help_text="From this share on, dearer models are replaced as `downgrade` says. Empty: never.",
    )
    downgrade = models.JSONField(
        default=dict,
        blank=True,
        validators=[validate_downgrade],
        help_text='Which model takes the place of which, for example {"claude-opus-*": "claude-sonnet-5-5"}.',
    )
    throttle_at = models.PositiveSmallIntegerField(
        "throttle at %", null=True, blank=True, help_text="From this share on, few requests run at once. Empty: never."
    )
    throttle_concurrent = models.PositiveSmallIntegerField(
        "requests at once when throttled", default=1, help_text="Of the whole budget, in each gateway process."
    )

    class Meta:
        ordering = ["customer__name", "scope", "pk"]
        constraints = [
            *_one_target("budget"),
            models.CheckConstraint(
                condition=Q(limit_nano_usd__gte=0),
                name="budget_limit",
                violation_error_message="The limit must not be negative.",
            ),
            models.CheckConstraint(
                condition=Q(fiscal_start_month__range=(1, 12)),
                name="budget_fiscal_month",
                violation_error_message="The month must lie between 1 and 12.",
            ),
            models.CheckConstraint(
                condition=Q(rolling=0) | ~Q(period="lifetime"),
                name="budget_rolling_has_period",
                violation_error_message="A lifetime budget does not roll.",
            ),
        ]

    def __str__(self) -> str:
        if self.name:
            return self.name
        period = (
            f"last {self.rolling} {self.period}s"
            if self.rolling
            else f"per {self.period}"
            if self.period != "lifetime"
            else "lifetime"
        )
        narrowed = f" ({', '.join(self.model_patterns)})" if self.model_patterns else ""
        return f"{self.target} {period}{narrowed}"

    def clean(self) -> None:
        problems = _ladder_problems(self)
        if self.carry_over and (self.rolling or self.period == self.Period.LIFETIME):
            kind = "rolling" if self.rolling else "lifetime"
            problems["carry_over"] = f"A {kind} budget has no next period that anything could be carried into."
        if problems:
            raise ValidationError(problems)


def _ladder_problems(budget: Budget) -> dict[str, str]:
    """What is wrong with the steps on the way to the limit, by field."""
    problems: dict[str, str] = {}
    if budget.downgrade_at is not None and not budget.downgrade:
        problems["downgrade"] = "Say which model takes the place of which, or leave the percentage empty."
    if budget.downgrade and budget.downgrade_at is None:
        problems["downgrade_at"] = "Say from which percentage on models are replaced, or name no models."
    # A budget that only watches never blocks: there, the limit itself may be where a step begins.
    top = 100 if budget.enforcement == Budget.Enforcement.OBSERVE else 99
    for name in ("downgrade_at", "throttle_at"):
        percent = getattr(budget, name)
        if percent is not None and not 1 <= percent <= top:
            why = "" if top == 100 else "; at 100 the budget itself refuses"
            problems[name] = f"Give a whole percentage from 1 to {top}{why}. Empty: never."
    first, second = budget.downgrade_at, budget.throttle_at
    if not problems and first and second and first >= second:
        problems["throttle_at"] = f"Cheaper models come first, at {first} %: let it throttle from a higher one on."
    if budget.throttle_concurrent is not None and budget.throttle_concurrent < 1:
        problems["throttle_concurrent"] = "Let at least 1 request run; a budget with enforcement stops them all."
    return problems


class RateLimit(ScopedLimit):
    """At most so many requests or tokens a period, or requests at once."""

    class Unit(models.TextChoices):
        REQUESTS = "requests", "Requests"
        TOKENS = "tokens", "Tokens"
        CONCURRENT = "concurrent", "Requests at once"

    class Per(models.TextChoices):
        SECOND = "second", "Second"
        MINUTE = "minute", "Minute"
        HOUR = "hour", "Hour"
        DAY = "day", "Day"

    unit = models.CharField(max_length=10, choices=Unit.choices)
    limit = models.PositiveBigIntegerField()
    per = models.CharField(max_length=6, choices=Per.choices, blank=True, help_text="Empty only for requests at once.")
    enforcement = models.CharField(
        max_length=8,
        choices=Budget.Enforcement.choices,
        default=Budget.Enforcement.STOP,
        help_text="Requests, and requests at once, are never above the limit. "
        "Tokens: what runs may finish, unless hard.",
    )

    class Meta:
        ordering = ["customer__name", "scope", "pk"]
        constraints = [
            *_one_target("rate_limit"),
            models.CheckConstraint(
                condition=Q(unit="concurrent", per="") | (~Q(unit="concurrent") & ~Q(per="")),
                name="rate_limit_period",
                violation_error_message="Requests and tokens need a period; requests at once have none.",
            ),
        ]

    def __str__(self) -> str:
        return f"{self.target}: {self.limit:,} {self.get_unit_display().lower()}" + (
            f" per {self.per}" if self.per else ""
        )

    def clean(self) -> None:
        if self.unit == self.Unit.CONCURRENT and self.per:
            raise ValidationError({"per": "Requests at once are counted at every moment: leave the period out."})
        if self.unit in {self.Unit.REQUESTS, self.Unit.TOKENS} and not self.per:
            raise ValidationError({"per": f"Say for how long: so many {self.unit} per second, minute, hour or day."})
