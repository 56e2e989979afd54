"""Thinking that another model than Claude did, in a conversation that goes on with Claude.

Providers of Claude verify the signatures of thinking blocks and refuse a request with one that is not theirs. Blocks
that were translated from OpenAI's or Gemini's answers carry a mark in its place, by which they are left out again when
the next turn is sent to a provider of Claude, as after a failover.
"""

from __future__ import annotations

from typing import Any, Final

import msgspec

from gateway.wire.forms import with_fields
from gateway.wire.openai.answer import SIGNATURE

_MARK: Final = b'"' + SIGNATURE.encode()
_NOTHING: Final = msgspec.Raw(b"[]")


class _Messages(msgspec.Struct):
    messages: list[msgspec.Raw] = []


class _Block(msgspec.Struct):
    type: Any = ""
    signature: Any = ""


_messages = msgspec.json.Decoder(_Messages).decode
_block = msgspec.json.Decoder(_Block).decode
_raws = msgspec.json.Decoder(list[msgspec.Raw]).decode
_fields = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode
_encode = msgspec.json.Encoder().encode


def without_foreign_thinking(body: bytes) -> bytes:
    """The body without such blocks, and without messages that were nothing else; itself where it has none.

    Everything else keeps its bytes. What is no Messages body stays as it is: that is the provider's to tell.
    """
    if _MARK not in body:
        return body
    try:
        return _cleared(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return body


def _cleared(body: bytes) -> bytes:
    messages = _messages(body).messages
    kept = [made for message in messages if (made := _without(message)) is not None]
    if len(kept) == len(messages) and all(made is message for made, message in zip(kept, messages, strict=True)):
        return body
    return with_fields(body, messages=kept)


def _without(message: msgspec.Raw) -> msgspec.Raw | None:
    """None where nothing is left of it."""
    if _MARK not in bytes(message):
        return message
    fields = _fields(message)
    content = fields.get("content", _NOTHING)
    if not bytes(content).lstrip().startswith(b"["):
        return message
    blocks = _raws(content)
    kept = [block for block in blocks if not _is_foreign(block)]
    if len(kept) == len(blocks):
        return message
    return msgspec.Raw(_encode({**fields, "content": kept})) if kept else None


def _is_foreign(raw: msgspec.Raw) -> bool:
    if _MARK not in bytes(raw):
        return False
    block = _block(raw)
    return block.type == "thinking" and isinstance(block.signature, str) and block.signature.startswith(SIGNATURE)
