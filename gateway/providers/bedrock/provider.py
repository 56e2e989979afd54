"""Amazon Bedrock as a provider: where a request goes, how it is signed, and what it is priced as."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final
from urllib.parse import quote

from gateway.providers.base import Call, CannotCall, Operation, Translation, UpstreamRequest, Verdict
from gateway.providers.bedrock import answer, errors, listing
from gateway.providers.bedrock.body import body_of, unsupported_betas
from gateway.providers.bedrock.signing import signer
from gateway.providers.common import mapped, off_the_loop, with_extra
from gateway.wire.forms import Form
from gateway.wire.headers import forwardable
from governance.domain import bedrock_ids
from governance.snapshot import CredentialConfig, ProviderConfig

_REGION: Final = re.compile(r"[a-z0-9-]+")
_JSON: Final = "application/json"
_OWN_HEADERS: Final = (
    b"x-amzn-bedrock-guardrailidentifier",
    b"x-amzn-bedrock-guardrailversion",
    b"x-amzn-bedrock-request-metadata",
    b"x-amzn-bedrock-trace",
)
"""What a client may say to Bedrock in headers. Others, such as its service tier, would change the price unseen."""


class Bedrock:
    kind = "bedrock"
    platform = "bedrock"
    needs_credential = True
    form = Form.BEDROCK
    stream_type = "application/vnd.amazon.eventstream"

    async def request(self, call: Call) -> UpstreamRequest:
        url = f"{_base(call.provider)}/model/{_segment(self._called(call))}/{_action(call)}"
        body = await off_the_loop(len(call.body), body_of, call)
        said = dict(reversed(forwardable(call.headers)))
        headers = _headers(call, said)
        credential, region = call.credential, call.provider.region
        if credential.method == "api_key":
            sent = [(name.encode(), value.encode("latin-1")) for name, value in headers.items()]
            sent.append((b"authorization", f"Bearer {credential.secret}".encode()))
        elif not region:
            raise CannotCall("It has no region to sign requests for. Enter one, for example eu-central-1.")
        else:
            sign = signer(credential.method, credential.identifier, credential.secret, region).sign
            sent = await sign(url, headers, body)
        return UpstreamRequest(url, with_extra([*sent, *_unsigned(call, said)], call.extra_headers), body)

    def model_id(self, provider: ProviderConfig, model: str) -> str:
        if found := mapped(provider, model):
            return found
        model = model.removesuffix("[1m]")
        chosen = provider.options.get("inference_prefix")
        if not isinstance(chosen, str):
            return bedrock_ids.called_in(provider.region, model)
        chosen = chosen.strip(".").lower()
        if not bedrock_ids.is_bedrock_id(model):
            return bedrock_ids.bedrock_id(model, chosen)
        # Where its prompts may be worked on is for the administrator to say, not for the client.
        return bedrock_ids.with_prefix(model, chosen)

    def priced_as(self, provider: ProviderConfig, model: str, served: str) -> tuple[str, str]:
        """The id with the inference prefix that it is called by: the prefix chooses the regional rate.

        What was served counts, at the called profile's rate. The ARN of an account's own profile names no model: what
        it costs is the administrator's to say.
        """
        called = bedrock_ids.profile_of(self.model_id(provider, model))
        prefix, _ = bedrock_ids.split_prefix(called)
        if called.startswith("arn:") or not served:
            return called, ""
        name = bedrock_ids.anthropic_id(served)
        return bedrock_ids.bedrock_id(name, prefix), ""

    def translation(self, call: Call) -> Translation:
        return answer.Invoked() if call.operation is Operation.MESSAGES else answer.Counted()

    def classify(self, status: int, body: bytes) -> Verdict:
        return errors.classify(status, body)

    def error(self, status: int, body: bytes) -> bytes:
        return errors.envelope(status, body)

    def models(self, provider: ProviderConfig, credential: CredentialConfig) -> list[str]:
        return listing.models(provider, credential)

    def _called(self, call: Call) -> str:
        """The id in the path. CountTokens takes a model's own, never a profile's (AWS's guide to counting tokens)."""
        name = self.model_id(call.provider, call.model)
        if call.operation is Operation.MESSAGES:
            return name
        _, base = bedrock_ids.split_prefix(name)
        if base.startswith("arn:"):
            raise CannotCall("Bedrock counts no tokens for an inference profile of the account.", client_error=True)
        return base


def _base(provider: ProviderConfig) -> str:
    if provider.base_url:
        return provider.base_url.rstrip("/")
    if not _REGION.fullmatch(provider.region):
        raise CannotCall("It has neither an address nor a region. Enter one, for example eu-central-1.")
    return f"https://bedrock-runtime.{provider.region}.amazonaws.com"


def _segment(model: str) -> str:
    """As Claude Code writes it: `:` stays. What is signed is these bytes, which the signature encodes once more."""
    return quote(model, safe=":")


def _action(call: Call) -> str:
    if call.operation is Operation.COUNT_TOKENS:
        return "count-tokens"
    return "invoke-with-response-stream" if call.stream else "invoke"


def _headers(call: Call, said: Mapping[bytes, bytes]) -> dict[str, str]:
    """The headers that are signed."""
    streams = call.stream and call.operation is Operation.MESSAGES
    own = {name.decode(): said[name].decode("latin-1") for name in _OWN_HEADERS if name in said}
    return {"content-type": _JSON, "accept": Bedrock.stream_type if streams else _JSON, **own}


def _unsigned(call: Call, said: Mapping[bytes, bytes]) -> list[tuple[bytes, bytes]]:
    """Headers that something on the way may change, and those that only the client's own format has."""
    sent = [(b"accept-encoding", b"identity")]
    if agent := said.get(b"user-agent"):
        sent.append((b"user-agent", agent))
    if call.client_form is Form.BEDROCK and call.operation is Operation.MESSAGES:
        # The client's own Bedrock mode says some betas there, beside those in its body.
        unsupported = unsupported_betas(call.provider.options)
        betas = (beta.strip() for beta in said.get(b"anthropic-beta", b"").decode("latin-1").split(","))
        if left := ",".join(beta for beta in betas if beta and beta not in unsupported):
            sent.append((b"anthropic-beta", left.encode("latin-1")))
    return sent
