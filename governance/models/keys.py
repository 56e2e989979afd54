"""Virtual keys: who may call, with which secrets, from where, on which providers."""

from __future__ import annotations

from django.conf import settings
from django.db import models
from django.db.models import Q
from django.db.models.functions import Lower

from governance.models.providers import Provider
from governance.models.tenants import Developer, Project, Team, same_customer
from governance.querysets import KeySecretQuerySet, ProviderAccessQuerySet, VirtualKeyQuerySet
from governance.validators import validate_downgrade, validate_model_patterns, validate_networks


class VirtualKey(models.Model):
    """What a developer puts into Claude Code. Its secrets are rows of their own, so that it can be rotated."""

    class ContentPolicy(models.TextChoices):
        INHERIT = "inherit", "As the team and customer say"
        ON = "on", "Store prompts and answers"
        OFF = "off", "Never store prompts and answers"

    team = models.ForeignKey(Team, on_delete=models.PROTECT, related_name="keys")
    name = models.CharField(max_length=120, help_text="Who or what uses it, for example ada-laptop.")
    developer = models.ForeignKey(
        Developer,
        on_delete=models.PROTECT,
        null=True,
        blank=True,
        related_name="keys",
        help_text="Its requests count for this person.",
    )
    project = models.ForeignKey(
        Project,
        on_delete=models.PROTECT,
        null=True,
        blank=True,
        related_name="keys",
        help_text="Counted here unless the request names another project.",
    )
    model_patterns = models.JSONField(
        "allowed models",
        default=list,
        blank=True,
        validators=[validate_model_patterns],
        help_text='Model ids or patterns such as ["claude-opus-*"]; empty allows every model.',
    )
    model_aliases = models.JSONField(
        "model aliases",
        default=dict,
        blank=True,
        validators=[validate_downgrade],
        help_text='Another model takes the place of what is asked for: {"claude-opus-*": "claude-sonnet-5-5"}. '
        "They go before the team's.",
    )
    allowed_ips = models.JSONField(
        "allowed addresses",
        default=list,
        blank=True,
        validators=[validate_networks],
        help_text='IP addresses or networks such as ["10.0.0.0/8"]; empty allows every address.',
    )
    content_policy = models.CharField(max_length=8, choices=ContentPolicy.choices, default=ContentPolicy.INHERIT)
    expires_at = models.DateTimeField(
        null=True, blank=True, help_text="Refused from this moment on; empty never expires."
    )
    revoked_at = models.DateTimeField(null=True, blank=True, editable=False)
    revoked_reason = models.CharField(max_length=200, blank=True, editable=False)
    created_at = models.DateTimeField(auto_now_add=True)
    created_by = models.ForeignKey(
        settings.AUTH_USER_MODEL, on_delete=models.SET_NULL, null=True, blank=True, editable=False, related_name="+"
    )

    objects = VirtualKeyQuerySet.as_manager()

    class Meta:
        ordering = ["team__customer__name", "team__name", "name"]
        constraints = [
            models.UniqueConstraint(
                "team",
                Lower("name"),
                name="virtual_key_name_once",
                violation_error_message="This team has a key of this name.",
            )
        ]
        permissions = [
            ("issue_virtualkey", "Can issue and rotate virtual keys"),
            ("revoke_virtualkey", "Can revoke virtual keys"),
        ]

    def __str__(self) -> str:
        return self.name

    def clean(self) -> None:
        if self.team_id is not None:
            same_customer(self.team.customer_id, developer=self.developer, project=self.project)


class KeySecret(models.Model):
    """One secret of a key: its public id and the digest of the whole under the pepper; the secret is stored nowhere."""

    virtual_key = models.ForeignKey(VirtualKey, on_delete=models.CASCADE, related_name="secrets")
    public_id = models.CharField(max_length=8, unique=True)
    digest = models.CharField(max_length=64)
    created_at = models.DateTimeField(auto_now_add=True)
    valid_until = models.DateTimeField(null=True, blank=True, help_text="End of the overlap after a rotation.")

    objects = KeySecretQuerySet.as_manager()

    class Meta:
        ordering = ["-created_at", "-pk"]

    def __str__(self) -> str:
        return f"sk-cmp-{self.public_id}-…"


class KeyActivity(models.Model):
    """When a key was last used. A table of its own: what changes all day is no change of the configuration."""

    virtual_key = models.OneToOneField(VirtualKey, on_delete=models.CASCADE, primary_key=True, related_name="activity")
    last_used_at = models.DateTimeField()
    client = models.CharField(max_length=120, blank=True)

    def __str__(self) -> str:
        return f"{self.virtual_key}: {self.last_used_at:%Y-%m-%d %H:%M} UTC"


class ProviderAccess(models.Model):
    """A provider that a key may use, for which models, with which share. A key without any may use them all."""

    virtual_key = models.ForeignKey(VirtualKey, on_delete=models.CASCADE, related_name="accesses")
    provider = models.ForeignKey(Provider, on_delete=models.PROTECT, related_name="accesses")
    model_patterns = models.JSONField(
        "models",
        default=list,
        blank=True,
        validators=[validate_model_patterns],
        help_text='Models it may be used for, for example ["claude-*"]; empty means all.',
    )
    weight = models.FloatField(
        default=1.0,
        help_text="Share of the requests among the providers of equal rank; 0 is used only when the others fail.",
    )

    objects = ProviderAccessQuerySet.as_manager()

    class Meta:
        verbose_name = "provider of a key"
        verbose_name_plural = "providers of a key"
        constraints = [
            models.UniqueConstraint(
                fields=["virtual_key", "provider"],
                name="provider_access_once",
                violation_error_message="This key has this provider.",
            ),
            models.CheckConstraint(
                condition=Q(weight__gte=0),
                name="provider_access_weight",
                violation_error_message="The weight must not be negative.",
            ),
        ]

    def __str__(self) -> str:
        return f"{self.virtual_key} on {self.provider}"
