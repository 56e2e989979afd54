"""Claude's answer as an OpenAI chat completion, and its event stream as chunks."""

from __future__ import annotations

from typing import Any, Final

import msgspec

from gateway.wire.openai_clients.citations import web_citations
from gateway.wire.openai_clients.counts import Counts
from gateway.wire.openai_clients.events import Events, inner, words
from gateway.wire.openai_clients.failures import failure
from gateway.wire.openai_clients.fields import JsonObject
from gateway.wire.openai_clients.translated import Echo

DONE: Final = b"data: [DONE]\n\n"

_FINISH: Final = {
    "max_tokens": "length",
    "model_context_window_exceeded": "length",
    "tool_use": "tool_calls",
    "refusal": "content_filter",
}
"""`finish_reason` by Claude's stop reason; `stop` for the others."""
_encode = msgspec.json.Encoder().encode


def completion(message: JsonObject, model: str, created: int, echo: Echo) -> bytes:
    """A whole message of Claude's as a `chat.completion`. `created` in Unix seconds."""
    counts = Counts()
    counts.absorb(message.get("usage"))
    texts: list[str] = []
    thoughts: list[str] = []
    blocks: list[JsonObject] = []
    calls: list[JsonObject] = []
    annotations: list[JsonObject] = []
    length = 0
    content = message.get("content")
    for block in content if isinstance(content, list) else ():
        match block:
            case {"type": "text", "text": str(text)}:
                annotations += _annotations(block.get("citations"), length, length + len(text))
                texts.append(text)
                length += len(text)
            case {"type": "thinking", "thinking": str(thought)}:
                thoughts.append(thought)
                blocks.append({"type": "thinking", "thinking": thought, "signature": words(block, "signature")})
            case {"type": "redacted_thinking", "data": str(data)}:
                blocks.append({"type": "redacted_thinking", "data": data})
            case {"type": "tool_use", "id": str(call_id), "name": str(name)}:
                arguments = _encode(block.get("input") or {}).decode()
                calls.append(_call(call_id, name, arguments))
    said: JsonObject = {"role": "assistant", "content": "".join(texts) if texts else None, "refusal": _refusal(message)}
    if any(thoughts):
        said["reasoning_content"] = "".join(thoughts)
    if blocks:
        said["thinking_blocks"] = blocks
    if calls and echo.functions:
        said["function_call"] = calls[0]["function"]
    elif calls:
        said["tool_calls"] = calls
    if annotations:
        said["annotations"] = annotations
    return _encode(
        {
            "id": _id(words(message, "id")),
            "object": "chat.completion",
            "created": created,
            "model": words(message, "model") or model,
            "choices": [
                {
                    "index": 0,
                    "message": said,
                    "logprobs": None,
                    "finish_reason": _finish(words(message, "stop_reason"), echo),
                }
            ],
            "usage": counts.chat(),
        }
    )


class ChatStream:
    """One stream of chunks. `created` in Unix seconds; an `Encoder` of `gateway/formats/base.py`."""

    def __init__(self, model: str, created: int, echo: Echo) -> None:
        self._events = Events()
        self._counts = Counts()
        self._echo = echo
        self._head: JsonObject = {"id": "chatcmpl-0", "object": "chat.completion.chunk", "created": created}
        self._model = model
        self._stop_reason = ""
        self._refusal: str | None = None
        self._calls = -1
        self._calling = False
        self._began = self._ended = False
        self._length = self._block_start = 0
        self._thought: JsonObject | None = None
        self._thoughts = 0
        self._cited: list[JsonObject] = []
        self._citations: list[JsonObject] = []

    def feed(self, events: bytes) -> bytes:
        """The chunks for a part of Claude's stream."""
        return b"".join([self._take(name, fields) for name, fields in self._events.feed(events)])

    def finish(self) -> bytes:
        """The end of a stream that told no end of its own; nothing where it did."""
        return self._end() if self._began and not self._ended else b""

    def _take(self, name: str, fields: JsonObject) -> bytes:
        if self._ended:
            return b""
        match name:
            case "message_start":
                return self._begin(inner(fields, "message"))
            case "content_block_start":
                return self._open(inner(fields, "content_block"))
            case "content_block_delta":
                return self._delta(inner(fields, "delta"))
            case "content_block_stop":
                return self._close()
            case "message_delta":
                delta = inner(fields, "delta")
                self._stop_reason = words(delta, "stop_reason") or self._stop_reason
                self._refusal = _refusal(delta)
                self._counts.absorb(fields.get("usage"))
            case "message_stop":
                return self._end()
            case "error":
                self._ended = True
                return failed(_encode(fields))
        return b""

    def _begin(self, message: JsonObject) -> bytes:
        self._began = True
        self._head["id"] = _id(words(message, "id"))
        self._model = words(message, "model") or self._model
        self._counts.absorb(message.get("usage"))
        return self._chunk({"role": "assistant", "content": ""})

    def _open(self, block: JsonObject) -> bytes:
        match block.get("type"):
            case "text":
                self._block_start, self._citations = self._length, []
                return self._text(words(block, "text"))
            case "thinking":
                self._thought = {"index": self._thoughts, "type": "thinking", "thinking": "", "signature": ""}
                self._thought["signature"] = words(block, "signature")
                return self._think(words(block, "thinking"))
            case "redacted_thinking":
                self._thought = {"index": self._thoughts, "type": "redacted_thinking", "data": words(block, "data")}
            case "tool_use":
                self._calls += 1
                self._calling = True
                given = block.get("input")
                arguments = _encode(given).decode() if given else ""
                if self._echo.functions:
                    return self._chunk({"function_call": {"name": words(block, "name"), "arguments": arguments}})
                call = _call(words(block, "id"), words(block, "name"), arguments)
                return self._chunk({"tool_calls": [{"index": self._calls, **call}]})
        return b""

    def _delta(self, delta: JsonObject) -> bytes:
        match delta.get("type"):
            case "text_delta":
                return self._text(words(delta, "text"))
            case "thinking_delta":
                return self._think(words(delta, "thinking"))
            case "signature_delta" if self._thought is not None and self._thought["type"] == "thinking":
                self._thought["signature"] += words(delta, "signature")
            case "citations_delta":
                self._citations.append(inner(delta, "citation"))
            case "input_json_delta" if self._calling and (piece := words(delta, "partial_json")):
                if self._echo.functions:
                    return self._chunk({"function_call": {"arguments": piece}})
                return self._chunk({"tool_calls": [{"index": self._calls, "function": {"arguments": piece}}]})
        return b""

    def _close(self) -> bytes:
        self._calling = False
        if self._citations:
            self._cited += _annotations(self._citations, self._block_start, self._length)
            self._citations = []
        if self._thought is None:
            return b""
        thought, self._thought = self._thought, None
        self._thoughts += 1
        return self._chunk({"thinking_blocks": [thought]})

    def _text(self, text: str) -> bytes:
        self._length += len(text)
        return self._chunk({"content": text}) if text else b""

    def _think(self, thought: str) -> bytes:
        if not thought or self._thought is None or "thinking" not in self._thought:
            return b""
        self._thought["thinking"] += thought
        return self._chunk({"reasoning_content": thought})

    def _end(self) -> bytes:
        self._ended = True
        last: JsonObject = {"annotations": self._cited} if self._cited else {}
        if self._refusal is not None:
            last["refusal"] = self._refusal
        chunks = self._chunk(last, _finish(self._stop_reason, self._echo))
        if self._echo.include_usage:
            chunks += _frame({**self._head, "model": self._model, "choices": [], "usage": self._counts.chat()})
        return chunks + DONE

    def _chunk(self, delta: JsonObject, finish_reason: str | None = None) -> bytes:
        choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish_reason}
        chunk: JsonObject = {**self._head, "model": self._model, "choices": [choice]}
        if self._echo.include_usage:
            chunk["usage"] = None
        return _frame(chunk)


def failed(body: bytes) -> bytes:
    """An error in Anthropic's envelope as the last frames of a stream that has begun."""
    return _frame({"error": failure(body)}) + DONE


def _frame(chunk: JsonObject) -> bytes:
    return b"data: %b\n\n" % _encode(chunk)


def _call(call_id: str, name: str, arguments: str) -> JsonObject:
    return {"id": call_id, "type": "function", "function": {"name": name, "arguments": arguments}}


def _annotations(citations: Any, start: int, end: int) -> list[JsonObject]:
    # Chat completions have the citation one level deeper than responses.
    return [
        {"type": "url_citation", "url_citation": {key: value for key, value in found.items() if key != "type"}}
        for found in web_citations(citations, start, end)
    ]


def _refusal(message: JsonObject) -> str | None:
    """Why the model refused, where it did and says so."""
    if message.get("stop_reason") != "refusal":
        return None
    return words(inner(message, "stop_details"), "explanation") or None


def _finish(stop_reason: str, echo: Echo) -> str:
    if stop_reason == "tool_use" and echo.functions:
        return "function_call"
    return _FINISH.get(stop_reason, "stop")


def _id(message_id: str) -> str:
    return f"chatcmpl-{message_id.removeprefix('msg_')}" if message_id else "chatcmpl-0"
