"""Anthropic's Messages API: a client of it has its bytes passed unchanged, only the credential is ours."""

from __future__ import annotations

from functools import lru_cache

import msgspec
from django.conf import settings

from gateway.providers.base import Call, UpstreamRequest, Verdict
from gateway.providers.common import listed, mapped, with_extra
from gateway.wire.forms import Form, reshape
from gateway.wire.headers import forwardable, forwardable_query
from governance.snapshot import CredentialConfig, ProviderConfig


class _Error(msgspec.Struct):
    type: str = ""


class _Envelope(msgspec.Struct):
    type: str
    error: _Error


VERSION = "2023-06-01"
_ABOUT_THE_CLIENT = (b"user-agent", b"x-app", b"x-claude-code-", b"x-stainless-")
_USUAL_QUERIES = frozenset({b"", b"beta=true"})
_decode = msgspec.json.Decoder(_Envelope).decode


class Anthropic:
    kind = "anthropic"
    platform = "anthropic"
    needs_credential = True
    form = Form.ANTHROPIC
    stream_type = "text/event-stream"

    async def request(self, call: Call) -> UpstreamRequest:
        return self.made(call, self.base(call.provider))

    def base(self, provider: ProviderConfig) -> str:
        """Where it is."""
        return provider.base_url or settings.COMPTROLLER["COMPTROLLER_ANTHROPIC_BASE_URL"]

    def made(self, call: Call, base: str, *, private: bool = False) -> UpstreamRequest:
        """The request to an address."""
        body, query = call.body, call.query
        model = self.model_id(call.provider, call.model)
        if call.form is not Form.ANTHROPIC or model != call.body_model:
            body = reshape(body, call.form, Form.ANTHROPIC, model=model, stream=call.stream)
        if call.client_form is Form.ANTHROPIC:
            sent = forwardable(call.headers)
        else:
            sent, query = _translated(call), b"beta=true"
        sent.append(self.presented(call.credential))
        return UpstreamRequest(
            _url(base, call.operation.value, query), with_extra(sent, call.extra_headers), body, private=private
        )

    def presented(self, credential: CredentialConfig) -> tuple[bytes, bytes]:
        """The header that carries the credential."""
        if credential.secret.startswith("sk-ant-oat"):
            return b"authorization", f"Bearer {credential.secret}".encode()
        return b"x-api-key", credential.secret.encode()

    def model_id(self, provider: ProviderConfig, model: str) -> str:
        return mapped(provider, model) or model

    def priced_as(self, provider: ProviderConfig, model: str, served: str) -> tuple[str, str]:
        return served or model, ""

    def translation(self, call: Call) -> None:
        return None

    def classify(self, status: int, body: bytes) -> Verdict:
        match status:
            case 401:
                return Verdict.CREDENTIAL
            case 403 if is_envelope(body):
                # A page of what stands before the service, such as a firewall, knows nothing of the credential.
                return Verdict.CREDENTIAL
            case 404 if is_envelope(body):
                return Verdict.MODEL
            case 429:
                return Verdict.RATE_LIMITED
            case 529:
                return Verdict.OVERLOADED
            case _ if 400 <= status < 500 and is_envelope(body):
                return Verdict.RELAY
        return Verdict.FAILED

    def error(self, status: int, body: bytes) -> bytes:
        return body

    def models(self, provider: ProviderConfig, credential: CredentialConfig) -> list[str]:
        name, value = self.presented(credential)
        headers = {name.decode(): value.decode(), "anthropic-version": VERSION}
        return listed(f"{self.base(provider)}/v1/models?limit=1000", headers)


def _translated(call: Call) -> list[tuple[bytes, bytes]]:
    """The headers of a request whose client speaks another format: what tells of the client, and the betas."""
    sent = [field for field in forwardable(call.headers) if field[0].startswith(_ABOUT_THE_CLIENT)]
    sent += [(b"content-type", b"application/json"), (b"anthropic-version", VERSION.encode())]
    sent.append((b"accept-encoding", b"identity"))
    if call.betas:
        sent.append((b"anthropic-beta", ",".join(call.betas).encode("latin-1", "replace")))
    return sent


def _url(base: str, path: str, query: bytes) -> str:
    # Any other query is the client's own text: neither its length nor a key in it may stay in a cache.
    if query in _USUAL_QUERIES:
        return _usual_url(base, path, query)
    return _made_url(base, path, query)


def _made_url(base: str, path: str, query: bytes) -> str:
    query = forwardable_query(query)
    return f"{base}{path}?{query.decode('latin-1')}" if query else base + path


_usual_url = lru_cache(maxsize=1024)(_made_url)


def is_envelope(body: bytes) -> bool:
    """Whether an error body has Anthropic's form."""
    try:
        return _decode(body).type == "error"
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return False
