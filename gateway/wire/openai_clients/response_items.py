"""The parts of a Responses answer: the response object and the items of its output."""

from __future__ import annotations

from typing import Any, Final

from gateway.wire.openai_clients.events import inner, words
from gateway.wire.openai_clients.fields import JsonObject

_REASONS: Final = {
    "max_tokens": "max_output_tokens",
    "model_context_window_exceeded": "max_output_tokens",
    "refusal": "content_filter",
}
"""Why a response is incomplete, by Claude's stop reason; with any other one it is complete."""
_DEFAULTS: Final[JsonObject] = {
    "instructions": None,
    "max_output_tokens": None,
    "metadata": {},
    "parallel_tool_calls": True,
    "previous_response_id": None,
    "reasoning": {"effort": None, "summary": None},
    "store": False,
    "temperature": None,
    "text": {"format": {"type": "text"}},
    "tool_choice": "auto",
    "tools": [],
    "top_p": None,
    "truncation": "disabled",
}


def response(
    response_id: str,
    model: str,
    created: int,
    settings: JsonObject,
    *,
    output: list[JsonObject],
    status: str = "in_progress",
    reason: str = "",
    usage: JsonObject | None = None,
    error: JsonObject | None = None,
) -> JsonObject:
    """The response object. `created` in Unix seconds; `settings` are the request's own, which it repeats."""
    return {
        "id": response_id,
        "object": "response",
        "created_at": created,
        "status": status,
        "error": error,
        "incomplete_details": {"reason": reason} if reason else None,
        "model": model,
        "output": output,
        **_DEFAULTS,
        **settings,
        "usage": usage,
    }


def ending(stop_reason: str) -> tuple[str, str]:
    """(status, reason why it is incomplete) by Claude's stop reason."""
    reason = _REASONS.get(stop_reason, "")
    return ("incomplete" if reason else "completed"), reason


def response_id(message_id: str) -> str:
    """The id of the response to a message of Claude's."""
    return f"resp_{suffix(message_id)}"


def suffix(message_id: str) -> str:
    """What the ids of a response and its items share."""
    return message_id.removeprefix("msg_") or "0"


def message_item(item_id: str, content: list[JsonObject], status: str = "completed") -> JsonObject:
    """What the model says."""
    return {"id": item_id, "type": "message", "status": status, "role": "assistant", "content": content}


def text_part(text: str, annotations: list[JsonObject]) -> JsonObject:
    """One text of a message."""
    return {"type": "output_text", "text": text, "annotations": annotations, "logprobs": []}


def call_item(item_id: str, block: JsonObject, arguments: str, status: str = "completed") -> JsonObject:
    """A call of one of the client's functions."""
    return {
        "id": item_id,
        "type": "function_call",
        "status": status,
        "call_id": words(block, "id"),
        "name": words(block, "name"),
        "arguments": arguments,
    }


def search_item(item_id: str, query: str, results: Any = None, status: str = "completed") -> JsonObject:
    """A web search that ran at the provider; `results` is what the block of its results holds."""
    found = results if isinstance(results, list) else []
    sources = [{"type": "url", "url": words(each, "url")} for each in found if isinstance(each, dict)]
    if isinstance(results, dict):
        status = "failed"
    action: JsonObject = {"type": "search", "query": query, "queries": [query] if query else [], "sources": sources}
    return {"id": item_id, "type": "web_search_call", "status": status, "action": action}


def query_of(block: JsonObject) -> str:
    """What was searched for."""
    return words(inner(block, "input"), "query")
