"""An answer of OpenAI's Responses as Anthropic's message, whole or as a stream of events."""

from __future__ import annotations

from typing import Any, Final

import msgspec

from gateway.wire import sse
from gateway.wire.openai import errors
from gateway.wire.openai.answer import SIGNATURE, Names, arguments, tool_name
from gateway.wire.openai.blocks import Blocks
from gateway.wire.openai.dialect import BadAnswer
from gateway.wire.openai.errors import Problem, read_error
from gateway.wire.openai.incoming import Incoming
from gateway.wire.openai.names import id_for_client
from gateway.wire.openai.responses_request import signature
from gateway.wire.openai.stream import start
from gateway.wire.openai.usage import CompletionDetails, PromptDetails, Reported, translated

_encode = msgspec.json.Encoder().encode
_ENDS: Final = ("response.completed", "response.incomplete")


class _Text(msgspec.Struct):
    type: str = ""
    text: str | None = None
    refusal: str | None = None


class _Item(msgspec.Struct):
    type: str = ""
    id: str | None = None
    call_id: str | None = None
    name: str | None = None
    arguments: str | None = None
    content: list[_Text] | None = None
    summary: list[_Text] | None = None
    encrypted_content: str | None = None


class _Usage(msgspec.Struct):
    input_tokens: int | None = None
    output_tokens: int | None = None
    input_tokens_details: PromptDetails | None = None
    output_tokens_details: CompletionDetails | None = None


class _Reason(msgspec.Struct):
    reason: str = ""


class _Error(msgspec.Struct):
    message: str = ""
    code: str | None = None


class _Response(msgspec.Struct):
    id: str = ""
    model: str = ""
    status: str = ""
    output: list[_Item] | None = None
    usage: _Usage | None = None
    service_tier: str | None = None
    incomplete_details: _Reason | None = None
    error: _Error | None = None


class _Event(msgspec.Struct):
    type: str = ""
    output_index: int = 0
    summary_index: int = 0
    delta: str | None = None
    item: _Item | None = None
    response: _Response | None = None
    message: str | None = None
    code: str | None = None
    error: _Error | None = None


_event = msgspec.json.Decoder(_Event).decode
_response = msgspec.json.Decoder(_Response).decode
_UNREADABLE: Final = (msgspec.MsgspecError, UnicodeDecodeError, RecursionError)


def whole(body: bytes, names: Names, seal: str) -> bytes:
    """The JSON message; `seal` tells whose thinking it is. Raises BadAnswer."""
    try:
        found = _response(body)
    except _UNREADABLE as error:
        raise BadAnswer(f"it answered what is not a response ({str(error)[:200]})") from None
    if found.output is None or found.status == "failed":
        problem = read_error(body)
        raise BadAnswer(f"it answered with an error: {problem.message[:500]}" if problem else "it answered no output")
    content: list[dict[str, Any]] = []
    for item in found.output:
        content += _blocks(item, names, seal)
    called = any(item.type == "function_call" for item in found.output)
    return _encode(
        {
            "id": found.id,
            "type": "message",
            "role": "assistant",
            "model": found.model,
            "content": content,
            "stop_reason": _stop_reason(found, called=called),
            "stop_sequence": None,
            "usage": _usage(found),
        }
    )


def _blocks(item: _Item, names: Names, seal: str) -> list[dict[str, Any]]:
    match item.type:
        case "message":
            text = "".join(part.text or part.refusal or "" for part in item.content or ())
            return [{"type": "text", "text": text}] if text.strip() else []
        case "reasoning":
            thought = "\n\n".join(part.text or "" for part in item.summary or ())
            signed = signature(seal, item.id or "", item.encrypted_content) if item.encrypted_content else SIGNATURE
            block = {"type": "thinking", "thinking": thought, "signature": signed}
            return [block] if thought or item.encrypted_content else []
        case "function_call":
            call = {"id": id_for_client(item.call_id or item.id or ""), "name": tool_name(item.name, names)}
            return [{"type": "tool_use", **call, "input": arguments(item.arguments)}]
    return []


class ResponsesStream(Incoming):
    """Feed it the bytes as they come, then `finish()`. Raises BadAnswer for what is no event of a response."""

    def __init__(self, names: Names, seal: str) -> None:
        self._names = names
        self._seal = seal
        super().__init__()
        self._blocks = Blocks(lambda: "")
        self._begun = False
        self._over = False

    def finish(self) -> bytes:
        """What an event says that lacks only its last line end."""
        return self._rest()

    def _block(self, block: bytes) -> bytes:
        event = sse.parse(block)
        if event is None or self._over or event.data.strip() == b"[DONE]":
            return b""
        try:
            return b"".join(self._take(_event(event.data)))
        except _UNREADABLE as error:
            raise BadAnswer(f"it answered what is not a response ({str(error)[:200]})") from None

    def _take(self, event: _Event) -> list[bytes]:
        blocks, response = self._blocks, event.response
        match event.type:
            case "response.created" | "response.in_progress" if response is not None and not self._begun:
                self._begun = True
                return [start(response.id, response.model)]
            case "response.output_text.delta" | "response.refusal.delta" if event.delta:
                return list(blocks.text("text", event.delta))
            case "response.reasoning_summary_text.delta" | "response.reasoning_text.delta" if event.delta:
                return list(blocks.text("thinking", event.delta))
            case "response.reasoning_summary_part.added" if event.summary_index:
                return list(blocks.text("thinking", "\n\n"))
            case "response.output_item.added" if event.item is not None and event.item.type == "function_call":
                name = tool_name(event.item.name, self._names)
                return list(blocks.call(event.output_index, event.item.call_id or "", name, ""))
            case "response.function_call_arguments.delta" if event.delta:
                return list(blocks.call(event.output_index, "", "", event.delta))
            case "response.output_item.done" if event.item is not None and event.item.type == "reasoning":
                encrypted = event.item.encrypted_content
                return list(blocks.sign(signature(self._seal, event.item.id or "", encrypted))) if encrypted else []
            case kind if kind in _ENDS and response is not None:
                return self._end(response)
            case "response.failed" | "error":
                self._over = True
                told = event.error or (response.error if response else None) or _Error(event.message or "", event.code)
                problem = Problem(told.message or "The provider failed.", code=told.code or "")
                return [sse.encode("error", errors.event(problem))]
        return []

    def _end(self, response: _Response) -> list[bytes]:
        self._over = True
        out = [] if self._begun else [start(response.id, response.model)]
        out += self._blocks.close()
        delta = {"stop_reason": _stop_reason(response, called=self._blocks.called), "stop_sequence": None}
        said = {"type": "message_delta", "delta": delta, "usage": _usage(response)}
        return [
            *out,
            sse.encode("message_delta", _encode(said)),
            sse.encode("message_stop", b'{"type":"message_stop"}'),
        ]


def _stop_reason(response: _Response, *, called: bool) -> str:
    if response.status == "incomplete" and response.incomplete_details is not None:
        return "refusal" if response.incomplete_details.reason == "content_filter" else "max_tokens"
    return "tool_use" if called else "end_turn"


def _usage(response: _Response) -> dict[str, Any]:
    told = response.usage
    if told is None:
        return translated(None, None)
    counts = Reported(
        told.input_tokens,
        told.output_tokens,
        prompt_tokens_details=told.input_tokens_details,
        completion_tokens_details=told.output_tokens_details,
    )
    return translated(counts, response.service_tier)
