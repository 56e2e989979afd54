"""A whole answer of Gemini's as a message of Anthropic's, and what it shares with a stream of them."""

from __future__ import annotations

import uuid
from typing import Any, Final

import msgspec

from gateway.wire.gemini.calls import id_for_client
from gateway.wire.google import Problem, read_error
from gateway.wire.openai.answer import SIGNATURE, Names, tool_name
from gateway.wire.openai.dialect import BadAnswer
from gateway.wire.openai.usage import UNKNOWN

_REASONS: Final = {
    "STOP": "end_turn",
    "MAX_TOKENS": "max_tokens",
    "SAFETY": "refusal",
    "RECITATION": "refusal",
    "LANGUAGE": "refusal",
    "BLOCKLIST": "refusal",
    "PROHIBITED_CONTENT": "refusal",
    "SPII": "refusal",
    "MODEL_ARMOR": "refusal",
    "IMAGE_SAFETY": "refusal",
    "IMAGE_PROHIBITED_CONTENT": "refusal",
    "IMAGE_RECITATION": "refusal",
}
"""By `finishReason`. Every other, such as MALFORMED_FUNCTION_CALL, is an answer that failed and is worth a new try."""


class FunctionCall(msgspec.Struct, rename="camel"):
    id: str | None = None
    name: str | None = None
    args: msgspec.Raw = msgspec.Raw(b"{}")


class Part(msgspec.Struct, rename="camel"):
    text: str | None = None
    thought: bool | None = None
    function_call: FunctionCall | None = None
    thought_signature: str | None = None


class Content(msgspec.Struct, rename="camel"):
    parts: list[Part] | None = None


class Candidate(msgspec.Struct, rename="camel"):
    content: Content | None = None
    finish_reason: str | None = None
    finish_message: str | None = None
    index: int = 0


class Feedback(msgspec.Struct, rename="camel"):
    block_reason: str | None = None


class Reported(msgspec.Struct, rename="camel"):
    """`usageMetadata`: of a stream always the totals so far."""

    prompt_token_count: int | None = None
    cached_content_token_count: int | None = None
    candidates_token_count: int | None = None
    thoughts_token_count: int | None = None
    tool_use_prompt_token_count: int | None = None


class Answer(msgspec.Struct, rename="camel"):
    """A GenerateContentResponse, or one of a stream of them."""

    candidates: list[Candidate] | None = None
    prompt_feedback: Feedback | None = None
    usage_metadata: Reported | None = None
    model_version: str | None = None
    response_id: str | None = None
    error: msgspec.Raw = msgspec.Raw(b"")

    @property
    def first(self) -> Candidate | None:
        return next((each for each in self.candidates or () if each.index == 0), None)

    @property
    def blocked(self) -> bool:
        """Whether the prompt itself was refused: then there is no candidate."""
        return self.prompt_feedback is not None and bool(self.prompt_feedback.block_reason) and self.first is None


class _Counted(msgspec.Struct, rename="camel"):
    total_tokens: int


_decode = msgspec.json.Decoder(Answer).decode
_decode_count = msgspec.json.Decoder(_Counted).decode
_encode = msgspec.json.Encoder().encode
_UNREADABLE: Final = (msgspec.MsgspecError, UnicodeDecodeError, RecursionError)


def read(data: bytes) -> Answer | Problem:
    """An answer, or the error in the place of one. Raises BadAnswer."""
    try:
        found = _decode(data)
    except _UNREADABLE as error:
        problem = read_error(data)
        if problem is not None:
            return problem
        raise BadAnswer(f"it answered what is not one of Gemini's answers ({str(error)[:200]})") from None
    if len(memoryview(found.error)):
        return read_error(data) or Problem("Gemini ended the answer with an error.")
    return found


def whole(body: bytes, names: Names) -> bytes:
    """The JSON message. Raises BadAnswer."""
    found = read(body)
    if isinstance(found, Problem):
        raise BadAnswer(f"it answered with an error: {found.message[:500]}")
    candidate = found.first
    if candidate is None and not found.blocked:
        raise BadAnswer("it answered without a candidate")
    content: list[dict[str, Any]] = []
    parts = candidate.content.parts if candidate is not None and candidate.content is not None else None
    for part in parts or ():
        _add(content, part, names)
    content = [block for block in content if block["type"] == "tool_use" or block[block["type"]].strip()]
    called = any(block["type"] == "tool_use" for block in content)
    reason = stop_reason(candidate, called=called)
    if reason is None:
        raise BadAnswer(failure(candidate))
    return _encode(
        {
            "id": found.response_id or new_id(),
            "type": "message",
            "role": "assistant",
            "model": found.model_version or "",
            "content": content,
            "stop_reason": reason,
            "stop_sequence": None,
            "usage": usage(found.usage_metadata),
        }
    )


def counted(body: bytes) -> bytes:
    """The answer of countTokens as Anthropic's. Raises BadAnswer."""
    try:
        return _encode({"input_tokens": _decode_count(body).total_tokens})
    except _UNREADABLE:
        raise BadAnswer("it answered a count of tokens without one") from None


def stop_reason(candidate: Candidate | None, *, called: bool) -> str | None:
    """Anthropic's; None for an answer that failed. A prompt that was blocked has no candidate."""
    if candidate is None:
        return "refusal"
    reason = _REASONS.get(candidate.finish_reason or "STOP")
    return "tool_use" if called and reason == "end_turn" else reason


def failure(candidate: Candidate | None) -> str:
    """What is to be said of an answer that failed."""
    if candidate is None:
        return "it answered nothing"
    said = f": {candidate.finish_message[:300]}" if candidate.finish_message else ""
    return f"it ended its answer with {candidate.finish_reason}{said}"


def usage(reported: Reported | None) -> dict[str, Any]:
    """Anthropic's `usage`: the cached tokens are no part of the input, thinking is part of the output."""
    if reported is None or reported.prompt_token_count is None:
        return dict(UNKNOWN)
    prompt = reported.prompt_token_count + (reported.tool_use_prompt_token_count or 0)
    cached, thoughts = reported.cached_content_token_count or 0, reported.thoughts_token_count or 0
    said: dict[str, Any] = {
        "input_tokens": max(0, prompt - cached),
        "cache_creation_input_tokens": 0,
        "cache_read_input_tokens": cached,
        "output_tokens": (reported.candidates_token_count or 0) + thoughts,
    }
    if thoughts:
        said["output_tokens_details"] = {"thinking_tokens": thoughts}
    return said


def call_of(part: Part, names: Names) -> tuple[str, str, msgspec.Raw]:
    """(id, name, arguments) of a call, for the client."""
    call = part.function_call or FunctionCall()
    return (
        id_for_client(call.id or "", uuid.uuid4().hex, part.thought_signature or ""),
        tool_name(call.name, names),
        call.args if bytes(call.args).startswith(b"{") else msgspec.Raw(b"{}"),
    )


def new_id() -> str:
    """For an answer without an id."""
    return f"msg_{uuid.uuid4().hex}"


def _add(content: list[dict[str, Any]], part: Part, names: Names) -> None:
    if part.function_call is not None:
        made, name, arguments = call_of(part, names)
        content.append({"type": "tool_use", "id": made, "name": name, "input": arguments})
        return
    if part.text is None:
        return
    kind = "thinking" if part.thought else "text"
    if content and content[-1]["type"] == kind:
        content[-1][kind] += part.text
    elif part.thought:
        content.append({"type": "thinking", "thinking": part.text, "signature": SIGNATURE})
    else:
        content.append({"type": "text", "text": part.text})
