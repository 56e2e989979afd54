"""A whole message of Claude's as an OpenAI response."""

from __future__ import annotations

import msgspec

from gateway.wire.openai_clients.citations import web_citations
from gateway.wire.openai_clients.counts import Counts
from gateway.wire.openai_clients.events import words
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


def whole_response(message: JsonObject, model: str, created: int, echo: Echo) -> bytes:
    """The response object. `created` in Unix seconds."""
    counts = Counts()
    counts.absorb(message.get("usage"))
    message_id = words(message, "id")
    status, reason = ending(words(message, "stop_reason"))
    return _encode(
        response(
            response_id(message_id),
            words(message, "model") or model,
            created,
            echo.settings,
            output=_output(message, suffix(message_id)),
            status=status,
            reason=reason,
            usage=counts.responses(),
        )
    )


def _output(message: JsonObject, stem: str) -> list[JsonObject]:
    content = message.get("content")
    blocks = [block for block in content if isinstance(block, dict)] if isinstance(content, list) else []
    results = {words(block, "tool_use_id"): block.get("content") for block in blocks}
    output: list[JsonObject] = []
    for block in blocks:
        index = len(output)
        match block.get("type"):
            case "text":
                text = words(block, "text")
                part = text_part(text, list(web_citations(block.get("citations"), 0, len(text))))
                if output and output[-1]["type"] == "message":
                    output[-1]["content"].append(part)
                else:
                    output.append(message_item(f"msg_{stem}_{index}", [part]))
            case "thinking" | "redacted_thinking":
                output.append(reasoning_item(f"rs_{stem}_{index}", block))
            case "tool_use":
                arguments = _encode(block.get("input") or {}).decode()
                output.append(call_item(f"fc_{stem}_{index}", block, arguments))
            case "server_tool_use" if block.get("name") == "web_search":
                found = results.get(words(block, "id"))
                output.append(search_item(f"ws_{stem}_{index}", query_of(block), found))
    return output
