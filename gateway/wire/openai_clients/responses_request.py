"""An OpenAI Responses request as a Claude Messages body.

Nothing is stored here, so a request must carry its whole conversation, as one with `store: false` does. Source: the
request's types in the `openai` SDK 3.57.
"""

from __future__ import annotations

from typing import Any, Final

import msgspec

from gateway.wire.openai_clients import settings, tools
from gateway.wire.openai_clients.claude import claude, without_prefix
from gateway.wire.openai_clients.conversation import Conversation, tool_result, tool_use
from gateway.wire.openai_clients.fields import (
    JsonObject,
    flag,
    list_of,
    model_of,
    object_of,
    read_body,
    shallow,
    text_of,
    whole,
)
from gateway.wire.openai_clients.parts import blocks, text_only
from gateway.wire.openai_clients.prefix import cached, user_of
from gateway.wire.openai_clients.reasoning import thinking_of
from gateway.wire.openai_clients.translated import Echo, Translated
from gateway.wire.peek import BadBody

_REPEATED: Final = (
    "instructions",
    "max_output_tokens",
    "max_tool_calls",
    "metadata",
    "parallel_tool_calls",
    "prompt_cache_key",
    "reasoning",
    "safety_identifier",
    "temperature",
    "text",
    "tool_choice",
    "tools",
    "top_p",
    "truncation",
    "user",
)
_SEND_ALL: Final = "This gateway stores no responses: send the earlier items in `input` instead."
_REFUSED: Final = {
    "previous_response_id": _SEND_ALL,
    "conversation": _SEND_ALL,
    "background": "An answer is given while the request waits: leave it out, and stream a long one.",
    "prompt": "Prompt templates live at OpenAI: send the text as `instructions` and `input`.",
    "top_logprobs": "Claude models give no log probabilities: leave it out.",
    "moderation": "Moderation is not run here: leave it out and moderate before and after the request.",
}
_encode = msgspec.json.Encoder().encode


def to_messages(body: bytes) -> Translated:
    """The request in Claude's form. Raises `BadBody` with a sentence for the client."""
    return shallow(_translated, read_body(body))


def _translated(fields: JsonObject) -> Translated:
    name = without_prefix(model_of(fields))
    for refused, reason in _REFUSED.items():
        if fields.get(refused):
            raise BadBody(f"`{refused}` is not supported. {reason}")
    model = claude(name)
    talk = _conversation(fields)
    offered = tools.tools(fields.get("tools"), model)
    if (most := whole(fields, "max_tool_calls")) is not None:
        offered = [{**tool, "max_uses": most} if "type" in tool else tool for tool in offered]
    chosen, offered = tools.choice(fields.get("tool_choice"), offered, parallel=fields.get("parallel_tool_calls"))
    reasoning = object_of(fields.get("reasoning") or {}, "reasoning")
    shown = reasoning.get("summary") or reasoning.get("generate_summary")
    result: JsonObject = {
        "model": name,
        **settings.answering(
            fields,
            model,
            max_tokens=whole(fields, "max_output_tokens"),
            effort=settings.effort_of(reasoning.get("effort"), "reasoning.effort"),
            display="summarized" if shown else "omitted",
            forced=tools.forces(chosen),
            thoughtless=talk.thoughtless,
        ),
    }
    text = object_of(fields.get("text") or {}, "text")
    if (form := settings.output_format(text.get("format"), "text.format")) is not None:
        if form:
            result["output_config"] = {**result.get("output_config", {}), "format": form}
        else:
            talk.system.append(settings.JSON_ONLY)
    if flag(fields, "stream"):
        result["stream"] = True
    result |= user_of(fields)
    if chosen is not None:
        result["tool_choice"] = chosen
    messages = talk.messages(system_turns=model.takes_system_turns)
    result |= cached(fields, tools=offered, system=talk.system, messages=messages)
    echo = Echo(settings={key: fields[key] for key in _REPEATED if fields.get(key) is not None})
    return Translated(_encode(result), echo)


def _conversation(fields: JsonObject) -> Conversation:
    talk = Conversation()
    if fields.get("instructions") is not None:
        talk.instruct(text_only(fields["instructions"], "instructions"))
    given = fields.get("input")
    if given is None and (not talk.system or "messages" in fields):
        # Instructions alone are answered, as those of a chat completion are.
        hint = " `messages` belong to chat completions, at /v1/chat/completions." if "messages" in fields else ""
        raise BadBody(f"`input` is missing. This is the Responses API: send what to answer as `input`.{hint}")
    if isinstance(given, str):
        talk.user(blocks(given, "input"))
        return talk
    for index, item in enumerate(list_of(given, "input")):
        _take(talk, object_of(item, f"input[{index}]"), f"input[{index}]")
    return talk


def _take(talk: Conversation, item: JsonObject, where: str) -> None:
    """Add one item of the conversation."""
    match item.get("type", "message"):
        case "message":
            _say(talk, item, where)
        case "function_call":
            call_id = text_of(item.get("call_id"), f"{where}.call_id")
            talk.assistant([tool_use(call_id, text_of(item.get("name"), f"{where}.name"), item.get("arguments"))])
        case "function_call_output":
            call_id = text_of(item.get("call_id"), f"{where}.call_id")
            talk.user([tool_result(call_id, blocks(item.get("output"), f"{where}.output"))])
        case "reasoning":
            talk.assistant(thinking_of(item))
        case "web_search_call":
            # The results were in the answer's text; Claude's own record of the search is not in the item.
            return
        case "item_reference":
            raise BadBody(f"`{where}` refers to a stored item. {_SEND_ALL}")
        case kind:
            raise BadBody(
                f"`{where}.type` is {kind!r}. Send message, reasoning, function_call and function_call_output items."
            )


def _say(talk: Conversation, item: JsonObject, where: str) -> None:
    said: Any = item.get("content")
    match item.get("role"):
        case "user":
            talk.user(blocks(said, f"{where}.content"))
        case "assistant":
            talk.assistant(blocks(said, f"{where}.content"))
        case "system" | "developer":
            talk.instruct(text_only(said, f"{where}.content"))
        case role:
            raise BadBody(f"`{where}.role` is {role!r}. Send user, assistant, system or developer.")
