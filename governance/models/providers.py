"""Where requests go: providers and the credentials they are called with."""

from __future__ import annotations

import uuid

from django.core.exceptions import ValidationError
from django.db import models
from django.db.models import Q
from django.db.models.functions import Lower

from governance.encryption import EncryptedTextField
from governance.validators import validate_base_url, validate_secret_env


class Provider(models.Model):
    """An address that serves Claude models."""

    class Kind(models.TextChoices):
        ANTHROPIC = "anthropic", "Anthropic API"
        SIMULATED = "simulated", "Simulated provider (no real model, no real cost)"

    name = models.CharField(max_length=64, help_text="Shown in the log, for example anthropic.")
    kind = models.CharField(max_length=16, choices=Kind.choices, default=Kind.ANTHROPIC)
    base_url = models.CharField(
        "address",
        max_length=300,
        blank=True,
        validators=[validate_base_url],
        help_text="Without /v1, for example https://api.anthropic.com. Empty takes the kind's default.",
    )
    rank = models.PositiveSmallIntegerField(
        default=0, help_text="Providers of the lowest rank are used first; a higher one when those fail."
    )
    is_active = models.BooleanField("active", default=True)
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        ordering = ["rank", "name"]
        constraints = [
            models.UniqueConstraint(
                Lower("name"), name="provider_name_once", violation_error_message="A provider of this name exists."
            )
        ]

    def __str__(self) -> str:
        return self.name


class ProviderCredential(models.Model):
    """A secret that opens a provider. Stored encrypted, or taken from the environment variable that it names."""

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    provider = models.ForeignKey(Provider, on_delete=models.CASCADE, related_name="credentials")
    name = models.CharField(max_length=64, default="main")
    secret = EncryptedTextField(blank=True, default="", editable=False)
    secret_env = models.CharField(
        "environment variable",
        max_length=120,
        blank=True,
        help_text="Name of the environment variable that holds the secret; wins over a stored one when set.",
    )
    weight = models.FloatField(default=1.0, help_text="Share of the requests among this provider's credentials.")
    is_active = models.BooleanField("active", default=True)
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        ordering = ["provider__name", "name"]
        constraints = [
            models.UniqueConstraint(
                "provider",
                Lower("name"),
                name="credential_name_once",
                violation_error_message="This provider has a credential of this name.",
            ),
            models.CheckConstraint(
                condition=Q(weight__gte=0),
                name="credential_weight",
                violation_error_message="The weight must not be negative.",
            ),
        ]

    def __str__(self) -> str:
        return f"{self.provider.name}/{self.name}"

    def clean(self) -> None:
        try:
            validate_secret_env(self.secret_env)
        except ValidationError as error:
            raise ValidationError({"secret_env": error}) from None
