"""Where requests go: providers, the credentials they are called with, and how the gateway finds them."""

from __future__ import annotations

import uuid

from django.core.exceptions import ValidationError
from django.core.validators import MinValueValidator
from django.db import models
from django.db.models import Q
from django.db.models.functions import Lower

from governance.domain.provider_kinds import KINDS, METHODS, credential_problems, provider_problems
from governance.encryption import EncryptedTextField
from governance.validators import validate_base_url, validate_model_map, validate_region, validate_secret_env


class Provider(models.Model):
    """An address that serves Claude models."""

    class Kind(models.TextChoices):
        ANTHROPIC = "anthropic", KINDS["anthropic"].label
        BEDROCK = "bedrock", KINDS["bedrock"].label
        VERTEX = "vertex", KINDS["vertex"].label
        FOUNDRY = "foundry", KINDS["foundry"].label
        COMPATIBLE = "compatible", KINDS["compatible"].label
        OPENAI = "openai", KINDS["openai"].label
        AZURE_OPENAI = "azure_openai", KINDS["azure_openai"].label
        GEMINI = "gemini", KINDS["gemini"].label
        SIMULATED = "simulated", KINDS["simulated"].label

    name = models.CharField(max_length=64, help_text="Shown in the log, for example anthropic.")
    kind = models.CharField(max_length=16, choices=Kind.choices, default=Kind.ANTHROPIC)
    base_url = models.CharField(
        "address",
        max_length=300,
        blank=True,
        validators=[validate_base_url],
        help_text="Without /v1, for example https://api.anthropic.com. Empty takes the kind's default.",
    )
    region = models.CharField(
        max_length=64,
        blank=True,
        validators=[validate_region],
        help_text="Bedrock and Vertex: for example eu-central-1, europe-west1 or global.",
    )
    project = models.CharField(max_length=128, blank=True, help_text="Vertex: the Google Cloud project's id.")
    model_map = models.JSONField(
        "models there",
        default=dict,
        blank=True,
        validators=[validate_model_map],
        help_text='What it calls a model, the most specific that fits: {"claude-opus-*": "my-deployment"}. Empty takes '
        "its own names.",
    )
    options = models.JSONField(
        default=dict, blank=True, help_text="Further settings of the kind, as docs/providers.md lists."
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

    def clean(self) -> None:
        options = self.options if isinstance(self.options, dict) else None
        problems = provider_problems(
            kind=self.kind, base_url=self.base_url, region=self.region, project=self.project, options=options or {}
        )
        if options is None:
            problems["options"] = "Give settings by name."
        if self.pk and not problems and Provider.objects.filter(pk=self.pk).exclude(kind=self.kind).exists():
            for credential in self.credentials.all():
                if wrong := credential.problems(self.kind):
                    first = next(iter(wrong.values()))
                    problems["kind"] = f"Its credential {credential.name} does not fit: {first} Remove it first."
        if problems:
            raise ValidationError(problems)


class ProviderCredential(models.Model):
    """A secret that opens a provider. Stored encrypted, or taken from the environment variable that it names."""

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    provider = models.ForeignKey(Provider, on_delete=models.CASCADE, related_name="credentials")
    name = models.CharField(max_length=64, default="main")
    method = models.CharField("authenticates by", max_length=24, choices=list(METHODS.items()), default="api_key")
    identifier = models.CharField(
        max_length=300,
        blank=True,
        help_text="What is no secret of it: an AWS access key's id, a profile's name, a role's ARN.",
    )
    secret = EncryptedTextField(blank=True, default="", editable=False)
    secret_env = models.CharField(
        "environment variable",
        max_length=120,
        blank=True,
        help_text="Name of the environment variable that holds the secret; wins over a stored one when set.",
    )
    weight = models.FloatField(default=1.0, help_text="Share of the requests among this provider's credentials.")
    requests_per_minute = models.PositiveIntegerField(
        null=True,
        blank=True,
        validators=[MinValueValidator(1)],
        help_text="Most requests a minute from each gateway process; empty sets no limit.",
    )
    tokens_per_minute = models.PositiveBigIntegerField(
        null=True,
        blank=True,
        validators=[MinValueValidator(1)],
        help_text="Most tokens a minute from each gateway process; empty sets no limit.",
    )
    concurrent = models.PositiveIntegerField(
        null=True,
        blank=True,
        validators=[MinValueValidator(1)],
        help_text="Most requests at once from each gateway process; empty sets no limit.",
    )
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
        problems: dict[str, object] = dict(self.problems(self.provider.kind))
        try:
            validate_secret_env(self.secret_env)
        except ValidationError as error:
            problems["secret_env"] = error
        if problems:
            raise ValidationError(problems)

    def problems(self, kind: str) -> dict[str, str]:
        """Why it cannot open a provider of this kind, by field."""
        return credential_problems(kind=kind, method=self.method, identifier=self.identifier, named=self.secret_env)


class ProviderState(models.Model):
    """How one gateway process finds a provider. Each process writes its own rows, every few seconds at most."""

    class State(models.TextChoices):
        UP = "up", "Up"
        DEGRADED = "degraded", "Degraded"
        DOWN = "down", "Down"

    process = models.CharField(max_length=26, help_text="See GatewayProcess.")
    provider = models.ForeignKey(Provider, on_delete=models.CASCADE, related_name="states")
    state = models.CharField(max_length=8, choices=State.choices)
    why = models.CharField(max_length=500, blank=True)
    since = models.DateTimeField()
    breaker_open = models.BooleanField(default=False, help_text="Requests are kept from it after too many failures.")
    requests = models.PositiveIntegerField(default=0, help_text="Of the last five minutes, as all figures.")
    failures = models.PositiveIntegerField(default=0)
    latency_ms = models.PositiveIntegerField(null=True, help_text="Median.")
    ttft_ms = models.PositiveIntegerField(null=True, help_text="Median time to the first token.")
    last_error = models.CharField(max_length=300, blank=True)
    last_error_at = models.DateTimeField(null=True)
    answered_at = models.DateTimeField(null=True, help_text="When it last answered a request of this process.")
    credentials = models.JSONField(
        default=list,
        help_text="By credential: name, state, why, since, until, running, last_error, last_error_at, answered_at.",
    )
    written_at = models.DateTimeField()

    class Meta:
        constraints = [models.UniqueConstraint(fields=["process", "provider"], name="provider_state_once")]

    def __str__(self) -> str:
        return f"{self.provider.name}: {self.state}"
