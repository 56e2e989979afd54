"""The Responses side of the fake OpenAI: what it refuses, and its answers to the steps of a script."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from openai.types.responses import FunctionToolParam, ResponseInputItemParam, response_create_params
from pydantic import TypeAdapter, ValidationError

_ITEM = TypeAdapter(ResponseInputItemParam)
_TOOL = TypeAdapter(FunctionToolParam)
_FIELDS = set(response_create_params.ResponseCreateParamsBase.__annotations__) | {"stream"}


def exhaust(value: Any) -> None:
    """Pydantic checks an Iterable while it is read."""
    if isinstance(value, str | bytes | int | float | None):
        return
    for each in value.values() if isinstance(value, dict) else value:
        exhaust(each)


def refused(body: dict[str, Any]) -> str | None:
    """What OpenAI would say against a request."""
    if unknown := set(body) - _FIELDS:
        return f"Unknown parameter: '{min(unknown)}'."
    if body.get("reasoning") and ("temperature" in body or "top_p" in body):
        return "Unsupported parameter: 'temperature' is not supported with this model."
    if body.get("max_output_tokens", 16) < 16:
        return "Invalid 'max_output_tokens': integer below minimum value. Expected a value >= 16."
    try:
        for item in body["input"]:
            exhaust(_ITEM.validate_python(item))
        for tool in body.get("tools", ()):
            exhaust(_TOOL.validate_python(tool))
    except ValidationError as error:
        return f"Invalid request: {str(error)[:500]}"
    return _bad_order(body["input"])


def _bad_order(items: list[dict[str, Any]]) -> str | None:
    calls = {item["call_id"] for item in items if item.get("type") == "function_call"}
    results = {item["call_id"] for item in items if item.get("type") == "function_call_output"}
    if missing := calls - results:
        return f"No tool output found for function call {min(missing)}."
    if unknown := results - calls:
        return f"No tool call found for function call output with call_id {min(unknown)}."
    for item, following in zip(items, [*items[1:], {}], strict=True):
        if item.get("type") != "reasoning":
            continue
        if item["encrypted_content"] != sealed(item["id"]):
            return f"The encrypted content for item {item['id']} could not be verified."
        if following.get("type") not in ("reasoning", "function_call") and following.get("role") != "assistant":
            return f"Item '{item['id']}' of type 'reasoning' was provided without its required following item."
    return None


def sealed(item: str) -> str:
    """What only this server can have written."""
    return f"gAAAA{item[::-1]}:=="


def head(response: str, model: str, body: dict[str, Any]) -> dict[str, Any]:
    """The fields that a response has from its beginning."""
    return {
        "id": response,
        "object": "response",
        "created_at": 1_790_000_000,
        "model": f"{model}-2026-07-01",
        "status": "in_progress",
        "output": [],
        "parallel_tool_calls": True,
        "tool_choice": body.get("tool_choice", "auto"),
        "tools": body.get("tools", []),
        "service_tier": "default",
        "error": None,
        "incomplete_details": None,
    }


def _items(step: dict[str, Any], response: str) -> list[dict[str, Any]]:
    items: list[dict[str, Any]] = []
    if "reasoning" in step:
        item = f"rs_{response}"
        summary = [{"type": "summary_text", "text": text} for text in step["reasoning"].split("|") if text]
        items.append({"type": "reasoning", "id": item, "summary": summary, "encrypted_content": sealed(item)})
    if "text" in step:
        part = {"type": "output_text", "text": step["text"], "annotations": []}
        items.append(
            {"type": "message", "id": f"msg_{response}", "role": "assistant", "status": "completed", "content": [part]}
        )
    for number, call in enumerate(step.get("calls", ())):
        items.append(
            {
                "type": "function_call",
                "id": f"fc_{response}_{number}",
                "call_id": f"call_{response}_{number}",
                "name": call["name"],
                "arguments": json.dumps(call["arguments"]),
                "status": "completed",
            }
        )
    return items


def whole(step: dict[str, Any], begun: dict[str, Any], usage: dict[str, Any] | None) -> dict[str, Any]:
    """A response in one piece."""
    finish = step.get("finish", "")
    reason = {"length": "max_output_tokens", "content_filter": "content_filter"}.get(finish)
    told = usage and {
        "input_tokens": usage["prompt_tokens"],
        "input_tokens_details": {
            "cached_tokens": usage["prompt_tokens_details"]["cached_tokens"],
            "cache_write_tokens": 0,
        },
        "output_tokens": usage["completion_tokens"],
        "output_tokens_details": {"reasoning_tokens": usage["completion_tokens_details"]["reasoning_tokens"]},
        "total_tokens": usage["total_tokens"],
    }
    return {
        **begun,
        "status": "incomplete" if reason else "completed",
        "incomplete_details": {"reason": reason} if reason else None,
        "output": _items(step, begun["id"]),
        "usage": told,
    }


def events(step: dict[str, Any], begun: dict[str, Any], usage: dict[str, Any] | None) -> Iterator[dict[str, Any]]:
    """The same as a stream."""
    for number, event in enumerate(_events(step, begun, usage)):
        if number == step.get("error_after"):
            error = {"code": "server_error", "message": "The server had an error."}
            failed = {**begun, "status": "failed", "error": error}
            yield {"type": "response.failed", "sequence_number": number, "response": failed}
            return
        yield {**event, "sequence_number": number}


def _events(step: dict[str, Any], begun: dict[str, Any], usage: dict[str, Any] | None) -> Iterator[dict[str, Any]]:
    yield {"type": "response.created", "response": begun}
    yield {"type": "response.in_progress", "response": begun}
    ended = whole(step, begun, usage)
    for index, item in enumerate(ended["output"]):
        empty = {"message": {"content": []}, "reasoning": {"summary": []}, "function_call": {"arguments": ""}}
        place = {"output_index": index, "item_id": item["id"]}
        added = {**item, **empty[item["type"]], "status": "in_progress"}
        yield {"type": "response.output_item.added", "output_index": index, "item": added}
        match item["type"]:
            case "reasoning":
                yield from _summary(item["summary"], place)
            case "message":
                where = {**place, "content_index": 0}
                part = item["content"][0]
                yield {"type": "response.content_part.added", **where, "part": {**part, "text": ""}}
                for start in range(0, len(part["text"]), 7):
                    delta = part["text"][start : start + 7]
                    yield {"type": "response.output_text.delta", **where, "delta": delta, "logprobs": []}
                yield {"type": "response.output_text.done", **where, "text": part["text"], "logprobs": []}
                yield {"type": "response.content_part.done", **where, "part": part}
            case "function_call":
                for start in range(0, len(item["arguments"]), 11):
                    delta = item["arguments"][start : start + 11]
                    yield {"type": "response.function_call_arguments.delta", **place, "delta": delta}
                done = {"name": item["name"], "arguments": item["arguments"]}
                yield {"type": "response.function_call_arguments.done", **place, **done}
        yield {"type": "response.output_item.done", "output_index": index, "item": item}
    yield {"type": f"response.{ended['status']}", "response": ended}


def _summary(parts: list[dict[str, Any]], place: dict[str, Any]) -> Iterator[dict[str, Any]]:
    for number, part in enumerate(parts):
        where = {**place, "summary_index": number}
        yield {"type": "response.reasoning_summary_part.added", **where, "part": {**part, "text": ""}}
        for start in range(0, len(part["text"]), 9):
            yield {"type": "response.reasoning_summary_text.delta", **where, "delta": part["text"][start : start + 9]}
        yield {"type": "response.reasoning_summary_text.done", **where, "text": part["text"]}
        yield {"type": "response.reasoning_summary_part.done", **where, "part": part}
