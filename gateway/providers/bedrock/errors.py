"""What Bedrock's errors mean, and the same in Anthropic's envelope: its sentence is kept word for word.

The name of an error is in a header, `x-amzn-errortype`; status and sentence tell what is to be done as well. But the
sentence of a 400 may quote what the client wrote: no part of it speaks about our credential or our quota. Source: the
exceptions of `bedrock-runtime` in botocore's service model, and the sentences that its users report.
"""

from __future__ import annotations

from typing import Any, Final

import msgspec

from gateway.providers.base import Verdict
from gateway.wire.error_types import ERROR_TYPES


class _Body(msgspec.Struct):
    message: Any = None
    capital: Any = msgspec.field(default=None, name="Message")
    """Of what stands before the service itself."""
    kind: Any = msgspec.field(default=None, name="__type")


class _Exception(msgspec.Struct):
    """The payload of an exception inside a stream."""

    message: Any = None
    original_message: Any = msgspec.field(default=None, name="originalMessage")
    original_status: Any = msgspec.field(default=None, name="originalStatusCode")


_body = msgspec.json.Decoder(_Body).decode
_exception = msgspec.json.Decoder(_Exception).decode
_encode = msgspec.json.Encoder().encode
_UNREADABLE: Final = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)

_NO_MODEL: Final = (
    "model identifier is invalid",
    "on-demand throughput",
    "access to the model",
    "model access is denied",
    "end of its life",
    "use case details have not been submitted",
    "support counting tokens",
    "operation not allowed",
    "is not available for this account",
)
"""Parts of sentences, in lower case, that say: not this model, or not in this region or account."""
_QUOTA: Final = "your request exceeds the service quota for your account"
"""A whole sentence, in lower case: only as such it is Bedrock's own."""

_IN_STREAM: Final = {
    "throttlingexception": "rate_limit_error",
    "serviceunavailableexception": "overloaded_error",
    "modelnotreadyexception": "overloaded_error",
    "validationexception": "invalid_request_error",
    "accessdeniedexception": "permission_error",
    "resourcenotfoundexception": "not_found_error",
}
"""Of an exception's name in lower case; every other is an `api_error`."""


def classify(status: int, body: bytes) -> Verdict:
    """What an answer outside 2xx means."""
    said, kind = _said(body)
    sentence = said.lower()
    if status in (400, 403, 404) and any(part in sentence for part in _NO_MODEL):
        return Verdict.MODEL
    if status == 403 and "not authorized to perform: bedrock:invokemodel" in sentence and "on resource" in sentence:
        # One model's permission is missing: the credential itself was accepted.
        return Verdict.MODEL
    match status:
        case 401:
            return Verdict.CREDENTIAL
        case 403:
            # What stands before the service, a firewall's page for one, knows nothing of the credential.
            return Verdict.CREDENTIAL if said or kind else Verdict.FAILED
        case 404:
            return Verdict.MODEL
        case 429 if "not ready" in sentence or kind == "ModelNotReadyException":
            return Verdict.OVERLOADED
        case 429:
            return Verdict.RATE_LIMITED
        case 400 if sentence.rstrip(".") == _QUOTA or kind == "ServiceQuotaExceededException":
            return Verdict.RATE_LIMITED
        case 400 if kind in ("UnrecognizedClientException", "ExpiredTokenException"):
            return Verdict.CREDENTIAL
        case 503 | 529:
            return Verdict.OVERLOADED
        case 400 | 413 | 422 if said:
            return Verdict.RELAY
    # A model's own time-out (408) and its own failure (424) too.
    return Verdict.FAILED


def envelope(status: int, body: bytes) -> bytes:
    """An error in Anthropic's form."""
    said, _ = _said(body)
    return _error(ERROR_TYPES.get(status, "api_error"), said or f"Amazon Bedrock answered with status {status}.")


def in_stream(name: str, payload: bytes) -> bytes:
    """An exception inside a stream, likewise. `name` is as the frame says it, for example `throttlingException`."""
    try:
        found = _exception(payload)
    except _UNREADABLE:
        found = _Exception()
    kind = _IN_STREAM.get(name.lower(), "api_error")
    if kind == "api_error" and isinstance(found.original_status, int):
        kind = ERROR_TYPES.get(found.original_status, kind)
    said = found.message or found.original_message
    return _error(kind, said if isinstance(said, str) else f"Amazon Bedrock ended the stream: {name}.")


def unmodelled(code: str, message: str) -> bytes:
    """An error that the service's model does not name, which says everything in its frame's headers."""
    return _error(_IN_STREAM.get(code.lower(), "api_error"), message or f"Amazon Bedrock ended the stream: {code}.")


def _said(body: bytes) -> tuple[str, str]:
    """(sentence, name) of an error; each empty where it is not told."""
    try:
        found = _body(body)
    except _UNREADABLE:
        return "", ""
    said = found.message if isinstance(found.message, str) else found.capital
    kind = found.kind.rpartition("#")[2] if isinstance(found.kind, str) else ""
    return said if isinstance(said, str) else "", kind


def _error(kind: str, message: str) -> bytes:
    return _encode({"type": "error", "error": {"type": kind, "message": message}})
