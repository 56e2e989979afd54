"""What Vertex AI's errors mean, and the same in Anthropic's envelope: the sentence is kept word for word.

Claude's own errors come in Anthropic's envelope, those of Google's front in Google's: see `gateway/wire/google.py`.
"""

from __future__ import annotations

import re
from typing import Final

from gateway.providers.anthropic import is_envelope
from gateway.providers.base import Verdict
from gateway.wire.google import envelope as google_envelope
from gateway.wire.google import read_error

_ONE_MODEL: Final = re.compile(r"\bpublishers/[^/\s]+/models/")
"""In a 403, which says of a model that is not there that it "may not exist": the credential itself was accepted."""


def classify(status: int, body: bytes) -> Verdict:
    """What an answer outside 2xx means."""
    match status:
        case 401:
            return Verdict.CREDENTIAL
        case 403:
            return _forbidden(body)
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


def _forbidden(body: bytes) -> Verdict:
    problem = read_error(body)
    if problem is None:
        # What stands before the service, a firewall's page for one, knows nothing of the credential.
        return Verdict.CREDENTIAL if is_envelope(body) else Verdict.FAILED
    return Verdict.MODEL if _ONE_MODEL.search(problem.message) else Verdict.CREDENTIAL


def envelope(status: int, body: bytes) -> bytes:
    """An error in Anthropic's form; itself where it has it already."""
    return body if is_envelope(body) else google_envelope(status, body, "Vertex AI")
