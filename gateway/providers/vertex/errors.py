"""What Vertex AI's errors mean, and the same in Anthropic's envelope: the sentence is kept word for word.

Claude's own errors come in Anthropic's envelope, those of Google's front in Google's: see `gateway/wire/google.py`.
"""

from __future__ import annotations

from gateway.providers.anthropic import is_envelope
from gateway.providers.base import Verdict
from gateway.wire.google import envelope as google_envelope
from gateway.wire.google import read_error


def classify(status: int, body: bytes) -> Verdict:
    """What an answer outside 2xx means."""
    match status:
        case 401 | 403:
            return Verdict.CREDENTIAL
        case 404:
            return Verdict.MODEL
        case 429:
            return Verdict.RATE_LIMITED
        case 503 | 529:
            return Verdict.OVERLOADED
        case 408 | 409:
            return Verdict.FAILED
        case _ if 400 <= status < 500 and is_envelope(body):
            return Verdict.RELAY
        case _ if 400 <= status < 500 and (problem := read_error(body)) is not None:
            # The project's own state, such as an API that is switched off: nothing that the client could mend.
            return Verdict.CREDENTIAL if problem.status == "FAILED_PRECONDITION" else Verdict.RELAY
    return Verdict.FAILED


def envelope(status: int, body: bytes) -> bytes:
    """An error in Anthropic's form; itself where it has it already."""
    return body if is_envelope(body) else google_envelope(status, body, "Vertex AI")
