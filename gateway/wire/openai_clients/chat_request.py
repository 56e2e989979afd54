"""An OpenAI chat completion request as a Claude Messages body.

Source: the request's types in the `openai` SDK 3.57 and in the `anthropic` SDK 2.14. Unknown fields are passed over;
what would change the answer's meaning and no Claude model does is refused with what to do instead.
"""

from __future__ import annotations

from typing import Any

import msgspec

from gateway.wire.openai_clients import settings, tools
from gateway.wire.openai_clients.claude import Claude, claude, without_prefix
from gateway.wire.openai_clients.conversation import Conversation, mark_last, tool_result, tool_use
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
from gateway.wire.openai_clients.parts import blocks, cache_mark, text_only
from gateway.wire.openai_clients.prefix import cached, user_of
from gateway.wire.openai_clients.translated import Echo, Translated
from gateway.wire.peek import BadBody

_encode = msgspec.json.Encoder().encode


def to_messages(body: bytes) -> Translated:
    """The request in Claude's form. Raises `BadBody` with a sentence for the client."""
    return shallow(_translated, read_body(body))


def _translated(fields: JsonObject) -> Translated:
    name = without_prefix(model_of(fields))
    _refuse(fields)
    model = claude(name)
    stream = flag(fields, "stream")
    talk = _conversation(fields)
    offered = _tools(fields, model)
    chosen, offered = tools.choice(_tool_choice(fields), offered, parallel=fields.get("parallel_tool_calls"))
    result: JsonObject = {
        "model": name,
        **settings.answering(
            fields,
            model,
            max_tokens=whole(fields, "max_completion_tokens", "max_tokens"),
            effort=settings.effort_of(fields.get("reasoning_effort"), "reasoning_effort"),
            display="summarized",
            forced=tools.forces(chosen),
            thoughtless=talk.thoughtless,
        ),
    }
    if (form := settings.output_format(fields.get("response_format"), "response_format")) is not None:
        if form:
            result["output_config"] = {**result.get("output_config", {}), "format": form}
        else:
            talk.system.append(settings.JSON_ONLY)
    if stop := settings.stops(fields.get("stop")):
        result["stop_sequences"] = stop
    if stream:
        result["stream"] = True
    result |= user_of(fields)
    if chosen is not None:
        result["tool_choice"] = chosen
    messages = talk.messages(system_turns=model.takes_system_turns)
    result |= cached(fields, tools=offered, system=talk.system, messages=messages)
    options = fields.get("stream_options")
    echo = Echo(
        include_usage=isinstance(options, dict) and options.get("include_usage") is True,
        functions=fields.get("functions") is not None and fields.get("tools") is None,
    )
    return Translated(_encode(result), echo)


def _refuse(fields: JsonObject) -> None:
    if fields.get("n") not in (None, 1):
        raise BadBody("`n` must be 1: Claude models give one answer a request. Send the request several times.")
    if fields.get("logprobs") or fields.get("top_logprobs"):
        raise BadBody("`logprobs` are not available from Claude models. Leave `logprobs` and `top_logprobs` out.")
    if fields.get("audio") or "audio" in list_of(fields.get("modalities"), "modalities"):
        raise BadBody('`audio` is not something Claude models answer with. Leave it out, or ask for ["text"].')
    if fields.get("logit_bias"):
        raise BadBody("`logit_bias` is not available for Claude models. Say in the prompt what to avoid.")
    if fields.get("moderation"):
        raise BadBody("`moderation` is not run here. Leave it out and moderate before and after the request.")


def _conversation(fields: JsonObject) -> Conversation:
    talk = Conversation()
    legacy: list[str] = []
    for index, given in enumerate(list_of(fields.get("messages"), "messages")):
        where = f"messages[{index}]"
        message = object_of(given, where)
        said = message.get("content")
        match message.get("role"):
            case "system" | "developer":
                talk.instruct(_marked(message, text_only(said, f"{where}.content")))
            case "user":
                talk.user(_marked(message, blocks(said, f"{where}.content")))
            case "assistant":
                talk.assistant(_marked(message, _assistant(message, where, legacy)))
            case "tool":
                call_id = text_of(message.get("tool_call_id"), f"{where}.tool_call_id")
                talk.user(_marked(message, [tool_result(call_id, blocks(said, f"{where}.content"))]))
            case "function":
                # The older form names no call: the last one is meant.
                talk.user([tool_result(legacy[-1] if legacy else "call_0", blocks(said, f"{where}.content"))])
            case role:
                raise BadBody(f"`{where}.role` is {role!r}. Send system, developer, user, assistant, tool or function.")
    return talk


def _assistant(message: JsonObject, where: str, legacy: list[str]) -> list[JsonObject]:
    content = [*_thinking(message), *blocks(message.get("content"), f"{where}.content")]
    if isinstance(refusal := message.get("refusal"), str) and refusal:
        content.append({"type": "text", "text": refusal})
    for index, given in enumerate(list_of(message.get("tool_calls"), f"{where}.tool_calls")):
        inside = f"{where}.tool_calls[{index}]"
        call = object_of(given, inside)
        called = object_of(call.get("function"), f"{inside}.function")
        name = text_of(called.get("name"), f"{inside}.function.name")
        content.append(tool_use(text_of(call.get("id"), f"{inside}.id"), name, called.get("arguments")))
    if message.get("function_call") is not None:
        called = object_of(message["function_call"], f"{where}.function_call")
        legacy.append(f"call_{len(legacy)}")
        name = text_of(called.get("name"), f"{where}.function_call.name")
        content.append(tool_use(legacy[-1], name, called.get("arguments")))
    return content


def _thinking(message: JsonObject) -> list[JsonObject]:
    """The thinking that a client sends back as it got it (LiteLLM's field); of other shapes nothing is taken."""
    found: list[JsonObject] = []
    given = message.get("thinking_blocks")
    for block in given if isinstance(given, list) else ():
        match block:
            case {"type": "thinking", "thinking": str(text), "signature": str(signature)} if signature:
                found.append({"type": "thinking", "thinking": text, "signature": signature})
            case {"type": "redacted_thinking", "data": str(data)}:
                found.append({"type": "redacted_thinking", "data": data})
    return found


def _marked(message: JsonObject, content: list[JsonObject]) -> list[JsonObject]:
    """A message's own cache mark goes onto its last block."""
    if content and (mark := cache_mark(message)):
        mark_last(content, mark)
    return content


def _tools(fields: JsonObject, model: Claude) -> list[JsonObject]:
    offered = tools.tools(fields.get("tools"), model)
    if not offered:
        functions = list_of(fields.get("functions"), "functions")
        for index, given in enumerate(functions):
            offered.append(tools.function(object_of(given, f"functions[{index}]"), f"functions[{index}]", model))
    if fields.get("web_search_options") is not None:
        offered.append(tools.web_search(object_of(fields["web_search_options"], "web_search_options"), None))
    return offered


def _tool_choice(fields: JsonObject) -> Any:
    if fields.get("tool_choice") is not None:
        return fields["tool_choice"]
    older = fields.get("function_call")
    return {"type": "function", **older} if isinstance(older, dict) else older
