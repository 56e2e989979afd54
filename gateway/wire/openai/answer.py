"""A whole chat completion as a message of Anthropic's, and what it shares with a stream of chunks."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterable
from typing import Any, Final

import msgspec

from gateway.wire.openai.dialect import BadAnswer
from gateway.wire.openai.errors import Problem, read_error
from gateway.wire.openai.names import id_for_client, name_for_client
from gateway.wire.openai.usage import Reported, translated

SIGNATURE: Final = "comptroller"
"""Of thinking that is not Claude's: no provider of Claude takes it for its own, and we can tell it by it."""

_REASONS: Final = {
    "stop": "end_turn",
    "length": "max_tokens",
    "max_tokens": "max_tokens",
    "model_length": "max_tokens",
    "tool_calls": "tool_use",
    "function_call": "tool_use",
    "content_filter": "refusal",
}
"""By `finish_reason`; `model_length` is vLLM's and Mistral's."""

Names = Callable[[], Iterable[str]]
"""The names of the tools that the request offered, read only where a name of theirs had to be shortened."""


class Function(msgspec.Struct):
    name: str | None = None
    arguments: Any = None


class ToolCall(msgspec.Struct):
    """A call, or a part of one in a stream."""

    index: int | None = None
    id: str | None = None
    function: Function | None = None


class Said(msgspec.Struct):
    """What the model says: a message, or a delta of one."""

    content: Any = None
    refusal: str | None = None
    reasoning_content: str | None = None
    reasoning: str | None = None
    tool_calls: list[ToolCall] | None = None

    @property
    def thought(self) -> str:
        """Servers that send both fields send the same in both."""
        return self.reasoning_content or self.reasoning or ""

    @property
    def text(self) -> str:
        """`content` is a string; Mistral's models send a list of parts where they think."""
        if isinstance(self.content, list):
            parts = (part.get("text") for part in self.content if isinstance(part, dict) and part.get("type") == "text")
            return "".join(part for part in parts if isinstance(part, str)) + (self.refusal or "")
        return (self.content if isinstance(self.content, str) else "") + (self.refusal or "")


class Choice(msgspec.Struct):
    index: int = 0
    message: Said | None = None
    delta: Said | None = None
    finish_reason: str | None = None
    stop_reason: Any = None
    """vLLM's: the stop sequence that ended the answer."""


class Completion(msgspec.Struct):
    """A chat completion, or a chunk of one."""

    id: str | None = None
    model: str | None = None
    choices: list[Choice] | None = None
    usage: Reported | None = None
    service_tier: str | None = None
    error: msgspec.Raw = msgspec.Raw(b"")


_decode = msgspec.json.Decoder(Completion).decode
_encode = msgspec.json.Encoder().encode


def read(data: bytes) -> Completion | Problem:
    """A completion, a chunk, or the error in the place of one. Raises BadAnswer."""
    try:
        found = _decode(data)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        problem = read_error(data)
        if problem is not None:
            return problem
        raise BadAnswer(f"it answered what is not a chat completion ({str(error)[:200]})") from None
    if found.choices is None or len(memoryview(found.error)):
        problem = read_error(data)
        if problem is not None:
            return problem
    if any(choice.finish_reason == "error" for choice in found.choices or ()):
        return Problem("The provider ended the answer with an error.")
    return found


def whole(body: bytes, names: Names) -> bytes:
    """The JSON message. Raises BadAnswer."""
    found = read(body)
    if isinstance(found, Problem):
        raise BadAnswer(f"it answered with an error: {found.message[:500]}")
    choice = next((choice for choice in found.choices or () if choice.index == 0), None)
    if choice is None or choice.message is None:
        raise BadAnswer("it answered without a message")
    said = choice.message
    content: list[dict[str, Any]] = []
    if said.thought.strip():
        content.append({"type": "thinking", "thinking": said.thought, "signature": SIGNATURE})
    if said.text.strip():
        content.append({"type": "text", "text": said.text})
    message = found.id or new_id()
    for number, call in enumerate(said.tool_calls or ()):
        function = call.function or Function()
        content.append(
            {
                "type": "tool_use",
                "id": call_id(call.id, message, number),
                "name": tool_name(function.name, names),
                "input": arguments(function.arguments),
            }
        )
    reason, sequence = stop_reason(choice, called=bool(said.tool_calls))
    return _encode(
        {
            "id": message,
            "type": "message",
            "role": "assistant",
            "model": found.model or "",
            "content": content,
            "stop_reason": reason,
            "stop_sequence": sequence,
            "usage": translated(found.usage, found.service_tier),
        }
    )


def stop_reason(choice: Choice, *, called: bool) -> tuple[str, str | None]:
    """(`stop_reason`, `stop_sequence`). Some servers end a message with tool calls by `stop`."""
    reason = _REASONS.get(choice.finish_reason or "", "end_turn")
    if reason == "end_turn" and called:
        return "tool_use", None
    if reason == "tool_use" and not called:
        return "end_turn", None
    if reason == "end_turn" and isinstance(choice.stop_reason, str) and choice.stop_reason:
        return "stop_sequence", choice.stop_reason
    return reason, None


def arguments(given: Any) -> object:
    """A tool's input. What is no JSON object is handed to the tool as it is, which will say what it misses."""
    if isinstance(given, dict):
        return given
    if not isinstance(given, str) or not given.strip():
        return {}
    try:
        found = msgspec.json.decode(given)
        if isinstance(found, str):
            found = msgspec.json.decode(found)
    except (msgspec.MsgspecError, RecursionError):
        found = None
    return found if isinstance(found, dict) else {"unreadable_arguments": given}


def tool_name(given: str | None, names: Names) -> str:
    """The client's name of the tool that is called."""
    if not given:
        return "unnamed"
    # Only a name of full length can be a shortened one: nearly no answer has to look at the request.
    return name_for_client(given, names()) if given[-9:-8] == "_" else given


def call_id(given: str | None, message: str, number: int) -> str:
    """The id of a tool call; servers that give none get one that is the answer's own."""
    return id_for_client(given) if given else f"{id_for_client(message)}_{number}"


def new_id() -> str:
    """For an answer without an id."""
    return f"msg_{uuid.uuid4().hex}"
