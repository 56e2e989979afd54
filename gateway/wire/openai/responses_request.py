"""A Messages body as a request for OpenAI's Responses: its current models take tools and an effort together only here.

As in `request.py` nothing depends on the time, and the input comes last. Nothing is stored at OpenAI (`store` false),
so the model's thinking comes encrypted; it travels through the client in the signature of a thinking block, and back to
the model in its place.
"""

from __future__ import annotations

from typing import Any, Final

import msgspec

from gateway.wire.openai.answer import SIGNATURE
from gateway.wire.openai.body import Block, read
from gateway.wire.openai.content import Part
from gateway.wire.openai.conversation import Conversation, arguments, messages, spoken
from gateway.wire.openai.dialect import Dialect
from gateway.wire.openai.names import name_for_provider
from gateway.wire.openai.request import effort, json_schema, offered_tools, sampling

LEAST_OUTPUT_TOKENS: Final = 16
"""OpenAI refuses less."""

_encode = msgspec.json.Encoder().encode


def translate(body: bytes, *, model: str, stream: bool, dialect: Dialect) -> bytes:
    """The request's bytes. Raises CannotTranslate with a sentence for the client."""
    asked = read(body)
    tools = offered_tools(asked, dialect)
    fields: dict[str, Any] = {"model": model, "store": False, "include": ["reasoning.encrypted_content"]}
    if stream:
        fields["stream"] = True
    if asked.max_tokens is not None:
        most = dialect.max_output_tokens or asked.max_tokens
        fields["max_output_tokens"] = max(LEAST_OUTPUT_TOKENS, min(asked.max_tokens, most))
    fields |= {name: value for name, value in sampling(asked).items() if name != "stop"}
    if meant := effort(asked, dialect):
        fields["reasoning"] = {"effort": meant}
    if schema := json_schema(asked):
        fields["text"] = {"format": {"type": "json_schema", **schema}}
    for name, value in tools.fields.items():
        fields[name] = _flat(name, value)
    fields = {name: value for name, value in fields.items() if name not in dialect.left_out}
    fields["input"] = messages(asked, _Items(dialect), dialect, tools.preamble)
    return _encode(fields)


def signature(seal: str, item: str, encrypted: str) -> str:
    """What a thinking block carries of a reasoning item through the client."""
    return f"{SIGNATURE}:{seal}:{item}:{encrypted}"


class _Items(Conversation):
    """The items of `input`."""

    def user_content(self, said: list[Part]) -> str | list[Part]:
        content = super().user_content(said)
        return content if isinstance(content, str) else [_input(part) for part in content]

    def result_message(self, call: str, text: str) -> dict[str, Any]:
        return {"type": "function_call_output", "call_id": call, "output": text}

    def assistant_messages(self, content: list[Block]) -> list[dict[str, Any]]:
        """In the order in which the model made them: its thinking belongs to what follows it."""
        made: list[dict[str, Any]] = []
        for block in content:
            match block.type:
                case "tool_use":
                    name = name_for_provider(block.name or "unnamed")
                    call = {"call_id": self.call_id(block.id), "name": name, "arguments": arguments(block)}
                    made.append({"type": "function_call", **call})
                case "thinking" if (block.signature or "").startswith(f"{SIGNATURE}:{self._dialect.seal}:"):
                    _, _, item, encrypted = (block.signature or "").split(":", 3)
                    made.append({"type": "reasoning", "id": item, "summary": [], "encrypted_content": encrypted})
                case _:
                    if text := spoken(block):
                        made.append({"role": "assistant", "content": text})
        # Thinking that nothing follows, as of an answer that was cut, is refused.
        while made and made[-1].get("type") == "reasoning":
            made.pop()
        return made


def _input(part: Part) -> Part:
    match part["type"]:
        case "image_url":
            return {"type": "input_image", "image_url": part["image_url"]["url"], "detail": "auto"}
        case "file":
            return {"type": "input_file", **part["file"]}
        case _:
            return {"type": "input_text", "text": part["text"]}


def _flat(name: str, value: Any) -> Any:
    """Functions stand without a layer here, and are strict unless they say that they are not."""
    if name == "tools":
        return [{"type": "function", **tool["function"], "strict": False} for tool in value]
    if name == "tool_choice" and isinstance(value, dict):
        return {"type": "function", **value["function"]}
    return value
