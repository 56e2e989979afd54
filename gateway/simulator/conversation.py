"""What the simulator reads of a Messages request: the prompt that counts, and how far the conversation is."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import msgspec

_REMINDER = "<system-reminder>"
_EMPTY = msgspec.Raw(b"null")


class BadRequest(Exception):
    """The body is no Messages request; the message is what Anthropic's envelope should say, and `details` beside it."""

    def __init__(self, message: str, details: dict[str, Any] | None = None) -> None:
        super().__init__(message)
        self.details = details


class Tool(msgspec.Struct, frozen=True):
    name: str = ""
    input_schema: msgspec.Raw = _EMPTY


class Message(msgspec.Struct, frozen=True):
    role: str
    content: msgspec.Raw


class Block(msgspec.Struct, frozen=True):
    type: str = "text"
    text: str = ""
    is_error: bool | None = None


class ToolChoice(msgspec.Struct, frozen=True):
    type: str = "auto"
    name: str = ""


class Ask(msgspec.Struct, frozen=True):
    """The body of POST /v1/messages as far as it decides the answer."""

    model: str
    messages: list[Message]
    max_tokens: int | None = None
    stream: bool | None = None
    speed: str | None = None
    inference_geo: str | None = None
    system: msgspec.Raw = _EMPTY
    tools: list[msgspec.Raw] | None = None
    tool_choice: ToolChoice | None = None
    output_config: dict[str, Any] | None = None
    context_management: dict[str, Any] | None = None
    thread: dict[str, Any] | None = None

    def tool_named(self, *names: str) -> Tool | None:
        """The first offered tool with one of these names, in the order of the names."""
        offered = {tool.name: tool for tool in (_tool.decode(raw) for raw in self.tools or [])}
        return next((offered[name] for name in names if name in offered), None)


class Turn(msgspec.Struct, frozen=True):
    """The last prompt a person (or an agent's caller) wrote, and the assistant's messages since."""

    prompt: str
    step: int


_ask = msgspec.json.Decoder(Ask)
_tool = msgspec.json.Decoder(Tool)
_content: msgspec.json.Decoder[str | list[Block]] = msgspec.json.Decoder(str | list[Block])


def read(body: bytes) -> Ask:
    """The request. Raises BadRequest."""
    try:
        ask = _ask.decode(body)
    except msgspec.ValidationError as error:
        raise BadRequest(str(error)) from None
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise BadRequest(f"The request body is not valid JSON: {error}") from None
    if not ask.messages:
        raise BadRequest("messages: at least one message is required")
    if ask.thread is not None:
        # What makes Anthropic's SDK go on with the whole conversation in each request.
        details = {"error_code": "thread_unsupported_request", "unsupported": ["thread"]}
        raise BadRequest("thread: the simulated provider holds no conversations", details)
    return ask


def turn(ask: Ask) -> Turn:
    """Walk back to the last user message with words of its own: no tool results, no system reminders."""
    step = 0
    for message in reversed(ask.messages):
        if message.role == "assistant":
            step += 1
        elif message.role == "user":
            content = _blocks(message.content)
            if any(block.type == "tool_result" for block in content):
                continue
            words = [block.text for block in content if block.type == "text" and _own_words(block.text)]
            if words:
                return Turn(prompt="\n".join(words), step=step)
    return Turn(prompt="", step=step)


def system_text(ask: Ask) -> Iterator[str]:
    """Every text the client set as system prompt: `system` and the messages with role `system`."""
    for raw in (ask.system, *(message.content for message in ask.messages if message.role == "system")):
        if bytes(raw) != b"null":
            yield from (block.text for block in _blocks(raw))


def _own_words(text: str) -> bool:
    return bool(text.strip()) and not text.lstrip().startswith(_REMINDER)


def _blocks(raw: msgspec.Raw) -> list[Block]:
    try:
        content = _content.decode(raw)
    except msgspec.ValidationError as error:
        raise BadRequest(f"messages: {error}") from None
    return [Block(text=content)] if isinstance(content, str) else content
