"""Google's Gemini API as a provider: where a request goes, with which key, and what its errors mean."""

from __future__ import annotations

import re
from functools import partial
from typing import Final
from urllib.parse import quote

import msgspec

from gateway.providers.base import Call, CannotCall, Operation, UpstreamRequest, Verdict
from gateway.providers.common import listed, mapped, off_the_loop, with_extra
from gateway.providers.gemini.translation import GeminiTranslation
from gateway.wire.forms import Form
from gateway.wire.gemini.request import MOST_OUTPUT, to_count, translate
from gateway.wire.google import envelope, read_error
from gateway.wire.openai.body import tool_names
from gateway.wire.openai.dialect import CannotTranslate
from governance.snapshot import CredentialConfig, ProviderConfig

_GOOGLE: Final = "https://generativelanguage.googleapis.com"
_VERSION: Final = re.compile(r"-(?:\d{3}|(?:preview-)?\d{2}-(?:\d{2}|\d{4}))$")
"""What an answer puts behind a model's name to tell its version: gemini-2.0-flash-001, gemini-2.5-pro-preview-06-05."""


class Gemini:
    kind = "gemini"
    platform = "gemini"
    needs_credential = True
    form = Form.GEMINI
    stream_type = "text/event-stream"

    async def request(self, call: Call) -> UpstreamRequest:
        model = self.model_id(call.provider, call.model)
        counts = call.operation is Operation.COUNT_TOKENS
        try:
            work = partial(to_count, call.body, model=model) if counts else partial(_body, call, model)
            body = await off_the_loop(len(call.body), work)
        except (CannotTranslate, msgspec.MsgspecError) as error:
            raise CannotCall(str(error), client_error=True) from None
        how = "countTokens" if counts else "streamGenerateContent?alt=sse" if call.stream else "generateContent"
        headers = [
            (b"content-type", b"application/json"),
            (b"accept-encoding", b"identity"),
            (b"x-goog-api-key", call.credential.secret.encode()),
        ]
        # Nothing of the client's headers: they tell of Claude's API, or would choose an account.
        url = f"{_base(call.provider)}/v1beta/models/{quote(model, safe='')}:{how}"
        return UpstreamRequest(url, with_extra(headers, call.extra_headers), body)

    def model_id(self, provider: ProviderConfig, model: str) -> str:
        return (mapped(provider, model) or model.removesuffix("[1m]")).removeprefix("models/")

    def priced_as(self, provider: ProviderConfig, model: str, served: str) -> tuple[str, str]:
        """The served model; under the id that is asked for where the served one only adds its version to it."""
        asked = self.model_id(provider, model)
        if not served or _VERSION.sub("", served) == asked:
            return asked, ""
        return served, ""

    def translation(self, call: Call) -> GeminiTranslation:
        return GeminiTranslation(partial(tool_names, call.body), counts=call.operation is Operation.COUNT_TOKENS)

    def classify(self, status: int, body: bytes) -> Verdict:
        problem = read_error(body)
        match status:
            case 401:
                return Verdict.CREDENTIAL
            case 403:
                # What stands before the service, a firewall's page for one, knows nothing of the credential.
                return Verdict.CREDENTIAL if problem is not None else Verdict.FAILED
            case 404:
                # An address that is wrong altogether answers with a page.
                return Verdict.MODEL if problem is not None else Verdict.FAILED
            case 429:
                return Verdict.RATE_LIMITED
            case 503 | 529:
                return Verdict.OVERLOADED
            case 408 | 409:
                return Verdict.FAILED
            case _ if 400 <= status < 500 and problem is not None:
                # A wrong key is a 400 here; FAILED_PRECONDITION tells of the account's billing or country. The sentence
                # says nothing of it: it may quote the client.
                ours = problem.reason.startswith("API_KEY")
                return Verdict.CREDENTIAL if ours or problem.status == "FAILED_PRECONDITION" else Verdict.RELAY
        return Verdict.FAILED

    def error(self, status: int, body: bytes) -> bytes:
        return envelope(status, body, "Gemini")

    def models(self, provider: ProviderConfig, credential: CredentialConfig) -> list[str]:
        url = f"{_base(provider)}/v1beta/models?pageSize=1000"
        names = listed(url, {"x-goog-api-key": credential.secret}, field="models", key="name")
        return [name.removeprefix("models/") for name in names]


def _body(call: Call, model: str) -> bytes:
    most = str(call.provider.options.get("max_output_tokens", ""))
    most_output = int(most) if most.isdecimal() and int(most) else MOST_OUTPUT
    return translate(call.body, model=model, most_output=most_output)


def _base(provider: ProviderConfig) -> str:
    return (provider.base_url or _GOOGLE).rstrip("/").removesuffix("/v1beta")
