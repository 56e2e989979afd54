"""OpenAI's Chat Completions, and every server that speaks them: OpenRouter, vLLM, Ollama, LM Studio, …

OpenAI's current models are asked through its Responses API. A client that speaks Chat Completions itself has its own
bytes sent, but for the model.
"""

from __future__ import annotations

import re
from functools import partial
from hashlib import sha256
from typing import Final
from urllib.parse import urlsplit

import msgspec
from msgspec.structs import replace

from gateway.providers.base import Call, CannotCall, Operation, UpstreamRequest, Verdict
from gateway.providers.common import listed, mapped, off_the_loop, with_extra
from gateway.providers.openai.options import OPENAI, dialect
from gateway.providers.openai.translation import OpenAITranslation
from gateway.providers.openai.verdict import verdict
from gateway.wire.forms import Form
from gateway.wire.openai import answer, request, responses_answer, responses_request
from gateway.wire.openai.body import tool_names
from gateway.wire.openai.dialect import CannotTranslate, Dialect
from gateway.wire.openai.errors import envelope
from gateway.wire.openai.passthrough import spliced
from gateway.wire.openai.stream import Stream
from governance.snapshot import CredentialConfig, ProviderConfig

DATED: Final = re.compile(r"-\d{4}-?\d{2}-?\d{2}$")
"""What OpenAI puts behind a model's name to tell its snapshot: gpt-5-2025-08-07."""


class OpenAI:
    kind = "openai"
    platform = "openai"
    needs_credential = True
    form = Form.OPENAI_CHAT
    stream_type = "text/event-stream"

    async def request(self, call: Call) -> UpstreamRequest:
        if call.operation is not Operation.MESSAGES:
            raise CannotCall(
                f"The provider {call.provider.name} cannot count the tokens of a prompt.", client_error=True
            )
        model = self.model_id(call.provider, call.model)
        headers = [
            (b"content-type", b"application/json"),
            (b"accept", b"text/event-stream" if call.stream else b"application/json"),
            (b"accept-encoding", b"identity"),
            self.presented(call.credential),
        ]
        # Nothing of the client's headers: they tell of Claude's API, or choose an account, as openai-organization does.
        spoken = self._spoken(call, model)
        body = await off_the_loop(len(call.body), self._body, call, model, spoken)
        url = self.url(call.provider, model, responses=spoken is not None and spoken.responses)
        return UpstreamRequest(url, with_extra(headers, call.extra_headers), body)

    def _spoken(self, call: Call, model: str) -> Dialect | None:
        """How to speak to the server; None where the client does so itself."""
        if call.client_form is Form.OPENAI_CHAT and call.untranslated:
            return None
        spoken = dialect(call.provider, model, own=self.is_own(call.provider))
        whose = f"{call.provider.id}|{call.credential.name}|{model}".encode()
        return replace(spoken, seal=sha256(whose).hexdigest()[:8])

    def _body(self, call: Call, model: str, spoken: Dialect | None) -> bytes:
        try:
            if spoken is None:
                usual = dialect(call.provider, model, own=self.is_own(call.provider))
                return spliced(call.untranslated, model, call.body, usual)
            translated = responses_request.translate if spoken.responses else request.translate
            return translated(call.body, model=model, stream=call.stream, dialect=spoken)
        except (CannotTranslate, msgspec.MsgspecError) as error:
            raise CannotCall(str(error), client_error=True) from None

    def url(self, provider: ProviderConfig, model: str, *, responses: bool) -> str:
        """Where a model is called."""
        return f"{base(provider)}/{path(responses)}"

    def presented(self, credential: CredentialConfig) -> tuple[bytes, bytes]:
        """The header that carries the credential."""
        return b"authorization", f"Bearer {credential.secret}".encode()

    def is_own(self, provider: ProviderConfig) -> bool:
        """Whether the server is OpenAI's, whose models and limits are known."""
        return urlsplit(base(provider)).hostname == urlsplit(OPENAI).hostname

    def model_id(self, provider: ProviderConfig, model: str) -> str:
        return mapped(provider, model) or model.removesuffix("[1m]")

    def priced_as(self, provider: ProviderConfig, model: str, served: str) -> tuple[str, str]:
        """The served model; under the id that is asked for where the served one only adds its date to it."""
        asked = self.model_id(provider, model)
        if not served or DATED.sub("", served) == asked:
            return asked, ""
        return served, ""

    def translation(self, call: Call) -> OpenAITranslation:
        names = partial(tool_names, call.body)
        spoken = self._spoken(call, self.model_id(call.provider, call.model))
        if spoken is not None and spoken.responses:
            stream = responses_answer.ResponsesStream(names, spoken.seal)
            return OpenAITranslation(stream, partial(responses_answer.whole, names=names, seal=spoken.seal))
        return OpenAITranslation(Stream(names), partial(answer.whole, names=names))

    def classify(self, status: int, body: bytes) -> Verdict:
        return verdict(status, body)

    def error(self, status: int, body: bytes) -> bytes:
        return envelope(status, body)

    def models(self, provider: ProviderConfig, credential: CredentialConfig) -> list[str]:
        name, value = self.presented(credential)
        return listed(self.list_url(provider), {name.decode(): value.decode("latin-1")})

    def list_url(self, provider: ProviderConfig) -> str:
        """Where it lists its models."""
        return f"{base(provider)}/models"


def path(responses: bool) -> str:
    """Of the two APIs, below the address."""
    return "responses" if responses else "chat/completions"


def base(provider: ProviderConfig) -> str:
    """The address up to `/v1`, which may be left out where there is no path at all."""
    address = (provider.base_url or OPENAI).rstrip("/")
    return address if urlsplit(address).path else f"{address}/v1"
