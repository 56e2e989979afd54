"""What a kind of provider has to know: how it is called, what its answer says, and what its errors mean.

Inside the gateway a request is a Claude Messages body (`gateway/wire/forms.py`) and an answer is Anthropic's, a JSON
message or its event stream. A provider that speaks something else translates both ways; one that speaks a client's own
format passes its bytes on as they are, and only the meter sees the translation.
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import Enum
from typing import Protocol

import msgspec

from gateway.wire.forms import Form
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


class Operation(Enum):
    """What a client asks for."""

    MESSAGES = "/v1/messages"
    COUNT_TOKENS = "/v1/messages/count_tokens"


class Call(msgspec.Struct, frozen=True):
    """One request as one target is to get it."""

    provider: ProviderConfig
    credential: CredentialConfig
    operation: Operation
    model: str
    """As the target has it: the provider finds its own id for it (`model_id`)."""
    stream: bool
    form: Form
    """Of `body`: one of `forms.CLAUDE`."""
    body: bytes
    headers: Headers
    """The client's."""
    body_model: str = ""
    """The model that `body` names; empty where it names none or nobody looked."""
    query: bytes = b""
    betas: tuple[str, ...] = ()
    """From the client's `anthropic-beta` header or, where its format has them there, its body."""
    untranslated: bytes = b""
    """The client's own body where it speaks none of the Claude formats; `client_form` says which."""
    client_form: Form = Form.ANTHROPIC
    extra_headers: tuple[tuple[bytes, bytes], ...] = ()
    """Set by routing rules; names in lower case."""

    def __repr__(self) -> str:
        return f"<Call {self.operation.value} {self.model} at {self.provider.name}>"


class CannotCall(Exception):
    """This target cannot be sent the request: no token, no region, nothing it can be translated into.

    The text says why and what to do, for the log and the client; `client_error` tells that every provider of this kind
    would refuse what the client asks for, `code` what Anthropic's SDK goes by then. `detail` is for the log and the
    admin alone: the words of a cloud's library, which name accounts, roles and files.
    """

    def __init__(self, message: str, *, client_error: bool = False, code: str = "", detail: str = "") -> None:
        super().__init__(message)
        self.client_error = client_error
        self.code = code
        self.detail = detail


class Untranslatable(Exception):
    """An answer that is not what its provider's format promises; the text says what it is instead."""


class Translation(Protocol):
    """One answer of a provider put into Anthropic's form. Used once, for a whole body or for a stream."""

    def whole(self, body: bytes) -> bytes:
        """The JSON message. Raises Untranslatable."""
        ...

    def feed(self, chunk: bytes) -> bytes:
        """Whole events of Anthropic's stream for what came, perhaps none. Raises Untranslatable."""
        ...

    def finish(self) -> bytes:
        """The events that end a stream which ended in peace; none where it was cut. Raises Untranslatable."""
        ...

    @property
    def at_boundary(self) -> bool:
        """Whether what was fed so far ends with a whole frame or event of the provider's format."""
        ...


class Verdict(Enum):
    """What to do about an answer that is not a success."""

    RELAY = "relay"
    """The client's own mistake: its error text reaches the client, byte for byte where both speak one format."""
    RATE_LIMITED = "rate_limited"
    OVERLOADED = "overloaded"
    FAILED = "failed"
    CREDENTIAL = "credential"
    """The provider rejects our credential: an alarm for us, never an error of the client's."""
    MODEL = "model"
    """The provider does not have the model, or not in this region or account: another target may."""


class Provider(Protocol):
    """One kind of provider."""

    kind: str
    platform: str
    """Whose price list applies: `anthropic`, `bedrock`, `vertex`, `foundry`, `openai`, `gemini`."""
    needs_credential: bool
    form: Form
    """What it speaks: a client that speaks the same gets its bytes as they are."""
    stream_type: str
    """Media type of its streams, in lower case."""

    async def request(self, call: Call) -> UpstreamRequest:
        """The request to send; nothing that the client sent chooses the host or the credential. Raises CannotCall.

        Signing and tokens are worked out beside the event loop: this awaits them.
        """
        ...

    def model_id(self, provider: ProviderConfig, model: str) -> str:
        """The provider's own id of a model: what the configuration maps it to, else what the kind calls it."""
        ...

    def priced_as(self, provider: ProviderConfig, model: str, served: str) -> tuple[str, str]:
        """(model id, region) that the price list knows a call by.

        `model` is the target's, `served` what the answer said, empty before there is one.
        """
        ...

    def translation(self, call: Call) -> Translation | None:
        """What puts the answer into Anthropic's form; None where it is in it already."""
        ...

    def classify(self, status: int, body: bytes) -> Verdict:
        """What an answer outside 2xx means."""
        ...

    def error(self, status: int, body: bytes) -> bytes:
        """A relayed error in Anthropic's envelope."""
        ...

    def models(self, provider: ProviderConfig, credential: CredentialConfig) -> list[str]:
        """The ids that the account can use, asked now: blocking, for the admin and checks. Raises CannotCall."""
        ...
