"""Google's Vertex AI as a provider: where a request goes, with which token, and what it is priced as."""

from __future__ import annotations

import re
from typing import Final
from urllib.parse import quote

from gateway.providers.base import Call, CannotCall, Operation, UpstreamRequest, Verdict
from gateway.providers.common import listed, mapped, off_the_loop, with_extra
from gateway.providers.vertex import credentials, errors
from gateway.providers.vertex.body import accepted, body_of
from gateway.wire.forms import Form
from gateway.wire.headers import forwardable
from governance.domain.vertex_ids import anthropic_id, vertex_id
from governance.snapshot import CredentialConfig, ProviderConfig

_REGION: Final = re.compile(r"[a-z][a-z0-9-]*")
_MULTI_REGIONS: Final = frozenset({"us", "eu"})
"""Whose hosts are named the other way round. Source: `AnthropicVertex` of Anthropic's SDK."""
_ABOUT_THE_CLIENT: Final = (b"user-agent", b"x-app", b"x-claude-code-", b"x-stainless-")
_LISTED: Final = "/v1beta1/publishers/anthropic/models?pageSize=300"


class Vertex:
    kind = "vertex"
    platform = "vertex"
    needs_credential = True
    form = Form.VERTEX
    stream_type = "text/event-stream"

    async def request(self, call: Call) -> UpstreamRequest:
        model = self.model_id(call.provider, call.model)
        url, body = _url(call, model), await off_the_loop(len(call.body), body_of, call, model)
        token = await credentials.tokens(call.credential).get()
        headers = [*_headers(call), (b"authorization", f"Bearer {token}".encode())]
        return UpstreamRequest(url, with_extra(headers, call.extra_headers), body)

    def model_id(self, provider: ProviderConfig, model: str) -> str:
        # A client of Vertex AI spells the model in its own way; patterns are written in Anthropic's.
        return mapped(provider, model) or mapped(provider, anthropic_id(model)) or vertex_id(model)

    def priced_as(self, provider: ProviderConfig, model: str, served: str) -> tuple[str, str]:
        """The region as it is configured: every one but `global`, the multi-regions included, costs more (MONEY.md §3).

        Answers name the served model as Anthropic spells it.
        """
        return vertex_id(anthropic_id(served)) if served else self.model_id(provider, model), provider.region

    def translation(self, call: Call) -> None:
        return None

    def classify(self, status: int, body: bytes) -> Verdict:
        return errors.classify(status, body)

    def error(self, status: int, body: bytes) -> bytes:
        return errors.envelope(status, body)

    def models(self, provider: ProviderConfig, credential: CredentialConfig) -> list[str]:
        headers = {"authorization": f"Bearer {credentials.tokens(credential).get_blocking()}"}
        if provider.project:
            headers["x-goog-user-project"] = provider.project
        names = listed(_base(provider) + _LISTED, headers, field="publisherModels", key="name")
        return [name.rpartition("/")[2] for name in names]


def _base(provider: ProviderConfig) -> str:
    if provider.base_url:
        return provider.base_url.rstrip("/").removesuffix("/v1")
    region = provider.region
    if not _REGION.fullmatch(region):
        raise CannotCall("It has neither an address nor a region. Enter one, for example europe-west1, or global.")
    if region == "global":
        return "https://aiplatform.googleapis.com"
    if region in _MULTI_REGIONS:
        return f"https://aiplatform.{region}.rep.googleapis.com"
    return f"https://{region}-aiplatform.googleapis.com"


def _url(call: Call, model: str) -> str:
    provider = call.provider
    if not provider.project or not provider.region:
        raise CannotCall("It has no project or no region. Enter both, for example my-project and europe-west1.")
    if call.operation is Operation.COUNT_TOKENS:
        called = "count-tokens:rawPredict"
    else:
        called = f"{quote(model, safe='@')}:{'streamRawPredict' if call.stream else 'rawPredict'}"
    place = f"projects/{quote(provider.project, safe=':')}/locations/{quote(provider.region, safe='')}"
    return f"{_base(provider)}/v1/{place}/publishers/anthropic/models/{called}"


def _headers(call: Call) -> list[tuple[bytes, bytes]]:
    """What tells of the client, and the betas. The version is said in the body."""
    said = [field for field in forwardable(call.headers) if field[0].startswith(_ABOUT_THE_CLIENT)]
    said += [(b"content-type", b"application/json"), (b"accept-encoding", b"identity")]
    if betas := accepted(call):
        said.append((b"anthropic-beta", ",".join(betas).encode("latin-1", "replace")))
    return said
