"""What a kind of provider has to know: how it is called, and what its errors mean."""

from __future__ import annotations

from collections.abc import Sequence
from enum import Enum
from typing import Protocol

from gateway.wire.headers import Headers
from governance.snapshot import CredentialConfig, ProviderConfig


class UpstreamRequest:
    """One HTTP POST to a provider. Its repr shows no header: they carry the credential.

    `headers` are without `host`, `content-length` and what belongs to one connection.
    """

    __slots__ = ("body", "headers", "private", "url")

    def __init__(self, url: str, headers: Sequence[tuple[bytes, bytes]], body: bytes, *, private: bool = False) -> None:
        self.url = url
        self.headers = headers
        self.body = body
        self.private = private
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
