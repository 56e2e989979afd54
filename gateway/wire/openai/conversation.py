"""The messages of a Messages body as those of Chat Completions, in their order.

A message becomes the same bytes in every turn, whatever follows it, so that the provider's prefix cache holds; cache
marks and thinking signatures, which are Anthropic's, are left behind.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from gateway.wire.openai.body import Block, Body, Message
from gateway.wire.openai.content import Part, collapsed, flat, joined, parts, result, text_part
from gateway.wire.openai.dialect import Dialect
from gateway.wire.openai.names import id_for_provider, name_for_provider

NO_RESULT = "The tool call was not answered."


class Conversation:
    """Takes messages in order; `messages` is what came of them.

    OpenAI wants the results of tool calls right after the message that made them: what stands between is put behind,
    and a call that nobody answered gets an answer that says so.
    """

    def __init__(self, dialect: Dialect) -> None:
        self.messages: list[dict[str, Any]] = []
        self._dialect = dialect
        self._open: list[str] = []
        """Ids of calls that have no result yet."""
        self._held: list[dict[str, Any]] = []

    def take(self, message: Message) -> None:
        match message.role:
            case "system":
                role, text = self._dialect.late_system_role, joined(message.content)
                if role == "user" and text:
                    text = f"<system-reminder>\n{text}\n</system-reminder>"
                self._put({"role": role, "content": text})
            case "assistant":
                self._settle()
                self._assistant(message)
            case _:
                self._user(message)

    def finish(self) -> None:
        """After the last message."""
        if self._held:
            self._settle()

    def _put(self, message: dict[str, Any]) -> None:
        if message["content"]:
            (self._held if self._open else self.messages).append(message)

    def _settle(self) -> None:
        """Nothing more can answer the open calls."""
        self.messages += [self.result_message(call, NO_RESULT) for call in self._open]
        self._open.clear()
        self.messages += self._held
        self._held.clear()

    def _user(self, message: Message) -> None:
        media: list[Part] = []
        orphans: list[Part] = []
        said = message.content
        if isinstance(said, list):
            for block in said:
                if block.type == "tool_result":
                    self._result(block, media, orphans)
            said = [block for block in said if block.type != "tool_result"]
        if not self._open:
            self._settle()
        self._put({"role": "user", "content": self.user_content([*orphans, *media, *parts(said)])})

    def _result(self, block: Block, media: list[Part], orphans: list[Part]) -> None:
        call = self.call_id(block.tool_use_id)
        text, found = result(block)
        if call in self._open:
            self._open.remove(call)
            self.messages.append(self.result_message(call, text))
        else:
            # Its call is no longer in the history, as after a context edit: OpenAI refuses a result without one.
            orphans.append(text_part(f"Result of an earlier tool call:\n{text}"))
        if found:
            media += [text_part(f"Attached to the result of {call}:"), *found]

    def _assistant(self, message: Message) -> None:
        content = message.content
        if not isinstance(content, list):
            self._put({"role": "assistant", "content": content})
            return
        self.messages += self.assistant_messages(content)
        self._open = [self.call_id(block.id) for block in content if block.type == "tool_use"]

    def call_id(self, given: str) -> str:
        """The provider's id of a tool call."""
        return id_for_provider(given, self._dialect.most_id_characters)

    def user_content(self, said: list[Part]) -> str | list[Part]:
        """What a user says."""
        return collapsed(said)

    def result_message(self, call: str, text: str) -> dict[str, Any]:
        """The result of a tool call."""
        return {"role": "tool", "tool_call_id": call, "content": text}

    def assistant_messages(self, content: list[Block]) -> list[dict[str, Any]]:
        """What the model said and called; nothing where that is nothing."""
        calls = [self._call(block) for block in content if block.type == "tool_use"]
        text = "".join(spoken(block) for block in content)
        if not calls and not text:
            return []
        made: dict[str, Any] = {"role": "assistant", "content": text or None}
        if self._dialect.reasoning_field:
            thought = "\n\n".join(block.thinking for block in content if block.type == "thinking" and block.thinking)
            if thought:
                made[self._dialect.reasoning_field] = thought
        if calls:
            made["tool_calls"] = calls
        return [made]

    def _call(self, block: Block) -> dict[str, Any]:
        return {
            "id": self.call_id(block.id),
            "type": "function",
            "function": {"name": name_for_provider(block.name or "unnamed"), "arguments": arguments(block)},
        }


def arguments(block: Block) -> str:
    """Of a tool call: the client's own bytes, which are the same in every turn."""
    return bytes(block.input).decode() or "{}"


def spoken(block: Block) -> str:
    """The text of an assistant's block; what tools at Anthropic found is part of it: the model needs it to go on."""
    match block.type:
        case "server_tool_use" | "mcp_tool_use":
            return f"\n[{block.name}: {arguments(block)}]\n"
        case "thinking" | "redacted_thinking" | "tool_use":
            return ""
        case kind if kind.endswith("_tool_result"):
            return f"\n[{kind}]\n{flat(block.content)}\n"
        case _:
            return block.text or ""


def messages(body: Body, made: Conversation, dialect: Dialect, preamble: str) -> list[dict[str, Any]]:
    """All of them, the system prompt first; `preamble` is put at its end."""
    system = "\n\n".join(text for text in (joined(body.system), preamble) if text)
    if system:
        made.messages.append({"role": dialect.system_role, "content": system})
    for message in _merged(body.messages):
        made.take(message)
    made.finish()
    return made.messages


def _merged(said: Iterable[Message]) -> Iterator[Message]:
    """Messages of the assistant that follow one another are one to Anthropic; apart, calls would miss their results."""
    last: Message | None = None
    for message in said:
        if last is not None and last.role == message.role == "assistant":
            last = Message("assistant", [*_blocks(last), *_blocks(message)])
            continue
        if last is not None:
            yield last
        last = message
    if last is not None:
        yield last


def _blocks(message: Message) -> list[Block]:
    content = message.content
    return content if isinstance(content, list) else [Block(type="text", text=content)] if content else []
