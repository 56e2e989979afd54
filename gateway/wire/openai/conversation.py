"""The messages of a Messages body as those of Chat Completions, in their order.

A message becomes the same bytes in every turn, whatever follows it, so that the provider's prefix cache holds; cache
marks and thinking signatures, which are Anthropic's, are left behind.
"""

from __future__ import annotations

from collections.abc import Iterable
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
        self.messages += [{"role": "tool", "tool_call_id": call, "content": NO_RESULT} for call in self._open]
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
        self._put({"role": "user", "content": collapsed([*orphans, *media, *parts(said)])})

    def _result(self, block: Block, media: list[Part], orphans: list[Part]) -> None:
        call = id_for_provider(block.tool_use_id, self._dialect.most_id_characters)
        text, found = result(block)
        if call in self._open:
            self._open.remove(call)
            self.messages.append({"role": "tool", "tool_call_id": call, "content": text})
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
        calls = [self._call(block) for block in content if block.type == "tool_use"]
        text = "".join(_said(content))
        if not calls and not text:
            return
        made: dict[str, Any] = {"role": "assistant", "content": text or None}
        if self._dialect.reasoning_field:
            thought = "\n\n".join(block.thinking for block in content if block.type == "thinking" and block.thinking)
            if thought:
                made[self._dialect.reasoning_field] = thought
        if calls:
            made["tool_calls"] = calls
            self._open = [call["id"] for call in calls]
        self.messages.append(made)

    def _call(self, block: Block) -> dict[str, Any]:
        return {
            "id": id_for_provider(block.id, self._dialect.most_id_characters),
            "type": "function",
            "function": {
                "name": name_for_provider(block.name or "unnamed"),
                # The client's own bytes: the same in every turn.
                "arguments": bytes(block.input).decode() or "{}",
            },
        }


def _said(content: Iterable[Block]) -> Iterable[str]:
    """The text of an assistant's message, what tools at Anthropic found included: the model needs it to go on."""
    for block in content:
        match block.type:
            case "text":
                yield block.text or ""
            case "server_tool_use" | "mcp_tool_use":
                yield f"\n[{block.name}: {bytes(block.input).decode() or '{}'}]\n"
            case "thinking" | "redacted_thinking" | "tool_use":
                pass
            case kind if kind.endswith("_tool_result"):
                yield f"\n[{kind}]\n{flat(block.content)}\n"
            case _:
                yield block.text or ""


def messages(body: Body, dialect: Dialect, preamble: str) -> list[dict[str, Any]]:
    """All of them, the system prompt first; `preamble` is put at its end."""
    made = Conversation(dialect)
    system = "\n\n".join(text for text in (joined(body.system), preamble) if text)
    if system:
        made.messages.append({"role": dialect.system_role, "content": system})
    for message in body.messages:
        made.take(message)
    made.finish()
    return made.messages
