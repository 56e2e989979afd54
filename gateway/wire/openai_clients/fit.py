"""A translated body for another model than the one it was translated for: an alias, a rule or a ladder chose it.

Clients of OpenAI's often ask for a name that an alias puts a Claude model behind; only then is it known which settings
the model takes (`claude.py`). Everything else stays byte for byte.
"""

from __future__ import annotations

from typing import Any

import msgspec

from gateway.wire.openai_clients.claude import Claude, claude
from gateway.wire.openai_clients.conversation import as_reminders
from gateway.wire.openai_clients.settings import budget_for, effort_for

_fields = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode
_messages = msgspec.json.Decoder(list[dict[str, msgspec.Raw]]).decode
_encode = msgspec.json.Encoder().encode


def fitted(body: bytes, model: str) -> bytes:
    """A body that `chat_request` or `responses_request` made, as this model takes it."""
    known = claude(model)
    fields = _fields(body)
    thinking = _plain(fields, "thinking")
    if not known.takes_sampling:
        fields.pop("temperature", None)
        fields.pop("top_p", None)
    if thinking:
        _think(fields, thinking, known, called=b'"tool_use"' in body)
    elif not known.thinks_adaptively:
        _set_effort(fields, "")
    if not known.takes_system_turns and b'"role":"system"' in body:
        fields["messages"] = _without_system_turns(fields["messages"])
    return _encode(fields)


def _think(fields: dict[str, msgspec.Raw], thinking: dict[str, Any], model: Claude, *, called: bool) -> None:
    """Put the wish to think, or not to, in the form that the model takes."""
    kind = thinking.get("type")
    effort = _plain(fields, "output_config").get("effort")
    del fields["thinking"]
    if kind in ("disabled", "between_tools"):
        if model.off_switch:
            fields["thinking"] = _raw({"type": model.off_switch})
    elif model.thinks_adaptively:
        fields["thinking"] = _raw({"type": "adaptive", "display": thinking.get("display", "summarized")})
        if kind == "enabled":
            _set_effort(fields, effort_for(thinking["budget_tokens"]))
    elif not called:
        # On a budget a model refuses calls that come back without the thinking before them.
        budget = budget_for(str(effort), msgspec.json.decode(fields["max_tokens"]))
        if budget:
            fields["thinking"] = _raw({"type": "enabled", "budget_tokens": budget})
    if not model.thinks_adaptively:
        _set_effort(fields, "")
    if "thinking" in fields and kind not in ("disabled", "between_tools"):
        fields.pop("temperature", None)
        fields.pop("top_p", None)


def _set_effort(fields: dict[str, msgspec.Raw], effort: str) -> None:
    config = {key: value for key, value in _plain(fields, "output_config").items() if key != "effort"}
    if effort:
        config["effort"] = effort
    if config:
        fields["output_config"] = _raw(config)
    else:
        fields.pop("output_config", None)


def _without_system_turns(messages: msgspec.Raw) -> msgspec.Raw:
    kept: list[dict[str, Any]] = []
    for message in _messages(messages):
        if msgspec.json.decode(message["role"]) == "system":
            # It stands right after a user's turn: it becomes the end of that.
            content = msgspec.json.decode(kept[-1]["content"], type=list[msgspec.Raw])
            content += [_raw(block) for block in as_reminders(msgspec.json.decode(message["content"]))]
            kept[-1]["content"] = _raw(content)
        else:
            kept.append(dict(message))
    return _raw(kept)


def _plain(fields: dict[str, msgspec.Raw], name: str) -> dict[str, Any]:
    found = msgspec.json.decode(fields[name]) if name in fields else {}
    return found if isinstance(found, dict) else {}


def _raw(value: object) -> msgspec.Raw:
    return msgspec.Raw(_encode(value))
