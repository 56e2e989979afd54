"""Turn content and usage into Anthropic's message object and its stream of events."""

from __future__ import annotations

import itertools
import json
import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import msgspec

from gateway.simulator.answer import Answer
from gateway.simulator.conversation import Ask
from gateway.simulator.prompt_cache import PromptTokens

Block = dict[str, Any]
_PIECE = 24
"""Characters of a text delta where the script names no number of chunks."""

_numbers = itertools.count(1)


@dataclass(frozen=True, slots=True)
class Reply:
    """One whole message with all it reports."""

    id: str
    model: str
    content: list[Block]
    stop_reason: str
    usage: dict[str, Any]
    answer: Answer
    edits_context: bool

    def body(self) -> dict[str, Any]:
        """The message of a non-streaming answer."""
        found = {**self._head(), "content": self.content, "stop_reason": self.stop_reason}
        if self.answer.usage != "none":
            found["usage"] = self.usage
        if self.edits_context:
            found["context_management"] = {"applied_edits": []}
        return found | self.answer.extra

    def events(self) -> Iterator[tuple[bool, bytes]]:
        """The stream, event by event; True marks a delta of content: pauses come before those."""
        yield False, sse("message_start", {"message": self._start()})
        for index, block in enumerate(self.content):
            yield False, sse("content_block_start", {"index": index, "content_block": _opening(block)})
            if index == 0:
                yield False, sse("ping", {})
            for delta in _deltas(block, self.answer.chunks):
                yield True, sse("content_block_delta", {"index": index, "delta": delta})
            if index == 0 and self.answer.unknown_event:
                yield (
                    False,
                    sse("simulated_unknown_event", {"note": "a client must pass over what it does not know"}),
                )
            if index == 0 and self.answer.big_event:
                delta = {"type": "text_delta", "text": "x" * self.answer.big_event}
                yield True, sse("content_block_delta", {"index": index, "delta": delta})
            yield False, sse("content_block_stop", {"index": index})
        yield False, sse("message_delta", self._delta())
        yield False, sse("message_stop", {})

    def _head(self) -> dict[str, Any]:
        return {"id": self.id, "type": "message", "role": "assistant", "model": self.model, "content": [],
                "stop_reason": None, "stop_sequence": None}  # fmt: skip

    def _start(self) -> dict[str, Any]:
        found = self._head() | self.answer.extra
        if self.answer.usage != "none":
            early = ("server_tool_use", "output_tokens_details", "iterations")
            usage = {key: value for key, value in self.usage.items() if key not in early}
            # A placeholder, as in the real stream: the true count comes at the end.
            found["usage"] = usage | {"output_tokens": min(1, self.usage["output_tokens"])}
        return found

    def _delta(self) -> dict[str, Any]:
        found: dict[str, Any] = {"delta": {"stop_reason": self.stop_reason, "stop_sequence": None}}
        if self.answer.usage == "minimal":
            found["usage"] = {"output_tokens": self.usage["output_tokens"]}
        elif self.answer.usage == "full":
            start_only = ("cache_creation", "service_tier", "inference_geo", "speed")
            found["usage"] = {key: value for key, value in self.usage.items() if key not in start_only}
        if self.edits_context:
            found["context_management"] = {"applied_edits": []}
        return found


def reply(ask: Ask, answer: Answer, content: list[Block], prompt: PromptTokens) -> Reply:
    """Number the message and its tool calls, and count what it used."""
    number = next(_numbers)
    content = [
        {"type": "tool_use", "id": f"toolu_sim_{number:08d}_{index}"} | block if block["type"] == "tool_use" else block
        for index, block in enumerate(content)
    ]
    called = any(block["type"] == "tool_use" for block in content)
    stop_reason = answer.stop_reason or ("refusal" if answer.refusal else "tool_use" if called else "end_turn")
    return Reply(
        id=f"msg_sim_{number:012d}",
        model=answer.served_model or ask.model,
        content=content,
        stop_reason=stop_reason,
        usage=usage(ask, answer, content, prompt),
        answer=answer,
        edits_context=ask.context_management is not None,
    )


def usage(ask: Ask, answer: Answer, content: list[Block], prompt: PromptTokens) -> dict[str, Any]:
    """The complete `usage` object: what the script says, else an estimate of four bytes a token."""
    scripted = (answer.input_tokens, answer.cache_read, answer.cache_write_5m, answer.cache_write_1h)
    if any(count is not None for count in scripted):
        prompt = PromptTokens(*(count or 0 for count in scripted))
    thought = sum(len(block["thinking"]) for block in content if block["type"] == "thinking")
    thinking = answer.thinking_tokens if answer.thinking_tokens is not None else math.ceil(thought / 4)
    output = answer.output_tokens
    if output is None:
        said = sum(len(json.dumps(block)) for block in content if block["type"] != "thinking")
        output = thinking + math.ceil((said + answer.big_event) / 4)
    found: dict[str, Any] = {
        "input_tokens": prompt.input,
        "cache_creation_input_tokens": prompt.write_5m + prompt.write_1h,
        "cache_read_input_tokens": prompt.read,
        "cache_creation": {
            "ephemeral_5m_input_tokens": prompt.write_5m,
            "ephemeral_1h_input_tokens": prompt.write_1h,
        },
        "output_tokens": output,
        "output_tokens_details": {"thinking_tokens": min(thinking, output)},
        "service_tier": answer.service_tier,
        "inference_geo": answer.geo or ask.inference_geo or "global",
        "speed": answer.speed or ask.speed or "standard",
    }
    if answer.web_searches:
        found["server_tool_use"] = {"web_search_requests": answer.web_searches, "web_fetch_requests": 0}
    if answer.iterations is not None:
        found["iterations"] = answer.iterations
    return found


def sse(name: str, data: dict[str, Any]) -> bytes:
    """One server-sent event; its data repeats the name as `type`."""
    return b"event: " + name.encode() + b"\ndata: " + msgspec.json.encode({"type": name} | data) + b"\n\n"


def _opening(block: Block) -> Block:
    match block["type"]:
        case "text":
            return {"type": "text", "text": ""}
        case "thinking":
            return {"type": "thinking", "thinking": "", "signature": ""}
        case "tool_use":
            return block | {"input": {}}
    return block


def _deltas(block: Block, chunks: int | None) -> Iterator[Block]:
    match block["type"]:
        case "text":
            yield from ({"type": "text_delta", "text": piece} for piece in _pieces(block["text"], chunks))
        case "thinking":
            for piece in _pieces(block["thinking"], None):
                yield {"type": "thinking_delta", "thinking": piece}
            yield {"type": "signature_delta", "signature": block.get("signature", "")}
        case "tool_use":
            yield {"type": "input_json_delta", "partial_json": ""}
            for piece in _pieces(json.dumps(block["input"], ensure_ascii=False), None):
                yield {"type": "input_json_delta", "partial_json": piece}


def _pieces(text: str, count: int | None) -> Iterator[str]:
    """The text in `count` nearly equal parts (at most one a character), else in parts of fixed length."""
    if count is None:
        yield from (text[start : start + _PIECE] for start in range(0, len(text), _PIECE))
        return
    count = max(1, min(count, len(text)))
    edges = [len(text) * part // count for part in range(count + 1)]
    yield from (text[start:end] for start, end in itertools.pairwise(edges))
