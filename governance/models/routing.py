"""Where requests go by rule: conditions over facts of a request, what they lead to, and the weights of the score."""

from __future__ import annotations

from typing import Any

from django.core.exceptions import ValidationError
from django.core.validators import MaxValueValidator, MinValueValidator
from django.db import models
from django.db.models import Q
from django.db.models.functions import Lower

from governance.domain.actions import action_of, headers_problem, target_problem
from governance.domain.cel import BadCondition
from governance.domain.complexity import DEFAULT_WEIGHTS
from governance.domain.facts import LANGUAGE
from governance.domain.routing import Action
from governance.models.keys import VirtualKey
from governance.models.tenants import Customer, Team
from governance.querysets import RoutingRuleQuerySet


class RoutingRule(models.Model):
    """One rule. `scope` names which of the columns is its target; `customer` and `team` are filled from it."""

    class Scope(models.TextChoices):
        GLOBAL = "global", "Everybody"
        CUSTOMER = "customer", "Customer"
        TEAM = "team", "Team"
        VIRTUAL_KEY = "virtual_key", "Virtual key"

    class OnRateLimit(models.TextChoices):
        FALLBACK = "fallback", "Ask the next target"
        RELAY = "relay", "Tell the client, which waits"

    name = models.CharField(max_length=120, help_text="As the log calls it, for example subagents to haiku.")
    description = models.CharField(max_length=500, blank=True, help_text="Why it is there.")
    scope = models.CharField(max_length=16, choices=Scope.choices, default=Scope.GLOBAL)
    customer = models.ForeignKey(
        Customer, on_delete=models.CASCADE, null=True, blank=True, related_name="routing_rules"
    )
    team = models.ForeignKey(Team, on_delete=models.CASCADE, null=True, blank=True, related_name="routing_rules")
    virtual_key = models.ForeignKey(
        VirtualKey, on_delete=models.CASCADE, null=True, blank=True, related_name="routing_rules"
    )
    position = models.PositiveIntegerField(
        default=100, help_text="Lower ones of the same scope are looked at first; of two alike, the older."
    )
    condition = models.TextField(
        default="true", help_text="When it applies, in CEL over the variables below; true is always."
    )
    targets = models.JSONField(default=list, blank=True, help_text="Where the request goes, spread by weight.")
    fallbacks = models.JSONField(default=list, blank=True, help_text="Where it goes when those fail, in this order.")
    deny = models.CharField(
        "refuse with", max_length=500, blank=True, help_text="A sentence that the developer reads: what to do instead."
    )
    set_headers = models.JSONField(
        "headers to the provider", default=dict, blank=True, help_text="Added to the request to the provider."
    )
    max_tokens = models.PositiveIntegerField(
        "most output tokens",
        null=True,
        blank=True,
        validators=[MinValueValidator(1)],
        help_text="A request that asks for more is lowered to this. Empty: no cap.",
    )
    on_rate_limit = models.CharField(
        "when a provider answers 429",
        max_length=8,
        choices=OnRateLimit.choices,
        blank=True,
        help_text="Empty: the next target is asked.",
    )
    hedge_ms = models.PositiveIntegerField(
        "ask the next target after (ms)",
        null=True,
        blank=True,
        validators=[MinValueValidator(50), MaxValueValidator(600_000)],
        help_text="Milliseconds without a first token; both may be charged. Empty: never.",
    )
    is_active = models.BooleanField("active", default=True)
    created_at = models.DateTimeField(auto_now_add=True)

    objects = RoutingRuleQuerySet.as_manager()

    class Meta:
        ordering = ["position", "pk"]
        constraints = [
            models.UniqueConstraint(
                Lower("name"), name="routing_rule_name_once", violation_error_message="A rule of this name exists."
            ),
            models.CheckConstraint(
                condition=Q(scope="global", customer=None, team=None, virtual_key=None)
                | Q(scope="customer", customer__isnull=False, team=None, virtual_key=None)
                | Q(scope="team", customer__isnull=False, team__isnull=False, virtual_key=None)
                | Q(scope="virtual_key", customer__isnull=False, team__isnull=False, virtual_key__isnull=False),
                name="routing_rule_one_target",
                violation_error_message="Choose exactly the target that the scope names.",
            ),
        ]

    def __str__(self) -> str:
        return self.name

    def save(self, *args: Any, **kwargs: Any) -> None:
        self.fill_tenancy()
        super().save(*args, **kwargs)

    @property
    def target(self) -> Customer | Team | VirtualKey | None:
        """Whose requests it is for; None for everybody's."""
        return None if self.scope == self.Scope.GLOBAL else getattr(self, self.scope)

    @property
    def action(self) -> Action:
        """What it does, as a value."""
        return action_of(
            targets=self.targets,
            fallbacks=self.fallbacks,
            deny=self.deny,
            set_headers=self.set_headers,
            max_tokens=self.max_tokens,
            on_rate_limit=self.on_rate_limit,
            hedge_ms=self.hedge_ms,
        )

    def fill_tenancy(self) -> None:
        """Set `customer` and `team` from the target, and empty what the scope does not name."""
        match self.scope:
            case self.Scope.GLOBAL:
                self.customer = self.team = self.virtual_key = None
            case self.Scope.CUSTOMER:
                self.team = self.virtual_key = None
            case self.Scope.TEAM if self.team:
                self.customer, self.virtual_key = self.team.customer, None
            case self.Scope.VIRTUAL_KEY if self.virtual_key:
                self.customer, self.team = self.virtual_key.team.customer, self.virtual_key.team

    def clean(self) -> None:
        problems: dict[str, str] = {}
        if self.scope in self.Scope.values and self.scope != self.Scope.GLOBAL and self.target is None:
            problems[self.scope] = f"Choose the {self.get_scope_display().lower()} that it is for."
        self.fill_tenancy()
        try:
            LANGUAGE.check(self.condition)
        except BadCondition as error:
            problems["condition"] = str(error)
        for name in ("targets", "fallbacks"):
            if found := target_problem(getattr(self, name)):
                problems[name] = found
        if found := headers_problem(self.set_headers):
            problems["set_headers"] = found
        if self.deny and (self.targets or self.fallbacks):
            problems["deny"] = "A request that is refused goes nowhere: take the targets out, or the sentence."
        if not problems and self.action == Action():
            problems["targets"] = "It does nothing: name a target, a refusal, headers, a cap or an option."
        if problems:
            raise ValidationError(problems)


class RoutingSettings(models.Model):
    """One row: what holds for the routing of the whole installation."""

    id = models.PositiveSmallIntegerField(primary_key=True, default=1, editable=False)
    complexity_weights = models.JSONField(
        default=dict, blank=True, help_text="Weight of each feature of the complexity score; what is absent is usual."
    )

    class Meta:
        verbose_name = verbose_name_plural = "complexity score"
        constraints = [models.CheckConstraint(condition=Q(id=1), name="routing_settings_one_row")]

    def __str__(self) -> str:
        return "Complexity score"

    @property
    def weights(self) -> dict[str, float]:
        """The weight of every feature."""
        return {**DEFAULT_WEIGHTS, **self.complexity_weights}

    def clean(self) -> None:
        given = self.complexity_weights
        if not isinstance(given, dict) or set(given) - set(DEFAULT_WEIGHTS):
            raise ValidationError({"complexity_weights": f"Give weights by feature: {', '.join(DEFAULT_WEIGHTS)}."})
        for name, weight in given.items():
            if isinstance(weight, bool) or not isinstance(weight, int | float) or not 0 <= weight <= 1_000:
                raise ValidationError({"complexity_weights": f"The weight of {name} must lie between 0 and 1,000."})
        if not any(self.weights.values()):
            raise ValidationError({"complexity_weights": "At least one weight must be above 0."})
