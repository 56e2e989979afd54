"""The messages of a Messages body as Gemini's contents, in their order.

A message becomes the same parts in every turn, whatever follows it, so that Gemini's prefix cache holds. Gemini knows
two roles: a system message inside of the conversation is told by the user, marked as what it is. Thinking stays
behind: what Gemini wants back of its own is the signature of a call (`calls.py`).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, Final

import msgspec

from gateway.wire.gemini.calls import FOREIGN, for_gemini
from gateway.wire.openai import content as shared
from gateway.wire.openai.body import Block, Body, Message
from gateway.wire.openai.dialect import CannotTranslate
from gateway.wire.openai.names import name_for_provider

Part = dict[str, Any]

_DATA: Final = "data:"
_NO_RESULT: Final = "The tool call was not answered."
_fields = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode


class Contents:
    """Takes messages in order; `made` is what came of them.

    `signs` says whether the model wants signatures; it is also the generation that takes images inside of results.
    """

    def __init__(self, *, signs: bool) -> None:
        self.made: list[dict[str, Any]] = []
        self._signs = signs
        self._open: dict[str, str] = {}
        """Names of the calls that have no result yet, by the ids of their blocks."""

    def take(self, message: Message) -> None:
        match message.role:
            case "system":
                text = shared.joined(message.content)
                self._put("user", [{"text": f"<system>\n{text}\n</system>"}] if text else [])
            case "assistant":
                self._settle()
                self._put("model", self._said(message.content))
            case _:
                self._user(message.content)

    def finish(self) -> None:
        """After the last message."""
        self._settle()

    def _put(self, role: str, parts: list[Part]) -> None:
        if not parts:
            return
        if not self.made or self.made[-1]["role"] != role:
            self.made.append({"role": role, "parts": parts})
            return
        there: list[Part] = self.made[-1]["parts"]
        if "functionResponse" in parts[0]:
            # What was said between a call and its result follows the results: they come right after the calls.
            results = sum("functionResponse" in part for part in there)
            there[results:results] = parts
        else:
            there += parts

    def _settle(self) -> None:
        """Gemini wants as many results as there were calls."""
        self._put("user", [_response(call, name, {"error": _NO_RESULT}, []) for call, name in self._open.items()])
        self._open.clear()

    def _user(self, content: str | Sequence[Block] | None) -> None:
        results: list[Part] = []
        said: list[Part] = []
        for block in content if isinstance(content, list) else ():
            if block.type == "tool_result":
                self._result(block, results, said)
        rest = [each for each in content if each.type != "tool_result"] if isinstance(content, list) else content
        self._put("user", results)
        self._put("user", [*said, *parts(rest)])

    def _result(self, block: Block, results: list[Part], said: list[Part]) -> None:
        inside = [block.content] if isinstance(block.content, Block) else block.content
        found = parts(inside)
        texts = [part["text"] for part in found if "text" in part]
        media = [part for part in found if "text" not in part]
        if isinstance(inside, list):
            texts += [f"The tool {each.tool_name} can be called now." for each in inside if each.tool_name]
        name = self._open.pop(block.tool_use_id, "")
        if not name:
            # Its call is no longer in the history, as after a context edit: Gemini refuses a result without one.
            said += [{"text": f"Result of an earlier tool call:\n{chr(10).join(texts)}"}, *media]
            return
        response = {"error" if block.is_error else "output": "\n".join(texts)}
        if self._signs:
            results.append(_response(block.tool_use_id, name, response, media))
        else:
            results.append(_response(block.tool_use_id, name, response, []))
            said += media

    def _said(self, content: str | Sequence[Block] | None) -> list[Part]:
        if not isinstance(content, list):
            return parts(content if isinstance(content, str) else None)
        made: list[Part] = []
        first = True
        for block in content:
            match block.type:
                case "tool_use":
                    made.append(self._call(block, first=first))
                    first = False
                case "thinking" | "redacted_thinking":
                    pass
                case "server_tool_use" | "mcp_tool_use":
                    made.append({"text": f"[{block.name}: {bytes(block.input).decode() or '{}'}]"})
                case kind if kind.endswith("_tool_result"):
                    made.append({"text": f"[{kind}]\n{shared.flat(block.content)}"})
                case "compaction":
                    made += parts(shared.flat(block.content))
                case _:
                    made += parts([block])
        return made

    def _call(self, block: Block, *, first: bool) -> Part:
        call = for_gemini(block.id)
        name = name_for_provider(block.name or "unnamed")
        self._open[block.id] = name
        made: Part = {"functionCall": {"id": call.id, "name": name, "args": _arguments(block.input)}}
        if call.signature:
            made["thoughtSignature"] = call.signature
        elif self._signs and first:
            made["thoughtSignature"] = FOREIGN
        return made


def parts(content: str | Iterable[Block] | None) -> list[Part]:
    """Text, images and documents. Raises CannotTranslate for what Gemini could not fetch."""
    return [_part(part) for part in shared.parts(content)]


def system(body: Body) -> list[Part]:
    """The system prompt, a part for each of its blocks, without what belongs to Anthropic."""
    if isinstance(body.system, str) or body.system is None:
        return [{"text": body.system}] if body.system else []
    texts = (block.text for block in body.system if block.type == "text" and block.text)
    return [{"text": text} for text in texts if not text.startswith(shared.BILLING_HEADER)]


def contents(body: Body, *, signs: bool) -> list[dict[str, Any]]:
    """All of the conversation."""
    made = Contents(signs=signs)
    for message in body.messages:
        made.take(message)
    made.finish()
    return made.made


def _part(part: shared.Part) -> Part:
    match part["type"]:
        case "text":
            return {"text": part["text"]}
        case "image_url":
            address = part["image_url"]["url"]
        case _:
            address = part["file"]["file_data"]
    if not address.startswith(_DATA):
        raise CannotTranslate(
            f"An image is given by its address, {address[:200]}, which is not fetched for Gemini. Send its content."
        )
    kind, _, data = address.removeprefix(_DATA).partition(";base64,")
    return {"inlineData": {"mimeType": kind, "data": data}}


def _response(tool_use_id: str, name: str, response: dict[str, Any], media: list[Part]) -> Part:
    made: dict[str, Any] = {"id": for_gemini(tool_use_id).id, "name": name, "response": response}
    if media:
        made["parts"] = media
    return {"functionResponse": made}


def _arguments(given: msgspec.Raw) -> object:
    """The client's own bytes, the same in every turn."""
    try:
        _fields(given)
    except msgspec.DecodeError:
        return {}
    return given
