"""The simulated provider: Anthropic's API as the built-in simulator speaks it, on an address that only `up` chooses."""

from __future__ import annotations

from django.conf import settings

from gateway.providers.anthropic import Anthropic
from gateway.providers.base import Call, UpstreamRequest
from governance.snapshot import CredentialConfig, ProviderConfig


class Simulated(Anthropic):
    kind = "simulated"
    needs_credential = False

    async def request(self, call: Call) -> UpstreamRequest:
        return self.made(call, self.base(call.provider), private=True)

    def base(self, provider: ProviderConfig) -> str:
        address: str = settings.COMPTROLLER["COMPTROLLER_SIMULATOR_URL"]
        return address or "http://127.0.0.1:9"

    def presented(self, credential: CredentialConfig) -> tuple[bytes, bytes]:
        return b"x-api-key", b"simulated"
