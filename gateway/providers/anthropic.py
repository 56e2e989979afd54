"""Anthropic's Messages API: bytes pass unchanged, only the credential is ours."""

from __future__ import annotations

from functools import lru_cache

import msgspec
from django.conf import settings

from gateway.providers.base import UpstreamRequest, Verdict
from gateway.wire.headers import Headers, forwardable, forwardable_query
from governance.snapshot import CredentialConfig, ProviderConfig


class _Error(msgspec.Struct):
    type: str = ""


class _Envelope(msgspec.Struct):
    type: str
    error: _Error


_USUAL_QUERIES = frozenset({b"", b"beta=true"})
_decode = msgspec.json.Decoder(_Envelope).decode


class Anthropic:
    kind = "anthropic"
    platform = "anthropic"
    needs_credential = True

    def request(
        self,
        provider: ProviderConfig,
        credential: CredentialConfig,
        path: str,
        query: bytes,
        headers: Headers,
        body: bytes,
    ) -> UpstreamRequest:
        base = provider.base_url or settings.COMPTROLLER["COMPTROLLER_ANTHROPIC_BASE_URL"]
        sent = forwardable(headers)
        sent.append(_presented(credential.secret))
        return UpstreamRequest(_url(base, path, query), sent, body)

    def classify(self, status: int, body: bytes) -> Verdict:
        match status:
            case 401 | 403:
                return Verdict.CREDENTIAL
            case 429:
                return Verdict.RATE_LIMITED
            case 529:
                return Verdict.OVERLOADED
            case _ if 400 <= status < 500 and is_envelope(body):
                return Verdict.RELAY
        return Verdict.FAILED


def _url(base: str, path: str, query: bytes) -> str:
    # Any other query is the client's own text: neither its length nor a key in it may stay in a cache.
    if query in _USUAL_QUERIES:
        return _usual_url(base, path, query)
    return _made_url(base, path, query)


def _made_url(base: str, path: str, query: bytes) -> str:
    query = forwardable_query(query)
    return f"{base}{path}?{query.decode('latin-1')}" if query else base + path


_usual_url = lru_cache(maxsize=1024)(_made_url)


def _presented(secret: str) -> tuple[bytes, bytes]:
    if secret.startswith("sk-ant-oat"):
        return b"authorization", f"Bearer {secret}".encode()
    return b"x-api-key", secret.encode()


def is_envelope(body: bytes) -> bool:
    """Whether an error body has Anthropic's form."""
    try:
        return _decode(body).type == "error"
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return False
