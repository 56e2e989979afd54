"""The first steps of a new installation, each detected from what is there."""

from __future__ import annotations

from dataclasses import dataclass

from django.urls import reverse

from governance.models import Budget, Customer, Provider, ProviderCredential, VirtualKey
from observability.models import Request


@dataclass(frozen=True, slots=True)
class Step:
    done: bool
    title: str
    why: str
    address: str
    action: str


def first_steps() -> list[Step]:
    """The steps in order; an installation with all of them done gets an empty list."""
    simulated = Provider.objects.filter(is_active=True, kind=Provider.Kind.SIMULATED).exists()
    connected = ProviderCredential.objects.filter(is_active=True, provider__is_active=True).exists()
    steps = [
        Step(
            Customer.objects.exists(),
            "A customer",
            "The organisation whose spend is kept apart.",
            reverse("admin:governance_customer_add"),
            "Add a customer",
        ),
        Step(
            connected or simulated,
            "A provider credential",
            "Only the simulated provider is connected: no real model answers, and no cost is real."
            if simulated and not connected
            else "What requests are sent upstream with; stored encrypted.",
            reverse("admin:governance_provider_changelist"),
            "Open providers",
        ),
        Step(
            VirtualKey.objects.filter(revoked_at__isnull=True).exists(),
            "A virtual key",
            "What a developer puts into Claude Code.",
            reverse("admin:governance_virtualkey_add"),
            "Issue a key",
        ),
        Step(
            Budget.objects.filter(is_active=True).exists(),
            "A budget",
            "Without one, spend is unlimited.",
            reverse("admin:governance_budget_add"),
            "Set a budget",
        ),
        Step(
            Request.objects.exists(),
            "The first request",
            "Paste the lines shown with the key into a terminal and start claude.",
            reverse("live_log"),
            "Watch live",
        ),
    ]
    return [] if all(step.done for step in steps) else steps
