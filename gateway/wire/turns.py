"""What a Messages body says of single turns, for providers that know no such fields."""

from __future__ import annotations

from typing import Final

import msgspec

from gateway.wire.forms import with_fields

_NOTHING: Final = msgspec.Raw(b"[]")
_MARK: Final = b'"output_config"'


class _Messages(msgspec.Struct):
    messages: msgspec.Raw = _NOTHING


_messages = msgspec.json.Decoder(_Messages).decode
_raws = msgspec.json.Decoder(list[msgspec.Raw]).decode
_fields = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode
_encode = msgspec.json.Encoder().encode


def without_turn_config(body: bytes) -> bytes:
    """The body without the `output_config` of its messages; messages that have none keep their bytes.

    Claude Code writes it with the beta `per-turn-control-2026-07-01`. Raises msgspec.DecodeError for no JSON object.
    """
    if _MARK not in body:
        return body
    messages = _messages(body).messages
    if _MARK not in bytes(messages):
        return body
    return with_fields(body, messages=[_without(message) for message in _raws(messages)])


def _without(message: msgspec.Raw) -> msgspec.Raw:
    if _MARK not in bytes(message):
        return message
    fields = _fields(message)
    if fields.pop("output_config", None) is None:
        return message
    return msgspec.Raw(_encode(fields))
