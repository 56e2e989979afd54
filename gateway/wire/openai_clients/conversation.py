"""The messages of a Claude request, put together turn by turn from what OpenAI's formats say in flat lists.

Neighbours of one role become one message, tool results stand first in theirs, and an instruction in the middle keeps
its place: moved to the front it would change the prefix that the provider's prompt cache knows.
"""

from __future__ import annotations

import re
from typing import Final

import msgspec

from gateway.wire.openai_clients.fields import JsonObject
from gateway.wire.peek import BadBody

_NOT_IN_IDS: Final = re.compile(r"[^A-Za-z0-9_-]")
_THINKING: Final = frozenset({"thinking", "redacted_thinking"})
_object = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode


class Conversation:
    """Collects turns; `system` and `messages()` are what the request gets."""

    def __init__(self) -> None:
        self.system: list[JsonObject] = []
        self._turns: list[tuple[str, list[JsonObject]]] = []

    def instruct(self, blocks: list[JsonObject]) -> None:
        """An instruction: in front of the conversation, or where it stands inside it."""
        if self._turns:
            self._add("system", blocks)
        else:
            self.system += blocks

    def user(self, blocks: list[JsonObject]) -> None:
        """What the user says, shows, or hands in as the result of a tool."""
        self._add("user", blocks)

    def assistant(self, blocks: list[JsonObject]) -> None:
        """What the model said before."""
        self._add("assistant", blocks)

    def messages(self, *, system_turns: bool) -> list[JsonObject]:
        """The messages. `system_turns` tells whether the model takes an instruction as a turn of its own.

        It may be one only right after the user's turn and before the model's; elsewhere it is said in the user's turn.
        """
        if not self._turns and self.system:
            # Some clients send nothing but a system message; Claude answers users.
            self._turns, self.system = [("user", self.system)], []
        if not self._turns:
            raise BadBody("There is no message to answer. Send at least one user message.")
        merged: list[JsonObject] = []
        for index, (role, blocks) in enumerate(self._turns):
            follows = self._turns[index + 1][0] if index + 1 < len(self._turns) else "assistant"
            if role == "system" and system_turns and follows == "assistant" and merged[-1]["role"] == "user":
                merged.append({"role": "system", "content": blocks})
                continue
            if role == "system":
                role, blocks = "user", as_reminders(blocks)
            if merged and merged[-1]["role"] == role:
                merged[-1]["content"] += blocks
            else:
                merged.append({"role": role, "content": list(blocks)})
        for message in merged:
            if message["role"] == "user":
                message["content"].sort(key=lambda block: block["type"] != "tool_result")
        return merged

    @property
    def thoughtless(self) -> bool:
        """Whether tool results are handed in for a turn of the model that came back without its thinking.

        A model with a thinking budget refuses to go on thinking then.
        """
        results = False
        for role, blocks in reversed(self._turns):
            if role == "assistant":
                return results and not any(block["type"] in _THINKING for block in blocks)
            results = results or any(block["type"] == "tool_result" for block in blocks)
        return False

    def _add(self, role: str, blocks: list[JsonObject]) -> None:
        if not blocks:
            return
        if self._turns and self._turns[-1][0] == role:
            self._turns[-1][1].extend(blocks)
        else:
            self._turns.append((role, list(blocks)))


def tool_use(call_id: str, name: str, arguments: object) -> JsonObject:
    """A call that the model made. Its arguments stay byte for byte where they are the JSON of an object."""
    text = arguments if isinstance(arguments, str) else ""
    try:
        _object(text.encode() or b"{}")
        given: object = msgspec.Raw(text.encode() or b"{}")
    except (msgspec.DecodeError, UnicodeEncodeError, RecursionError):
        # A model wrote it, not the client: a session must not end because of it.
        given = {"arguments": text}
    return {"type": "tool_use", "id": clean_id(call_id), "name": name, "input": given}


def tool_result(call_id: str, content: list[JsonObject]) -> JsonObject:
    """What a tool gave."""
    result: JsonObject = {"type": "tool_result", "tool_use_id": clean_id(call_id)}
    marks = [block["cache_control"] for block in content if "cache_control" in block]
    if marks:
        # Inside a result a breakpoint belongs to the result.
        content = [{key: value for key, value in block.items() if key != "cache_control"} for block in content]
        result["cache_control"] = marks[-1]
    return {**result, "content": content}


def as_reminders(blocks: list[JsonObject]) -> list[JsonObject]:
    """An instruction's texts as they are said in the user's turn."""
    return [{**block, "text": f"<system-reminder>\n{block['text']}\n</system-reminder>"} for block in blocks]


def clean_id(call_id: str) -> str:
    """A call's id in the letters that Claude allows; the same for a call and its result."""
    return _NOT_IN_IDS.sub("_", call_id)


def mark_last(content: list[JsonObject], mark: JsonObject) -> None:
    """Put a cache breakpoint on the last block or tool that may carry one."""
    for index in reversed(range(len(content))):
        if content[index].get("type") not in _THINKING:
            content[index] = {**content[index], **mark}
            return
