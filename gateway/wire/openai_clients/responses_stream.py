"""Claude's event stream as the events of a Responses stream.

Blocks of Claude's become items: texts that follow each other one message with a part each, thinking a reasoning item
whose summary is the thought, a tool call a function call, a search of the provider's a web search call. The items of
the last event are those that were told one by one before. Source: the event types of the `openai` SDK 3.57.
"""

from __future__ import annotations

from typing import Any

import msgspec

from gateway.wire.openai_clients.citations import web_citations
from gateway.wire.openai_clients.counts import Counts
from gateway.wire.openai_clients.events import Events, inner, words
from gateway.wire.openai_clients.failures import failure
from gateway.wire.openai_clients.fields import JsonObject
from gateway.wire.openai_clients.reasoning import reasoning_item
from gateway.wire.openai_clients.response_items import (
    call_item,
    ending,
    message_item,
    query_of,
    response,
    response_id,
    search_item,
    suffix,
    text_part,
)
from gateway.wire.openai_clients.translated import Echo

_encode = msgspec.json.Encoder().encode


class ResponsesStream:
    """One stream of events. `created` in Unix seconds; an `Encoder` of `gateway/formats/base.py`."""

    def __init__(self, model: str, created: int, echo: Echo) -> None:
        self._events = Events()
        self._counts = Counts()
        self._model = model
        self._created = created
        self._settings = echo.settings
        self._message_id = ""
        self._stop_reason = ""
        self._sequence = -1
        self._began = self._ended = False
        self._frames: list[bytes] = []
        self._output: list[JsonObject] = []
        """The items so far; the last one may be open."""
        self._block: JsonObject = {}
        self._pieces: list[str] = []
        self._citations: list[JsonObject] = []
        self._message_open = False
        self._searches: dict[str, int] = {}
        """Output index of each search whose results have not come, by Claude's id of it."""

    def feed(self, events: bytes) -> bytes:
        """The events for a part of Claude's stream."""
        for name, fields in self._events.feed(events):
            if not self._ended:
                self._take(name, fields)
        return self._drain()

    def finish(self) -> bytes:
        """The end of a stream that told no end of its own; nothing where it did."""
        if self._began and not self._ended:
            self._end()
        return self._drain()

    def _drain(self) -> bytes:
        frames, self._frames = b"".join(self._frames), []
        return frames

    def _take(self, name: str, fields: JsonObject) -> None:
        match name:
            case "message_start":
                self._begin(inner(fields, "message"))
            case "content_block_start":
                self._open(inner(fields, "content_block"))
            case "content_block_delta":
                self._delta(inner(fields, "delta"))
            case "content_block_stop":
                self._close()
            case "message_delta":
                self._stop_reason = words(inner(fields, "delta"), "stop_reason") or self._stop_reason
                self._counts.absorb(fields.get("usage"))
            case "message_stop":
                self._end()
            case "error":
                self._fail(failure(_encode(fields)))

    # --- the response ---------------------------------------------------------------------------------------
    def _begin(self, message: JsonObject) -> None:
        self._began = True
        self._message_id = words(message, "id")
        self._model = words(message, "model") or self._model
        self._counts.absorb(message.get("usage"))
        self._tell("response.created", response=self._response())
        self._tell("response.in_progress", response=self._response())

    def _end(self) -> None:
        self._ended = True
        self._close_message()
        for index in list(self._searches.values()):
            self._close_search(index, None)
        status, reason = ending(self._stop_reason)
        usage = self._counts.responses()
        self._tell(f"response.{status}", response=self._response(status=status, reason=reason, usage=usage))

    def _fail(self, error: JsonObject) -> None:
        self._ended = True
        told = {"code": error["code"] or error["type"], "message": error["message"]}
        self._tell("response.failed", response=self._response(status="failed", error=told))

    def _response(self, **ending: Any) -> JsonObject:
        return response(
            response_id(self._message_id), self._model, self._created, self._settings, output=self._output, **ending
        )

    # --- blocks ---------------------------------------------------------------------------------------------
    def _open(self, block: JsonObject) -> None:
        self._block, self._pieces, self._citations = block, [], []
        kind = block.get("type")
        if kind != "text":
            self._close_message()
        match kind:
            case "text":
                self._open_text()
                self._piece(words(block, "text"))
            case "thinking":
                self._add({"id": self._new_id("rs"), "type": "reasoning", "summary": []})
                self._piece(words(block, "thinking"))
            case "redacted_thinking":
                self._add({"id": self._new_id("rs"), "type": "reasoning", "summary": []})
            case "tool_use":
                self._add(call_item(self._new_id("fc"), block, "", "in_progress"))
                if given := block.get("input"):
                    self._piece(_encode(given).decode())
            case "server_tool_use" if block.get("name") == "web_search":
                self._searches[words(block, "id")] = len(self._output)
                self._add(search_item(self._new_id("ws"), "", status="in_progress"))
                self._tell_item("response.web_search_call.in_progress")
            case "web_search_tool_result":
                index = self._searches.get(words(block, "tool_use_id"))
                if index is not None:
                    self._close_search(index, block.get("content"))

    def _delta(self, delta: JsonObject) -> None:
        match delta.get("type"):
            case "text_delta":
                self._piece(words(delta, "text"))
            case "thinking_delta":
                self._piece(words(delta, "thinking"))
            case "input_json_delta":
                self._piece(words(delta, "partial_json"))
            case "signature_delta":
                self._block["signature"] = words(self._block, "signature") + words(delta, "signature")
            case "citations_delta":
                self._citations.append(inner(delta, "citation"))

    def _piece(self, piece: str) -> None:
        """One more piece of the open block's text."""
        if not piece:
            return
        first = not self._pieces
        self._pieces.append(piece)
        match self._block.get("type"):
            case "text":
                self._tell_item("response.output_text.delta", content_index=self._part, delta=piece, logprobs=[])
            case "thinking":
                if first:
                    part = {"type": "summary_text", "text": ""}
                    self._tell_item("response.reasoning_summary_part.added", summary_index=0, part=part)
                self._tell_item("response.reasoning_summary_text.delta", summary_index=0, delta=piece)
            case "tool_use":
                self._tell_item("response.function_call_arguments.delta", delta=piece)

    def _close(self) -> None:
        text = "".join(self._pieces)
        block, self._block = self._block, {}
        match block.get("type"):
            case "text":
                self._close_text(text, block)
            case "thinking":
                if text:
                    part = {"type": "summary_text", "text": text}
                    self._tell_item("response.reasoning_summary_text.done", summary_index=0, text=text)
                    self._tell_item("response.reasoning_summary_part.done", summary_index=0, part=part)
                self._done(reasoning_item(self._output[-1]["id"], {**block, "thinking": text}))
            case "redacted_thinking":
                self._done(reasoning_item(self._output[-1]["id"], block))
            case "tool_use":
                arguments = text or "{}"
                name = words(block, "name")
                self._tell_item("response.function_call_arguments.done", name=name, arguments=arguments)
                self._done(call_item(self._output[-1]["id"], block, arguments))
            case "server_tool_use" if words(block, "id") in self._searches:
                query = query_of({"input": _object(text)}) or query_of(block)
                index = self._searches[words(block, "id")]
                self._output[index] = search_item(self._output[index]["id"], query, status="searching")
                self._tell_item("response.web_search_call.searching")

    def _open_text(self) -> None:
        if not self._message_open:
            self._message_open = True
            self._add(message_item(self._new_id("msg"), [], "in_progress"))
        item = self._output[-1]
        item["content"] = [*item["content"], text_part("", [])]
        self._tell_item("response.content_part.added", content_index=self._part, part=text_part("", []))

    def _close_text(self, text: str, block: JsonObject) -> None:
        given = block.get("citations")
        cited = [*(given if isinstance(given, list) else ()), *self._citations]
        annotations = list(web_citations(cited, 0, len(text)))
        for index, annotation in enumerate(annotations):
            self._tell_item(
                "response.output_text.annotation.added",
                content_index=self._part,
                annotation_index=index,
                annotation=annotation,
            )
        part = text_part(text, annotations)
        self._output[-1]["content"][-1] = part
        self._tell_item("response.output_text.done", content_index=self._part, text=text, logprobs=[])
        self._tell_item("response.content_part.done", content_index=self._part, part=part)

    def _close_message(self) -> None:
        if self._message_open:
            self._message_open = False
            self._done({**self._output[-1], "status": "completed"})

    def _close_search(self, index: int, results: Any) -> None:
        item = self._output[index]
        done = search_item(item["id"], item["action"]["query"], results)
        self._searches = {call: each for call, each in self._searches.items() if each != index}
        self._tell_item("response.web_search_call.completed", index)
        self._done(done, index)

    @property
    def _part(self) -> int:
        return len(self._output[-1]["content"]) - 1

    # --- events ---------------------------------------------------------------------------------------------
    def _new_id(self, kind: str) -> str:
        return f"{kind}_{suffix(self._message_id)}_{len(self._output)}"

    def _add(self, item: JsonObject) -> None:
        self._output.append(item)
        self._tell("response.output_item.added", output_index=len(self._output) - 1, item=item)

    def _done(self, item: JsonObject, index: int = -1) -> None:
        index %= len(self._output)
        self._output[index] = item
        self._tell("response.output_item.done", output_index=index, item=item)

    def _tell_item(self, kind: str, index: int = -1, **fields: Any) -> None:
        index %= len(self._output)
        self._tell(kind, item_id=self._output[index]["id"], output_index=index, **fields)

    def _tell(self, kind: str, **fields: Any) -> None:
        self._sequence += 1
        data = _encode({"type": kind, "sequence_number": self._sequence, **fields})
        self._frames.append(b"event: %b\ndata: %b\n\n" % (kind.encode(), data))


def failed(body: bytes) -> bytes:
    """An error in Anthropic's envelope as the last event of a stream that has begun.

    Its fields stand where OpenAI's schema has them, and under `error` too, where OpenAI's server puts them and its SDK
    looks for them.
    """
    error = failure(body)
    data = _encode(
        {
            "type": "error",
            "sequence_number": 0,
            **{key: error[key] for key in ("code", "message", "param")},
            "error": error,
        }
    )
    return b"event: error\ndata: %b\n\n" % data


def _object(text: str) -> Any:
    try:
        return msgspec.json.decode(text)
    except (msgspec.DecodeError, RecursionError):
        return None
