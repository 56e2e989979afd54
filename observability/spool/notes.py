"""What the spool's records hold: enough to write a request's row and charge without the process that served it."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import datetime
from typing import Any, TypeVar

import msgspec

from governance.ledger import Posting
from observability.records import RequestRecord


class Admitted(msgspec.Struct, gc=False):
    """A request on its way to a provider: what its charge is estimated from where nothing more is heard of it."""

    record: RequestRecord
    """As far as it is known before the answer."""
    provider: str
    credential: str
    platform: str
    """Whose price list applies."""
    model: str
    provider_access_id: int | None
    prompt_tokens: int
    """Estimated from the bytes of the body."""
    priced_as: str = ""
    """What the price list calls the model, where that is not how Anthropic spells it."""


class Finished(msgspec.Struct, gc=False):
    """A request that ended: its row and its charge, None where nothing was used."""

    record: RequestRecord
    posting: Posting | None


T = TypeVar("T")
_encode = msgspec.msgpack.Encoder().encode
_admitted = msgspec.msgpack.Decoder(Admitted).decode
_finished = msgspec.msgpack.Decoder(Finished).decode
_RECORD = frozenset(RequestRecord.__struct_fields__)
_POSTING = frozenset(Posting.__struct_fields__)


def encode(note: Admitted | Finished) -> bytes:
    """MessagePack; JSON for what that cannot hold (numbers beyond 64 bits, broken text)."""
    try:
        return _encode(note)
    except (OverflowError, UnicodeEncodeError, TypeError):
        return encode_json(note)


def encode_json(value: object) -> bytes:
    """One line of JSON that takes any text and any number."""
    plain = msgspec.to_builtins(value, builtin_types=(datetime,), enc_hook=repr)
    return json.dumps(plain, default=_text, ensure_ascii=True, separators=(",", ":")).encode()


def admitted(payload: bytes) -> Admitted:
    """Raises ValueError where the payload is no such note: an intact one of another release may be."""
    if payload[:1] != b"{":
        try:
            return _admitted(payload)
        except msgspec.ValidationError:
            pass
    found = _loose(payload)
    record = _record(found.pop("record"))
    return _made(lambda: Admitted(record, **{k: v for k, v in found.items() if k in Admitted.__struct_fields__}))


def finished(payload: bytes) -> Finished:
    """Raises ValueError where the payload is no such record."""
    if payload[:1] != b"{":
        try:
            return _finished(payload)
        except msgspec.ValidationError:
            pass
    return finished_from(_loose(payload))


def finished_from(found: dict[str, Any]) -> Finished:
    """From plain values, whatever their types: the database's own repair comes later. Raises ValueError."""
    posting = found.get("posting")
    return Finished(_record(found.get("record")), None if posting is None else _posting(posting))


def _loose(payload: bytes) -> dict[str, Any]:
    try:
        found = json.loads(payload) if payload[:1] == b"{" else msgspec.msgpack.decode(payload)
    except (ValueError, msgspec.DecodeError) as error:
        raise ValueError(f"cannot be decoded: {error}") from None
    if not isinstance(found, dict):
        raise ValueError("is no record")
    return found


def _record(found: Any) -> RequestRecord:
    values = {name: value for name, value in dict(found).items() if name in _RECORD}
    for name in ("started_at", "finished_at"):
        values[name] = _moment(values.get(name))
    return _made(lambda: RequestRecord(**values))


def _posting(found: Any) -> Posting:
    values = {name: value for name, value in dict(found).items() if name in _POSTING}
    values["occurred_at"] = _moment(values.get("occurred_at"))
    return _made(lambda: Posting(**values))


def _made(make: Callable[[], T]) -> T:
    try:
        return make()
    except TypeError as error:
        raise ValueError(f"lacks a part: {error}") from None


def _moment(value: object) -> object:
    return datetime.fromisoformat(value) if isinstance(value, str) else value


def _text(value: object) -> str:
    return value.isoformat() if isinstance(value, datetime) else repr(value)
