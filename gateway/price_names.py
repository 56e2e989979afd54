"""The price list's name of a model at a provider, for those that may not know how each kind is called."""

from __future__ import annotations

from gateway.providers import PROVIDERS
from governance.models import Provider
from governance.snapshot import provider_config


def priced_as(provider: Provider, model: str) -> tuple[str, str]:
    """(model id, region) of a call for the model, as settlement would price it."""
    return PROVIDERS[provider.kind].priced_as(provider_config(provider), model, "")
