"""What an error of a Chat Completions server means for the gateway."""

from __future__ import annotations

from typing import Final

from gateway.providers.base import Verdict
from gateway.wire.openai.errors import Problem, read_error

_NO_MODEL: Final = (
    "model_not_found",
    "deploymentnotfound",
    "does not exist",
    "not a valid model",
    "no endpoints found",
    "does not have access to model",
    "operationnotsupported",
)
"""OpenAI's; Azure's; vLLM's; OpenRouter's twice; OpenAI's, where the project may not use it; Azure's."""
_NO_MONEY: Final = ("insufficient_quota", "billing_hard_limit", "insufficient credits")
_MODERATED: Final = ("moderation", "flagged")


def verdict(status: int, body: bytes) -> Verdict:
    """By status first; where a status says too little, by what the error says."""
    problem = read_error(body)
    text = _text(problem)
    match status:
        case 401:
            return Verdict.CREDENTIAL
        case 402:
            # The account has nothing left to spend, as with OpenRouter: nothing that the client could mend.
            return Verdict.CREDENTIAL
        case 403:
            # A page of what stands before the service, such as a firewall, knows nothing of the credential.
            return _forbidden(text) if problem is not None else Verdict.FAILED
        case 404:
            # An address that is wrong altogether answers with a page.
            return Verdict.MODEL if problem is not None else Verdict.FAILED
        case 429:
            # OpenAI says so, too, where nothing is left to spend: waiting would not help.
            return Verdict.CREDENTIAL if _any(_NO_MONEY, text) else Verdict.RATE_LIMITED
        case 503 | 529:
            return Verdict.OVERLOADED
        case 408 | 409:
            return Verdict.FAILED
        case _ if 400 <= status < 500 and problem is not None:
            return Verdict.MODEL if _any(_NO_MODEL, text) else Verdict.RELAY
    return Verdict.FAILED


def _forbidden(text: str) -> Verdict:
    if _any(_MODERATED, text):
        return Verdict.RELAY
    return Verdict.MODEL if _any(_NO_MODEL, text) else Verdict.CREDENTIAL


def _any(signs: tuple[str, ...], text: str) -> bool:
    return any(sign in text for sign in signs)


def _text(problem: Problem | None) -> str:
    return f"{problem.message} {problem.kind} {problem.code}".lower() if problem else ""
