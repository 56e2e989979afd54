"""What a kind of provider has to know: how it is called, and what its errors mean."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import Protocol

from gateway.wire.headers import Headers
from governance.snapshot import CredentialConfig, ProviderConfig


@dataclass(frozen=True, slots=True)
class UpstreamRequest:
    """One HTTP request to a provider. Its repr shows no header: they carry the credential."""

    url: str
    headers: tuple[tuple[str, str], ...]
    body: bytes
    private: bool = False
    """Whether the address is the gateway's own choice and may be on loopback."""

    def __repr__(self) -> str:
        return f"<UpstreamRequest {self.url} {len(self.body)} bytes>"


class Verdict(Enum):
    """What to do about an answer that is not a success."""

    RELAY = "relay"
    """The client's own mistake: its error text reaches the client byte for byte."""
    RATE_LIMITED = "rate_limited"
    OVERLOADED = "overloaded"
    FAILED = "failed"
    CREDENTIAL = "credential"
    """The provider rejects our credential: an alarm for us, never an error of the client's."""


class Provider(Protocol):
    """One kind of provider."""

    kind: str
    platform: str
    """Whose price list applies: `anthropic`, `bedrock`, `vertex`, `foundry`."""
    needs_credential: bool

    def request(
        self,
        provider: ProviderConfig,
        credential: CredentialConfig,
        path: str,
        query: bytes,
        headers: Headers,
        body: bytes,
    ) -> UpstreamRequest:
        """The request to send. Nothing that the client sent chooses the host or the credential."""
        ...

    def classify(self, status: int, body: bytes) -> Verdict:
        """What an answer outside 2xx means."""
        ...
