"""The simulated provider: Anthropic's API as the built-in simulator speaks it, on an address that only `up` chooses."""

from __future__ import annotations

from django.conf import settings

from gateway.providers.anthropic import Anthropic
from gateway.providers.base import UpstreamRequest
from gateway.wire.headers import Headers
from governance.snapshot import CredentialConfig, ProviderConfig


class Simulated(Anthropic):
    kind = "simulated"
    needs_credential = False

    def request(
        self,
        provider: ProviderConfig,
        credential: CredentialConfig,
        path: str,
        query: bytes,
        headers: Headers,
        body: bytes,
    ) -> UpstreamRequest:
        base = settings.COMPTROLLER["COMPTROLLER_SIMULATOR_URL"] or "http://127.0.0.1:9"
        local = ProviderConfig(provider.id, provider.name, provider.kind, base, provider.rank, provider.credentials)
        sent = super().request(local, CredentialConfig("none", 1.0, "simulated"), path, query, headers, body)
        return UpstreamRequest(sent.url, sent.headers, sent.body, private=True)
